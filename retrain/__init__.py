"""Training from scratch: architectures from files, and the baselines that they are compared with."""
