"""cotune applies versioned isolation profiles to a Linux host as one undoable transaction."""

__version__ = "0.1.0"
