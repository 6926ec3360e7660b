"""The search for a branching: which units of the encoder tasks share.

encoder.py      the supernet: every task mixes the copies of every unit
expectation.py  the expected cost of the trees that the logits stand for, exact
callback.py     what happens beside the training of the weights
search.py       from a configuration to the run folder with branching.yaml
"""
