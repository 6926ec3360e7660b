"""The study's database lies in the run, whatever the run's name."""

import pytest

from supernet.loss_weights.shared_study import open_database


@pytest.mark.parametrize("name", ["what?now", "a#b", "50%20 of", "{SCHEMA}", "plain", "é & b"])
def test_it_is_the_file_that_it_should_be(tmp_path, name):
    folder = tmp_path / name
    folder.mkdir()
    open_database(folder / "loss_weights.db").create_new_study([])
    assert [path.name for path in folder.iterdir()] == ["loss_weights.db"]
    assert list(tmp_path.iterdir()) == [folder]
