"""Writing a file so that no reader ever sees half of it."""

import os
from pathlib import Path


def write_atomic(path: str | Path, text: str) -> None:
    """Writes to a temporary file in the same folder, then renames."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(text)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
