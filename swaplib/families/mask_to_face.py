"""Two systems that Mask-Guided Portrait Editing was compared with (Gu et al. 2019, Fig. 4): from a mask to a face.

    pix2pixHD    Wang, Liu, Zhu, Tao, Kautz, Catanzaro: High-Resolution Image Synthesis and Semantic Manipulation with
                 Conditional GANs. CVPR 2018, arXiv:1711.11585.
    BicycleGAN   Zhu, Zhang, Pathak, Darrell, Efros, Wang, Shechtman: Toward Multimodal Image-to-Image Translation.
                 NeurIPS 2017, arXiv:1711.11586.

    pix2pixHD    mask ─ G ─ picture                        one picture for each mask
    BicycleGAN   mask, code ─ G ─ picture                  code = E(picture), or random: each gives another picture

| | code of a picture | losses | discriminators |
|---|---|---|---|
| pix2pixHD | none | discriminator, its features | pairs of picture and mask, two scales |
| BicycleGAN | normal, KL to standard | discriminators, L1 of pixels, of recovered random codes | one for each half |

| paper | here |
|---|---|
| λ of pix2pixHD | `features_matched` |
| λ, λ_KL, λ_latent of BicycleGAN | `reconstruction`, `kl`, `code` |

To compare the three at equal size, generator and discriminators are those of Mask-Guided Portrait Editing
(`swaplib.networks.pix2pixhd`), with the same background fused in. A swap takes the source's mask in pix2pixHD, its code
in BicycleGAN. A code of BicycleGAN may also be drawn from the standard normal distribution, whatever the mask.

Where we differ from the papers, and why:
- Discriminators return logits and generators get the non-saturating loss, as in the system that they are compared with;
  both papers take least squares.
- pix2pixHD compares features of all the discriminator's layers, here of the last but one, and has no local enhancer and
  no VGG loss here. BicycleGAN's code is concatenated on the generator's coarsest grid, not to its input.
- BicycleGAN's two cycles are the halves of a batch, and recovering random codes trains only the generator, both as in
  its authors' code.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call

from swaplib.faces import MGPE, Faces, members, one_hot, relabel
from swaplib.families.base import Codes, Family, Part
from swaplib.judges.parsing import Parser, label_faces
from swaplib.networks import blocks
from swaplib.networks.codes import draw, kl_divergence
from swaplib.networks.pix2pixhd import (
    Generator,
    MultiscaleDiscriminator,
    discriminator_loss,
    feature_matching,
    generator_loss,
    start_normal,
)
from swaplib.training.model import Phase, Stage, linear


@dataclass(frozen=True)
class Config:
    """Sizes (pixels, channels) and training; those of a family add the weights of its losses."""

    size: int = 256
    width: int = 64  # channels of the generator at full size, doubling with each halving
    halvings: int = 2
    blocks: int = 9  # residual blocks of the generator
    width_discriminators: int = 64
    parser_preset: str = "paper"  # of the parser, for pictures without labels
    adversarial: float = 1
    discriminator: float = 1
    learning_rate: float = 2e-4
    betas: tuple[float, float] = (0.5, 0.999)
    steady: float = 10 / 55  # share of the training at the full rate, which then falls to nothing
    batch: int = 4
    steps: int = 302_500

    @classmethod
    def paper(cls) -> Config:
        """Return 256 px, and a training as long as Mask-Guided Portrait Editing's."""
        return cls()

    @classmethod
    def demo(cls) -> Config:
        """Return sizes for a CPU: 64 px in portrait framing."""
        return cls(
            size=64, width=24, halvings=1, blocks=3, width_discriminators=16, parser_preset="demo", learning_rate=1e-3,
            steady=0.5, batch=8, steps=30_000,
        )  # fmt: skip

    @classmethod
    def smoke(cls) -> Config:
        return replace(
            cls.demo(), size=32, width=8, blocks=1, width_discriminators=8, parser_preset="smoke", batch=4, steps=20
        )  # fmt: skip


# ----------------------------------------------------------------------------------------------------------- networks
# Generator and discriminators are `swaplib.networks.pix2pixhd`.


class CodeEncoder(nn.Module):
    """Maps a picture to mean and log-variance of its code."""

    def __init__(self, config: BicycleGANConfig):
        super().__init__()
        channels = blocks.channels(config.size, config.width_encoder, config.most)
        self.body = blocks.down(3, channels)
        self.head = nn.Linear(channels[-1] * 16, 2 * config.z)

    def forward(self, images):  # (B, 3, S, S) -> (B, Z), (B, Z)
        mean, log_variance = self.head(self.body(images).flatten(1)).float().chunk(2, 1)
        return mean, log_variance


# ------------------------------------------------------------------------------------------------------------- losses
# They are `swaplib.networks.pix2pixhd` and `swaplib.networks.codes`.


# ------------------------------------------------------------------------------------------------------------- family


class MaskToFace(Family):
    """The base of both: faces with labels at the config's size; where they have none, the parser finds them.

    mask        MGPE's 11 classes (`faces.MGPE`)
    background  the whole picture, of which only what the mask calls background is used
    """

    training_only: ClassVar[tuple[str, ...]] = ("discriminators",)

    def __init__(
        self,
        config: Config,
        parser: Parser,
        vectors: tuple[Part, ...] = (),
        discriminators: tuple[str, ...] = ("paired",),
    ):
        super().__init__(config, parser=parser)
        size = config.size
        self.parts = (
            *vectors,
            Part("mask", (size, size), "labels", "mgpe"),
            Part("background", (3, size, size), "image", regions=members("mgpe", "background")),
        )
        beside = sum(part.shape[0] for part in vectors)
        self.generator = Generator(len(MGPE), config.width, config.halvings, config.blocks, beside)
        self.discriminators = nn.ModuleDict(
            {name: MultiscaleDiscriminator(len(MGPE) + 3, config.width_discriminators) for name in discriminators}
        )
        start_normal(self)

    # -- the contract

    @classmethod
    def frozen_models(cls, config: Config) -> dict[str, tuple[str, str]]:
        return {"parser": ("parser", config.parser_preset)}

    def encode(self, faces: Faces) -> Codes:
        """Return the mask and the picture.

        Raises ValueError for pictures of another size, and for faces without labels where the parser has no weights.
        """
        self.check_size(faces.images)
        labels = label_faces(faces, self.parser)
        return {"mask": relabel(labels, target="mgpe"), "background": faces.images}

    def decode(self, codes: Codes) -> torch.Tensor:
        mask = one_hot(codes["mask"], len(MGPE))
        grid = (self.config.size >> self.config.halvings,) * 2
        planes = [codes[part.name][:, :, None, None].expand(-1, -1, *grid) for part in self.parts[:-2]]
        return self.generator(mask, codes["background"], planes)

    # -- training

    def phases(self) -> list[Phase]:
        rate, betas = self.config.learning_rate, self.config.betas
        judges = {id(parameter) for parameter in self.discriminators.parameters()}
        generator = [parameter for parameter in self.parameters() if id(parameter) not in judges]
        return [
            Phase("generator", generator, self._generator_losses, 1, rate, betas),
            Phase("discriminators", [*self.discriminators.parameters()], self._discriminator_losses, 1, rate, betas),
        ]

    @classmethod
    def stages(cls, config: Config) -> list[Stage]:
        return [Stage("whole", config, 1.0, linear(config.steady))]

    def _compare(self, name: str, codes: Codes, fakes: torch.Tensor) -> list[tuple]:
        """Return a discriminator's outputs for generated pictures and for the real ones, which `background` is."""
        return self.discriminators[name].compared(one_hot(codes["mask"], len(MGPE)), fakes, codes["background"])


# ---------------------------------------------------------------------------------------------------------- pix2pixHD


@dataclass(frozen=True)
class Pix2PixHDConfig(Config):
    """The weight of pix2pixHD's loss."""

    features_matched: float = 10  # λ, eq. (5)


class Pix2PixHD(MaskToFace):
    """Deterministic: a mask has one face, in front of any background."""

    name = "pix2pixhd"
    Config = Pix2PixHDConfig
    swap_parts = ("mask",)

    def _generator_losses(self, faces: Faces) -> dict[str, torch.Tensor]:
        codes = self.encode(faces)
        outputs = self._compare("paired", codes, self.decode(codes))
        return {"adversarial": generator_loss(outputs), "features_matched": feature_matching(outputs)}

    def _discriminator_losses(self, faces: Faces) -> dict[str, torch.Tensor]:
        codes = self.encode(faces)
        with torch.no_grad():
            fakes = self.decode(codes)
        return {"discriminator": discriminator_loss(self._compare("paired", codes, fakes))}


# --------------------------------------------------------------------------------------------------------- BicycleGAN


@dataclass(frozen=True)
class BicycleGANConfig(Config):
    """Sizes of BicycleGAN's code and encoder, and the weights of its losses."""

    z: int = 8  # dimensions of the code
    width_encoder: int = 64  # channels after the first convolution, doubling each time
    most: int = 256  # channels at most
    reconstruction: float = 10  # λ
    kl: float = 0.01  # λ_KL
    code: float = 0.5  # λ_latent
    adversarial_random: float = 1
    discriminator_random: float = 1

    @classmethod
    def demo(cls) -> BicycleGANConfig:
        return replace(super().demo(), width_encoder=24, most=128)

    @classmethod
    def smoke(cls) -> BicycleGANConfig:
        return replace(super().smoke(), width_encoder=8, most=16)


class BicycleGAN(MaskToFace):
    """A code of a few dimensions says how a mask is filled. Training takes batches of at least two faces."""

    name = "bicyclegan"
    Config = BicycleGANConfig
    swap_parts = ("appearance",)

    def __init__(self, config: BicycleGANConfig, parser: Parser):
        super().__init__(
            config,
            parser,
            (Part("appearance", (config.z,), regions=members("mgpe", *MGPE[1:])),),
            ("encoded", "random"),
        )
        self.encoder = CodeEncoder(config)
        start_normal(self.encoder)

    def encode(self, faces: Faces) -> Codes:
        """Return the mean code, the mask and the picture; raise ValueError as `MaskToFace.encode` does."""
        codes = super().encode(faces)
        return {"appearance": self.encoder(faces.images)[0], **codes}

    def _halves(self, faces: Faces) -> tuple[Codes, Codes, tuple[torch.Tensor, torch.Tensor]]:
        """Return codes of the first and the second half of a batch, and the first's means and log-variances.

        The first half's appearance is drawn around its means, the second's from the standard normal distribution.
        """
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
        # Decoded separately, so that batch statistics carry nothing from one half to the other.
        encoded, random = self.decode(first), self.decode(second)
        still = {name: parameter.detach() for name, parameter in self.encoder.named_parameters()}
        found, _ = functional_call(self.encoder, still, (random,))
        return {
            "adversarial": generator_loss(self._compare("encoded", first, encoded)),
            "adversarial_random": generator_loss(self._compare("random", second, random)),
            "reconstruction": F.l1_loss(encoded, first["background"]),
            "kl": kl_divergence(*distribution),
            "code": F.l1_loss(found, second["appearance"]),
        }

    def _discriminator_losses(self, faces: Faces) -> dict[str, torch.Tensor]:
        with torch.no_grad():
            first, second, _ = self._halves(faces)
            encoded, random = self.decode(first), self.decode(second)
        return {
            "discriminator": discriminator_loss(self._compare("encoded", first, encoded)),
            "discriminator_random": discriminator_loss(self._compare("random", second, random)),
        }
