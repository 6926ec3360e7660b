"""Numbers as cells of a table; n/a for those that do not exist."""

SMALLER = {"G": "M", "M": "k"}  # of thousands


def spread(mean: float | None, std: float | None, digits: int, sign: str = "") -> str:
    """The mean, and ± the standard deviation where there is one; sign: + writes the sign of a positive mean too."""
    return decimal(mean, digits, sign) + (f" ± {std:.{digits}f}" if mean is not None and std is not None else "")


def decimal(value: float | None, digits: int, sign: str = "", missing: str = "n/a") -> str:
    return missing if value is None else f"{value:{sign}.{digits}f}"


def scaled(value: float | None, unit: float, letter: str) -> str:
    """In multiples of a unit, as in 3.00 G; what is less than a tenth of it in the next smaller one, as in 25.00 M."""
    if value is None:
        return "n/a"
    if letter[0] in SMALLER and value < unit / 10:
        unit, letter = unit / 1000, SMALLER[letter[0]] + letter[1:]
    return f"{value / unit:.2f} {letter}"


def percent(share: float | None, digits: int = 1) -> str:
    """share: 0 to 1."""
    return "n/a" if share is None else f"{100 * share:.{digits}f} %"


def probability(value: float) -> str:
    """Only what is certain is rounded to 100 %."""
    return "> 99 %" if 0.995 <= value < 1 else f"{100 * value:.0f} %"


def interval(ends: tuple[float, float] | None) -> str:
    return "n/a" if ends is None else f"[{ends[0]:+.2f}, {ends[1]:+.2f}]"
