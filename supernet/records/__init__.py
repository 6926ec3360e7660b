"""The files of a search run: for each file one module with its columns, its writer and its reader.

    selection.csv            selection_history.py   the probabilities of the blocks of every pair over the steps
    branching.csv            branching_history.py   the probabilities of the copies of every unit over the steps
    choices.csv              choices.py             the chosen blocks and their posterior probabilities
    costs.csv                costs.py               what every block costs on every pair
    samples.csv, front.csv   samples.py             architectures that were evaluated with shared weights
    loss_weights_trials.csv  trials.py              trials of the search for loss weights

To add a file, write a module with both its writer and its reader on top of `rows.py`, or of `growing.py`
where it grows during a search. The modules do not load torch:
the analysis of finished runs reads through them.
"""
