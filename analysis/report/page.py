"""The html page of a report: its template, filled with the sections."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2

from analysis.report.figures import colour, ink, short

Section = dict[str, Any]  # what the template shows of it


def render_page(sections: Mapping[str, Any]) -> str:
    """sections: {name of the section in the template: its content, or None where it is left out}."""
    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    environment = jinja2.Environment(
        loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.globals.update(colour=colour, ink=ink, short=short)
    return environment.get_template("report.html.j2").render(**sections)
