"""The probes of strategy score against one block at a time, and what must not change around them."""

from itertools import groupby
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from search_spaces import SearchSpace
from search_spaces.blocks import ExchangeInputs, build_block
from search_spaces.blocks.base import region_weights
from supernet.score_test.probes import MIDDLE, ORDINARY, Probe, ProbeBank, one_pixel, probes_of

TASKS = ("a", "b", "c")
CHANNELS, SIZE, REGIONS = 8, (6, 7), 3
SPACE = SearchSpace(TASKS, ("none", "global", "local", "t_label", "s_label", "xtam", "padnet_gate"))


def inputs(seed: int = 0, batch: int = 2) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor], torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    features = {task: torch.randn(batch, CHANNELS, *SIZE, generator=draw) for task in TASKS}
    regions = {task: torch.randn(batch, REGIONS, *SIZE, generator=draw) for task in TASKS}
    valid = torch.rand(batch, 1, *SIZE, generator=draw) < 0.8
    return features, regions, valid


def bank(space: SearchSpace = SPACE) -> ProbeBank:
    """With readouts that are not zero."""
    made = ProbeBank(space, probes_of(space), CHANNELS, 0)
    torch.nn.init.normal_(made.readout.weight, generator=torch.Generator().manual_seed(1))
    return made


def additions(probed: ProbeBank, *given: Any, **options: Any) -> torch.Tensor:
    """What each probe adds to its target's refined features; the arguments of `messages`."""
    return probed.read(probed.messages(*given, **options))


def test_every_candidate_and_every_control_has_one_probe():
    probes = probes_of(SPACE)
    assert len(set(probes)) == len(probes)
    assert [target for target, _ in groupby(probes, lambda probe: probe.target)] == list(TASKS)
    for target, source in SPACE.pairs:
        of_pair = {p.block for p in probes if p.target == target and p.source == source}
        assert of_pair == (set(SPACE.legal((target, source))) - {"none"} if source != target else set())
    for task in TASKS:
        own = {p.block for p in probes if p.target == task and p.source is None}
        assert own == {ORDINARY, *SPACE.blocks} - {"none"}


@pytest.mark.parametrize("blocks", [SPACE.blocks, ("none", "global", "s_label")], ids=["normalised", "native"])
def test_each_probe_is_its_block_on_its_pair_alone(blocks: tuple[str, ...]):
    space = SearchSpace(TASKS, blocks)
    probed = bank(space).eval()
    features, regions, valid = inputs()
    with torch.no_grad():
        added = additions(probed, features, regions, valid)
        for i, probe in enumerate(probed.probes):
            if probe.block == ORDINARY:
                continue
            source = probe.target if probe.source is None else probe.source
            row = probed.rows[probe.block].index(i)
            # the source has another name, since some blocks are not legal from a task to itself
            block = build_block(probe.block, [("target", "source")], CHANNELS, probed.readout.weight.shape[2], False)
            block.load_pair(0, probed.blocks[probe.block].pair_state(row))
            block.eval()
            maps = {"target": features[probe.target], "source": features[source]}
            weights = {"target": region_weights(regions[probe.target], valid)}
            weights["source"] = region_weights(regions[source], valid)
            message = block(ExchangeInputs(maps, weights), [0])[:, 0]
            if space.normalize_messages:
                message = F.relu(message / (1 + 1e-5) ** 0.5)  # running statistics are still 0 and 1
            weight = probed.readout.weight[i, :, :, 0, 0]
            expected = torch.einsum("cd,bdhw->bchw", weight, message)
            torch.testing.assert_close(added[:, i], expected, atol=1e-5, rtol=1e-4)


def test_probes_share_nothing():
    """The loss of one probe has no gradient in another's weights."""
    probed = bank()
    features, regions, valid = inputs()
    i = probed.probes.index(Probe("a", "b", "xtam"))
    additions(probed, features, regions, valid)[:, i].square().sum().backward()
    row = probed.rows["xtam"].index(i)
    own = 0.0
    for name, block in probed.blocks.items():
        for parameter in block.parameters():
            others = torch.zeros(1) if parameter.grad is None else parameter.grad.clone()
            if name == "xtam" and parameter.grad is not None:
                own += float(others[row].abs().sum())
                others[row] = 0
            assert not others.any(), name
    assert own > 0
    others = probed.readout.weight.grad.clone()
    others[i] = 0
    assert not others.any()


def test_a_control_has_no_word_of_another_task():
    probed = bank().eval()
    features, regions, valid = inputs()
    other = {**features, "b": features["b"] + 1, "c": -features["c"]}
    own = [i for i, p in enumerate(probed.probes) if p.target == "a" and p.source is None]
    crossing = [i for i, p in enumerate(probed.probes) if p.target == "a" and p.source == "b"]
    with torch.no_grad():
        before, after = (additions(probed, maps, regions, valid) for maps in (features, other))
    assert torch.equal(before[:, own], after[:, own])
    assert not torch.equal(before[:, crossing], after[:, crossing])


def test_the_noise_null_takes_sources_from_another_image():
    probed = bank().eval()
    features, regions, valid = inputs()
    with torch.no_grad():
        null = additions(probed, features, regions, valid, null=True)
        for i, probe in enumerate(probed.probes):
            if probe.source is None:
                expected = additions(probed, features, regions, valid)[:, i]
            else:
                other = {probe.source: features[probe.source].flip(0)}
                # only where the target's regions are not the source's does a batch of two merely swap
                if probe.block == "s_label":
                    continue
                expected = additions(probed, {**features, **other}, regions, valid)[:, i]
            torch.testing.assert_close(null[:, i], expected)


def adapted_bank(shared: int) -> ProbeBank:
    probed = ProbeBank(SPACE, probes_of(SPACE), CHANNELS, 0, shared).eval()
    draw = torch.Generator().manual_seed(1)
    torch.nn.init.normal_(probed.readout.weight, generator=draw)
    assert probed.adaptation is not None and not probed.adaptation.weight.any()
    torch.nn.init.normal_(probed.adaptation.weight, generator=draw)
    return probed


def test_a_source_is_adapted_to_each_of_its_targets():
    """A pair's probes are those without adaptation on features to which the pair's projection has been added."""
    width = 5
    probed, plain = adapted_bank(width), bank().eval()
    features, regions, valid = inputs()
    draw = torch.Generator().manual_seed(2)
    shared = {task: torch.randn(2, width, *SIZE, generator=draw) for task in TASKS}
    plain.load_state_dict(probed.state_dict(), strict=False)
    with torch.no_grad():
        added = additions(probed, features, regions, valid, shared=shared)
        for i, probe in enumerate(probed.probes):
            if probe.source is None and probe.block != ORDINARY:
                continue  # its target is not adapted, but its source is
            source = probe.target if probe.source is None else probe.source
            weight = probed.adaptation.weight[probed.reads.index((probe.target, probe.source)), :, :, 0, 0]
            own = features[source] + torch.einsum("cs,bshw->bchw", weight, shared[source])
            expected = additions(plain, {**features, source: own}, regions, valid)[:, i]
            torch.testing.assert_close(added[:, i], expected, atol=1e-5, rtol=1e-4)


def test_a_pair_adapts_its_source_for_itself_alone():
    probed = adapted_bank(5)
    features, regions, valid = inputs()
    shared = {task: torch.ones(2, 5, *SIZE) for task in TASKS}
    own = [i for i, p in enumerate(probed.probes) if p.target == "a" and p.source == "b"]
    additions(probed, features, regions, valid, shared=shared)[:, own].square().sum().backward()
    given = probed.adaptation.weight.grad.flatten(1).abs().sum(1) > 0
    assert given.tolist() == [read == ("a", "b") for read in probed.reads]


def test_untrained_probes_add_nothing():
    probed = ProbeBank(SPACE, probes_of(SPACE), CHANNELS, 0)
    assert not additions(probed, *inputs()).any()


@pytest.mark.parametrize(("size", "cells"), [((8, 12), (2, 3)), ((9, 7), (3, 2)), ((5, 6), (5, 6)), ((7, 10), (2, 3))])
def test_one_pixel_is_of_its_cell_and_each_has_its_turn(size: tuple[int, int], cells: tuple[int, int]):
    rows, columns = torch.meshgrid(torch.arange(size[0]), torch.arange(size[1]), indexing="ij")
    draw = torch.Generator().manual_seed(0)
    seen = set()
    for where in [MIDDLE, (0.0, 0.0), *torch.rand(200, 2, generator=draw).tolist()]:
        down, across = one_pixel(rows[None], cells, where)[0], one_pixel(columns[None], cells, where)[0]
        for i in range(cells[0]):
            for j in range(cells[1]):
                y, x = int(down[i, j]), int(across[i, j])
                # the pixel overlaps with the cell, whose borders may lie within pixels
                assert i * size[0] / cells[0] - 1 < y < (i + 1) * size[0] / cells[0]
                assert j * size[1] / cells[1] - 1 < x < (j + 1) * size[1] / cells[1]
                seen.add((y, x))
    assert seen == {(y, x) for y in range(size[0]) for x in range(size[1])}
