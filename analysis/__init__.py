"""Reads what searches and retrainings wrote: Delta_m, the proportions of blocks, the agreement of repeated searches."""
