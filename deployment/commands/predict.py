"""Predicts every task of a retrained network on photos of any size.

crosstalk predict runs/found photo.jpg photos/ --output predictions

Writes DIR/TASK/NAME.png in the form of a data folder, DIR/TASK/NAME.npy in units (metres, unit vectors, probabilities),
DIR/TASK/legend.csv of classes, and pictures in DIR/pictures/TASK.
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from experiment.config import DEVICES
from experiment.errors import InputError
from experiment.progress import announce_torch
from experiment.run import check_empty

if TYPE_CHECKING:
    from deployment.photos import Photo
    from multitask.data.samples import Image


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="folder of a retraining, or of one of its seeds")
    parser.add_argument("photos", metavar="PHOTO", nargs="+", help="files, folders, or patterns such as 'photos/*.jpg'")
    parser.add_argument("--output", metavar="DIR", required=True, help="folder for the predictions, new or empty")
    parser.add_argument("--seed", type=int, help="which of the run's networks; by default the first")
    parser.add_argument(
        "--native",
        action="store_true",
        help="at the photos' own size; by default they are resized to as many pixels as the training's images",
    )
    parser.add_argument("--batch", type=int, default=1, metavar="N", help="photos of one size at a time (default 1)")
    parser.add_argument("--device", choices=DEVICES, default="auto", help="auto (default), cpu or cuda")


def run(arguments: argparse.Namespace) -> None:
    output = Path(arguments.output)
    if arguments.batch < 1:
        raise InputError(f"--batch is {arguments.batch}: expected at least 1")
    check_empty(output)
    announce_torch()
    from deployment.loading import load
    from deployment.photos import find_photos
    from deployment.writing import write_legend, write_prediction
    from experiment.progress import Progress
    from multitask.tasks.segmentation import ClassTask
    from multitask.training.hardware import Hardware

    predictor = load(arguments.run, seed=arguments.seed)
    own = tuple(predictor.tasks) if predictor.images else ()
    photos = find_photos(arguments.photos, own)
    for photo in photos:
        photo.check()
    for name in [task for task, kind in predictor.images.items() if kind != "photo"]:
        alone = sum(photo.files[name] == photo.path for photo in photos)
        if alone:
            print(f"{name} sees the photo itself: {alone} of {len(photos)} have no {name}/NAME.png of its own")
    predictor.to(Hardware(arguments.device).fabric().device)
    for task in predictor.tasks.values():
        if isinstance(task, ClassTask):
            write_legend(output, task, predictor.classes.get(task.name, ()))
    progress = Progress(len(photos), 0, "photos")
    for names, images in _batches(photos, arguments.batch):
        predictions = predictor.predict(images, native=arguments.native)
        for i, name in enumerate(names):
            for key, maps in predictions.items():
                write_prediction(output, name, predictor.tasks[key], maps[i])
            progress.advance()
    progress.close()
    print(f"{output}: {', '.join(predictor.tasks)} of {len(photos)} photo{'s' * (len(photos) > 1)}")


def _batches(photos: Sequence["Photo"], count: int) -> Iterator[tuple[list[str], "Image"]]:
    """The names and the images of up to `count` photos that follow each other and have one size."""
    from torch.utils.data import default_collate

    from multitask.data.samples import first_image

    names: list[str] = []
    images: list[Image] = []
    for photo in photos:
        image = photo.read()
        if images and (len(images) == count or first_image(image).shape != first_image(images[0]).shape):
            yield names, default_collate(images)
            names, images = [], []
        names.append(photo.name)
        images.append(image)
    yield names, default_collate(images)
