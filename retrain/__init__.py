"""Training from scratch: found architectures and the baselines beside which they count."""
