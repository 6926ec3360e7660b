"""The search: a supernet with every candidate, the relaxed choice, and the procedure that learns it."""
