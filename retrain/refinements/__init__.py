"""Exchange modules that are no choice of blocks: what published networks have in the exchange's place.

One a file, which opens with its source and its cost. To add one: a subclass of `Refinement` (base.py) and a line in
`REFINEMENTS`; a baseline (retrain/baselines/published.py) makes it a model.
"""

from retrain.refinements.base import Refinement
from retrain.refinements.cross_stitch import CrossStitch, Nddr
from retrain.refinements.padnet import PadnetA, PadnetB, PadnetC
from retrain.refinements.propagation import Pap, Psd
from retrain.refinements.self_attention import SelfAttention

REFINEMENTS: dict[str, type[Refinement]] = {
    "cross_stitch": CrossStitch,
    "nddr": Nddr,
    "padnet_a": PadnetA,
    "padnet_b": PadnetB,
    "padnet_c": PadnetC,
    "pap": Pap,
    "psd": Psd,
    "self_attention": SelfAttention,
}

__all__ = ["REFINEMENTS", "Refinement"]
