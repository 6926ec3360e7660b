"""Images a second of each data set's loader, without and with data.cache, in one process.

python -m benchmarks.reading --output runs/benchmarks

The files are written for the purpose, in each set's layout and at its size, with noise as photos, which PNG and JPEG
decode slowest. All tasks of a set are read, derived ones too.
"""

import argparse
import importlib
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.output import write_json
from experiment.config import DataSettings
from multitask.data import Dataset, open_dataset
from multitask.data.published import PUBLISHED

published: Any = importlib.import_module("tests.support.published")
# {set: (height, width) of its files, and of the images that its paper trains on}
SIZES = {
    "nyud": ((425, 560), (425, 560)),
    "nyuv2_13": ((288, 384), (288, 384)),
    "pascal_context": ((375, 500), (512, 512)),
    "vkitti2": ((375, 1242), (320, 1024)),
    "cityscapes": ((1024, 2048), (512, 1024)),
    "synthia": ((760, 1280), (512, 1024)),
    "scannet": ((480, 640), (384, 768)),
    "scenenet": ((240, 320), (240, 320)),
}


def measure(name: str, folder: Path, images: int) -> dict[str, float]:
    """Images a second: without cache, while it is filled, and from it; and bytes of an image there."""
    (height, width), (new_height, new_width) = SIZES[name]
    published.enlarge(height, width)
    published.WRITERS[name](folder / "data")
    data = DataSettings(
        name=name, root=str(folder / "data"), height=new_height, width=new_width, tasks=list(PUBLISHED[name].tasks_read)
    )
    cached = replace(data, cache=str(folder / "cache"))
    figures = {"plain": _pace(open_dataset(data).splits["train"], images)}
    train = open_dataset(cached).splits["train"]
    figures["filling"] = _pace(train, len(train))
    figures["cached"] = _pace(train, 4 * images)
    files = list((folder / "cache").rglob("*.safetensors"))
    return {**figures, "bytes": sum(path.stat().st_size for path in files) / len(files)}


def _pace(dataset: Dataset, images: int) -> float:
    """Images a second; what is read is summed, as a mapped file is not read before."""
    began = time.perf_counter()
    for i in range(images):
        sample = dataset[i % len(dataset)]
        sum(int(value.sum()) for value in (sample["image"], *sample["labels"].values()))
    return images / (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, help="folder for reading.json")
    parser.add_argument("--images", type=int, default=6)
    parser.add_argument("--sets", nargs="+", default=list(SIZES), choices=list(SIZES))
    options = parser.parse_args()
    found = {}
    print(f"{'images a second':<16} {'plain':>8} {'filling':>8} {'cached':>8} {'MB':>6}")
    for name in options.sets:
        with tempfile.TemporaryDirectory() as folder:
            found[name] = measure(name, Path(folder), options.images)
        row = found[name]
        print(
            f"{name:<16} {row['plain']:8.1f} {row['filling']:8.1f} {row['cached']:8.1f} {row['bytes'] / 1e6:6.1f}",
            flush=True,
        )
    write_json(options.output, "reading", found)


if __name__ == "__main__":
    main()
