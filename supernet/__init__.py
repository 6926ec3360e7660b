"""The search: a supernet with every candidate block for every pair, and the strategies that choose among them."""
