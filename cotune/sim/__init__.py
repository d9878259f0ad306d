"""An in-process kernel with its own file table, for rehearsals without root and for tests."""
