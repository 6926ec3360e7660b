"""What a network predicts on a few images, beside their labels."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import nn
from torch.utils.data import default_collate

from multitask.data.samples import Dataset, plain_batch
from multitask.tasks import Task
from multitask.tasks.pictures import Array, value_range

COUNT = 4


@torch.no_grad()
def examples(
    network: nn.Module, dataset: Dataset, tasks: Mapping[str, Task], device: torch.device, count: int = COUNT
) -> dict[str, Array]:
    """{task: (rows, columns, 3) uint8}, a row for each of some images spread over the split: image, label, prediction.

    Labels are black where they are not valid. Leaves the network's mode as it was.
    """
    rows: dict[str, list[Array]] = {name: [] for name in tasks}
    count, was_training = min(count, len(dataset)), network.training
    network.eval()
    for i in range(count):
        sample = dataset[i * len(dataset) // count]
        batch = plain_batch(default_collate([sample]), device)
        predictions = network(batch.image, batch.valid).predictions
        for name, task in tasks.items():
            image = sample["image"][name] if isinstance(sample["image"], dict) else sample["image"]
            label, mask = sample["labels"][name].numpy(), sample["masks"][name].numpy()
            scale = value_range(label, mask)
            shown = task.picture(label, scale) * mask.transpose(1, 2, 0)
            decoded = task.decode(predictions[name])[0].cpu().numpy()
            rows[name].append(np.hstack([image.permute(1, 2, 0).numpy(), shown, task.picture(decoded, scale)]))
    network.train(was_training)
    return {name: np.vstack(of_task) for name, of_task in rows.items()}
