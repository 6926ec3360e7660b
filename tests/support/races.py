"""Races without training: scores that are drawn, and a trainer that only writes its figures."""

import json
import random
from collections import defaultdict

import yaml

from experiment.config import Config, RaceSettings
from experiment.config.parsing import config_parser, parse_config
from retrain.race.record import ArmRecord, RaceRecord
from retrain.race.schedule import Field, replay
from retrain.race.verdict import Ended
from search_spaces import Architecture
from tests.support.commands import CONFIG, SHORT, short
from tests.support.results import entry, metrics, write_choices
from tests.support.retraining import EXCHANGES, TASKS


class Drawn:
    """A race whose scores are an arm's mean, something that all arms of a seed share, and noise.

    Half of the noise's variance is of the training, which validation and test share; the rest is of the split.
    """

    def __init__(self, means, deviation, seed, settings=None, late=()):
        self.settings = settings or RaceSettings()
        self.means, self.deviation, self.late, self.root = means, deviation, late, seed
        self.results = {}
        self.seeds = range(self.settings.seeds)
        self.fresh = range(self.settings.seeds, self.settings.seeds + self.settings.confirm_seeds)

    def train(self, arm, seed):
        draw = random.Random(f"{self.root} {arm} {seed}")
        common = self.means[arm] + random.Random(f"{self.root} {seed}").gauss(0, 5)
        training, *splits = (self.deviation * 0.5**0.5 * draw.gauss(0, 1) for _ in range(3))
        self.results[arm, seed] = tuple(common + training + split for split in splits)  # validation, test

    def field(self):
        return Field(
            [arm for arm in self.means if arm not in self.late],
            lambda: list(self.late),
            lambda arm, seed: self.results.get((arm, seed), (None,))[0],
            lambda arm: 1.0 if arm == "none" else 2.0,
            lambda arm: arm.startswith("uniform:"),
        )

    def standing(self):
        return replay(self.field(), self.seeds, self.fresh, self.settings)

    def run(self, order=None):
        """To its end; order: shuffles the trainings that are wanted at a time."""
        while (standing := self.standing()).jobs:
            jobs = list(standing.jobs)
            if order is not None:
                order.shuffle(jobs)
                jobs = jobs[:1]
            for arm, seed in jobs:
                self.train(arm, seed)
        return standing

    def ended(self):
        standing = self.run()
        scores = defaultdict(dict)
        for (arm, seed), (_, test) in self.results.items():
            if arm not in standing.diverged:
                scores[arm][seed] = test
        return Ended(standing, dict(scores), self.fresh, dict.fromkeys(self.means, 1e6), self.settings.margin)


def parsed(*arguments):
    """The configuration that `tests.support.retraining.retrain` gives the command."""
    parser = config_parser(Config, "test", "")
    options = short(*arguments, defaults=(*SHORT, "--data.test_images=3"))
    return parse_config(parser, Config, ["--config", str(CONFIG), *options])[0]


def write_search(folder, *arguments, exchanges=EXCHANGES, probability=None):
    """The files of a finished search that a race reads."""
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(parsed(*arguments).to_dict()))
    Architecture(TASKS, exchanges, normalize_messages=True, provenance={"source": "search"}).save(
        folder / "architecture.yaml"
    )
    write_choices(folder, exchanges, probability=probability)
    (folder / "metrics.json").write_text(json.dumps(metrics(model="supernet")))
    return folder


def drawn_training(gains, deviation=0.01):
    """In place of `retrain_seed`: figures at once. gains: {model: what its metrics gain, as a share}."""

    def train(model, config, recipe, seed, folder, resume):
        draw = random.Random(f"{model.name} {seed}")
        factor = 1 + gains.get(model.name, 0.0) + draw.gauss(0, deviation)
        values = {"semseg": 0.4 * factor, "depth": 0.6 / factor}
        content = metrics(**values, model=model.name, train_seconds=2.0)
        content["validation"] = {"tasks": metrics(**values)["tasks"]}
        content["prior"] = {"semseg": {"mean_iou": entry(0.1, True)}, "depth": {"rmse": entry(0.9, False)}}
        content["multiply_adds"] = 10**9 * (1 + sum(name != "none" for name in model.architecture.exchanges.values()))
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "metrics.json").write_text(json.dumps(content))

    return train


ARMS = [
    ArmRecord("none", ["best_rows"], 5, False, 0.0, 0.0, 0.0, 10.1e6, "the reference"),
    ArmRecord("found", [], 2, True, 4.1, 2.8, 5.4, 12.3e6, "winner"),
    ArmRecord("random:0", [], 0, False, None, None, None, None, "diverged with seed 1"),
]


def write_race(folder, search):
    """A finished race of a search, without its trainings."""
    remarks = ["warning: depth is no better than the constant prediction"]
    record = RaceRecord("found gains +4.10 points", "found", str(search), ARMS, 31, 620.0, 30.2, 0.6, 24, remarks)
    folder.mkdir()
    (folder / "race.json").write_text(json.dumps(record.content()))
    return record
