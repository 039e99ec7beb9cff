"""For operators: find, edit, retry, discard and export operations, test the connection, watch for incidents."""
