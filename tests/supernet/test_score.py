"""Searches by score through the command: what they write, a trained network of one's own, resuming, and refusals."""

import shutil
from pathlib import Path

import pytest
import torch
from torch.utils.data import Subset

from experiment.config import Config
from experiment.config.parsing import config_parser, parse_config
from retrain.retraining import retrain
from supernet.records.choices import read_choices
from supernet.records.effects import read_effects
from supernet.search_split import LEAST, group_numbers, halves
from tests.support.commands import CONFIG, assert_one_line, rows, search, short

SCORE = "--search.strategy=score"
TINY = (
    SCORE,
    "--data.train_images=16",
    "--space.blocks=[none, global, s_label]",
    "--search.score.iterations=3",
    "--search.worth=0",
)


def config_of(*arguments: str) -> Config:
    given = [option for option in short(*arguments) if not option.startswith("--output")]
    return parse_config(config_parser(Config, "search", ""), Config, ["--config", str(CONFIG), *given])[0]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("score") / "run"
    done = search("--output", folder, *TINY)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def baseline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A retrained network without exchange nor auxiliary heads."""
    folder = tmp_path_factory.mktemp("baseline") / "multi_task"
    retrain(config_of(*TINY), None, "multi_task", str(folder), [0], False)
    return folder


def test_choices_and_effects_agree(run: Path):
    effects, choices = read_effects(run / "effects.csv"), read_choices(run / "choices.csv")
    for pair, choice in choices.items():
        of_pair = {block: effect for (p, block), effect in effects.items() if p == pair}
        assert set(of_pair) == ({"global"} if pair[0] == pair[1] else {"global", "s_label"})
        if choice.block == "none":
            assert choice.effect is None
            assert choice.probability == pytest.approx(1 - max(e.probability for e in of_pair.values()), abs=2e-4)
        else:
            assert choice.effect == pytest.approx(of_pair[choice.block].effect, abs=2e-4)
    for pair in choices:
        last = [float(r["probability"]) for r in rows(run) if (r["step"], r["target"], r["source"]) == ("8", *pair)]
        assert sum(last) == pytest.approx(1, abs=1e-4)


def test_a_search_that_stopped_ends_as_one_that_did_not(run: Path, tmp_path: Path):
    """After the network's training; after the first fold."""
    assert (run / "probes_2").is_dir()
    for kept in (("checkpoints",), ("checkpoints", "probes_1")):
        folder = tmp_path / str(len(kept))
        folder.mkdir()
        for name in ("config.yaml", "run.json", *kept):
            copy = shutil.copytree if (run / name).is_dir() else shutil.copy
            copy(run / name, folder / name)
        assert search("--output", folder, *TINY, "--resume").returncode == 0
        for name in ("effects.csv", "choices.csv", "architecture.yaml", "selection.csv"):
            assert (folder / name).read_bytes() == (run / name).read_bytes(), name


def test_a_trained_network_takes_the_place_of_training(baseline: Path, tmp_path: Path):
    options = (*TINY, "--data.validation_images=6", f"--search.from={baseline}")
    done = search("--output", tmp_path / "run", *options)
    assert done.returncode == 0, done.stderr
    assert "6 validation images" in done.stdout
    given = torch.load(baseline / "seed_0/checkpoints/best.pt", weights_only=True)["network"]
    kept = torch.load(tmp_path / "run/checkpoints/from.pt", weights_only=True)["network"]
    assert given.keys() == kept.keys() and all(torch.equal(given[key], kept[key]) for key in given)
    # a file with the state dict alone is as good, and the run no longer needs what it came from
    torch.save(given, tmp_path / "weights.pt")
    again = (*options[:-1], f"--search.from={tmp_path / 'weights.pt'}")
    assert search("--output", tmp_path / "again", *again).returncode == 0
    for name in ("effects.csv", "choices.csv"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "run" / name).read_bytes()
    (tmp_path / "weights.pt").unlink()
    (tmp_path / "again/metrics.json").unlink()
    shutil.rmtree(tmp_path / "again/probes_1")
    assert search("--output", tmp_path / "again", *again, "--resume").returncode == 0
    assert (tmp_path / "again/effects.csv").read_bytes() == (tmp_path / "run/effects.csv").read_bytes()


def test_a_network_that_does_not_fit_is_refused_before_anything_is_written(baseline: Path, tmp_path: Path):
    (tmp_path / "text.pt").write_text("no checkpoint")
    for options, found in (
        ((f"--search.from={tmp_path / 'nothing'}",), "no such file or folder"),
        ((f"--search.from={tmp_path}",), "holds no checkpoints/best.pt"),
        ((f"--search.from={tmp_path / 'text.pt'}",), "cannot be loaded"),
        ((f"--search.from={baseline}", "--network.channels=12"), "has shape"),
        ((f"--search.from={baseline}", "--data.tasks=[semseg, depth, normals]"), "lacks"),
        ((f"--search.from={baseline}", "--search.strategy=gumbel"), "expected null where the strategy is gumbel"),
    ):
        done = search("--output", tmp_path / "bad", *TINY[:3], "--data.validation_images=6", *options)
        assert_one_line(done, [found])
        assert not (tmp_path / "bad").exists()


@pytest.mark.parametrize("strategy", ["score", "guided", "evidence", "darts"])
def test_too_few_images_are_refused_before_anything_is_written(strategy: str, tmp_path: Path):
    images = 3 if strategy in ("score", "guided") else 1
    done = search("--output", tmp_path / "run", f"--search.strategy={strategy}", f"--data.train_images={images}")
    assert_one_line(done, ["images", "expected"])
    assert not (tmp_path / "run").exists()


def test_a_refusal_for_want_of_images_says_what_to_change(baseline: Path, tmp_path: Path):
    for options, found in (
        (("--data.train_images=5",), ["of 5 training images 3 are held out", "held_out_fraction 0.5", "gumbel"]),
        (("--search.score.held_out_fraction=0.01",), ["search.score.held_out_fraction is 0.01"]),
        ((f"--search.from={baseline}", "--data.validation_images=3"), ["search.from leaves 3 validation images"]),
    ):
        assert_one_line(search("--output", tmp_path / "run", *TINY, *options), found)


@pytest.mark.parametrize("known", [True, False])
def test_as_many_groups_as_are_asked_for_give_both_halves_enough(known: bool):
    class Images(list):
        groups = [str(i) for i in range(60)] if known else None

    for count in range(2 * LEAST, 60):
        for half in halves(Subset(Images(range(60)), range(count))):
            assert len(group_numbers(half).unique()) >= LEAST
