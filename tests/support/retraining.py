"""retrain.py on a tiny problem, in this process."""

import contextlib
import io
import json

from retrain.command import main
from search_spaces import Architecture
from tests.support.commands import CONFIG, SHORT, Done, short

TASKS = ("semseg", "depth")
EXCHANGES = {
    ("semseg", "semseg"): "none",
    ("semseg", "depth"): "xtam",
    ("depth", "semseg"): "s_label",
    ("depth", "depth"): "global",
}


def retrain(*arguments):
    """Runs the command: (exit code, stdout, stderr)."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(["--config", str(CONFIG), *short(*arguments, defaults=(*SHORT, "--data.test_images=3"))])
    return Done(code, out.getvalue(), err.getvalue())


def metrics(folder):
    return json.loads((folder / "metrics.json").read_text())


def write_architecture(folder):
    """The file of an architecture, as a search writes it."""
    path = folder / "architecture.yaml"
    Architecture(TASKS, EXCHANGES, provenance={"source": "search"}).save(path)
    return path
