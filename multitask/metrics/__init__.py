"""The metrics of the tasks, and Delta_m, which compares models over all of them.

A metric is a `torchmetrics.Metric`: `update(decoded, label, mask)` takes a batch, `compute()` returns {name: value}
over all valid pixels of the dataset. To add one, write a file with its class and return it from a task's `metric`;
`multitask.testing.check_metric` checks it.
"""
