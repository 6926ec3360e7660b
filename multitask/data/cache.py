"""data.cache: samples as they were decoded, resized and derived, in files that are mapped into memory.

A sample's file is named by a digest of all that it follows from, so that a changed label, another size or another
reader never meets an old one. Files are written whole or not at all, by whichever process needs a sample first; the
folder may be deleted at any time.
"""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from experiment.errors import InputError
from experiment.files import replacing
from multitask.data.samples import Sample

VERSION = 1  # another one wherever samples of the same files change


class SampleCache:
    """Samples below a folder. Raises InputError for a folder inside the data's own."""

    def __init__(self, folder: str | Path, root: Path):
        self.folder = Path(folder)
        if self.folder.resolve().is_relative_to(root.resolve()):
            raise InputError(f"data.cache '{folder}' lies in data.root '{root}': expected a folder outside it")
        if self.folder.exists() and not self.folder.is_dir():
            raise InputError(f"data.cache '{folder}' is a file: expected a folder")

    def sample(self, content: Any, decode: Callable[[], Sample]) -> Sample:
        """The sample that follows from `content`, read from its file, or else decoded and written there."""
        digest = hashlib.sha256(json.dumps([VERSION, content], allow_nan=False).encode()).hexdigest()
        path = self.folder / digest[:2] / f"{digest[2:34]}.safetensors"
        try:
            return _nested(load_file(path))
        except (FileNotFoundError, SafetensorError, KeyError, ValueError):  # none yet, or a damaged one
            made = decode()
        with replacing(path) as temporary:
            save_file(_flat(made), temporary)
        return made


def _flat(sample: Sample) -> dict[str, Tensor]:
    """{"NUMBER.image", "NUMBER.labels.TASK", ...: tensor}; files keep no order of their own."""
    image = sample["image"]
    flat = {"image": image} if isinstance(image, Tensor) else {f"image.{task}": one for task, one in image.items()}
    flat |= {f"{part}.{task}": value for part in ("labels", "masks") for task, value in sample[part].items()}
    return {  # copies, because tasks may share an image, and files may not
        f"{k:03d}.{key}": value.clone(memory_format=torch.contiguous_format)
        for k, (key, value) in enumerate(flat.items())
    }


def _nested(flat: dict[str, Tensor]) -> Sample:
    sample: Sample = {}
    for key in sorted(flat):
        _, part, *task = key.split(".", 2)
        if task:
            sample.setdefault(part, {})[task[0]] = flat[key]
        else:
            sample[part] = flat[key]
    if set(sample) != {"image", "labels", "masks"}:
        raise KeyError("no sample")
    return sample
