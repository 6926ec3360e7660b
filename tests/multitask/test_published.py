"""The papers' data sets on tiny folders in their exact layouts: samples equal what went in, faults are named."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from PIL import Image

from experiment.config import DataSettings, LossWeightSettings, TrainingSettings
from experiment.errors import InputError
from experiment.run import Run
from multitask.data import check_data, fingerprint, open_dataset
from multitask.data.published import PUBLISHED
from multitask.data.splits import groups_of
from multitask.network import MultiTaskNetwork
from multitask.testing import check_dataset
from multitask.training.loss_weighting import loss_weights
from multitask.training.recipe import Recipe
from multitask.training.trainer import Trainer
from tests.support.networks import small_network
from tests.support.published import WRITERS, size_of, write_nyud_later, write_vkitti2_archives

LAYOUTS = {**{name: (name, write) for name, write in WRITERS.items()}}
LAYOUTS |= {"nyud later": ("nyud", write_nyud_later), "vkitti2 archives": ("vkitti2", write_vkitti2_archives)}


def settings(name, root, **changes):
    height, width = size_of(name)
    defaults = {"height": height, "width": width, "tasks": list(PUBLISHED[name].tasks_read), "workers": 0}
    return DataSettings(name=name, root=str(root), **{**defaults, **changes})


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """{layout: (name, root, truth)}; the root's own name holds what paths are built from."""
    made = {}
    for layout, (name, write) in LAYOUTS.items():
        root = tmp_path_factory.mktemp("data") / f"my rgb images of {layout}"
        made[layout] = (name, root, write(root))
    return made


@pytest.fixture
def copied(written, tmp_path):
    """A copy that a test may damage."""

    def copy(layout):
        name, root, _ = written[layout]
        shutil.copytree(root, tmp_path / layout)
        return name, tmp_path / layout

    return copy


@pytest.mark.parametrize("layout", LAYOUTS)
def test_samples_equal_what_went_in(written, layout):
    name, root, truth = written[layout]
    dataset = open_dataset(settings(name, root))
    seen = set()
    for split in dataset.splits.values():
        for index, own in enumerate(split.ids):
            sample = split[index]
            seen.add(own)
            if "image" in truth[own]:
                assert (sample["image"].numpy() == truth[own]["image"].transpose(2, 0, 1)).all()
            else:
                photo = Image.open(split.photo_path(own)).convert("RGB").resize(size_of(name)[::-1], 2)
                assert (sample["image"].numpy() == np.array(photo).transpose(2, 0, 1)).all()
            for task, (label, valid) in ((t, v) for t, v in truth[own].items() if t in dataset.tasks):
                assert (sample["masks"][task][0].numpy() == valid).all(), (own, task)
                found = sample["labels"][task].numpy().transpose(1, 2, 0)
                assert found.shape == label.shape
                assert np.allclose(found[valid], label[valid], rtol=1e-5, atol=1e-6), (own, task)
    assert seen == set(truth)


@pytest.mark.parametrize("name", WRITERS)
def test_they_are_datasets_without_a_problem(written, name):
    _, root, _ = written[name]
    before = sorted(root.rglob("*"))
    tasks = [task for task in PUBLISHED[name].tasks_read if task != "edge" or name in ("nyud", "vkitti2")]  # slow ones
    check_dataset(open_dataset(settings(name, root, height=32, width=48, tasks=tasks)))
    report = check_data(settings(name, root))
    assert report.problems == []
    assert "ROOT/" in "\n".join(report.layout) and max(map(len, report.layout)) <= 120
    sizes = PUBLISHED[name].published
    shown = [line for line in report.warnings if "the published split has" in line]
    assert len(shown) == len(sizes) and all(str(count) in "\n".join(shown) for count in sizes.values())
    assert sorted(root.rglob("*")) == before, "a loader never writes into the user's folder"


@pytest.mark.parametrize("name", WRITERS)
def test_a_step_is_trained(written, name, tmp_path):
    _, root, _ = written[name]
    data = settings(name, root, height=32, width=48)
    dataset = open_dataset(data)
    network = MultiTaskNetwork(small_network(), dataset.tasks)
    training = TrainingSettings(iterations=1, batch_size=2, optimizer="adamw", checkpoint_every=5)
    weights = loss_weights(dataset.tasks, LossWeightSettings())
    recipe = Recipe(dataset, data, training, weights, False, Fabric(accelerator="cpu", devices=1))
    before = [p.detach().clone() for p in network.parameters()]
    Trainer(network, recipe, Run(tmp_path / "run", {"seed": 0}, False), 0, quiet=True).fit()
    assert all(p.isfinite().all() for p in network.parameters())
    assert any(not torch.equal(p, q) for p, q in zip(network.parameters(), before))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_damaged_file_is_named(copied, layout):
    name, root = copied(layout)
    data = settings(name, root)
    train = open_dataset(data).splits["train"]
    last = len(train) - 1  # of whose classes PASCAL-Context has one file only
    own = train.ids[last]
    files = {train.photo_path(own), *(path for task in train.tasks for path in train.label_paths(task, own))}
    for path in sorted(files):
        whole = path.read_bytes()
        for damaged in (None, b"", b"no file of this kind", whole[: len(whole) // 2]):
            path.unlink()
            if damaged is not None:
                path.write_bytes(damaged)
            found = open_dataset(data).splits["train"].examine(last).problems
            # of a missing file that may have two names, the first is named
            assert found and all(path.stem in line and "\n" not in line for line in found), (path, damaged, found)
            with pytest.raises(InputError) as caught:
                open_dataset(data).splits["train"][last]
            assert str(caught.value) in found
            path.write_bytes(whole)
    path.unlink()
    assert any(path.stem in line for line in check_data(data).problems)


def other_size(path):
    """The same file with a row less."""
    if path.suffix == ".npy":
        np.save(path, np.load(path)[1:])
    else:
        image = Image.open(path)
        image.load()
        image.crop((0, 1, *image.size)).save(path, "JPEG" if path.suffix == ".jpg" else "PNG")


@pytest.mark.parametrize("layout", [name for name in LAYOUTS if name not in ("cityscapes", "synthia")])
def test_labels_of_another_size_are_named(copied, layout):
    name, root = copied(layout)
    train = open_dataset(settings(name, root)).splits["train"]
    path = train.label_paths("semseg", train.ids[0])[0]
    other_size(path)
    found = check_data(settings(name, root, tasks=["semseg"])).problems
    assert len(found) == 1 and str(path) in found[0] and "pixels, expected" in found[0]


@pytest.mark.parametrize("name", WRITERS)
def test_lists_that_are_missing_and_roots_that_are_empty(copied, name, tmp_path):
    (tmp_path / "empty").mkdir()
    for split in ("train", "val"):
        with pytest.raises(InputError, match=r"expected|layout"):
            open_dataset(settings(name, tmp_path / "empty")).splits[split]
    with pytest.raises(InputError, match="is not a folder"):
        open_dataset(settings(name, tmp_path / "nowhere"))
    with pytest.raises(InputError, match=r"data\.root is not given"):
        open_dataset(DataSettings(name=name, tasks=["semseg"]))


@pytest.mark.parametrize("name", WRITERS)
def test_tasks_without_labels_are_refused(written, name):
    _, root, _ = written[name]
    missing = "depth" if name == "pascal_context" else "human_parts"
    with pytest.raises(InputError, match=f"unknown task of {name} '{missing}'"):
        open_dataset(settings(name, root, tasks=[missing]))


@pytest.mark.parametrize("name", WRITERS)
def test_half_size_takes_nearest_labels_and_keeps_units(written, name):
    _, root, _ = written[name]
    height, width = size_of(name)
    data = settings(name, root)
    half_of = replace(data, height=32, width=width // 2 + 9)
    full, half = (open_dataset(d).splits["train"][0] for d in (data, half_of))
    rows, columns = (
        [int((i + 0.5) * old / new) for i in range(new)] for old, new in ((height, 32), (width, half_of.width))
    )
    for task in data.tasks:
        if task != "edge":
            assert torch.equal(half["labels"][task], full["labels"][task][:, rows][:, :, columns])
        assert torch.equal(half["masks"][task], full["masks"][task][:, rows][:, :, columns])


@pytest.mark.parametrize("name", WRITERS)
def test_a_part_of_train_is_held_out_in_whole_groups(written, name):
    _, root, _ = written[name]
    whole = open_dataset(settings(name, root)).splits
    parts = open_dataset(settings(name, root, validation_fraction=0.5)).splits
    assert parts["test"].ids == whole["test"].ids
    if PUBLISHED[name].has_test:
        assert parts["val"].ids == whole["val"].ids != whole["test"].ids
        return
    assert whole["val"].ids == whole["test"].ids
    assert sorted([*parts["train"].ids, *parts["val"].ids]) == sorted(whole["train"].ids)
    train, val = (set(groups_of(parts[split])) for split in ("train", "val"))
    assert train and val and not train & val
    assert train | val == set(groups_of(whole["train"]))


def test_fingerprints_follow_the_files_and_the_classes(copied):
    _, root = copied("cityscapes")

    def of(**changes):
        return fingerprint(open_dataset(settings("cityscapes", root, **changes)), "test")

    first = of()
    assert of(classes=19) != first and of() == first
    path = next((root / "gtFine" / "val").rglob("*.png"))
    path.write_bytes(path.read_bytes() + b"\0")
    assert of() != first
