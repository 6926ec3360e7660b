"""Reads the run folders that searches and retrainings wrote.

commands/ has one module per subcommand, which returns a `Result`: tables for people, records for csv, data for json.
measures/ has what the commands compute. report/ has the one renderer of results, the figures and the html page. To add
a subcommand, write its module and add a line to `COMMANDS` in __main__.py.
"""
