"""Reads what searches and retrainings wrote: Delta_m, proportions and agreement, costs, importance, and a report."""
