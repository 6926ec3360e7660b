"""Line charts and bars as numbers that a page can draw: coordinates inside a box, with what stands at its edges."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

FEW = 30  # points of a line that are drawn one by one
WIDTH, HEIGHT = 300, 120  # of the box, in the page's own units


@dataclass(frozen=True)
class Line:
    label: str
    colour: str | None  # None: the page's own
    points: str  # "x,y x,y ...", y downwards
    dots: tuple[tuple[float, float], ...] = ()  # the points, where they are few enough to be told apart


@dataclass(frozen=True)
class Chart:
    """Lines over steps. zero: where y = 0 lies, if it is inside."""

    title: str
    lines: tuple[Line, ...]
    low: str
    high: str
    zero: float | None
    first: int
    last: int


def chart(
    title: str, steps: Sequence[int], lines: Mapping[str, tuple[str | None, Sequence[float]]],
    low: float | None = None, high: float | None = None,
) -> Chart:  # fmt: skip
    """lines: {label: (colour, a value per step)}; low and high of the y axis are the values' unless given."""
    courses = {label: (colour, list(zip(steps, line))) for label, (colour, line) in lines.items()}
    return chart_of_courses(title, courses, low, high)


def chart_of_courses(
    title: str, courses: Mapping[str, tuple[str | None, Sequence[tuple[int, float]]]],
    low: float | None = None, high: float | None = None,
) -> Chart:  # fmt: skip
    """courses: {label: (colour, [(step, value), ...])}, whose steps may differ."""
    points = [point for _, course in courses.values() for point in course]
    first, last = min(step for step, _ in points), max(step for step, _ in points)
    low = min(value for _, value in points) if low is None else low
    high = max(value for _, value in points) if high is None else high
    span, time = (high - low) or 1.0, (last - first) or 1

    def place(step: int, value: float) -> tuple[float, float]:
        return WIDTH * (step - first) / time, HEIGHT * (1 - (value - low) / span)

    drawn = []
    for label, (colour, course) in courses.items():
        places = tuple(place(*point) for point in course)
        text = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        drawn.append(Line(label, colour, text, places if len(places) <= FEW else ()))
    zero = HEIGHT * (1 + low / span) if low < 0 < high else None
    return Chart(title, tuple(drawn), f"{low:.3g}", f"{high:.3g}", zero, first, last)


@dataclass(frozen=True)
class Bar:
    """A horizontal bar from zero, and its whisker where there is one; all in percent of the width."""

    label: str
    text: str
    positive: bool
    start: float
    length: float
    zero: float
    whisker: tuple[float, float] | None  # start, length


def bars(rows: Sequence[tuple[str, str, float, tuple[float, float] | None]]) -> list[Bar]:
    """rows: (label, text, value, (low, high) or None)."""
    ends = [0.0, *(end for _, _, value, interval in rows for end in (value, *(interval or ())))]
    low, high = min(ends), max(ends)
    span = (high - low) or 1.0

    def x(value: float) -> float:
        return 2 + 96 * (value - low) / span  # whiskers do not touch the border

    drawn = []
    for label, text, value, interval in rows:
        start, end = sorted((x(0), x(value)))
        whisker = None if interval is None else (x(interval[0]), x(interval[1]) - x(interval[0]))
        drawn.append(Bar(label, text, value >= 0, start, end - start, x(0), whisker))
    return drawn
