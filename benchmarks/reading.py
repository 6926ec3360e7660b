"""Images a second of each data set's loader, without and with data.cache, beside what training consumes.

python -m benchmarks.reading --output runs/benchmarks

Files are written for the purpose, in each set's layout and at its size, with noise as photos, which PNG and JPEG decode
slowest. All tasks of a set are read, derived ones too. Paces are of one core: seconds are those of the process on its
cores, so that others on the machine matter little.

Training: a step of one preset is measured on this machine's cores. What the others take there, and all on a GPU, is
projected from their multiply-adds, three times the forward pass's; the GPU's operations a second are assumed.

Last, what reading less would save: a photo decoded at half its size, and a quarter of a cached sample.
"""

import argparse
import importlib
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks.output import write_json
from benchmarks.presets import FOLDER, network_of
from experiment.config import Config, DataSettings
from multitask.cost import multiply_adds
from multitask.data import Dataset, open_dataset
from multitask.data.published import PUBLISHED
from multitask.network import MultiTaskNetwork
from multitask.training.step_cost import task_losses

published: Any = importlib.import_module("tests.support.published")
# {set: (height, width) of its files, and of the images that its paper trains on, and a preset}
SETS = {
    "nyud": ((425, 560), (425, 560), "nyud_hrnet18"),
    "nyuv2_13": ((288, 384), (288, 384), "nyuv2_libmtl"),
    "pascal_context": ((375, 500), (512, 512), "pascal_hrnet18"),
    "vkitti2": ((375, 1242), (320, 1024), "vkitti2_densemtl"),
    "cityscapes": ((1024, 2048), (512, 1024), "cityscapes_densemtl"),
    "synthia": ((760, 1280), (512, 1024), "synthia_densemtl"),
    "scannet": ((480, 640), (384, 768), "scannet_fission"),
    "scenenet": ((240, 320), (240, 320), "scenenet_fission"),
}
MEASURED = "nyud"  # whose preset takes the step that is measured
THROUGHPUT = 10e12  # operations a second that a GPU sustains, as assumed
PHOTO = (968, 1296)  # of ScanNet's colour camera


def measure(name: str, folder: Path, images: int) -> dict[str, float]:
    """Images a second: without cache, while it is filled, and from it; and bytes of an image there."""
    (height, width), (new_height, new_width), _ = SETS[name]
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
    """What is read is summed, as a mapped file is not read before."""

    def read(i: int) -> None:
        sample = dataset[i % len(dataset)]
        sum(int(value.sum()) for value in (sample["image"], *sample["labels"].values()))

    return images / _seconds(read, images)


def _seconds(call: Callable[[int], object], times: int) -> float:
    """Of all cores together."""
    began = time.process_time()
    for i in range(times):
        call(i)
    return time.process_time() - began


def operations(preset: str) -> float:
    """Of a training step, for each image."""
    config = Config.load(FOLDER / f"{preset}.yaml")
    return 3 * 2 * multiply_adds(network_of(config), config.data.height, config.data.width)


def step_throughput(preset: str, cores: int) -> float:
    """Operations a second of a step of the preset's multi-task network, two images, on so many cores."""
    config = Config.load(FOLDER / f"{preset}.yaml")
    network: MultiTaskNetwork = network_of(config).to_empty(device="cpu").train()
    for tensor in (*network.parameters(), *network.buffers()):
        tensor.data.zero_()  # a step takes as long
    loss, image = task_losses(network.tasks), torch.rand(2, 3, config.data.height, config.data.width)

    def step(_: int) -> None:
        loss(network(image)).backward()  # type: ignore[no-untyped-call]
        network.zero_grad(set_to_none=True)

    torch.set_num_threads(cores)
    step(0)
    return 2 * operations(preset) * cores / _seconds(step, 1)


def less(folder: Path) -> dict[str, float]:
    """Milliseconds: a photo decoded whole and resized to half its sides, and at half its sides; a cached image and
    depth read whole, and a quarter of them, in one piece.
    """
    height, width = PHOTO
    half = (width // 2, height // 2)
    draw = np.random.default_rng(0)
    smooth = draw.integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
    photo, maps = folder / "photo.jpg", folder / "maps.npy"
    Image.fromarray(smooth).resize((width, height), Image.Resampling.BICUBIC).save(photo, quality=90)
    np.save(maps, draw.random((7, height, width), dtype=np.float32))

    def whole(_: int) -> None:
        with Image.open(photo) as image:
            np.array(image.resize(half, Image.Resampling.BILINEAR))

    def drafted(_: int) -> None:
        with Image.open(photo) as image:
            image.draft("RGB", half)
            np.array(image)

    def mapped(rows: int, columns: int) -> Callable[[int], object]:
        return lambda _: np.load(maps, mmap_mode="r")[:, :rows, :columns].copy()

    calls = {
        "photo, whole": whole,
        "photo, at half its sides": drafted,
        "cached, whole": mapped(height, width),
        "cached, a quarter": mapped(height // 2, width // 2),
    }
    return {name: 1000 * _seconds(call, 20) / 20 for name, call in calls.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, help="folder for reading.json")
    parser.add_argument("--images", type=int, default=6)
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=list(SETS))
    parser.add_argument("--cores", type=int, default=2, help="of the training step")
    options = parser.parse_args()
    throughput = step_throughput(SETS[MEASURED][2], options.cores)
    print(f"a step of {SETS[MEASURED][2]}: {throughput / 1e9:.0f} GFLOP/s on {options.cores} cores")
    columns = ("plain", "filling", "cached", "MB", "G ops", "cores", "GPU")
    print(f"{'images a second':<16} {' '.join(f'{name:>8}' for name in columns)}")
    found: dict[str, Any] = {}
    for name in options.sets:
        with tempfile.TemporaryDirectory() as folder:
            found[name] = row = measure(name, Path(folder), options.images)
        row["operations"] = work = operations(SETS[name][2])
        row |= {"cores": throughput / work, "gpu": THROUGHPUT / work}
        shown = (row["plain"], row["filling"], row["cached"], row["bytes"] / 1e6, work / 1e9, row["cores"], row["gpu"])
        print(f"{name:<16} {' '.join(f'{value:8.3g}' for value in shown)}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        found["milliseconds"] = less(Path(folder))
    print("\n".join(f"{name:<26} {value:6.2f} ms" for name, value in found["milliseconds"].items()))
    write_json(options.output, "reading", {**found, "throughput": throughput})


if __name__ == "__main__":
    main()
