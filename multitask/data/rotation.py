"""Rotation of images and labels about their middle."""

import torch
import torch.nn.functional as F
from torch import Tensor


class Rotation:
    """Counter-clockwise by angles (B,), in radians, of maps (B, c, H, W); what comes into view is unknown."""

    def __init__(self, angles: Tensor, height: int, width: int):
        device = angles.device
        y = (torch.arange(height, device=device) + 0.5 - height / 2).view(1, -1, 1)
        x = (torch.arange(width, device=device) + 0.5 - width / 2).view(1, 1, -1)
        self.cos, self.sin = (part.view(-1, 1, 1) for part in (angles.cos(), angles.sin()))
        self.columns = x * self.cos - y * self.sin + width / 2  # (B, H, W), pixels of the original from its border
        self.rows = x * self.sin + y * self.cos + height / 2
        self.height, self.width = height, width

    def inside(self) -> Tensor:
        """(B, 1, H, W) bool, where the original is seen."""
        rows, columns = self.rows, self.columns
        return ((rows >= 0) & (rows < self.height) & (columns >= 0) & (columns < self.width)).unsqueeze(1)

    def smooth(self, image: Tensor) -> Tensor:
        """Bilinear."""
        grid = torch.stack([2 * self.columns / self.width - 1, 2 * self.rows / self.height - 1], -1)
        return F.grid_sample(image, grid, mode="bilinear", padding_mode="border", align_corners=False)

    def nearest(self, maps: Tensor) -> Tensor:
        """Values are never mixed; positions outside repeat the border."""
        rows = self.rows.floor().long().clamp(0, self.height - 1)
        columns = self.columns.floor().long().clamp(0, self.width - 1)
        batch = torch.arange(len(maps), device=maps.device).view(-1, 1, 1)
        return maps.movedim(1, -1)[batch, rows, columns].movedim(-1, 1)
