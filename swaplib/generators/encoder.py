"""Encoders from a picture to a generator's codes in one step: our own, trained on the generator's own pictures, and
the published ones, pSp's and e4e's (`swaplib.networks.psp`).

Elad Richardson et al.: Encoding in Style: a StyleGAN Encoder for Image-to-Image Translation (pSp). CVPR 2021,
arXiv:2008.00951. As there, coarse layers are read from the coarsest map of a pyramid, fine ones from a fine map, and
codes are offsets from the mean; unlike there, the truth is known: codes are drawn, rendered and read back. Real
pictures teach by being reconstructed. Where the generator was the renderer's pupil, the codes of rendered faces are
known, too, and are learned first, alone: that needs no generated picture, and so takes a tenth of the time.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import nn

from swaplib.data import Dataset
from swaplib.faces import Faces
from swaplib.generators.stylegan2 import StyleGAN2
from swaplib.networks import psp
from swaplib.networks.resnet import Basic, ResNet
from swaplib.training.model import FrozenModel, Phase, Stage, cosine


@dataclass(frozen=True)
class Config:
    """Sizes and loss weights."""

    size: int = 256
    generator_preset: str = "paper"
    width: int = 64  # channels of the trunk's first level, doubling three times
    blocks: int = 2  # residual blocks per level
    codes: float = 1  # squared error of known codes
    pictures: float = 5  # absolute error of reconstructed pictures
    known: float = 0  # squared error of rendered faces' codes, in their variances: of a renderer's pupil alone
    truncation: float = 0.7  # ψ of its training codes: nearer the mean, where codes show faces
    learning_rate: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    batch: int = 16
    steps: int = 200_000

    @classmethod
    def paper(cls) -> Config:
        """Return sizes that are small for 256 px: the published encoders are `swaplib.networks.psp`."""
        return cls()

    @classmethod
    def demo(cls) -> Config:
        """Return sizes for a CPU: 128 px."""
        return cls(size=128, generator_preset="demo", width=24, blocks=1, known=1, steps=12_000)

    @classmethod
    def smoke(cls) -> Config:
        return replace(cls.demo(), size=32, generator_preset="smoke", width=8, known=0, batch=4, steps=20)


class StyleEncoder(FrozenModel):
    """Maps pictures in portrait framing to codes (B, layers, w) of the generator of a preset."""

    name = "stylegan2_encoder"
    Config = Config
    stand_ins: ClassVar[tuple[str, ...]] = ("e4e", "psp")
    training_only: ClassVar[tuple[str, ...]] = ("generator",)

    def __init__(self, config: Config, generator: StyleGAN2):
        super().__init__(config, generator=generator)
        layers, w = self.generator.network.layers, self.generator.config.w
        self.trunk = ResNet(Basic, (config.blocks,) * 4, config.width, pool=False)
        # The trunk's level that coarse, middle and fine layers, split as in pSp, are read from.
        self.levels = [3 if layer < 3 else 2 if layer < 7 else 1 for layer in range(layers)]
        self.heads = nn.ModuleList(nn.Linear(16 * (config.width << level), w) for level in self.levels)
        self.register_buffer("mean", self.generator.network.mapping.w_avg.clone())

    @classmethod
    def frozen_models(cls, config: Config) -> dict[str, tuple[str, str]]:
        return {"generator": ("stylegan2", config.generator_preset)}

    def forward(self, images: torch.Tensor) -> torch.Tensor:  # (B, 3, H, W) -> (B, layers, w)
        """Return the codes, float32, of images in [-1, 1]."""
        maps = self.trunk.features(Faces(images).resize(self.config.size).images)
        seen = [F.adaptive_avg_pool2d(one, 4).flatten(1) for one in maps]
        codes = [head(seen[level]) for head, level in zip(self.heads, self.levels, strict=True)]
        return self.mean + torch.stack(codes, 1).float()

    @torch.no_grad()
    def preview(self, faces: Faces) -> torch.Tensor:
        """Show pictures, and what the generator makes of their codes: (2, B, 3, S, S)."""
        faces = faces.resize(self.generator.config.size).to(self.mean.device)
        return torch.stack([faces.images, self.generator(self(faces.images))])

    @torch.no_grad()
    def report(self, dataset: Dataset) -> dict[str, float]:
        """Measure the mean absolute error, of a range of 1, of pictures generated from the codes that it reads.

        Once of the dataset's pictures, once of random pictures of the generator's own.
        """
        size, count = self.generator.config.size, min(len(dataset), 256)
        own = self.generator.sample(count, truncation=self.config.truncation).split(32)
        missed = {
            "pictures": [self._missed(faces.resize(size).images) for faces in dataset.batches(32)],
            "own pictures": [self._missed(self.generator(ws)) for ws in own],
        }
        return {name: float(torch.cat(values).mean()) for name, values in missed.items()}

    def _missed(self, images: torch.Tensor) -> torch.Tensor:
        return (self.generator(self(images)) - images).abs().mean((1, 2, 3)) / 2

    # -- training

    @property
    def mirrored(self) -> bool:
        """Whether pictures are mirrored: not those whose factors are read."""
        return not self.config.known

    def phases(self) -> list[Phase]:
        self.generator.require_weights()
        if self.config.known:
            self.generator.require_pupil()
        parameters = [*self.trunk.parameters(), *self.heads.parameters()]
        return [Phase("encoder", parameters, self._losses, 1, self.config.learning_rate, self.config.betas)]

    @classmethod
    def stages(cls, config: Config) -> list[Stage]:
        if not config.known:
            return [Stage("whole", config, 1.0, cosine(1, 0.02))]
        reading = Stage("reading", replace(config, codes=0, pictures=0), 0.9, cosine(1, 0.5))
        return [reading, Stage("whole", config, 0.1, cosine(0.5, 0.02))]

    def _losses(self, faces: Faces) -> dict[str, torch.Tensor]:
        losses = self._own_losses(faces) if self.config.pictures else {}
        if self.config.known:
            losses["known"] = self.generator.compare_codes(self(faces.images), self.generator.read(faces))
        return losses

    def _own_losses(self, faces: Faces) -> dict[str, torch.Tensor]:
        network = self.generator.network
        with torch.no_grad():
            z = torch.randn(len(faces), self.generator.config.z, device=self.mean.device)
            codes = network.plus(network.mapping(z), self.config.truncation)
            drawn = network.synthesis(codes).clamp(-1, 1)
        found = self(torch.cat([drawn, faces.images]))
        shown = network.synthesis(found)
        return {
            "codes": F.mse_loss(found[: len(codes)], codes),
            "pictures": F.l1_loss(shown, torch.cat([drawn, faces.resize(shown.shape[-1]).images])),
        }


# ---------------------------------------------------------------------------------------------- published encoders


@dataclass(frozen=True)
class PublishedConfig:
    """Sizes, which an imported file brings along."""

    size: int = 1024  # pixels of the generator's pictures
    width: int = 64  # channels of the trunk's first level
    w: int = 512

    @classmethod
    def paper(cls) -> PublishedConfig:
        return cls()

    @classmethod
    def smoke(cls) -> PublishedConfig:
        return cls(size=32, width=16, w=16)

    demo = smoke


class PublishedEncoder(FrozenModel):
    """Maps pictures aligned "ffhq" to codes (B, layers, w), with the file's mean code: imported, never trained here."""

    Config = PublishedConfig
    official: ClassVar[tuple[str, ...]] = ("network", "mean")
    kind: ClassVar[type[psp.Encoder]]

    def __init__(self, config: PublishedConfig):
        super().__init__(config)
        self.network = self.kind(config.size, config.width, config.w)
        self.register_buffer("mean", torch.zeros(self.network.layers, config.w))

    @classmethod
    def from_network(cls, network: psp.Encoder) -> PublishedEncoder:
        """Return the model of a network as `published.load_official` builds it."""
        width, w = network.input_layer[0].out_channels, network.latent_avg.shape[1]
        model = cls(PublishedConfig(2 << network.layers // 2, width, w))
        model.network.load_state_dict(network.state_dict())
        model.mean.copy_(network.latent_avg)
        return model

    def forward(self, images: torch.Tensor) -> torch.Tensor:  # (B, 3, H, W) -> (B, layers, w)
        """Return the codes of images in [-1, 1]."""
        return self.mean + self.network(images)


class E4E(PublishedEncoder):
    """e4e's encoder."""

    name = "e4e"
    kind = psp.Encoder4Editing


class PSP(PublishedEncoder):
    """pSp's encoder."""

    name = "psp"
    kind = psp.GradualStyleEncoder
