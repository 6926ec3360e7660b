"""Measurements, each a command that prints a table and writes JSON; sides are compared within one process, in turn."""
