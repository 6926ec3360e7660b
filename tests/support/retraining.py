"""retrain.py on a tiny problem, in this process."""

import contextlib
import importlib.util
import io
import json

from search_spaces import Architecture
from tests.support.commands import CONFIG, ROOT, SHORT, Done, short

TASKS = ("semseg", "depth")
EXCHANGES = {
    ("semseg", "semseg"): "none",
    ("semseg", "depth"): "xtam",
    ("depth", "semseg"): "s_label",
    ("depth", "depth"): "global",
}


def script():
    """The script as a module: `import retrain` finds the package, so it is loaded from its path."""
    spec = importlib.util.spec_from_file_location("retrain_script", ROOT / "retrain.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


main = script().main


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
