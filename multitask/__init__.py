"""The learner: tasks, data, metrics, networks and the one training loop. It knows nothing of exchange blocks."""
