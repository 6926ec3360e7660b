"""crosstalk predict: a retraining on a folder, then photos, with the folder gone."""

import csv
import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from crosstalk import load
from crosstalk.__main__ import main
from experiment.errors import InputError
from experiment.run import RETRAINING, SEARCH, Run
from tests.support.folders import write_folder
from tests.support.pages import ROOT, fenced
from tests.support.refusals import one_line
from tests.support.retraining import retrain

FEW = ["--training.iterations=1", "--data.name=folder"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run whose data is gone, with an own image for depth, and a folder of photos."""
    root = tmp_path_factory.mktemp("predict")
    write_folder(root / "data", (("train", 2), ("val", 1), ("test", 1)))
    shutil.copytree(root / "data/images", root / "data/images/depth")
    done = retrain("--baseline=uniform:xtam", *FEW, f"--data.root={root / 'data'}", "--network.encoders=per_task",
                   "--output", root / "run")  # fmt: skip
    assert done.returncode == 0, done.stderr
    shutil.rmtree(root / "data")
    (root / "photos").mkdir()
    draw = np.random.default_rng(0)
    for name, size in (("a.jpg", (60, 90)), ("b.png", (90, 60)), ("c.png", (90, 60))):
        Image.fromarray(draw.integers(0, 256, (*size, 3), dtype=np.uint8)).save(root / "photos" / name)
    return root


def refused(capsys, *arguments):
    assert main(["predict", *map(str, arguments)]) == 2
    return one_line(capsys.readouterr().err)


def test_photos_become_files(run, tmp_path, capsys):
    assert main(["predict", str(run / "run"), str(run / "photos"), "--output", str(tmp_path), "--batch=2"]) == 0
    printed = capsys.readouterr().out
    assert "depth sees the photo itself: 3 of 3" in printed and "semseg sees" not in printed
    assert "semseg, depth of 3 photos" in printed
    with (tmp_path / "semseg/legend.csv").open() as file:
        legend = list(csv.DictReader(file))
    assert [(row["id"], row["name"]) for row in legend] == [("1", "a"), ("2", "b"), ("3", "c")]
    predictor = load(run / "run")
    for name, suffix in (("a", "jpg"), ("b", "png"), ("c", "png")):
        photo = np.array(Image.open(run / f"photos/{name}.{suffix}"))
        image = torch.from_numpy(photo).movedim(-1, 0)[None]
        expected = predictor.predict({"semseg": image, "depth": image})
        ids, depth = np.array(Image.open(tmp_path / f"semseg/{name}.png")), np.load(tmp_path / f"depth/{name}.npy")
        assert ids.shape == depth.shape == photo.shape[:2] and depth.dtype == np.float32
        assert (ids == expected["semseg"][0, 0].numpy() + 1).mean() > 0.99
        np.testing.assert_allclose(depth, expected["depth"][0, 0].numpy(), atol=1e-5)
        colours = {tuple(int(row["colour"][i : i + 2], 16) for i in (1, 3, 5)) for row in legend}
        seen = np.array(Image.open(tmp_path / f"pictures/semseg/{name}.png")).reshape(-1, 3)
        assert {tuple(map(int, colour)) for colour in np.unique(seen, axis=0)} <= colours


def test_bad_photos_and_folders_in_use_leave_nothing(run, tmp_path, capsys):
    (tmp_path / "bad.jpg").write_bytes(b"no image")
    photos = (run / "photos/a.jpg", tmp_path / "bad.jpg")
    assert "bad.jpg: cannot be read as an image" in refused(capsys, run / "run", *photos, "--output", tmp_path / "out")
    assert "matches no file" in refused(capsys, run / "run", tmp_path / "*.gif", "--output", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert "is in use" in refused(capsys, run / "run", photos[0], "--output", run / "photos")
    assert "--batch is 0" in refused(capsys, run / "run", photos[0], "--output", tmp_path / "out", "--batch=0")


def test_what_is_no_finished_retraining(run, tmp_path, monkeypatch, capsys):
    with Run(tmp_path / "search", {"seed": 0}, False, SEARCH), Run(tmp_path / "new/seed_0", {}, False, RETRAINING):
        pass
    shutil.copytree(run / "run", tmp_path / "race/found")
    for folder, expected in [
        ("absent", "does not exist"),
        ("search", "is a search, which keeps no trained network"),
        ("new", "has no finished seed"),
        ("new/seed_0", "is not finished"),
        ("race", f"such as '{tmp_path / 'race/found'}'"),
        ("race/found/seed_0/checkpoints", "is no run"),
    ]:
        with pytest.raises(InputError, match=expected):
            load(tmp_path / folder)
    with pytest.raises(InputError, match="no finished seed 3: expected seed_0"):
        load(run / "run", seed=3)
    monkeypatch.chdir(tmp_path)
    line = refused(capsys, "search", run / "photos", "--output", "out")
    assert line.endswith(
        "retrain --config search/config.yaml --architecture search/architecture.yaml --output search_found"
    )


def test_the_example_of_the_page_runs(run, tmp_path, monkeypatch, capsys):
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs/found").symlink_to(run / "run")
    monkeypatch.chdir(tmp_path)
    example, *_ = fenced((ROOT / "docs/predicting.md").read_text(), "python")
    exec(example, {})
    assert "'depth': torch.Size([2, 1, 480, 640])" in capsys.readouterr().out


def test_a_damaged_interface(run, tmp_path):
    shutil.copytree(run / "run/seed_0", tmp_path / "seed_0")
    path = tmp_path / "seed_0/interface.json"
    content = json.loads(path.read_text())
    for key in ("channels", "mean"):
        path.write_text(json.dumps({k: v for k, v in content.items() if k != key}))
        with pytest.raises(InputError, match=r"interface.json' is damaged"):
            load(tmp_path)
    path.write_text(json.dumps(content | {"channels": {"semseg": 4, "depth": 1}}))
    with pytest.raises(InputError, match="fits another network"):
        load(tmp_path)
