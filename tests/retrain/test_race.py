"""retrain.py --race: what takes part, the command, resuming, several processes, bad input."""

import json
from pathlib import Path

import pytest

from experiment.config import SpaceSettings
from experiment.errors import InputError
from experiment.lock import InUse
from multitask.training.finite import Diverged
from retrain.model import Model
from retrain.race import running
from retrain.race.arms import Arm, Arms, first_arms, second_arms
from retrain.race.record import read_race
from retrain.race.search_run import SearchRun, read_search
from search_spaces import Architecture, SearchSpace
from tests.support.commands import assert_one_line
from tests.support.races import drawn_training, parsed, write_search
from tests.support.retraining import EXCHANGES, TASKS, retrain

SPACE = SearchSpace.from_settings(SpaceSettings(), TASKS)
PROBABILITY = {("semseg", "depth"): "0.99", ("depth", "semseg"): "0.7", ("depth", "depth"): "0.8"}


# ---- what takes part


def found(probability=None, likeliest=None):
    numbers = {pair: float(text) for pair, text in (probability or {}).items()}
    return SearchRun(Architecture.from_space(SPACE, EXCHANGES), numbers, likeliest)


def test_arms_from_the_start():
    arms = Arms()
    arms.add(first_arms(SPACE, found(PROBABILITY), 5, 2))
    assert list(arms.by_name) == [
        "none", "found", "uniform:global", "uniform:local", "uniform:t_label", "uniform:s_label", "uniform:xtam",
        "uniform:padnet_gate", "ablation", "random:0", "random:1",
    ]  # fmt: skip
    models = {name: arm.model for name, arm in arms.by_name.items()}
    assert set(models["none"].architecture.exchanges.values()) == {"none"}
    assert models["ablation"].architecture.exchanges == EXCHANGES | {("depth", "semseg"): "none"}  # one of three
    assert models["random:1"].architecture == Architecture.random(SPACE, 6)
    assert all(model.architecture.normalize_messages for model in models.values())


def test_without_probabilities_or_with_one_exchange_there_is_no_ablation():
    one = {pair: "none" for pair in EXCHANGES} | {("depth", "semseg"): "local"}
    single = SearchRun(Architecture.from_space(SPACE, one), {("depth", "semseg"): 0.9}, None)
    for search in (found(), found({("depth", "depth"): "0.5"}), single):
        assert "ablation" not in dict(first_arms(SPACE, search, 0, 0))


@pytest.mark.parametrize(
    ("wanted", "first", "second"),
    [
        ([], [], []),
        (["uniform:local", "random"], ["uniform:local", "random:0", "random:1"], []),
        (["none", "found"], [], []),
        (["uniform:local", "own"], ["uniform:local"], ["own:local"]),
        (["uniform:local", "own:local"], ["uniform:local"], ["own:local"]),
        (["uniform:local", "uniform:xtam", "own:xtam"], ["uniform:local", "uniform:xtam"], []),  # local is the best
        (["ablation", "uniform:xtam", "uniform:local", "best_rows"], ["uniform:local", "uniform:xtam", "ablation"],
         ["best_rows"]),
    ],
)  # fmt: skip
def test_only_the_arms_that_are_wanted_take_part(wanted, first, second):
    arms = Arms()
    arms.add(first_arms(SPACE, found(PROBABILITY), 5, 2, wanted))
    assert list(arms.by_name) == ["none", "found", *first]
    scores = {arm: {"semseg": float(arm == "uniform:local"), "depth": 0.0} for arm in arms.uniforms().values()}
    assert [name for name, _ in second_arms(SPACE, arms, scores, 0, wanted)] == second


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (["uniform:locale"], "unknown arm in race.arms 'uniform:locale': .*nearest: 'uniform:local'"),
        (["supernet"], "race.arms: supernet is no arm of this race"),  # the search has none
        (["best_rows"], "best_rows follows from uniform arms"),
        (["own:local", "random"], "own:local follows from uniform arms"),
        (["own:locale", "uniform"], "nearest: 'own:local'"),
    ],
)
def test_arms_that_a_race_does_not_have(wanted, message):
    with pytest.raises(InputError, match=message):
        first_arms(SPACE, found(), 0, 1, wanted)


def test_nothing_to_compare_where_no_exchange_was_found():
    none = SearchRun(Architecture.from_space(SPACE, dict.fromkeys(EXCHANGES, "none")), {}, None)
    with pytest.raises(InputError, match="found no exchange"):
        first_arms(SPACE, none, 0, 1, [])
    assert "uniform:local" in dict(first_arms(SPACE, none, 0, 1, ["uniform:local"]))


def test_equal_models_are_one_arm_under_the_first_name():
    local = Architecture.uniform(TASKS, "local", normalize_messages=True)
    arms = Arms()
    new = arms.add(first_arms(SPACE, SearchRun(local, {}, local), 0, 0))
    assert "found" in new and "uniform:local" not in new and "supernet" not in new
    assert arms.by_name["found"].aliases == ["uniform:local", "supernet"]
    assert arms.uniforms()["local"] == "found" and arms.uniforms()["none"] == "none"
    assert arms.add([("own:local", Model("", local, own_features=True))]) == ["own:local"]  # another model


def test_the_rows_of_the_best_uniforms_and_own_features_of_the_best_one():
    arms = Arms()
    arms.add(first_arms(SPACE, found(), 0, 0))
    scores = {arm: {"semseg": 0.0, "depth": 0.0} for arm in arms.uniforms().values()}
    scores["uniform:xtam"] = {"semseg": 1.0, "depth": -3.0}
    scores["uniform:local"] = {"semseg": 0.5, "depth": 0.2}
    second = dict(second_arms(SPACE, arms, scores, 0))
    assert list(second) == ["best_rows", "own:local"]
    assert second["best_rows"].architecture.exchanges == {
        ("semseg", "semseg"): "none", ("semseg", "depth"): "xtam", ("depth", "semseg"): "local",
        ("depth", "depth"): "local",
    }  # fmt: skip
    assert second["own:local"].own_features
    del scores["uniform:xtam"]  # it diverged
    assert "xtam" not in dict(second_arms(SPACE, arms, scores, 0))["best_rows"].architecture.exchanges.values()


def test_names_are_safe_as_folders():
    names = {"uniform:local": "uniform_local", "own:my.block:Mine": "own_my.block_Mine", "best_rows": "best_rows"}
    assert {name: Arm(name, Model(name)).folder for name in names} == names


def test_the_likeliest_blocks_are_read_from_the_last_step(tmp_path):
    search = write_search(tmp_path / "search", probability=PROBABILITY)
    rows = ["step,target,source,block,probability"]
    for step, sure in ((0, 0.5), (10, 0.4)):
        for target in TASKS:
            for source in TASKS:
                rows += [f"{step},{target},{source},none,{sure}", f"{step},{target},{source},global,{1 - sure}"]
    (search / "selection.csv").write_text("\n".join([*rows, ""]))
    read = read_search(search, parsed(), SPACE)
    assert set(read.likeliest.exchanges.values()) == {"global"}
    assert read.probability == {pair: float(text) for pair, text in PROBABILITY.items()}
    assert read.architecture.exchanges == EXCHANGES


# ---- the command


SHORT = ["--race.random=0", "--race.seeds=3", "--race.confirm_seeds=2"]


@pytest.fixture(scope="module")
def search(tmp_path_factory):
    return write_search(tmp_path_factory.mktemp("search") / "run", probability=PROBABILITY)


@pytest.fixture
def quick(monkeypatch):
    """Trainings that take no time; returns how to set their gains."""
    monkeypatch.setattr(running, "WAIT", 0.0)

    def set_gains(**gains):
        train = drawn_training({name.replace("__", ":"): gain for name, gain in gains.items()})
        monkeypatch.setattr(running, "retrain_seed", train)
        return train

    set_gains()
    return set_gains


def race(search, output, *arguments):
    return retrain("--race", search, "--output", output, *SHORT, *arguments)


def files(folder):
    """{path: content} of the figures of a race."""
    return {str(path.relative_to(folder)): path.read_text() for path in sorted(folder.rglob("*.json"))}


def test_a_whole_race_with_real_trainings(tmp_path):
    space = ["--space.blocks=[padnet_gate]", "--training.iterations=2"]
    chosen = dict.fromkeys(EXCHANGES, "none") | {("depth", "semseg"): "padnet_gate"}
    small = write_search(tmp_path / "search", *space, exchanges=chosen)
    output = tmp_path / "race"
    code, printed, errors = race(small, output, *space, "--seeds", 1, 4)
    assert code == 0, errors
    record = read_race(output)
    assert {arm.name for arm in record.arms} >= {"none", "found", "uniform:padnet_gate", "own:padnet_gate"}
    for name in ("none", "found", "uniform_padnet_gate", "own_padnet_gate"):
        for seed in (1, 4):
            assert (output / name / f"seed_{seed}" / "checkpoints/best.pt").is_file()
    assert not (output / "own_padnet_gate/seed_1/architecture.yaml").exists()
    costs = {arm.name: arm.multiply_adds for arm in record.arms}
    assert costs["none"] < costs["found"] < costs["uniform:padnet_gate"] == costs["own:padnet_gate"]
    assert record.verdict in printed and any("constant prediction" in line for line in record.remarks)
    assert (output / "architecture.yaml").is_file() == (record.winner != "own:padnet_gate")
    before = files(output)
    code, printed, errors = race(small, output, *space, "--seeds", 1, 4, "--resume")
    assert code == 0 and files(output) == before and "step" not in printed, errors


def test_what_is_found_gains(search, tmp_path, quick):
    quick(found=0.06, uniform__local=0.03)
    code, printed, errors = race(search, tmp_path / "race")
    assert code == 0, errors
    record = read_race(tmp_path / "race")
    assert record.winner == "found" and record.verdict.startswith("found gains +") and "uniform:local" in record.verdict
    rows = {arm.name: arm for arm in record.arms}
    # on both metrics 6 % more than without exchange, whose noise is 1.4 % over two seeds
    assert rows["found"].fresh and rows["found"].seeds == 2 and rows["found"].low < 5.8 < rows["found"].high
    assert not rows["none"].fresh and rows["none"].delta_m == rows["none"].low == rows["none"].high == 0
    assert rows["uniform:global"].ended.startswith(("worse than found", "gains less than"))
    assert Architecture.load(tmp_path / "race/architecture.yaml").exchanges == EXCHANGES
    assert record.trainings == len(list((tmp_path / "race").glob("*/seed_*/metrics.json")))
    assert (record.seconds, record.retrainings) == (2.0 * record.trainings, record.trainings)
    assert record.verdict in printed and "round 1, 2 seeds each" in printed


def test_found_against_no_exchange_alone(search, tmp_path, quick):
    quick(found=0.2)
    code, _, errors = race(search, tmp_path / "race", "--race.arms=[]", "--race.first_seeds=3")
    assert code == 0, errors
    record = read_race(tmp_path / "race")
    assert [arm.name for arm in record.arms] == ["none", "found"] and record.winner == "found"
    assert record.trainings == 6 and record.verdict.endswith("3 seeds") and "fresh" not in record.verdict
    again = race(search, tmp_path / "race", "--race.arms=[ablation]", "--race.first_seeds=3", "--resume")
    assert_one_line(again, ["race.arms was [] and is now ['ablation']"])


def test_interrupted_and_resumed_equals_never_having_stopped(search, tmp_path, quick, monkeypatch):
    train = quick(found=0.03, uniform__xtam=0.03)
    assert race(search, tmp_path / "whole")[0] == 0
    calls = []

    def stop(*arguments):
        calls.append(arguments)
        if len(calls) % 10 == 0:
            raise KeyboardInterrupt
        train(*arguments)

    monkeypatch.setattr(running, "retrain_seed", stop)
    codes = [race(search, tmp_path / "parts")[0]]
    assert not (tmp_path / "parts/race.json").exists()
    while codes[-1] == 130:
        codes.append(race(search, tmp_path / "parts", "--resume")[0])
    assert codes[-1] == 0 and len(codes) > 2
    assert files(tmp_path / "parts") == files(tmp_path / "whole")


def test_trainings_of_other_processes_are_waited_for(search, tmp_path, quick, monkeypatch):
    """Every other training belongs to a process that finishes it while this one waits."""
    train = quick(found=0.05)
    assert race(search, tmp_path / "alone")[0] == 0
    others, mine = {}, []

    def contested(model, config, recipe, seed, folder, resume):
        if folder in others or ((len(mine) + len(others)) % 2 == 0 and len(mine) < 8):
            others[folder] = (model, config, recipe, seed, folder, resume)
            raise InUse("in use by process 1")
        mine.append(folder)
        train(model, config, recipe, seed, folder, resume)

    def finish(seconds):
        for arguments in others.values():
            train(*arguments)
        others.clear()

    monkeypatch.setattr(running, "retrain_seed", contested)
    monkeypatch.setattr(running.time, "sleep", finish)
    code, printed, errors = race(search, tmp_path / "shared")
    assert code == 0, errors
    assert "waiting for" in printed and 0 < len(mine) < read_race(tmp_path / "shared").trainings
    assert files(tmp_path / "shared") == files(tmp_path / "alone")


def test_an_arm_that_diverges_ends_and_stays_so(search, tmp_path, quick, monkeypatch):
    train = quick(found=0.05)

    def diverge(model, config, recipe, seed, folder, resume):
        if model.name == "uniform:xtam":
            raise Diverged("the loss is nan")
        train(model, config, recipe, seed, folder, resume)

    monkeypatch.setattr(running, "retrain_seed", diverge)
    assert race(search, tmp_path / "race")[0] == 0
    rows = {arm.name: arm for arm in read_race(tmp_path / "race").arms}
    assert rows["uniform:xtam"].ended == "diverged with seed 0" and rows["uniform:xtam"].delta_m is None
    assert json.loads((tmp_path / "race/uniform_xtam/seed_0/diverged.json").read_text())["reason"].startswith(
        "the loss is nan"
    )
    before = files(tmp_path / "race")
    assert race(search, tmp_path / "race", "--resume")[0] == 0 and files(tmp_path / "race") == before


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--data.height=64"], ["data.height was 32 and is now 64"]),
        (["--data.tasks=[semseg, edge]"], ["data.tasks", "edge"]),
        (["--space.name=atrc"], ["space.name was full and is now atrc"]),
        (["--network.channels=16"], ["network.channels"]),
        (["--seeds", "3"], ["--seeds is [3]", "race.first_seeds"]),
        (["--seeds", "3", "3"], ["different numbers"]),
        (["--race.first_seeds=1"], ["race.first_seeds is 1"]),
        (["--race.seeds=1"], ["race.seeds is 1"]),
        (["--race.margin=0"], ["race.margin"]),
        (["--race.marign=1"], ["nearest: 'race.margin'"]),
        (["--race.arms=[unifrom]"], ["unknown arm in race.arms 'unifrom'", "nearest: 'uniform:"]),
        (["--baseline", "random"], ["--race SEARCH_RUN"]),
        (["--loss_weights.trials=3"], ["loss_weights.trials"]),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(search, tmp_path, arguments, parts):
    done = retrain("--race", search, "--output", tmp_path / "race", *arguments)
    assert_one_line(done, parts)
    assert len(done.stderr) <= 301 and not (tmp_path / "race").exists()


def test_a_folder_that_is_no_finished_search(search, tmp_path, quick):
    output = tmp_path / "race"
    assert_one_line(retrain("--race", tmp_path / "nowhere", "--output", output), ["is no finished search"])
    broken = write_search(tmp_path / "broken")
    (broken / "choices.csv").write_text("target,source\nsemseg,depth\n")
    assert_one_line(retrain("--race", broken, "--output", output), ["choices.csv", "probability"])
    (broken / "metrics.json").unlink()
    assert_one_line(retrain("--race", broken, "--output", output), ["expected metrics.json in it"])
    assert_one_line(retrain("--output", output, "--race"), ["--race has no value"])
    assert_one_line(retrain("--output", output, "--race", search, "--race", search), ["--race is given 2 times"])
    assert not output.exists()


def test_outputs_that_are_in_use(search, tmp_path, quick):
    output = tmp_path / "race"
    assert race(search, output)[0] == 0
    before = files(output)
    assert_one_line(race(search, output), ["is in use", "--resume"])
    assert_one_line(race(search, output, "--resume", "--race.margin=1.0"), ["race.margin was 0.5 and is now 1.0"])
    assert_one_line(race(search, output, "--resume", "--seeds", 7, 8), ["seeds was [0, 1, 2] and is now [7, 8]"])
    changed = write_search(tmp_path / "other", exchanges=EXCHANGES | {("depth", "depth"): "local"})
    assert_one_line(race(changed, output, "--resume"), ["arms.found.exchanges.depth <- depth"])
    assert files(output) == before
    Path(tmp_path / "file").write_text("")
    assert_one_line(race(search, tmp_path / "file"), ["is a file"])
    (tmp_path / "full").mkdir()
    (tmp_path / "full/notes.txt").write_text("")
    assert_one_line(race(search, tmp_path / "full", "--resume"), ["holds no race"])
