"""space: the candidate blocks."""

from dataclasses import dataclass, field

from experiment.config.checks import plain_values
from experiment.errors import InputError


@dataclass(frozen=True)
class SpaceSettings:
    """Search space.

    Args:
        name: named set of candidate blocks (full, atrc, densemtl, padnet, extended, modern, mtl_nas,
            all).
        blocks: block names or import paths (package.module:Class) that replace the named set; none is always legal.
        aggregator: how a target combines its messages (atrc, mteb or pad).
        normalize: end every message in BatchNorm (not affine in a search) and ReLU; by default only where blocks other
            than ATRC's are candidates.
        scales: on which features tasks exchange, each scale with a choice of its own for every pair; 0 alone, the
            features that heads read; several, or another, those of the decoder at these scales (0 the finest of the
            encoder's maps) before it joins them, with network.decoder fpm.
    """

    name: str = "full"
    blocks: list[str] | None = None
    aggregator: str = "atrc"
    normalize: bool | None = None
    scales: list[int] = field(default_factory=lambda: [0])

    def __post_init__(self) -> None:
        plain_values("space", self)
        if self.blocks is not None and not self.blocks:
            raise InputError("space.blocks is empty: expected at least one block name")
        if not self.scales or min(self.scales) < 0 or len(set(self.scales)) < len(self.scales):
            raise InputError(f"space.scales is {self.scales}: expected one or more different numbers from 0")
