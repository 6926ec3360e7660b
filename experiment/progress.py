"""How far a run is: a bar on a terminal, plain lines elsewhere, one at least every BEAT seconds."""

import shutil
import sys
import textwrap
import time
from collections.abc import Iterable, Iterator, Mapping, Sized
from typing import TypeVar

from tqdm import tqdm

from experiment.processes import leads, rank

BEAT = 15.0  # seconds without a line after which the next step prints one
SHORT = 3.0  # seconds; a phase that takes less needs no line of its own
SMOOTHING = 0.02  # weight of the newest pace in the bar's ETA
AROUND = " 100%|#| / 0:00:00<0:00:00, "  # what stands around label, counts and figures in a bar
FORMAT = "{desc}{percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} {elapsed}<{remaining}{postfix}"

Item = TypeVar("Item")

_printed = time.monotonic()  # when this process last printed a line
_row: int | None = None  # of this process's bars on the terminal, where other processes have bars of their own
_name = ""  # with which its labels begin


def share_terminal(row: int, name: str = "") -> None:
    """From now on this process's bars stand in a row of the terminal of their own, counted from 0 downwards, beside
    those of other processes. name: with which their labels begin.
    """
    global _row, _name
    _row, _name = row, name


def announce_torch() -> None:
    """A line before what follows loads torch, which takes seconds."""
    if leads() and "torch" not in sys.modules:
        _print("loading torch")


class Progress:
    """Counts steps from `start` to `total`; `log` shows the figures, `close` ends the bar.

    In a plain log a line follows every `log`, and whenever a step ends and nothing was printed for BEAT seconds.

    unit: what is counted, in plain lines.
    quiet: no line follows `log`, and the bar leaves none behind.
    delay: seconds before the bar appears.
    """

    def __init__(
        self, total: int, start: int = 0, label: str = "", quiet: bool = False, unit: str = "step", delay: float = 0.0
    ):
        self.total, self.start, self.step, self.quiet, self.unit = total, start, start, quiet, unit
        self.label = ": ".join(filter(None, (_name, label)))
        self.began = time.monotonic()
        self.figures: dict[str, str] = {}
        self.bar: tqdm | None = None
        if sys.stderr.isatty() and rank() == 0:
            columns, rows = shutil.get_terminal_size()  # 80 x 24 where a terminal does not report its size
            self.bar = tqdm(
                total=total,
                initial=start,
                desc=f"{self.label} " if self.label else None,
                bar_format=FORMAT,
                smoothing=SMOOTHING,
                delay=delay,
                ncols=columns,
                nrows=rows,
                leave=not quiet and _row is None,
                position=_row,
            )

    def advance(self) -> None:
        self.step += 1
        if self.bar is not None:
            self.bar.update()
        elif leads() and self.step < self.total:
            now = time.monotonic()
            if now - _printed > BEAT and now - self.began > SHORT:
                self._line()

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        self.step = step
        self.figures = {name: _short(value) for name, value in figures.items()}
        if self.bar is not None:
            self.bar.set_postfix_str(self._fitting(), refresh=False)
        elif not self.quiet:
            self._line()

    def _fitting(self) -> str:
        """The first figures, as many as the terminal's width has room for."""
        room = shutil.get_terminal_size().columns - len(self.label) - 2 * len(str(self.total)) - len(AROUND)
        text = ""
        for name, value in self.figures.items():
            longer = f"{text}, {name} {value}" if text else f"{name} {value}"
            if len(longer) > room:
                break
            text = longer
        return text

    def _line(self) -> None:
        pace = (time.monotonic() - self.began) / max(1, self.step - self.start)
        parts = [f"{self.unit} {self.step}/{self.total}", *(f"{name} {text}" for name, text in self.figures.items())]
        left = f"ETA {tqdm.format_interval(int(pace * (self.total - self.step)))}"
        _print("  ".join([*([self.label] if self.label else []), *parts, left]))

    def note(self, text: str) -> None:
        """A line of its own, above the bar, where it is broken at the terminal's width."""
        if self.quiet:
            return
        line = f"{self.label}  {text}" if self.label else text
        if self.bar is not None:
            columns = shutil.get_terminal_size().columns
            self.bar.write("\n".join(textwrap.wrap(line, columns, subsequent_indent="  ", break_long_words=False)))
        else:
            _print(line)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()


def track(
    items: Iterable[Item], label: str, total: int | None = None, unit: str = "image", delay: float = SHORT / 3
) -> Iterator[Item]:
    """The items, with a bar while they are used that disappears at the end. total: how many, where len(items) is not
    known. delay: as of `Progress`; 0 where a single item may take seconds.
    """
    count = len(items) if isinstance(items, Sized) else total
    progress = Progress(count or 0, label=label, quiet=True, unit=unit, delay=delay)
    try:
        for item in items:
            yield item
            progress.advance()
    finally:
        progress.close()


def _print(line: str) -> None:
    global _printed
    print(line, flush=True)
    _printed = time.monotonic()


def _short(value: float) -> str:
    return str(int(value)) if float(value).is_integer() and abs(value) < 1e9 else f"{value:.4g}"
