"""The subcommands of `python -m analysis`, one a file.

To add one: a module with `add_arguments(parser)` and `run(arguments)`, which returns its tables and JSON, and a line in
`COMMANDS` (analysis/__main__.py).
"""
