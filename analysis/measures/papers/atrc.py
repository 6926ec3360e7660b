"""The modules of Table 1 of Bruggemann et al., ATRC, ICCV 2021, on one host: HRNet18, NYUD-v2's four tasks."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from analysis.measures.papers.row import Row
from experiment.config import DataSettings, NetworkSettings
from multitask.cost import operations, parameter_count
from multitask.network import MultiTaskNetwork
from multitask.tasks import build_tasks
from retrain.refinements import REFINEMENTS
from search_spaces import Architecture, Exchange
from search_spaces.blocks import Pair
from supernet.records.costs import Cost

ATRC = "Bruggemann et al., ATRC, ICCV 2021"
HEIGHT, WIDTH = 425, 560  # of NYUD-v2's images
NYUD = ("semseg", "depth", "normals", "edge")


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
    with torch.device("meta"):
        network = MultiTaskNetwork(NetworkSettings(backbone="hrnet_w18_small_v2"), tasks, None, NYUD).eval()
    encoder, maps = _cost(network.encoder, torch.empty(1, 3, HEIGHT, WIDTH, device="meta"))
    decoder, (features, shared) = _cost(network.decoder, maps)
    heads = [_cost(network.heads[task], features[task])[0] for task in NYUD]
    read = [_cost(network.auxiliary_heads[task], shared) for task in NYUD]
    auxiliary, regions = sum((cost for cost, _ in read), Cost()), {task: maps for task, (_, maps) in zip(NYUD, read)}
    base = sum(heads, encoder + decoder)
    found = {"single task": sum([encoder] * 3, base), "multi-task": base}  # tasks share the encoder alone
    channels = next(iter(features.values())).shape[1]
    for name, kind in MODULES.items():
        with torch.device("meta"):
            module = REFINEMENTS[kind](NYUD, channels).eval()
        found[name] = base + _cost(module, features)[0]
    for name, architecture in architectures(NYUD).items():
        with torch.device("meta"):
            exchange = Exchange(architecture, channels).eval()
        reads = bool(exchange.region_tasks())
        cost, _ = _cost(PairByPair(exchange), features, regions)
        found[name] = base + cost + (auxiliary if reads else Cost())
    for name, (parameters, multiply_adds, note) in PUBLISHED.items():
        cost = found[name]
        yield Row(
            ATRC,
            "1",
            name,
            cost.parameters,
            int(cost.multiply_adds),
            round(parameters * 1e6),
            round(multiply_adds * 1e9),
            note,
        )


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


def _cost(module: nn.Module, *inputs: Any) -> tuple[Cost, Any]:
    """What a module costs, and its output."""
    outputs: list[Any] = []
    count = operations(lambda: outputs.append(module(*inputs)), elementwise=True)
    return Cost(count, parameter_count(module)), outputs[0]
