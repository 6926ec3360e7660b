"""The dataset `sensors` against the rooms that it shows."""

import numpy as np
import pytest
import torch

from experiment.config import DataSettings, SensorSettings
from experiment.errors import InputError
from multitask.data import open_dataset
from multitask.data.scenes import render
from multitask.data.sensors import SENSORS, shift
from multitask.tasks import TASKS

H, W = 36, 48
COUNT = 6
QUIET = {"noise": dict.fromkeys(SENSORS, 0.0), "holes": 0.0}


def images(split="train", tasks=tuple(TASKS), of=None, **sensors):
    """The samples of a split."""
    settings = DataSettings(
        name="sensors", height=H, width=W, tasks=list(tasks), train_images=COUNT, validation_images=COUNT,
        sensors=SensorSettings(tasks=of or {}, **sensors),
    )  # fmt: skip
    dataset = open_dataset(settings).splits[split]
    return [dataset[i] for i in range(len(dataset))]


def readings(samples, task):
    """(N, H, W, 3) of full scale."""
    return torch.stack([sample["image"][task] for sample in samples]).movedim(1, -1).numpy() / 255


@pytest.fixture(scope="module")
def rooms():
    return [render([0, 0, i], H, W) for i in range(COUNT)]


@pytest.fixture(scope="module")
def quiet():
    return images(**QUIET)


@pytest.fixture(scope="module")
def noisy():
    return images()


def test_the_settings_know_all_sensors_and_tasks():
    from experiment.config.sensors import NOISE, SENSOR_OF

    assert list(NOISE) == list(SENSORS) and set(SENSOR_OF) == set(TASKS)


def test_quiet_cameras_show_the_photo(quiet, rooms):
    photo = np.stack([room.image for room in rooms]) / 255
    assert np.abs(readings(quiet, "semseg") - photo / 2).max() < 0.6 / 255
    luminance = photo @ (0.299, 0.587, 0.114)
    assert np.abs(readings(quiet, "normals") - luminance[..., None]).max() < 0.6 / 255


def test_a_quiet_range_sensor_reads_mean_inverse_depth(rooms):
    """With cells that do not divide the image, those at the far borders are smaller."""
    for cell in (1, 5):
        shown = readings(images(cell=cell, **QUIET), "depth")
        for pixels, room in zip(shown, rooms):
            for top in range(0, H, cell):
                for left in range(0, W, cell):
                    here = np.s_[top : top + cell, left : left + cell]
                    expected = min(1, 0.5 * (1 / room.depth[here]).mean())
                    assert np.abs(pixels[here] - expected).max() < 0.6 / 255


def test_quiet_events_are_where_brightness_changes(quiet, rooms):
    shown = readings(quiet, "edge")[..., 0]
    for pixels, room in zip(shown, rooms):
        log = np.log(room.image / 255 @ (0.299, 0.587, 0.114) + 0.05)
        down, right = (log[2:, 1:-1] - log[:-2, 1:-1]) / 2, (log[1:-1, 2:] - log[1:-1, :-2]) / 2
        expected = np.sqrt(down**2 + right**2) / 2
        assert np.abs(pixels[1:-1, 1:-1] - expected.clip(0, 1)).max() < 0.6 / 255


def test_noise_has_the_stated_spread(quiet, noisy):
    spread = {"semseg": 0.5 * 0.2257, "normals": 0.5 * 0.2257, "depth": 0.5 * 0.05, "edge": 0.2 / 2}
    for task, expected in spread.items():
        clean, seen = (readings(samples, task).reshape(COUNT, H, W, 3) for samples in (quiet, noisy))
        if task == "depth":  # one reading a cell
            clean, seen = clean[:, ::4, ::4], seen[:, ::4, ::4]
        error = (seen - clean)[(seen > 1 / 255) & (seen < 1) & (clean > 3.5 * expected) & (clean < 1 - 3.5 * expected)]
        if task != "edge":
            assert len(error) > 200 and abs(error.std() / expected - 1) < 0.1, task
            assert abs(error.mean()) < 4 * expected / len(error) ** 0.5 + 1 / 255
        else:  # most gradients are so small that the readings are cut off at 0
            assert 0.5 * expected < np.abs(seen - clean).std() < expected


def test_holes_are_whole_cells_of_the_stated_share():
    samples = [*images(holes=0.3, cell=4), *images("val", holes=0.3, cell=4)]
    holes = np.stack([readings([sample], "depth")[0, ..., 0] == 0 for sample in samples])
    cells = holes.reshape(len(samples), H // 4, 4, W // 4, 4)
    assert (cells == cells[:, :, :1, :, :1]).all()
    assert abs(holes.mean() - 0.3) < 4 * (0.21 / cells[:, :, 0, :, 0].size) ** 0.5
    assert not np.array_equal(holes[0], holes[1])
    assert all((readings([sample], "depth") > 0).all() for sample in images(holes=0.0))


def test_noise_follows_from_the_index_and_the_sensor_alone():
    """Not from the other sensors, the tasks, or what was read before."""
    everything, two = images(), images(tasks=("normals", "depth"))
    for one, other in zip(everything, two):
        assert all(torch.equal(one["image"][task], other["image"][task]) for task in ("depth", "normals"))
        assert torch.equal(one["image"]["semseg"], one["image"]["saliency"])  # the same sensor
    noise = [readings([s], "semseg")[0] - readings([q], "semseg")[0] for s, q in zip(everything, images(**QUIET))]
    for one, other in ((noise[0], noise[1]), (noise[0][..., 0], noise[0][..., 1])):
        assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 0.1


def test_displaced_sensors_take_their_labels_along(noisy):
    """What the range sensor sees of row i, the undisplaced one sees of row i + 3; the grey camera is the opposite."""
    moved = images(displacement=3)
    rows = {"colour": (np.s_[:], np.s_[:]), "range": (np.s_[:-3], np.s_[3:]), "grey": (np.s_[3:], np.s_[:-3])}
    for still, sample in zip(noisy, moved):
        for task, sensor in (("semseg", "colour"), ("edge", "colour"), ("depth", "range"), ("normals", "grey")):
            now, before = rows[sensor]
            assert torch.equal(sample["image"][task][:, now], still["image"][task][:, before])
            assert torch.equal(sample["labels"][task][:, now], still["labels"][task][:, before])
            assert sample["masks"][task][:, now].all()
        assert not sample["masks"]["depth"][:, -3:].any() and not sample["image"]["depth"][:, -3:].any()
        assert not sample["masks"]["normals"][:, :3].any() and not sample["image"]["normals"][:, :3].any()


@pytest.mark.parametrize("rows", [-2, 0, 1])
def test_shifting_there_and_back_loses_the_border_alone(rows):
    maps = 1 + torch.rand(2, 6, 4)
    back = shift(shift(maps, rows), -rows)
    kept = (back != 0).all(0).all(1)
    assert kept.sum() == 6 - abs(rows) and torch.equal(back[:, kept], maps[:, kept])


def test_tasks_of_one_sensor_see_one_image():
    tasks = ("semseg", "depth")
    for sample, own in zip(images(tasks=tasks, of={"depth": "colour"}, displacement=3), images(tasks=tasks)):
        assert torch.equal(sample["image"], own["image"]["semseg"])
        assert all(mask.all() for mask in sample["masks"].values())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tasks": {"depths": "range"}}, "unknown task in data.sensors.tasks 'depths'.*nearest: 'depth'"),
        ({"tasks": {"depth": "gray"}}, "data.sensors.tasks.depth 'gray'.*nearest: 'grey'"),
        ({"noise": {"rnge": 0.1}}, "unknown sensor in data.sensors.noise 'rnge'.*nearest: 'range'"),
        ({"noise": {"range": -0.1}}, "data.sensors.noise.range is -0.1: expected at least 0"),
        ({"holes": 1.0}, "data.sensors.holes is 1.0: expected at least 0 and below 1"),
        ({"cell": 0}, "data.sensors.cell is 0: expected at least 1"),
        ({"displacement": -1}, "data.sensors.displacement is -1: expected at least 0"),
    ],
)
def test_impossible_sensors_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        SensorSettings(**changes)


def test_a_displacement_beyond_the_image_is_refused():
    with pytest.raises(InputError, match=r"displacement is 10: expected at most a quarter of .* 9"):
        DataSettings(height=H, sensors=SensorSettings(displacement=10))
