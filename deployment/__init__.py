"""What uses a retrained network: predictions for photos, and its export to other programs.

`loading.load` gives the `Predictor` of a run (predictor.py), which needs nothing but the run's folder. A command is a
module with `add_arguments(parser)` and `run(arguments)`, and a line in crosstalk/__main__.py.
"""
