"""Which photos a command names: files, folders and patterns; for tasks with images of their own also TASK/NAME."""

import glob
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from experiment.errors import InputError
from multitask.data.folder import PHOTO_SUFFIXES
from multitask.data.image_files import image_file, read_photo
from multitask.data.samples import Image


@dataclass(frozen=True)
class Photo:
    """files: the photo under '', or {task: what it sees}, which is the photo where it has no image of its own."""

    name: str
    path: Path
    files: Mapping[str, Path]

    def check(self) -> None:
        """Raises InputError for a file whose head is that of no image."""
        for path in dict.fromkeys(self.files.values()):
            with image_file(path):
                pass

    def read(self) -> Image:
        """(3, H, W) uint8, turned as EXIF says, or {task: the same}. Raises InputError for a file that is no image, and
        for images of several sizes.
        """
        pixels = {path: _pixels(path) for path in dict.fromkeys(self.files.values())}
        first, *others = pixels
        for path in others:
            if pixels[path].shape != pixels[first].shape:
                raise InputError(
                    f"'{path}' has {_size(pixels[path])} pixels: expected {_size(pixels[first])}, as '{first}'"
                )
        return {task: pixels[path] for task, path in self.files.items()} if "" not in self.files else pixels[first]


def find_photos(given: Sequence[str], own: Sequence[str] = ()) -> list[Photo]:
    """The photos of files, folders and patterns such as 'photos/*.jpg', each with a name of its own.

    own: the tasks of a network whose tasks have images of their own. Raises InputError for what is not there, for
    nothing found, and for two photos of one name.
    """
    photos: dict[str, Photo] = {}
    for one in given:
        for place, name, path in _expand(one, own):
            photo = _photo(place, name, path, own)
            if name in photos and photos[name].path != photo.path:
                raise InputError(
                    f"'{photos[name].path}' and '{photo.path}' would be written to one name, '{name}': "
                    "expected photos of different names"
                )
            photos[name] = photo
    return list(photos.values())


def _expand(given: str, own: Sequence[str]) -> Iterator[tuple[Path, str, Path | None]]:
    """The place, the name and, where there is one, the photo."""
    path = Path(given)
    if path.is_dir():
        found: list[tuple[Path, str, Path | None]] = [(path, file.stem, file) for file in _images(path)]
        if not found:
            stems = sorted({file.stem for task in own if (path / task).is_dir() for file in _images(path / task)})
            found = [(path, stem, None) for stem in stems]
        if not found:
            raise InputError(f"'{path}' holds no photos: expected files {', '.join('*' + s for s in PHOTO_SUFFIXES)}")
    elif path.is_file():
        found = [(path.parent, path.stem, path)]
    elif glob.has_magic(given):
        files = [Path(file) for file in sorted(glob.glob(given, recursive=True)) if Path(file).is_file()]
        if not files:
            raise InputError(f"'{given}' matches no file: expected photos")
        found = [(file.parent, file.stem, file) for file in files]
    else:
        raise InputError(f"'{given}': no such file or folder")
    yield from found


def _images(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in PHOTO_SUFFIXES and path.is_file())


def _photo(place: Path, name: str, path: Path | None, own: Sequence[str]) -> Photo:
    if not own:
        assert path is not None
        return Photo(name, path, {"": path})
    files: dict[str, Path] = {}
    for task in own:
        seen = [file for s in PHOTO_SUFFIXES if (file := place / task / f"{name}{s}").is_file()]
        seen += [] if path is None else [path]
        if not seen:
            raise InputError(
                f"'{place / task / name}.png': no such file, and no photo '{place / name}.jpg' in its place"
            )
        files[task] = seen[0]
    return Photo(name, path or files[own[0]], files)


def _pixels(path: Path) -> Tensor:
    return torch.from_numpy(np.array(read_photo(path))).movedim(-1, 0)


def _size(pixels: Tensor) -> str:
    return f"{pixels.shape[2]}x{pixels.shape[1]}"
