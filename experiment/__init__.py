"""What a run and a command are: configuration, run folder, errors, exit codes, progress. Free of torch."""
