"""A family that paints by numbers: the mean colour of each region, and the mask that says where it goes."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from swaplib.faces import E4S, members, one_hot, relabel
from swaplib.families import Family, Part


@dataclass(frozen=True)
class Config:
    size: int = 64


class Regional(Family):
    """E4S's parts without its networks. Needs `faces.labels`; a region that a face doesn't show is mid-grey."""

    name = "regional"
    Config = Config
    swap_parts = E4S[1:]

    def __init__(self, config: Config | None = None):
        super().__init__(config or Config())
        mask = Part("mask", (self.config.size, self.config.size), "labels", "e4s")
        self.parts = (*(Part(name, (3,), regions=members("e4s", name)) for name in E4S), mask)

    def encode(self, faces):
        if faces.labels is None:
            raise ValueError("regional needs faces.labels: give it rendered faces")
        mask = relabel(faces.labels, target="e4s")
        where = self._where(mask)
        means = torch.einsum("brhw,bchw->brc", where, faces.images) / where.sum((2, 3)).clamp(min=1)[..., None]
        return {name: means[:, k] for k, name in enumerate(E4S)} | {"mask": mask}

    def decode(self, codes):
        colours = torch.stack([codes[name] for name in E4S], 1)
        return torch.einsum("brhw,brc->bchw", self._where(codes["mask"]), colours)

    @staticmethod
    def _where(mask):
        return one_hot(mask, len(E4S))
