"""crosstalk demo: numbered stages from rooms to a verdict, two trainings at a time."""

import dataclasses
import time

import pytest

from crosstalk import demo
from experiment.config import Config
from experiment.errors import InputError

SMALL_NETWORK = {"channels": [4, 8, 16, 32], "stem_type": "deep", "stem_width": 2, "layers": [1, 1, 1, 1]}


@pytest.fixture
def small(monkeypatch):
    """Problems of a few images and steps."""

    def made(config: Config) -> Config:
        data = dataclasses.replace(
            config.data, train_images=12, validation_images=2, test_images=2, tasks=["semseg", "depth"]
        )
        network = dataclasses.replace(config.network, backbone_options=SMALL_NETWORK, channels=8)
        training = dataclasses.replace(config.training, iterations=3, batch_size=2)
        space = dataclasses.replace(config.space, blocks=["none", "padnet_gate"])
        weights = dataclasses.replace(config.loss_weights, weights={})
        given = {"data": data, "network": network, "training": training, "space": space, "loss_weights": weights}
        return dataclasses.replace(config, **given)

    given = demo.problems()
    monkeypatch.setattr(demo, "problems", lambda: tuple(map(made, given)))


def test_from_rooms_to_a_verdict(small, tmp_path, capsys):
    output = tmp_path / "runs/demo"
    assert demo.main("crosstalk demo", ["--output", str(output)]) == 0
    first = capsys.readouterr().out
    stages = [line for line in first.splitlines() if " of 5: " in line]
    assert [line[:7] for line in stages] == [f"{k} of 5:" for k in range(1, 6)]
    end = " ".join(first.rpartition("report.html\n\n")[2].split())
    assert end.startswith("found ") and "over no exchange (uniform:none)" in end
    assert "where all tasks share one camera and one encoder, the search chose" in end
    assert end.endswith(f"open {output / 'report.html'}")
    assert (output / "report.html").is_file()
    assert "next:" not in first and "proof:" not in first


def test_a_failure_names_the_log_and_ends_the_other(tmp_path, capfd):
    def fail():
        print("so far so good")
        raise InputError("the disk is full")

    with pytest.raises(InputError, match=r"search failed.*demo_logs/search\.log"):
        demo._together(tmp_path / "demo", {"other": lambda: time.sleep(600), "search": fail})
    assert "error: the disk is full" in capfd.readouterr().err
    assert (tmp_path / "demo_logs/search.log").read_text() == "so far so good\n"


def test_the_two_problems_differ_in_sensors_and_encoders_alone():
    sensors, camera = demo.problems()
    assert (sensors.data.name, camera.data.name) == ("sensors", "scenes")
    assert (sensors.network.encoders, camera.network.encoders) == ("per_task", "shared")
    same = dataclasses.replace(
        camera,
        data=dataclasses.replace(camera.data, name="sensors"),
        network=dataclasses.replace(camera.network, encoders="per_task"),
    )
    assert same == sensors
