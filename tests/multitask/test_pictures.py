"""Colours of labels and predictions, by hand."""

import numpy as np

from experiment.config import DataSettings
from multitask.tasks import TASKS, build_tasks
from multitask.tasks.pictures import palette, value_range

BUILT = build_tasks(list(TASKS), DataSettings(), 13)


def test_every_picture_has_three_channels_of_bytes():
    for task in BUILT.values():
        picture = task.picture(np.ones((task.label_channels, 2, 5)), (0.0, 1.0))
        assert picture.shape == (2, 5, 3) and picture.dtype == np.uint8


def test_classes_have_the_palettes_colours_and_parts_a_black_background():
    assert len(np.unique(palette(), axis=0)) == len(palette()) == 60
    classes = np.array([[[0, 1]]])
    assert BUILT["semseg"].picture(classes, (0, 1))[0].tolist() == palette()[:2].tolist()
    assert BUILT["human_parts"].picture(classes, (0, 1))[0].tolist() == [[0, 0, 0], palette()[0].tolist()]


def test_normals_probabilities_and_depths_by_hand():
    up = np.array([0.0, 1.0, 0.0]).reshape(3, 1, 1)
    assert BUILT["normals"].picture(up, (0, 1)).tolist() == [[[127, 255, 127]]]
    assert BUILT["edge"].picture(np.full((1, 1, 1), 0.5), (0, 1)).tolist() == [[[127, 127, 127]]]
    depth, values = BUILT["depth"], np.array([[[0.0, 2.0, 4.0]]])  # (1, 1, 3)
    assert (depth.picture(values / 2, (0, 2)) == depth.picture(values, (0, 4))).all()
    assert (depth.picture(values, (0, 8)) != depth.picture(values, (0, 4))).any()  # the range decides
    assert depth.picture(values, (0, 4))[0, [0, 2]].tolist() == [[68, 1, 84], [253, 231, 36]]  # viridis's ends


def test_the_range_is_that_of_valid_values():
    label = np.array([[[9.0, 2.0, 4.0]]])
    assert value_range(label, np.array([[[False, True, True]]])) == (2.0, 4.0)
    assert value_range(label, np.zeros((1, 1, 3), bool)) == (0.0, 1.0)
