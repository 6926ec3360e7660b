"""The report: what it holds, what it leaves out, that it needs nothing else; the choice's history; the pictures."""

import base64
import json
import shutil

import numpy as np
import pytest
import yaml

from analysis.__main__ import main
from analysis.commands.report.model_sections import other_architecture
from analysis.commands.report.search_sections import meaning
from analysis.measures.runs import read_model
from analysis.report.charts import HEIGHT, WIDTH, bars, chart
from analysis.report.pictures import legend, render
from analysis.report.training import courses
from experiment.config import DataSettings
from experiment.version import version
from multitask.tasks import build_tasks
from multitask.tasks.binary import Edge
from search_spaces import BLOCKS, SPACES, Architecture
from supernet.records.costs import CostTable
from supernet.records.selection_history import History, read_history
from tests.support.commands import search
from tests.support.html_page import Page
from tests.support.results import refusal as refused
from tests.support.results import write_choices
from tests.support.retraining import retrain

TASKS = ("semseg", "depth")
OF_SEARCH = ["architecture", "proportions", "selection", "schedules", "metrics", "resources", "costs"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A search, its architecture retrained, and two baselines, all tiny."""
    folder = tmp_path_factory.mktemp("report")
    done = search("--output", folder / "search", "--data.test_images=3")
    assert done.returncode == 0, done.stderr
    for name, arguments in (
        ("found", ["--architecture", folder / "search/architecture.yaml", "--seeds", 0, 1]),
        ("single", ["--baseline", "single_task", "--seeds", 0, 1]),
        ("multi", ["--baseline", "multi_task"]),
    ):
        code, _, errors = retrain(*arguments, "--training.log_every=4", "--output", folder / name)
        assert code == 0, errors
    return folder


@pytest.fixture
def report(tmp_path, capsys):
    def write(*argv):
        main(["report", *map(str, argv), "--output", str(tmp_path / "report.html")])
        capsys.readouterr()
        text = (tmp_path / "report.html").read_text()
        return text, Page(text)

    return write


@pytest.fixture(scope="module")
def whole(runs):
    """Everything at once, once."""
    path = runs / "whole.html"
    models = ["--found", runs / "found", "--baseline", runs / "single", "--models", runs / "multi"]
    arguments = [runs / "search", *models, "--output", path, "--images", 2, "--importance"]
    main(["report", *map(str, arguments)])
    return path.read_text(), Page(path.read_text())


def test_everything_stands_on_one_page(whole, runs):
    _, page = whole
    of_models = ["comparison", "training", "resources", "costs", "importance", "pictures", "attention"]
    assert page.sections == [*OF_SEARCH[:5], *of_models]
    titles = [value for name, value in page.attributes if name == "title"]
    for (target, source), block in Architecture.load(runs / "search/architecture.yaml").exchanges.items():
        assert f"{target} <- {source}: {block}" in titles
    words = " ".join(page.texts)
    assert all(block in words for block in SPACES["full"])
    facts = ("scenes", "semseg, depth", "8 steps of 2 images", "single_task (baseline)", "multi_task", "found")
    assert all(fact in words for fact in facts)


def test_a_search_on_sensors_shows_what_each_task_sees(report, tmp_path):
    """An encoder for each task, from the search to the shuffled messages."""
    sensors = ["--data.name=sensors", "--network.encoders=per_task", "--space.blocks=[none, padnet_gate]"]
    done = search("--output", tmp_path / "search", "--data.test_images=3", *sensors)
    assert done.returncode == 0, done.stderr
    found = tmp_path / "search/architecture.yaml"
    code, _, errors = retrain("--architecture", found, "--output", tmp_path / "found", *sensors)
    assert code == 0, errors
    _, page = report(tmp_path / "search", "--found", tmp_path / "found", "--images", 2, "--importance")
    assert page.sections[-3:] == ["importance", "pictures", "attention"]
    addresses = [value for name, value in page.attributes if name == "src"]
    # an image, a label, a prediction and its error for each of two tasks, and the scale of depth; and a gate
    assert len(addresses) == 2 * (2 * (1 + 3) + 1) + 1
    assert "semseg sees" in page.texts and "depth sees" in page.texts


def test_nothing_is_fetched(whole):
    text, page = whole
    assert "http:" not in text and "https:" not in text and "@import" not in text and "url(" not in text
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    addresses = [value for name, value in page.attributes if name in ("src", "href", "srcset", "data")]
    # two images; two tasks with a label, three predictions and their errors each; depth's scale; two maps of weights
    assert len(addresses) == 2 * (1 + 2 * 7 + 1) + 2 and all(a.startswith("data:image/png;base64,") for a in addresses)
    assert text.isascii()


def test_there_is_a_chart_per_pair_and_schedule(whole, runs):
    _, page = whole
    labels = [value for name, value in page.attributes if name == "aria-label"]
    pairs = [f"{target} <- {source} over steps 0 to 8" for target in TASKS for source in TASKS]
    schedules = ["temperature", "entropy weight", "mean pair entropy, nats", "undecided pairs"]
    losses = [f"loss of {task} over steps 4 to 8" for task in TASKS]
    assert labels == [*pairs, *(f"{name} over steps 0 to 8" for name in schedules), *losses]


def test_numbers_are_those_of_the_other_commands(whole, runs, capsys):
    _, page = whole
    words = [text.strip() for text in page.texts]
    comparing = ["compare", "--baseline", str(runs / "single"), str(runs / "found"), str(runs / "multi")]
    main([*comparing, "--format", "json"])
    rows = json.loads(capsys.readouterr().out)["models"]
    assert [row["model"] for row in rows] == ["found", "multi_task"]
    assert f"{rows[0]['delta_m']:+.2f} ± {rows[0]['delta_m_std']:.2f}" in words
    assert f"{rows[1]['delta_m']:+.2f}" in words
    main(["resources", str(runs / "search"), "--format", "json"])
    (costs,) = json.loads(capsys.readouterr().out)
    assert f"{costs['exchange']['multiply_adds']:,}" in words and f"{costs['network']['parameters']:,}" in words
    main(["importance", str(runs / "found/seed_0"), "--baseline", str(runs / "single"), "--format", "json"])
    row = json.loads(capsys.readouterr().out)["importance"]["depth"]["semseg"]
    assert row["block"] == "none" or f"{row['mean']:+.2f} ± {row['std']:.2f}" in words
    value = json.loads((runs / "search/metrics.json").read_text())
    for kind in ("tasks", "prior"):
        assert f"{value[kind]['depth']['rmse']['value']:.4f}" in words


def test_metrics_without_a_value_are_dashes(runs, report, tmp_path):
    folder = tmp_path / "search"
    shutil.copytree(runs / "search", folder)
    content = json.loads((folder / "metrics.json").read_text())
    for part in (content["tasks"], content["prior"]):
        part["depth"]["rmse"] |= {"value": None, "undefined": "no valid pixel"}
    (folder / "metrics.json").write_text(json.dumps(content))
    _, page = report(folder)
    words = [text.strip() for text in page.texts]
    row = words.index("rmse")
    shown = [word for word in words[row + 1 : row + 8] if word]
    assert shown[1] == "-" and shown[2] not in ("better", "not better")
    assert page.sections == OF_SEARCH


def test_what_has_no_input_is_left_out(runs, report, tmp_path):
    text, page = report(runs / "search")
    assert page.sections == OF_SEARCH
    assert report(runs / "search")[0] == text  # nothing in it depends on the hour
    at = OF_SEARCH.index("resources")  # the curves of what was retrained
    with_found = [*OF_SEARCH[:at], "training", *OF_SEARCH[at:]]
    assert report(runs / "search", "--found", runs / "found", "--images", 0)[1].sections == with_found
    assert report(runs / "search", "--models", runs / "multi")[1].sections == [*OF_SEARCH, "pictures"]
    folder = tmp_path / "stopped"
    folder.mkdir()
    shutil.copy(runs / "search/config.yaml", folder)
    assert report(folder)[1].sections == []
    shutil.copy(runs / "search/selection.csv", folder)
    assert report(folder)[1].sections == ["selection", "schedules"]


def test_the_budget_and_the_front(runs, tmp_path, report):
    folder = tmp_path / "search"
    shutil.copytree(runs / "search", folder)
    metrics = json.loads((folder / "metrics.json").read_text())
    exchanges = Architecture.load(folder / "architecture.yaml").exchanges
    cost = CostTable.read(folder / "costs.csv").costs("multiply_adds").total(exchanges)
    assert metrics["exchange_cost"]["value"] == cost
    words = [text.strip() for text in report(folder)[1].texts]
    assert f"{cost:,}" in words and not any("of the budget" in text for text in words)
    metrics["exchange_cost"]["budget"] = 4 * cost
    (folder / "metrics.json").write_text(json.dumps(metrics))
    (folder / "pareto").mkdir()
    pairs = ",".join(f"{target} <- {source}" for target, source in exchanges)
    rows = ["3,-0.5,1000,none,none,none,none", "1,-0.25,2500000,local,none,xtam,none"]
    (folder / "pareto/front.csv").write_text("\n".join([f"number,score,cost,{pairs}", *rows]))
    figure = "iVBORw0KGgo="
    (folder / "pareto/front.png").write_bytes(base64.b64decode(figure))
    text, page = report(folder)
    assert page.sections == [*OF_SEARCH, "front"] and f"base64,{figure}" in text
    words = [text.strip() for text in page.texts]
    assert any("25 % of the budget" in text for text in words)
    row = words.index("architecture_01")
    assert [word for word in words[row : row + 12] if word][:4] == ["architecture_01", "2,500,000", "-0.2500", "2"]


def test_vanished_data_and_checkpoints_are_left_out_with_a_note(runs, tmp_path, capsys):
    shutil.copytree(runs / "search", tmp_path / "search")
    shutil.copytree(runs / "multi", tmp_path / "multi", ignore=shutil.ignore_patterns("best.pt"))
    config = yaml.safe_load((tmp_path / "search/config.yaml").read_text())
    config["data"] |= {"name": "folder", "root": str(tmp_path / "gone")}
    (tmp_path / "search/config.yaml").write_text(yaml.safe_dump(config))
    main(["report", str(tmp_path / "search"), "--models", str(tmp_path / "multi")])
    notes = capsys.readouterr().err.splitlines()
    assert len(notes) == 2 and "best.pt" in notes[0] and "gone" in notes[1]
    page = Page((tmp_path / "search/report.html").read_text())
    assert page.sections == [name for name in OF_SEARCH if name != "resources"]


@pytest.fixture(scope="module")
def repeated(runs, tmp_path_factory):
    """Three searches that chose by hand, and two noise nulls: {name: folder}."""
    folder = tmp_path_factory.mktemp("repeated")
    exchanges = Architecture.load(runs / "search/architecture.yaml").exchanges
    blocks = {"s0": "local", "s1": "local", "s2": "xtam", "n0": "none", "n1": "local"}
    for name, block in blocks.items():
        shutil.copytree(runs / "search", folder / name, ignore=shutil.ignore_patterns("checkpoints", "choices.csv"))
        config = yaml.safe_load((folder / name / "config.yaml").read_text())
        config["search"] |= {"strategy": "gumbel", "noise_null": name.startswith("n")}
        (folder / name / "config.yaml").write_text(yaml.safe_dump(config))
        chosen = dict.fromkeys(exchanges, "global") | {("semseg", "depth"): block}
        Architecture(TASKS, chosen).save(folder / name / "architecture.yaml")
    return {name: folder / name for name in blocks}


def test_agreement_stands_beside_that_of_noise_nulls(repeated, report, capsys):
    first, *others = repeated.values()
    _, page = report(first, "--searches", first, *others)  # given twice by a shell's pattern, it counts once
    sections = [*OF_SEARCH[:2], "reliability", *OF_SEARCH[2:]]
    assert page.sections == sections
    words = [text.strip() for text in page.texts]
    titles = [value for name, value in page.attributes if name == "title"]
    assert "semseg <- depth: local in 2 of 3" in titles and "semseg <- depth: xtam in 1 of 3" in titles
    assert "depth <- semseg: global in 3 of 3" in titles and "The choices of 3 searches" in words
    assert not any("none in" in title for title in titles)  # the nulls are not mixed in
    main(["agreement", *map(str, repeated.values()), "--format", "json"])
    result = json.loads(capsys.readouterr().out)
    for name, kind in (("all", result), ("all (noise null)", result["noise_null"])):
        row = words.index(name, words.index("Agreement of repeated searches"))
        cells = [word for word in words[row : row + 20] if word][:5]
        both = [f"{kind['all'][key]:.1f} %" for key in ("agreement_percent", "chance_percent")]
        assert cells == [name, "4", *both, f"{kind['all']['kappa']:.2f}"]
    assert f"{repeated['n0']} (noise null)" in words and str(repeated["s1"]) in words
    assert page.texts.count("Search on scenes") == 2  # in the head and on the page
    _, null = report(repeated["n0"], "--searches", *others)
    assert "Search on scenes (noise null)" in null.texts and "The choices of 2 searches (noise null)" in null.texts
    assert report(first)[1].sections == OF_SEARCH


def test_the_table_shows_probabilities_and_undecided_pairs(repeated, report):
    run = repeated["s0"]
    try:
        exchanges = Architecture.load(run / "architecture.yaml").exchanges
        probability = {("semseg", "depth"): "0.41", ("depth", "depth"): "0.934"}
        write_choices(run, exchanges, [("semseg", "depth")], probability=probability)
        text, page = report(run)
        undecided = [c for c in text.splitlines() if 'class="undecided"' in c]
        assert len(undecided) == 1 and "semseg &lt;- depth: local" in undecided[0] and "41 %" in undecided[0]
        assert "93 %" in page.texts and text.count("<small>") == 2
        assert any("1 of 4 pairs" in words and "not fixed" in words for words in page.texts)
        assert any("1 of 4 pairs were undecided at the end" in words for words in page.texts)
        write_choices(run, exchanges, probability={("depth", "depth"): "0.999"})
        text, page = report(run)
        assert "No pair is undecided." in page.texts and "> 99 %" in page.texts and 'class="undecided"' not in text
    finally:
        (run / "choices.csv").unlink()
    text, _ = report(run)  # an old run
    assert "<small>" not in text and "No pair is undecided" not in text and "not fixed" not in text


def test_searches_of_other_tasks_or_none_are_refused(repeated, tmp_path, capsys):
    Architecture(("semseg",), {("semseg", "semseg"): "local"}).save(tmp_path / "other.yaml")
    for other, named in ((tmp_path / "other.yaml", "differ in tasks"), (repeated["s0"], "two or more searches")):
        argv = ["report", str(repeated["s0"]), "--searches", str(other), "--output", str(tmp_path / "page.html")]
        assert named in refused(capsys, *argv)
    assert not (tmp_path / "page.html").exists()


def test_names_are_escaped(runs, tmp_path, report):
    folder = tmp_path / "<blink>&amp;"
    shutil.copytree(runs / "search", folder)
    _, page = report(folder)
    assert "blink" not in page.tags and str(folder) in page.texts


def test_refusals(runs, tmp_path, capsys):
    def refusal(*argv):
        return refused(capsys, "report", *argv)

    run = runs / "search"
    assert "is no run" in refusal(tmp_path)
    assert "--found" in refusal(run, "--importance")
    assert "is a folder" in refusal(run, "--output", tmp_path)
    assert "nowhere" in refusal(run, "--found", tmp_path / "nowhere")
    assert "this command makes it" in refusal(run, "--found", runs / "found", "--baseline", tmp_path / "nowhere")
    shutil.copytree(run, tmp_path / "broken")
    (tmp_path / "broken/selection.csv").write_text("step,target\n1,2\n")
    assert "expected step,target,source,block,probability" in refusal(tmp_path / "broken")
    (tmp_path / "broken/config.yaml").write_text("[")
    assert "is not valid YAML" in refusal(tmp_path / "broken")
    assert not list(runs.rglob("report.html"))


def test_history_of_a_search_agrees_with_its_metrics(runs):
    history = read_history(runs / "search/selection.csv")
    figures = json.loads((runs / "search/metrics.json").read_text())["selection"]
    assert history.steps == tuple(range(9)) and len(history.probabilities) == 4
    assert history.entropy()[-1] == pytest.approx(figures["entropy"], abs=1e-4)
    assert history.undecided()[-1] == figures["undecided"]


def test_entropy_and_undecided_by_hand(tmp_path):
    lines = ["step,target,source,block,probability"]
    for step, halves in ((0, (0.5, 0.04)), (5, (1.0, 0.04)), (10, (1.0, 0.0))):
        for source, p in zip("ab", halves):
            lines += [f"{step},a,{source},none,{p}", f"{step},a,{source},local,{1 - p}"]
    path = tmp_path / "selection.csv"
    path.write_text("\n".join([*lines, ""]))
    history = read_history(path)
    low = -0.04 * np.log(0.04) - 0.96 * np.log(0.96)
    assert history.entropy() == pytest.approx([(np.log(2) + low) / 2, low / 2, 0], abs=1e-9)
    assert history.undecided() == [2, 1, 0]
    path.write_text("\n".join(lines[:-1]))  # a search that is just writing
    assert read_history(path).steps == (0, 5)


def test_thinning_keeps_both_ends():
    long = History(tuple(range(1000)), {("a", "a"): {"none": [i / 999 for i in range(1000)]}})
    thin = long.thinned(50)
    assert len(thin.steps) == 50 and (thin.steps[0], thin.steps[-1]) == (0, 999)
    assert thin.probabilities["a", "a"]["none"] == [step / 999 for step in thin.steps]
    assert long.thinned(1000) is long


def test_charts_and_bars_stay_in_their_boxes():
    drawn = chart("x", [0, 5, 10], {"line": ("#000", [-1.0, 0.0, 3.0])})
    assert drawn.lines[0].points == f"0.0,{HEIGHT:.1f} {WIDTH / 2:.1f},{0.75 * HEIGHT:.1f} {WIDTH:.1f},0.0"
    assert drawn.zero == 0.75 * HEIGHT and len(drawn.lines[0].dots) == 3
    assert not chart("x", range(100), {"line": (None, range(100))}).lines[0].dots  # too many to be distinguished
    assert chart("x", [0], {"line": (None, [2.0])}, 0, 1).zero is None  # a single step, 0 at the edge
    good, bad = bars([("a", "", 3.0, (1.0, 5.0)), ("b", "", -1.0, None)])
    assert good.zero == bad.zero and good.start == good.zero and bad.start + bad.length == pytest.approx(bad.zero)
    assert (good.positive, bad.positive, bad.whisker) == (True, False, None)
    assert good.length == pytest.approx(3 * bad.length) and good.whisker[1] == pytest.approx(4 * bad.length)
    assert good.whisker[0] + good.whisker[1] <= 100 and bad.start >= 0


def test_labels_are_transparent_outside_their_mask():
    half = np.full((1, 1, 2), 0.5)
    masked = render(Edge(), half, (0, 1), np.array([[[True, False]]]))
    assert masked.tolist() == [[[127, 127, 127, 255], [127, 127, 127, 0]]]


def test_a_block_is_explained_in_the_words_of_its_file():
    assert meaning("local") == "every target pixel attends to the 9x9 source neighbourhood around it."
    assert "PAD-Net" in meaning("padnet_gate") and "sigmoid" in meaning("padnet_gate")
    assert all(meaning(block) for block in BLOCKS)


def test_the_verdict_stands_at_the_head_with_date_version_and_command(whole, runs):
    text, page = whole
    assert text.index('class="verdict"') < text.index("<section")
    words = " ".join(" ".join(page.texts).split())
    assert "found " in words and "over single_task" in words
    assert f"version {version()}, by python -m analysis report {runs / 'search'} --found" in words


def test_two_points_are_no_line(whole):
    text, _ = whole
    training = text.partition('<section id="training">')[2].partition("</section>")[0]
    assert "polyline" not in training and training.count("<circle") == 2 * 2 * 2  # two points, tasks, networks


def test_another_architecture_is_named(runs):
    chosen = Architecture.load(runs / "search/architecture.yaml")
    found = read_model(runs / "found")
    assert other_architecture(found, chosen) is None
    other = Architecture.uniform(chosen.tasks, "s_label")
    assert "has not the architecture of this search" in other_architecture(found, other)
    assert other_architecture(read_model(runs / "multi"), chosen) is not None


def test_curves_are_what_the_events_recorded(runs):
    joint = courses(read_model(runs / "multi").seeds[0], TASKS)
    separate = courses(read_model(runs / "single").seeds[0], TASKS)
    assert {"loss of semseg", "loss of depth", "validation depth rmse"} <= joint.keys() == separate.keys()
    assert [step for step, _ in joint["loss of depth"]] == [4, 8]
    recorded = json.loads((runs / "multi/seed_0/metrics.json").read_text())["validation"]["tasks"]["depth"]["rmse"]
    assert dict(joint["validation depth rmse"])[8] == pytest.approx(recorded["value"], rel=1e-5)


def test_the_legend_has_the_colours_of_the_picture():
    task = build_tasks(("semseg",), DataSettings(), 3)["semseg"]
    ((colour, name),) = legend(("wall", "floor", "door"), [1], 1)
    shown = task.picture(np.ones((1, 1, 1)), (0, 1))[0, 0]
    assert (colour, name) == (f"#{bytes(shown).hex()}", "floor")


def test_deviations_by_hand():
    tasks = build_tasks(("semseg", "depth", "normals"), DataSettings(), 3)
    ones = np.ones((1, 1, 2))
    assert tasks["semseg"].deviation(ones, np.array([[[1, 2]]])).tolist() == [[0, 1]]
    assert tasks["depth"].deviation(ones, np.array([[[3.0, 0.5]]])).tolist() == [[2, 0.5]]
    up, right = np.array([[[0.0]], [[1.0]], [[0.0]]]), np.array([[[1.0]], [[0.0]], [[0.0]]])
    assert tasks["normals"].deviation(up, right) == pytest.approx(90)
