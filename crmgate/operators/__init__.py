"""What operators do: find operations, edit, retry and discard dead letters, export, test the connection."""
