"""The commands that use a retrained network, one a file: `add_arguments(parser)` and `run(arguments)`."""
