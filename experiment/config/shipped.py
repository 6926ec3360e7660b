"""The configurations that come with the project, in a checkout and in an installed package alike."""

from pathlib import Path

from experiment.errors import unknown

FOLDER = Path(__file__).parents[2] / "configs"


def shipped() -> list[str]:
    """Their names, such as demo and papers/nyud_hrnet18."""
    return sorted(path.relative_to(FOLDER).with_suffix("").as_posix() for path in FOLDER.rglob("*.yaml"))


def find_config(given: str) -> Path:
    """The file that --config names: a path, or where there is none, a shipped one: demo, or configs/demo.yaml.

    Raises InputError for a name that is neither.
    """
    path = Path(given)
    if path.exists():
        return path
    ours = FOLDER.parent / path
    if path.parts[:1] == (FOLDER.name,) and ours.is_file():
        return ours
    if path.suffix:
        return path  # reading it says that it is missing
    if given not in shipped():
        raise unknown("--config", given, ("FILE", *shipped()))
    return FOLDER / f"{given}.yaml"
