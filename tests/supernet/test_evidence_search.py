"""The search by held-out evidence and the noise null, end to end and in parts."""

import csv
import itertools
import time
from dataclasses import replace

import pytest
import torch

from experiment.config import DataSettings, GumbelSettings, SearchSettings
from multitask.data import open_dataset
from multitask.network import MultiTaskNetwork
from search_spaces import Architecture, SearchSpace
from supernet.cost.table import block_costs
from supernet.score_test.held_out import image_losses
from supernet.search_split import split
from supernet.strategies.gumbel import GumbelCallback
from tests.support.commands import process, rows, search
from tests.support.networks import small_network
from tests.support.supernets import gumbel_supernet

EVIDENCE = "--search.strategy=evidence"


def choices(folder):
    with (folder / "choices.csv").open() as file:
        return {(row["target"], row["source"]): row for row in csv.DictReader(file)}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("evidence") / "run"
    done = search("--output", folder, EVIDENCE, "--data.train_images=40")
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


def test_it_writes_choices_that_the_architecture_has(run):
    folder, printed = run
    found = choices(folder)
    architecture = Architecture.load(folder / "architecture.yaml")
    assert {pair: row["block"] for pair, row in found.items()} == architecture.exchanges
    for row in found.values():
        assert 0 <= float(row["probability"]) <= 1 and row["effect"] == ""
        assert row["decided"] == str(float(row["probability"]) >= 0.8).lower()
    assert "posterior probability" in printed


def test_its_record_starts_even_and_ends_with_the_posterior(run):
    folder, _ = run
    table = rows(folder)
    assert {row["step"] for row in table} == {"0", "4"}
    for step in ("0", "4"):
        for pair in choices(folder):
            mine = [float(r["probability"]) for r in table if (r["step"], r["target"], r["source"]) == (step, *pair)]
            assert sum(mine) == pytest.approx(1, abs=1e-5)
            assert step == "4" or mine == pytest.approx([1 / len(mine)] * len(mine), abs=1e-5)


@pytest.mark.parametrize("where", ["first", ""])  # in which of the two supernets' trainings
def test_killed_and_resumed_equals_never_stopped(run, tmp_path, where):
    arguments = [EVIDENCE, "--data.train_images=40", "--training.iterations=60", "--training.checkpoint_every=3"]
    stopped = process("--output", tmp_path / "parts", *arguments)
    while stopped.poll() is None and not (tmp_path / "parts" / where / "checkpoints/last.pt").is_file():
        time.sleep(0.05)
    stopped.kill()
    stopped.wait()
    assert search("--output", tmp_path / "parts", *arguments, "--resume").returncode == 0
    assert search("--output", tmp_path / "once", *arguments).returncode == 0
    for name in ("choices.csv", "architecture.yaml", "selection.csv"):
        assert (tmp_path / "parts" / name).read_bytes() == (tmp_path / "once" / name).read_bytes()


def test_bad_settings_are_one_line(tmp_path):
    for argument, found in (
        ("--search.evidence.validation_fraction=1", "search.evidence.validation_fraction is 1"),
        ("--search.gumbel.sampling=single_path", "search.gumbel.sampling: the strategy evidence does not read it"),
        ("--search.strategy=evidense", "evidence"),
    ):
        done = search("--output", tmp_path / "bad", EVIDENCE, argument)
        assert done.returncode == 2 and found in done.stderr and len(done.stderr.splitlines()) == 1
        assert not (tmp_path / "bad").exists()


@pytest.mark.parametrize(("count", "held_out"), [(100, 0.5), (33, 0.3), (5, 0.5)])
def test_independent_images_are_split_into_stretches(count, held_out):
    kept, out = split(count, held_out, [str(i) for i in range(count)])
    assert sorted(kept + out) == list(range(count)) and kept and out
    assert len(out) == pytest.approx(held_out * count, abs=count / 16 + 8)
    sides = [i in set(out) for i in range(count)]
    assert sum(a != b for a, b in itertools.pairwise(sides)) <= 2 * 16


def test_no_group_is_divided():
    groups = [f"room {i // 7}" for i in range(100)]
    kept, out = split(100, 0.5, groups)
    assert sorted(kept + out) == list(range(100))
    assert not {groups[i] for i in kept} & {groups[i] for i in out}
    assert len(out) == pytest.approx(50, abs=10)


def test_images_that_may_have_twins_leave_a_gap_at_every_border():
    kept, out = split(249, 0.5)
    sides = {**dict.fromkeys(kept, "kept"), **dict.fromkeys(out, "out")}
    assert len(sides) >= 0.85 * 249
    for i in range(247):
        near = {sides[k] for k in (i, i + 1, i + 2) if k in sides}
        assert len(near) < 2, i


def test_losses_of_images_are_those_of_batches_of_one():
    source = open_dataset(DataSettings(height=32, width=48, train_images=3, workers=0))
    space = SearchSpace(tuple(source.tasks), ("none", "global"))
    supernet = gumbel_supernet(space, 8, torch.Generator().manual_seed(0))
    network = MultiTaskNetwork(small_network(), source.tasks, supernet, space.tasks).eval()
    from torch.utils.data import Subset, default_collate

    from multitask.data.samples import plain_batch

    part = Subset(source.splits["train"], [2, 0])
    batch = plain_batch(default_collate([part[0], part[1]]), torch.device("cpu"))
    with torch.no_grad():
        features, regions = network.features(batch.image)
        refined = supernet(features, regions)
        together = image_losses(network, source.tasks, batch, None, refined)
        for i, index in enumerate((2, 0)):
            alone = plain_batch(default_collate([source.splits["train"][index]]), torch.device("cpu"))
            predictions = network(alone.image).predictions
            for name, task in source.tasks.items():
                expected = task.loss(predictions[name], alone.labels[name], alone.masks[name])
                torch.testing.assert_close(together[name][i], expected, rtol=1e-4, atol=1e-5)
        signed = image_losses(network, source.tasks, batch, torch.tensor([1.0, -1.0]), refined)
        torch.testing.assert_close(signed["depth"], together["depth"] * torch.tensor([1.0, -1.0]))


def test_costs_of_blocks_follow_their_formulas():
    """Multiply-adds a pixel, SPEC: global 3Cd + 4d^2 + d; padnet_gate 18 C^2 + Cd; beside the aggregator's part."""
    c, d, size = 16, 8, (10, 12)
    costs = block_costs(SearchSpace(("semseg", "depth"), ("global", "padnet_gate")), c, size)
    pixels = size[0] * size[1]
    fusing = c * d  # the aggregator reads one more message: d -> C
    assert costs["none"] == 0
    assert costs["global"] / pixels == pytest.approx(3 * c * d + 4 * d * d + d + fusing, rel=0.02)
    assert costs["padnet_gate"] / pixels == pytest.approx(18 * c * c + c * d + fusing, rel=0.02)


def test_the_noise_null_has_noise_of_the_gradients_size():
    space = SearchSpace(("a", "b"), ("none", "global", "local"))
    slopes = []
    for null in (False, True):
        torch.manual_seed(0)
        supernet = gumbel_supernet(space, 8, torch.Generator().manual_seed(1))
        settings = replace(SearchSettings(), noise_null=null)
        sampler = supernet.sampler
        GumbelCallback(sampler, GumbelSettings(), settings, 10)
        logits = sampler.selection.logits
        soft = sampler.selection.sample(1.0, sampler.generator)
        (soft * torch.arange(soft.numel()).view_as(soft)).sum().backward()
        # entropy is no part of the tasks' gradient and stays what it is
        before = logits.grad.clone()
        supernet.sampler.selection.entropies().mean().backward()
        slopes.append((before, logits.grad - before))
    (real, entropy), (noise, same) = slopes
    assert noise.norm() == pytest.approx(float(real.norm()), rel=1e-5)
    assert abs(float((noise * real).sum() / (noise.norm() * real.norm()))) < 0.9
    torch.testing.assert_close(entropy, same)
    assert bool((noise[~supernet.sampler.selection.legal] == 0).all())


def test_the_noise_is_independent_of_what_the_sampler_draws():
    """From one seed they would be two functions of the same numbers, with correlations of up to 0.7."""
    supernet = gumbel_supernet(
        SearchSpace(("a", "b"), ("none", "global", "local")), 8, torch.Generator().manual_seed(1)
    )
    sampler = supernet.sampler
    GumbelCallback(sampler, GumbelSettings(), replace(SearchSettings(), noise_null=True), 10)
    noise = sampler.selection.noise
    draws = [(torch.rand(32, generator=sampler.generator), torch.randn(32, generator=noise)) for _ in range(500)]
    uniform, normal = (torch.stack(values, 1) for values in zip(*draws, strict=True))
    correlations = torch.corrcoef(torch.cat([uniform, normal]))[:32, 32:]
    assert float(correlations.abs().max()) < 0.25  # of 1024 at a standard deviation of 0.045


def test_a_null_search_runs_and_differs(run, tmp_path):
    folder, _ = run
    done = search("--output", tmp_path / "null", EVIDENCE, "--data.train_images=40", "--search.noise_null=true")
    assert done.returncode == 0, done.stderr
    real, null = choices(folder), choices(tmp_path / "null")
    assert [row["probability"] for row in real.values()] != [row["probability"] for row in null.values()]
