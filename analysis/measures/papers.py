"""What the networks of published tables cost, beside the published figures.

Counted on the meta device at the papers' sizes: nothing is trained and no data is read.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from experiment.config import DataSettings, NetworkSettings
from multitask.cost import operations, parameter_count
from multitask.network import MultiTaskNetwork
from multitask.tasks import Task, build_tasks
from retrain.refinements import REFINEMENTS
from search_spaces import Architecture, Exchange
from search_spaces.blocks import Pair

ATRC = "Bruggemann et al., ATRC, ICCV 2021"
HEIGHT, WIDTH = 425, 560  # of NYUD-v2's images
NYUD = ("semseg", "depth", "normals", "edge")


@dataclass(frozen=True)
class Row:
    """Parameters and multiply-adds of one image; None where the paper prints nothing. note: why the two differ."""

    paper: str
    table: str
    row: str
    parameters: int
    multiply_adds: int | None
    published_parameters: float | None
    published_multiply_adds: float | None
    note: str = ""


def rows() -> list[Row]:
    """All rows, paper by paper."""
    return [*atrc_rows()]


# ---- ATRC, Table 1

# name: M parameters, G multiply-adds, and why ours differ
PUBLISHED: Mapping[str, tuple[float, float, str]] = {
    "single task": (16.09, 40.93, ""),
    "multi-task": (4.52, 17.59, ""),
    "cross-stitch": (4.52, 17.59, ""),
    "PAP": (4.54, 53.04, "ours compares pixels at half the features' size, an eighth of the image's"),
    "PSD": (4.71, 21.10, "an approximation: the method is published neither as code nor in full"),
    "PAD-Net A / NDDR-CNN": (4.59, 18.68, ""),
    "PAD-Net B": (5.02, 25.18, ""),
    "PAD-Net C": (5.50, 32.42, ""),
    "global": (4.73, 21.43, ""),
    "local": (4.73, 22.19, ""),
    "T-label": (5.06, 25.91, "convolutions and products alone; what else the paper counts it does not say"),
    "S-label": (5.06, 25.91, "as T-label"),
    "ATRC": (5.06, 25.76, "1 global, 8 T-label, 7 S-label; the paper does not say on which pairs"),
}
MODULES = {"cross-stitch": "cross_stitch", "PAP": "pap", "PSD": "psd", "PAD-Net A / NDDR-CNN": "padnet_a",
           "PAD-Net B": "padnet_b", "PAD-Net C": "padnet_c"}  # fmt: skip


def architectures(tasks: tuple[str, ...]) -> dict[str, Architecture]:
    """The pairwise rows: one block on every pair, where t_label on a task's own features is S-label's too."""
    uniform = {name: Architecture.uniform(tasks, name) for name in ("global", "local", "t_label", "s_label")}
    on_self: dict[Pair, str] = {(task, task): "t_label" for task in tasks}
    between = [pair for pair in uniform["global"].pairs if pair[0] != pair[1]]
    found = on_self | {pair: "t_label" for pair in between[:4]} | {pair: "s_label" for pair in between[4:11]}
    return {
        "global": uniform["global"],
        "local": uniform["local"],
        "T-label": uniform["t_label"],
        "S-label": Architecture(tasks, dict(uniform["s_label"].exchanges) | on_self),
        "ATRC": Architecture(tasks, found | {between[11]: "global"}),
    }


def atrc_rows() -> Iterator[Row]:
    """HRNet18 and NYUD-v2's four tasks; each module is counted beside the one host."""
    tasks = build_tasks(NYUD, DataSettings(), 40)
    image = torch.empty(1, 3, HEIGHT, WIDTH, device="meta")
    with torch.device("meta"), torch.no_grad():
        network = MultiTaskNetwork(NetworkSettings(backbone="hrnet_w18_small_v2"), tasks, None, NYUD).eval()
        features, regions = network.features(image)
    whole, encoder = _cost(network, image), _cost(network.encoder, image)
    network.auxiliary_heads = nn.ModuleDict()
    base = _cost(network, image)
    auxiliary = whole[0] - base[0], whole[1] - base[1]
    # tasks share the encoder alone
    found = {"single task": (base[0] + 3 * encoder[0], base[1] + 3 * encoder[1]), "multi-task": base}
    channels = next(iter(features.values())).shape[1]
    for name, kind in MODULES.items():
        with torch.device("meta"):
            module = REFINEMENTS[kind](NYUD, channels).eval()
        found[name] = _add(base, _cost(module, features))
    for name, architecture in architectures(NYUD).items():
        with torch.device("meta"):
            exchange = Exchange(architecture, channels).eval()
        reads = bool(exchange.region_tasks())
        cost = parameter_count(exchange), _cost(PairByPair(exchange), features, regions)[1]
        found[name] = _add(_add(base, cost), auxiliary if reads else (0, 0))
    for name, (parameters, multiply_adds, note) in PUBLISHED.items():
        yield Row(ATRC, "1", name, *found[name], round(parameters * 1e6), round(multiply_adds * 1e9), note)


class PairByPair(nn.Module):
    """An exchange that computes every pair by itself, as published: what several pairs share counts for each."""

    def __init__(self, exchange: Exchange):
        super().__init__()
        self.exchange = exchange

    def forward(self, features: Mapping[str, Tensor], regions: Mapping[str, Tensor]) -> dict[str, Tensor]:
        exchange, received = self.exchange, dict[int, Tensor]()
        for name, served in exchange.served.items():
            for pair in served:
                received |= exchange.combine(exchange.messages(features, regions, active={name: [pair]}))
        return exchange.aggregate(features, received)


Cost = tuple[int, int]  # parameters, multiply-adds


def _cost(module: nn.Module, *inputs: object) -> Cost:
    return parameter_count(module), operations(module, *inputs, elementwise=True)


def _add(first: Cost, second: Cost) -> Cost:
    return first[0] + second[0], first[1] + second[1]


def parameters_of(tasks: Mapping[str, Task], settings: NetworkSettings) -> int:
    """Of a network, without allocating its weights."""
    with torch.device("meta"):
        return parameter_count(MultiTaskNetwork(settings, tasks))
