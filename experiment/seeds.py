"""Random seeds of parts: each draws from a generator of its own, so that other parts do not move its draws."""

import hashlib


def derive_seed(seed: int, *names: str | int) -> int:
    """The seed of a named part of a run: the same on every machine, under 2**63.

    Common random numbers rest on it: two networks of one seed share the initial weights of all parts that they share.
    """
    text = "\0".join(map(str, (seed, *names)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
