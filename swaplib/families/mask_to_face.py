"""Two systems that Mask-Guided Portrait Editing was compared with (Gu et al. 2019, Fig. 4): from a mask to a face.

    pix2pixHD    Wang, Liu, Zhu, Tao, Kautz, Catanzaro: High-Resolution Image Synthesis and Semantic Manipulation with
                 Conditional GANs. CVPR 2018, arXiv:1711.11585.
    BicycleGAN   Zhu, Zhang, Pathak, Darrell, Efros, Wang, Shechtman: Toward Multimodal Image-to-Image Translation.
                 NeurIPS 2017, arXiv:1711.11586.

    pix2pixHD    mask ─ G ─ picture                        one picture for each mask
    BicycleGAN   mask, code ─ G ─ picture                  code = E(picture), or random: each gives another picture

| | code of a picture | losses | critics |
|---|---|---|---|
| pix2pixHD | none | critic, its features | pairs of picture and mask, two scales |
| BicycleGAN | normal, KL to standard | critics, L1 of pixels and of random codes found again | one for each half |

So that the three are compared at equal size, generator and critics are those of Mask-Guided Portrait Editing
(`swaplib.networks.pix2pixhd`), with the same background fused in. A swap takes the source's mask in the first, its code
in the second. A code of BicycleGAN may also be drawn from the standard normal distribution, whatever the mask.

Where we differ from the papers, and why:
- Critics are asked for logits and generators get the non-saturating loss, as in the system that they are compared with;
  both papers take least squares.
- pix2pixHD compares all of the critic's layers, here the last but one, and has no local enhancer and no network of
  VGG's. BicycleGAN's code is concatenated on the generator's coarsest grid, not to its input.
- BicycleGAN's two cycles are the halves of a batch, as in its authors' code. Random codes found again train the
  generator alone, as there.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call

from swaplib import judges
from swaplib.faces import MGPE, Faces, members, one_hot, relabel
from swaplib.families.base import Codes, Family, Part
from swaplib.judges.parsing import labelled
from swaplib.networks import blocks
from swaplib.networks.codes import draw, kl_divergence
from swaplib.networks.pix2pixhd import Critic, Generator, feature_matching, fooling, start_normal, telling
from swaplib.training.model import Phase, Stage, linear


@dataclass(frozen=True)
class Config:
    """Sizes (pixels, channels) and training; those of a family add the weights of its losses."""

    size: int = 256
    width: int = 64  # channels of the generator at full size, doubling with each halving
    halvings: int = 2
    blocks: int = 9  # residual ones of the generator
    width_critics: int = 64
    parser_preset: str = "paper"  # of the parser, for pictures without labels
    adversarial: float = 1
    critic: float = 1
    learning_rate: float = 2e-4
    betas: tuple[float, float] = (0.5, 0.999)
    steady: float = 10 / 55  # share of the training at the full rate, which then falls to nothing
    batch: int = 4
    steps: int = 302_500

    @classmethod
    def paper(cls) -> Config:
        """256 px, as long as Mask-Guided Portrait Editing."""
        return cls()

    @classmethod
    def demo(cls) -> Config:
        """64 px in portrait framing, for a CPU."""
        return cls(
            size=64, width=24, halvings=1, blocks=3, width_critics=16, parser_preset="demo", learning_rate=1e-3,
            steady=0.5, batch=8, steps=30_000,
        )  # fmt: skip

    @classmethod
    def smoke(cls) -> Config:
        return replace(
            cls.demo(), size=32, width=8, blocks=1, width_critics=8, parser_preset="smoke", batch=4, steps=20
        )  # fmt: skip


class MaskToFace(Family):
    """What the two share: faces with labels at the config's size; where they have none, the parser finds them.

    mask        MGPE's 11 classes (`faces.MGPE`)
    background  the whole picture, of which only what the mask calls background is used
    """

    training_only: ClassVar[tuple[str, ...]] = ("critics",)

    def __init__(self, config: Config, vectors: tuple[Part, ...] = (), critics: tuple[str, ...] = ("paired",)):
        super().__init__(config)
        size = config.size
        self.parts = (
            *vectors,
            Part("mask", (size, size), "labels", "mgpe"),
            Part("background", (3, size, size), "image", regions=members("mgpe", "background")),
        )
        beside = sum(part.shape[0] for part in vectors)
        self.generator = Generator(len(MGPE), config.width, config.halvings, config.blocks, beside)
        self.critics = nn.ModuleDict({name: Critic(len(MGPE) + 3, config.width_critics) for name in critics})
        start_normal(self)

    def encode(self, faces: Faces) -> Codes:
        """The mask and the picture.

        Raises ValueError for pictures of another size, and for faces without labels where the parser has no weights.
        """
        self.check_size(faces.images)
        labels = labelled(faces, lambda: judges.frozen("parser", self.config.parser_preset))
        return {"mask": relabel(labels, target="mgpe"), "background": faces.images}

    def decode(self, codes: Codes) -> torch.Tensor:
        mask = one_hot(codes["mask"], len(MGPE))
        grid = (self.config.size >> self.config.halvings,) * 2
        planes = [codes[part.name][:, :, None, None].expand(-1, -1, *grid) for part in self.parts[:-2]]
        return self.generator(mask, codes["background"], planes)

    def phases(self) -> list[Phase]:
        rate, betas = self.config.learning_rate, self.config.betas
        judges = {id(parameter) for parameter in self.critics.parameters()}
        generator = [parameter for parameter in self.parameters() if id(parameter) not in judges]
        return [
            Phase("generator", generator, self._generator_losses, 1, rate, betas),
            Phase("critics", [*self.critics.parameters()], self._critic_losses, 1, rate, betas),
        ]

    @classmethod
    def stages(cls, config: Config) -> list[Stage]:
        return [Stage("whole", config, 1.0, linear(config.steady))]

    def _opinions(self, name: str, codes: Codes, fakes: torch.Tensor) -> list[tuple]:
        """A critic's of generated pictures, and of the real ones, which `background` is."""
        return self.critics[name].compared(one_hot(codes["mask"], len(MGPE)), fakes, codes["background"])


# -------------------------------------------------------------------------------------------------------- pix2pixHD


@dataclass(frozen=True)
class Pix2PixHDConfig(Config):
    features_matched: float = 10  # λ, eq. (5)


class Pix2PixHD(MaskToFace):
    """Deterministic: a mask has one face, before any background."""

    name = "pix2pixhd"
    Config = Pix2PixHDConfig
    swap_parts = ("mask",)

    def _generator_losses(self, faces: Faces) -> dict[str, torch.Tensor]:
        codes = self.encode(faces)
        opinions = self._opinions("paired", codes, self.decode(codes))
        return {"adversarial": fooling(opinions), "features_matched": feature_matching(opinions)}

    def _critic_losses(self, faces: Faces) -> dict[str, torch.Tensor]:
        codes = self.encode(faces)
        with torch.no_grad():
            fakes = self.decode(codes)
        return {"critic": telling(self._opinions("paired", codes, fakes))}


# ------------------------------------------------------------------------------------------------------- BicycleGAN


@dataclass(frozen=True)
class BicycleGANConfig(Config):
    z: int = 8  # dimensions of the code
    width_encoder: int = 64  # channels after the first convolution, doubling each time
    most: int = 256  # of them at most
    reconstruction: float = 10  # λ
    kl: float = 0.01  # λ_KL
    code: float = 0.5  # λ_latent
    adversarial_random: float = 1
    critic_random: float = 1

    @classmethod
    def demo(cls) -> BicycleGANConfig:
        return replace(super().demo(), width_encoder=24, most=128)

    @classmethod
    def smoke(cls) -> BicycleGANConfig:
        return replace(super().smoke(), width_encoder=8, most=16)


class CodeEncoder(nn.Module):
    """A picture to mean and log-variance of its code."""

    def __init__(self, config: BicycleGANConfig):
        super().__init__()
        channels = blocks.channels(config.size, config.width_encoder, config.most)
        self.body = blocks.down(3, channels)
        self.head = nn.Linear(channels[-1] * 16, 2 * config.z)

    def forward(self, images):  # (B, 3, S, S) -> (B, Z), (B, Z)
        mean, log_variance = self.head(self.body(images).flatten(1)).float().chunk(2, 1)
        return mean, log_variance


class BicycleGAN(MaskToFace):
    """A code of a few dimensions says how a mask is filled. Training takes batches of at least two faces."""

    name = "bicyclegan"
    Config = BicycleGANConfig
    swap_parts = ("appearance",)

    def __init__(self, config: BicycleGANConfig):
        super().__init__(
            config, (Part("appearance", (config.z,), regions=members("mgpe", *MGPE[1:])),), ("encoded", "random")
        )
        self.encoder = CodeEncoder(config)
        start_normal(self.encoder)

    def encode(self, faces: Faces) -> Codes:
        """The mean code, the mask and the picture. Raises ValueError as the other family does."""
        codes = super().encode(faces)
        return {"appearance": self.encoder(faces.images)[0], **codes}

    def _halves(self, faces: Faces) -> tuple[Codes, Codes, tuple[torch.Tensor, torch.Tensor]]:
        """Codes of the first half drawn around their means, those of the second from the standard normal distribution;
        and the first half's means and log-variances."""
        if len(faces) < 2:
            raise ValueError("BicycleGAN learns from the halves of a batch: give batches of at least 2 faces")
        codes, middle = super().encode(faces), len(faces) - len(faces) // 2
        halves = slice(middle), slice(middle, None)
        first, second = ({name: code[half] for name, code in codes.items()} for half in halves)
        distribution = self.encoder(first["background"])
        random = torch.randn(len(faces) - middle, self.config.z, device=faces.images.device)
        return first | {"appearance": draw(*distribution)}, second | {"appearance": random}, distribution

    def _generator_losses(self, faces: Faces) -> dict[str, torch.Tensor]:
        first, second, distribution = self._halves(faces)
        # Apart, so that no statistics of a batch carry what one half learns to the other.
        encoded, random = self.decode(first), self.decode(second)
        still = {name: parameter.detach() for name, parameter in self.encoder.named_parameters()}
        found, _ = functional_call(self.encoder, still, (random,))
        return {
            "adversarial": fooling(self._opinions("encoded", first, encoded)),
            "adversarial_random": fooling(self._opinions("random", second, random)),
            "reconstruction": F.l1_loss(encoded, first["background"]),
            "kl": kl_divergence(*distribution),
            "code": F.l1_loss(found, second["appearance"]),
        }

    def _critic_losses(self, faces: Faces) -> dict[str, torch.Tensor]:
        with torch.no_grad():
            first, second, _ = self._halves(faces)
            encoded, random = self.decode(first), self.decode(second)
        return {
            "critic": telling(self._opinions("encoded", first, encoded)),
            "critic_random": telling(self._opinions("random", second, random)),
        }
