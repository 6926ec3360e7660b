"""One log line with the figures that show whether a run is healthy: a bar on a terminal, plain lines elsewhere."""

import shutil
import sys
import time
from collections.abc import Mapping

from tqdm import tqdm

from experiment.processes import rank


class Progress:
    """Counts steps from `start` to `total`; `log` shows the figures, `close` ends the bar.

    quiet: no plain lines, and the bar leaves none behind.
    """

    def __init__(self, total: int, start: int = 0, label: str = "", quiet: bool = False):
        self.total, self.start, self.label, self.quiet = total, start, label, quiet
        self.began = time.monotonic()
        self.bar: tqdm | None = None
        if sys.stderr.isatty() and rank() == 0:
            columns, rows = shutil.get_terminal_size()  # 80 x 24 where a terminal does not report its size
            self.bar = tqdm(
                total=total, initial=start, desc=label or None, unit="step", ncols=columns, nrows=rows, leave=not quiet
            )

    def advance(self) -> None:
        if self.bar is not None:
            self.bar.update()

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        shown = {name: _short(name, value) for name, value in figures.items()}
        if self.bar is not None:
            self.bar.set_postfix(shown, refresh=False)
            return
        if self.quiet:
            return
        pace = (time.monotonic() - self.began) / max(1, step - self.start)
        listed = "  ".join(f"{name} {value}" for name, value in shown.items())
        prefix = f"{self.label}  " if self.label else ""
        print(
            f"{prefix}step {step}/{self.total}  {listed}  ETA {tqdm.format_interval(int(pace * (self.total - step)))}"
        )
        sys.stdout.flush()

    def note(self, text: str) -> None:
        """A line of its own, above the bar."""
        if self.quiet:
            return
        line = f"{self.label}  {text}" if self.label else text
        if self.bar is not None:
            self.bar.write(line)
        else:
            print(line, flush=True)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()


def _short(name: str, value: float) -> str:
    return str(int(value)) if float(value).is_integer() and abs(value) < 1e9 else f"{value:.4g}"
