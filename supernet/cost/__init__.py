"""What exchanges cost: the table of measured costs, budgets, the Lagrange multiplier, memory, the Pareto front."""
