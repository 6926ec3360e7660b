"""space: which blocks compete."""

from dataclasses import dataclass


@dataclass(frozen=True)
class SpaceSettings:
    """Which blocks compete.

    Args:
        name: a named space (full, atrc, densemtl, padnet, extended), or 'custom' when blocks are given.
        blocks: block names or import paths (package.module:Class) that replace the named space's; none is always legal.
        aggregator: how a target joins its messages: atrc, mteb or pad.
        normalize: end every candidate in BatchNorm(affine=False) and ReLU; by default only where blocks other
            than ATRC's compete.
    """

    name: str = "full"
    blocks: list[str] | None = None
    aggregator: str = "atrc"
    normalize: bool | None = None
