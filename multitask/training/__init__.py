"""The learner's training: one loop that trains every network, in the search and in retraining.

callback.py         what a procedure adds to the loop
recipe.py           what is the same for all networks that are to be compared
trainer.py          the loop
checkpoints.py      its state in the run folder
evaluation.py       metrics over a split
loggers.py          what TensorBoard, CSV tables and Weights & Biases get
examples.py         predictions beside labels, as pictures
balancing.py        the tasks' gradients combined by TorchJD
loss_weighting.py   the tasks' loss weights, given or learned
hardware.py         device and precision

To add a training procedure, such as a search strategy, derive from `Callback`; the loop itself stays the same.
"""
