"""The report opens with the verdict of a race."""

import pytest

from analysis.__main__ import main
from retrain.race.record import read_race
from tests.support.races import write_race, write_search
from tests.support.results import refusal


@pytest.fixture
def search(tmp_path):
    return write_search(tmp_path / "run")


def page(search, *arguments):
    main(["report", str(search), *map(str, arguments)])
    return (search / "report.html").read_text()


def test_a_race_that_was_given_opens_the_page(search, tmp_path):
    record = write_race(tmp_path / "elsewhere", search)
    assert read_race(tmp_path / "elsewhere") == record
    text = page(search, "--race", tmp_path / "elsewhere")
    assert text.index('id="race"') < text.index('id="architecture"')
    for part in (
        "found gains +4.10 points.",
        "none = best_rows",
        "+2.80 to +5.40",
        "2 fresh",
        "12.3 M",
        "31 trainings",
    ):
        assert part in text, part
    assert "diverged with seed 1" in text and "no better than the constant prediction" in text


def test_a_race_beside_the_search_is_found_if_it_is_its_own(search, tmp_path):
    assert 'id="race"' not in page(search)
    write_race(tmp_path / "run_race", search)
    assert 'id="race"' in page(search)
    (tmp_path / "run_race/race.json").unlink()
    (tmp_path / "run_race").rmdir()
    write_race(tmp_path / "run_race", tmp_path / "another")
    assert 'id="race"' not in page(search)


def test_a_race_that_is_none(search, tmp_path, capsys):
    assert "is no finished race" in refusal(capsys, "report", search, "--race", tmp_path)
    for text in ("{}", "[", '{"version": 1, "arms": [{"name": "none"}]}', "[1]"):
        (tmp_path / "race.json").write_text(text)
        assert "is damaged" in refusal(capsys, "report", search, "--race", tmp_path)
    write_race(tmp_path / "old", search)
    (tmp_path / "old/race.json").write_text(
        (tmp_path / "old/race.json").read_text().replace('"version": 1', '"version": 9')
    )
    assert "has version 9: expected 1" in refusal(capsys, "report", search, "--race", tmp_path / "old")
