"""A trial of a plugin with a real account: its steps, its test data, and recordings of its requests without secrets."""
