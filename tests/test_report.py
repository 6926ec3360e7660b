"""The report: what it holds, what it leaves out, that it needs nothing else; the choice's history; the pictures."""

import json
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest
import yaml
from test_retrain import retrain
from test_search import search

from analysis.__main__ import main
from analysis.charts import HEIGHT, WIDTH, bars, chart
from analysis.history import History, read_history
from analysis.pictures import PALETTE, RENDERERS, render
from multitask.command import exit_code
from multitask.errors import InputError
from multitask.tasks import TASKS as KNOWN_TASKS
from search_spaces import SPACES, Architecture

TASKS = ("semseg", "depth")
VOID = {"meta", "img", "line", "rect", "br", "link", "input"}
OF_SEARCH = ["architecture", "proportions", "selection", "schedules", "metrics", "resources"]


class Page(HTMLParser):
    """Checks that tags close in order; collects sections, text, attributes."""

    def __init__(self, text):
        super().__init__()
        self.open, self.sections, self.texts, self.attributes, self.tags = [], [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes
        if tag == "section":
            self.sections.append(dict(attributes)["id"])
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.attributes += attributes

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, text):
        self.texts.append(text)


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
        code, _, errors = retrain(*arguments, "--output", folder / name)
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
    assert page.sections == [*OF_SEARCH[:5], "comparison", "resources", "importance", "pictures"]
    titles = [value for name, value in page.attributes if name == "title"]
    for (target, source), block in Architecture.load(runs / "search/architecture.yaml").exchanges.items():
        assert f"{target} <- {source}: {block}" in titles
    words = " ".join(page.texts)
    assert all(block in words for block in SPACES["full"])
    facts = ("scenes", "semseg, depth", "8 steps of 2 images", "single_task (baseline)", "multi_task", "found")
    assert all(fact in words for fact in facts)


def test_nothing_is_fetched(whole):
    text, page = whole
    assert "http:" not in text and "https:" not in text and "@import" not in text and "url(" not in text
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    addresses = [value for name, value in page.attributes if name in ("src", "href", "srcset", "data")]
    # two images; two tasks with a label and two predictions each
    assert len(addresses) == 2 * (1 + 2 * 3) and all(a.startswith("data:image/png;base64,") for a in addresses)
    assert text.isascii()


def test_there_is_a_chart_per_pair_and_schedule(whole, runs):
    _, page = whole
    labels = [value for name, value in page.attributes if name == "aria-label"]
    pairs = [f"{target} <- {source} over steps 0 to 8" for target in TASKS for source in TASKS]
    schedules = ["temperature", "entropy weight", "mean pair entropy, nats", "undecided pairs"]
    assert labels == pairs + [f"{name} over steps 0 to 8" for name in schedules]


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


def test_what_has_no_input_is_left_out(runs, report, tmp_path):
    text, page = report(runs / "search")
    assert page.sections == OF_SEARCH
    assert report(runs / "search")[0] == text  # nothing in it depends on the hour
    assert report(runs / "search", "--found", runs / "found", "--images", 0)[1].sections == OF_SEARCH
    assert report(runs / "search", "--models", runs / "multi")[1].sections == [*OF_SEARCH, "pictures"]
    folder = tmp_path / "stopped"
    folder.mkdir()
    shutil.copy(runs / "search/config.yaml", folder)
    assert report(folder)[1].sections == []
    shutil.copy(runs / "search/selection.csv", folder)
    assert report(folder)[1].sections == ["selection", "schedules"]


def test_vanished_data_and_checkpoints_are_left_out_with_a_note(runs, tmp_path, capsys):
    shutil.copytree(runs / "search", tmp_path / "search")
    shutil.copytree(runs / "multi", tmp_path / "multi", ignore=shutil.ignore_patterns("best.pt"))
    config = yaml.safe_load((tmp_path / "search/config.yaml").read_text())
    config["data"] |= {"name": "folder", "root": str(tmp_path / "gone")}
    (tmp_path / "search/config.yaml").write_text(yaml.safe_dump(config))
    main(["report", str(tmp_path / "search"), "--models", str(tmp_path / "multi")])
    notes = capsys.readouterr().err.splitlines()
    assert len(notes) == 2 and "gone" in notes[0] and "best.pt" in notes[1]
    page = Page((tmp_path / "search/report.html").read_text())
    assert page.sections == [name for name in OF_SEARCH if name != "resources"]


def test_names_are_escaped(runs, tmp_path, report):
    folder = tmp_path / "<blink>&amp;"
    shutil.copytree(runs / "search", folder)
    _, page = report(folder)
    assert "blink" not in page.tags and str(folder) in page.texts


def test_refusals(runs, tmp_path, capsys):
    def refusal(*argv):
        assert exit_code(lambda: main(["report", *map(str, argv)]), (InputError,)) == 2
        captured = capsys.readouterr()
        assert captured.err.startswith("error: ") and captured.err.count("\n") == 1 and captured.out == ""
        return captured.err

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
    assert "cannot be read" in refusal(tmp_path / "broken")
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
    path.write_text("\n".join(lines))
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
    assert drawn.zero == 0.75 * HEIGHT
    assert chart("x", [0], {"line": (None, [2.0])}, 0, 1).zero is None  # a single step, 0 at the edge
    good, bad = bars([("a", "", 3.0, (1.0, 5.0)), ("b", "", -1.0, None)])
    assert good.zero == bad.zero and good.start == good.zero and bad.start + bad.length == pytest.approx(bad.zero)
    assert (good.positive, bad.positive, bad.whisker) == (True, False, None)
    assert good.length == pytest.approx(3 * bad.length) and good.whisker[1] == pytest.approx(4 * bad.length)
    assert good.whisker[0] + good.whisker[1] <= 100 and bad.start >= 0


def test_every_task_has_its_renderer_and_others_a_default():
    assert set(RENDERERS) == set(KNOWN_TASKS)
    values = np.array([[[0.0, 2.0, 4.0]]])  # (1, 1, 3)
    assert (render("unknown", values, (0, 4)) == render("depth", values, (0, 4))).all()
    assert (render("depth", values / 2, (0, 2)) == render("depth", values, (0, 4))).all()
    assert (render("depth", values, (0, 8)) != render("depth", values, (0, 4))).any()  # the label's range decides


def test_colours_by_hand():
    assert len(np.unique(PALETTE, axis=0)) == len(PALETTE) == 60
    classes = np.array([[[0, 1]]])
    assert render("semseg", classes, (0, 1))[0].tolist() == PALETTE[:2].tolist()
    assert render("human_parts", classes, (0, 1))[0].tolist() == [[0, 0, 0], PALETTE[0].tolist()]
    up = np.array([0.0, 1.0, 0.0]).reshape(3, 1, 1)
    assert render("normals", up, (0, 1)).tolist() == [[[127, 255, 127]]]
    half = np.full((1, 1, 2), 0.5)
    masked = render("edge", half, (0, 1), np.array([[[True, False]]]))
    assert masked.tolist() == [[[127, 127, 127, 255], [127, 127, 127, 0]]]
