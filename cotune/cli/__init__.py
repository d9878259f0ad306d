"""The command line: one module per verb, found through ``cotune.cli.app.VERBS``."""
