"""The command `crosstalk`: every command under one name, the same code as the scripts and `python -m analysis`."""

import subprocess
import sys
import tomllib

import pytest

import crosstalk
from analysis.__main__ import COMMANDS as READING
from crosstalk.__main__ import COMMANDS, main
from experiment.calls import call, called_by
from experiment.config import Config
from experiment.config.parsing import config_parser, parse_config
from experiment.config.shipped import shipped
from tests.support.commands import ROOT, short


def test_each_command_of_analysis_is_one_of_crosstalk():
    assert set(READING) < set(COMMANDS)


def test_the_version_is_that_of_the_project():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert crosstalk.__version__ == project["version"]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [(["--help"], 0), ([], 0), (["serach"], 2), (["search", "--search.strategi", "x"], 2), (["retrain", "--help"], 0)],
)
def test_help_and_mistakes_do_not_wait_for_torch(arguments, code):
    script = f"import sys; sys.argv = {['crosstalk', *arguments]}\nfrom crosstalk.__main__ import main\n"
    script += "try: code = main()\nexcept SystemExit as stop: code = stop.code\n"
    script += "assert 'torch' not in sys.modules and 'numpy' not in sys.modules\nsys.exit(code)"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    assert len(done.stderr.splitlines()) == (code == 2), done.stderr


def test_an_unknown_command_gets_the_nearest_name(capsys):
    assert main(["repotr"]) == 2
    assert capsys.readouterr().err.endswith("nearest: 'report'\n")


def test_a_command_of_analysis_speaks_of_crosstalk(capsys):
    assert main(["compare", "--formats", "csv"]) == 2
    assert "nearest: '--format'" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["compare", "--help"])
    assert "crosstalk compare" in capsys.readouterr().out


def test_lines_to_copy_name_the_command_as_it_was_called():
    assert (call("search"), call("compare")) == ("python search.py", "python -m analysis compare")
    with called_by("crosstalk"):
        assert (call("search"), call("compare")) == ("crosstalk search", "crosstalk compare")


def test_a_search_without_configuration_takes_the_defaults(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["/usr/bin/crosstalk"])
    assert main(["search", *short("--training.iterations=4", f"--output={tmp_path / 'run'}")]) == 0
    printed = capsys.readouterr().out
    assert "no --config" in printed and "next: crosstalk retrain --config" in printed
    assert (tmp_path / "run/architecture.yaml").is_file()


@pytest.mark.parametrize("name", ["demo", "configs/demo.yaml"])
def test_a_shipped_configuration_is_known_by_name_anywhere(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config, _ = parse_config(config_parser(Config, "search", ""), Config, ["--config", name])
    assert config == Config.load(ROOT / "configs/demo.yaml")


def test_a_configuration_that_is_not_there(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert {"demo", "scenes", "papers/nyud_hrnet18"} <= set(shipped())
    assert main(["search", "--config", "dmo", "--output", "run"]) == 2
    assert "nearest: 'demo'" in capsys.readouterr().err
    assert main(["search", "--config", "own.yaml", "--output", "run"]) == 2
    assert "'own.yaml': no such file" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
