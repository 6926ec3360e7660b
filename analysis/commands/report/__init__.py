"""A search and what came of it on one page: an HTML file that needs nothing else.

Shows what each exchange is worth (strategies score and guided) and, once retrained, what it saved, the architecture,
the history of the selection, validation metrics, costs and the Pareto front; with --searches the agreement of repeated
searches; with --found, --models and --baseline Delta_m, images, predictions, and what one exchange reads; with
--importance how much each exchange matters; it opens with the verdict of the race, given by --race or in the folder
SEARCH_RUN_race. A section without input is left out.
"""

import argparse
from pathlib import Path

from experiment.errors import InputError
from experiment.files import write_atomic


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", metavar="SEARCH_RUN", help="run folder of a search")
    parser.add_argument(
        "--searches", metavar="RUN", nargs="+", default=[], help="repeated searches to compare with, and noise nulls"
    )
    parser.add_argument("--found", metavar="DIR", help="retrain run of the architecture that was found")
    parser.add_argument("--baseline", metavar="DIR", help="retrain run of the baseline (single_task), for Delta_m")
    parser.add_argument("--models", metavar="DIR", nargs="+", default=[], help="retrain runs to compare with")
    parser.add_argument(
        "--race", metavar="DIR", help="race of the search (--race of a retraining); by default SEARCH_RUN_race"
    )
    parser.add_argument("--output", metavar="FILE", help="HTML file; by default report.html in SEARCH_RUN")
    parser.add_argument("--images", type=int, default=4, metavar="N", help="images with predictions (default 4)")
    parser.add_argument("--importance", action="store_true", help="also shuffle every message of --found (takes time)")
    parser.add_argument("--data-root", metavar="DIR", help="stands in for a data folder that has moved")


def run(arguments: argparse.Namespace) -> None:
    folder = Path(arguments.folder)
    output = folder / "report.html" if arguments.output is None else Path(arguments.output)
    if output.is_dir():
        raise InputError(f"--output '{output}' is a folder: expected a file")
    if arguments.importance and arguments.found is None:
        raise InputError("--importance needs the network whose messages to shuffle: expected --found DIR")
    if not (folder / "config.yaml").is_file():
        raise InputError(f"'{folder}' is no run: expected a config.yaml in it")
    from analysis.commands.report.sections import sections  # loads torch and matplotlib
    from analysis.report.page import render_page

    # ASCII alone, which no editor and no server can misread
    page = render_page(sections(folder, arguments)).encode("ascii", "xmlcharrefreplace").decode()
    write_atomic(output, page)
    print(f"wrote {output}")
