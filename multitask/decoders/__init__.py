"""Decoders: from the encoder's maps to each task's features, which the exchange refines and the heads read.

One decoder a file. To add one, extend `Decoder` (documented in base.py), and add a line to `DECODERS` below; or keep it
in a package of your own and name it by its import path, `network.decoder: my_package.my_module:MyDecoder`.
`multitask.testing.check_decoder(MyDecoder)` verifies that a class keeps to the contract; our tests run it over
`DECODERS`.
"""

from experiment.errors import unknown
from multitask.decoders.aspp import AsppDecoder
from multitask.decoders.base import Decoded, Decoder, Early
from multitask.decoders.concat import ConcatDecoder
from multitask.decoders.deeplab import DeeplabAspp, DeeplabBranched, DeeplabJoint, DeeplabPlain
from multitask.decoders.densemtl import DenseMtlDecoder
from multitask.decoders.distillation import DistillationDecoder
from multitask.decoders.fission import FissionEarly, FissionEarlyMid, FissionLate, FissionMid
from multitask.decoders.fpm import FpmDecoder
from multitask.decoders.mtan import MtanDecoder
from multitask.decoders.mti_net import MtiNetDecoder, MtiNetFaithful
from multitask.plugins import import_class

DECODERS: dict[str, type[Decoder]] = {
    "concat": ConcatDecoder,
    "fpm": FpmDecoder,
    "aspp": AsppDecoder,
    "deeplab_plain": DeeplabPlain,
    "deeplab_aspp": DeeplabAspp,
    "deeplab_joint": DeeplabJoint,
    "deeplab_branched": DeeplabBranched,
    "distillation": DistillationDecoder,
    "densemtl": DenseMtlDecoder,
    "fission_early": FissionEarly,
    "fission_early_mid": FissionEarlyMid,
    "fission_mid": FissionMid,
    "fission_late": FissionLate,
    "mtan": MtanDecoder,
    "mti_net": MtiNetDecoder,
    "mti_net_faithful": MtiNetFaithful,
}


def decoder_class(name: str) -> type[Decoder]:
    """The class behind a name in DECODERS or an import path. Raises InputError if there is none."""
    if ":" in name:
        return import_class("network.decoder", name, Decoder)
    if name not in DECODERS:
        raise unknown("network.decoder", name, DECODERS)
    return DECODERS[name]


__all__ = ["DECODERS", "Decoded", "Decoder", "Early", "decoder_class"]
