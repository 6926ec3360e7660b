"""The statistics of held-out evidence: moments of messages and gradients, sign-flip tests, the posterior per pair."""
