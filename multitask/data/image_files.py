"""Image files as Pillow reads them; an error names the file."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, ImageFile, ImageOps

from experiment.errors import InputError, one_line

SIXTEEN_BITS = ("I;16", "I;16B", "I;16L", "I;16N")


@contextmanager
def image_file(path: Path) -> Iterator[ImageFile.ImageFile]:
    """An image that is open. Raises InputError for whatever Pillow raises on it, when it is opened or in the block."""
    try:
        with Image.open(path) as image:
            yield image
    except InputError:
        raise
    except Exception as error:  # Pillow's decoders raise many kinds, DecompressionBombError among them
        raise InputError(f"{path}: cannot be read as an image ({one_line(error)})") from error


def read_photo(path: Path) -> Image.Image:
    """A photo in RGB, turned by its EXIF orientation; of 16-bit grey, the upper eight bits."""
    with image_file(path) as image:
        upright = ImageOps.exif_transpose(image)
        if upright.mode in SIXTEEN_BITS:
            upright = Image.fromarray((np.array(upright) >> 8).astype(np.uint8))
        elif upright.mode in ("I", "F"):
            raise InputError(f"{path}: a photo of 32-bit values ({upright.mode}), expected 8 or 16 bits")
        return upright.convert("RGB")


def read_png(path: Path, kind: str, modes: tuple[str, ...]) -> Image.Image:
    """A label's PNG, turned by its EXIF orientation. Raises InputError for another format, mode or 2- and 4-bit grey.

    kind: what is expected, for the message; modes: Pillow's.
    """
    with image_file(path) as image:
        if image.format != "PNG":
            raise InputError(f"{path}: is a {image.format} file, expected a PNG, which keeps every value")
        if image.mode not in modes:
            raise InputError(f"{path}: a {image.mode} image, expected {kind}")
        if image.tile and image.tile[0][3] in ("L;2", "L;4"):  # Pillow stretches their values to 0..255
            raise InputError(f"{path}: {image.tile[0][3][-1]}-bit grey, expected {kind}")
        return ImageOps.exif_transpose(image)
