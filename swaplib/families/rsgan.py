"""RSGAN: a face and its hair in latent spaces of their own.

Ryota Natsume, Tatsuya Yatagawa, Shigeo Morishima: RSGAN: Face Swapping and Editing using Face and Hair Representation
in Latent Spaces. 2018, arXiv:1804.03447.

    x, c ─ FE-xf ─ z_xf ─┬─ FD-f ─ face crop          x  picture            c  its attributes
      c ── FE-cf ─ z_cf ─┤                             f  face region        h  hair region
                         ├─ G ── x'                    z_x appearance        z_c attributes
    x, c ─ FE-xh ─ z_xh ─┤
      c ── FE-ch ─ z_ch ─┴─ FD-h ─ hair crop          a swap takes z_xf, z_cf from the source

| paper | here | paper | here |
|---|---|---|---|
| FE-xf, FE-xh | `encoders["face"]`, `["hair"]` | G | `composer` |
| FE-cf, FE-ch | `encoders["face_attributes"]`, `["hair_attributes"]` | D_g, D_p | `critics["global"]`, `["patch"]` |
| FD-f, FD-h | `decoders["face"]`, `["hair"]` | C | `classifier` |
| M_BG, β | `background`, `Config.spare` | λ | the fields of `Config` under the losses' names |

Where the paper is silent or where we differ, and why:
- Layers and latent sizes are not given: stride-2 4 x 4 convolutions down to 4 x 4, batch normalisation, 128 and 64
  dimensions a region. All sizes are fields of the config.
- λ_rec = 4000 balances a KL divergence summed over dimensions only if L1 is a mean over pixels: so it is here.
- The printed adversarial loss is the critics'; encoders, decoders and composer take the non-saturating form.
- A random picture keeps the batch's attribute codes and draws the two appearance codes, so that the classifier's loss
  on it has a target.
- Attributes that a picture lacks (NaN) count as absent where they are an input and are left out of the losses.
- The demo's hull covers brows and cheeks too: the paper's, of landmarks 27 to 67, leaves two-tone faces at its scale.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import nn

from swaplib import photos
from swaplib.faces import CELEBA_ATTRIBUTES, Faces, region
from swaplib.families.base import Codes, Family, Part, Phase


@dataclass(frozen=True)
class Config:
    """Sizes (pixels, channels, dimensions), options and loss weights. Sections are the paper's."""

    size: int = 128  # §3.1
    width: int = 64  # channels of encoders, critics and classifier after the first convolution; doubling each time
    width_parts: int = 64  # channels of the part decoders at their last resolution
    width_composer: int = 64  # the same of the composer
    most: int = 512  # channels at most
    z_x: int = 128  # dimensions of an appearance code
    z_c: int = 64  # dimensions of an attribute code
    attributes: tuple[str, ...] = CELEBA_ATTRIBUTES  # §3.2
    face_crop: tuple[float, float, float] = (30 / 178, 50 / 178, 118 / 178)  # left, top, side; shares of the picture
    hull: int = 27  # first of the landmarks whose hull is the face, §3.2
    spare: float = 0.5  # β: how much of the background the reconstruction losses leave out, §3.1
    variational: bool = True  # §4.2: the other variant reconstructs better and can't sample
    random_branch: bool = True  # §3: without random codes the composer ignores the face's
    # Weights of the losses, §3.1.
    reconstruction: float = 4000
    face_reconstruction: float = 4000
    hair_reconstruction: float = 4000
    kl: float = 1
    adversarial_global: float = 20
    adversarial_patch: float = 30
    generated_classification: float = 50
    critic_global: float = 20
    critic_patch: float = 30
    classification: float = 1
    # §3.1, §4
    learning_rate: float = 2e-4
    betas: tuple[float, float] = (0.5, 0.999)
    batch: int = 50
    steps: int = 120_000

    @classmethod
    def paper(cls) -> Config:
        """128 px, for pictures aligned as CelebA's and cropped to their lower 178 x 178 pixels."""
        return cls()

    @classmethod
    def demo(cls) -> Config:
        """64 px in portrait framing, sized for a CPU."""
        return cls(
            size=64, width=32, width_parts=24, width_composer=40, most=320, face_crop=(0.165, 0.2425, 0.675), hull=0,
            kl=0.05, generated_classification=20, adversarial_global=10, adversarial_patch=15,
            critic_global=10, critic_patch=15, learning_rate=1e-3, betas=(0.9, 0.999), batch=16, steps=40_000,
        )  # fmt: skip

    @classmethod
    def smoke(cls) -> Config:
        return replace(
            cls.demo(), size=32, width=8, width_parts=8, width_composer=8, most=32, z_x=16, z_c=8, batch=4, steps=20
        )


# ------------------------------------------------------------------------------------------------------- networks
# All of them answer in float32, also under bfloat16: the losses need the digits.


def _channels(config: Config, width: int) -> list[int]:
    """Channels from the picture's resolution down to 4 x 4."""
    halvings = (config.size // 4).bit_length() - 1
    if config.size != 4 << halvings or halvings < 2:
        raise ValueError(f"size must be a power of two from 16 on, got {config.size}")
    return [min(width << k, config.most) for k in range(halvings)]


def _down(inputs: int, channels: list[int], first_norm: bool = True) -> nn.Sequential:
    """Stride-2 convolutions: (B, inputs, S, S) -> (B, channels[-1], 4, 4)."""
    layers: list[nn.Module] = []
    for k, outputs in enumerate(channels):
        layers.append(nn.Conv2d(inputs, outputs, 4, 2, 1))
        if k or first_norm:
            layers.append(nn.BatchNorm2d(outputs))
        layers.append(nn.LeakyReLU(0.2))
        inputs = outputs
    return nn.Sequential(*layers)


class Encoder(nn.Module):
    """Picture and attributes to mean and log-variance of an appearance code."""

    def __init__(self, config: Config):
        super().__init__()
        channels = _channels(config, config.width)
        self.body = _down(3 + len(config.attributes), channels)
        self.head = nn.Linear(channels[-1] * 16, 2 * config.z_x)

    def forward(self, images, attributes):  # (B, 3, S, S), (B, A) -> (B, Z), (B, Z)
        planes = attributes[:, :, None, None].expand(-1, -1, *images.shape[-2:])
        mean, log_variance = self.head(self.body(torch.cat([images, planes], 1)).flatten(1)).float().chunk(2, 1)
        return mean, log_variance


class AttributeEncoder(nn.Module):
    """Attributes to mean and log-variance of an attribute code."""

    def __init__(self, config: Config):
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(len(config.attributes), 256), nn.LeakyReLU(0.2), nn.Linear(256, 2 * config.z_c)
        )

    def forward(self, attributes):  # (B, A) -> (B, Z), (B, Z)
        mean, log_variance = self.body(attributes).float().chunk(2, 1)
        return mean, log_variance


class Decoder(nn.Module):
    """Codes to a picture in [-1, 1]: the part decoders and the composer."""

    def __init__(self, config: Config, inputs: int, width: int):
        super().__init__()
        channels = _channels(config, width)[::-1]
        self.seed = nn.Linear(inputs, channels[0] * 16)
        layers: list[nn.Module] = [nn.BatchNorm2d(channels[0]), nn.LeakyReLU(0.2)]
        for wide, narrow in zip(channels, [*channels[1:], channels[-1]], strict=True):
            layers += [nn.ConvTranspose2d(wide, narrow, 4, 2, 1), nn.BatchNorm2d(narrow), nn.LeakyReLU(0.2)]
        self.body = nn.Sequential(*layers, nn.Conv2d(channels[-1], 3, 3, 1, 1), nn.Tanh())

    def forward(self, *codes):  # (B, …) each -> (B, 3, S, S)
        return self.body(self.seed(torch.cat(codes, 1)).unflatten(1, (-1, 4, 4))).float()


class Critic(nn.Module):
    """A logit for the picture (global), or for each of its patches (pix2pix)."""

    def __init__(self, config: Config, patches: bool):
        super().__init__()
        channels = _channels(config, config.width)
        channels = channels[:-2] if patches else channels
        self.body = _down(3, channels, first_norm=False)
        self.head = nn.Conv2d(channels[-1], 1, 3, 1, 1) if patches else nn.Conv2d(channels[-1], 1, 4)

    def forward(self, images):  # (B, 3, S, S) -> (B, 1, P, P)
        return self.head(self.body(images)).float()


class Classifier(nn.Module):
    """Picture to the logits of its attributes."""

    def __init__(self, config: Config):
        super().__init__()
        channels = _channels(config, config.width)
        self.body = _down(3, channels, first_norm=False)
        self.head = nn.Linear(channels[-1] * 16, len(config.attributes))

    def forward(self, images):  # (B, 3, S, S) -> (B, A)
        return self.head(self.body(images).flatten(1)).float()


# --------------------------------------------------------------------------------------------------------- losses


def kl_divergence(mean: torch.Tensor, log_variance: torch.Tensor) -> torch.Tensor:
    """½ (μᵀμ + Σ (σ − log σ − 1)) with σ the variance, summed over dimensions, mean over the batch (§3.1)."""
    return 0.5 * (mean**2 + log_variance.exp() - log_variance - 1).sum(1).mean()


def weighted_l1(images: torch.Tensor, truth: torch.Tensor, background: torch.Tensor, spare: float) -> torch.Tensor:
    """Mean of |x' − x| (1 − β M) with the background mask M (B, 1, H, W) (§3.1)."""
    return ((images - truth).abs() * (1 - spare * background)).mean()


def critic_loss(real: torch.Tensor, fakes: list[torch.Tensor]) -> torch.Tensor:
    """−log D(x) − Σ log(1 − D(x')) of logits, over the fake pictures x' (§3.1)."""
    return F.softplus(-real).mean() + sum(F.softplus(fake).mean() for fake in fakes)


def fooling_loss(fakes: list[torch.Tensor]) -> torch.Tensor:
    """The non-saturating counterpart: −Σ log D(x') of logits."""
    return sum(F.softplus(-fake).mean() for fake in fakes)


def attribute_loss(logits: torch.Tensor, attributes: torch.Tensor) -> torch.Tensor:
    """Binary cross-entropy, mean over the attributes that are known (not NaN)."""
    known = ~attributes.isnan()
    terms = F.binary_cross_entropy_with_logits(logits, attributes.nan_to_num(0), reduction="none")
    return (terms * known).sum() / known.sum().clamp(min=1)


# --------------------------------------------------------------------------------------------------------- family


class RSGAN(Family):
    """Faces at the config's size. Encoding needs pictures alone: the classifier estimates their attributes.

    Training also needs landmarks and attributes, and labels to tell the background (without them nothing is spared).
    """

    name = "rsgan"
    Config = Config
    swap_parts = ("face", "face_attributes")
    training_only: ClassVar[tuple[str, ...]] = ("critics", "decoders")

    def __init__(self, config: Config):
        super().__init__(config)
        self.parts = (
            Part("face", (config.z_x,)),
            Part("face_attributes", (config.z_c,)),
            Part("hair", (config.z_x,)),
            Part("hair_attributes", (config.z_c,)),
        )
        self.encoders = nn.ModuleDict({
            part.name: AttributeEncoder(config) if part.name.endswith("attributes") else Encoder(config)
            for part in self.parts
        })  # fmt: skip
        both = config.z_x + config.z_c
        self.decoders = nn.ModuleDict({name: Decoder(config, both, config.width_parts) for name in ("face", "hair")})
        self.composer = Decoder(config, 2 * both, config.width_composer)
        self.critics = nn.ModuleDict({"global": Critic(config, False), "patch": Critic(config, True)})
        self.classifier = Classifier(config)
        known = [CELEBA_ATTRIBUTES.index(name) for name in config.attributes]
        self.register_buffer("columns", torch.tensor(known), persistent=False)

    # -- the contract

    def encode(self, faces: Faces, attributes: torch.Tensor | None = None) -> Codes:
        """Means of the four codes. attributes (B, A): other ones than the classifier's estimate, to edit a face."""
        self._check(faces)
        if attributes is None:
            attributes = self.classifier(faces.images).sigmoid()
        return {name: mean for name, (mean, _) in self._distributions(faces.images, attributes).items()}

    def decode(self, codes: Codes) -> torch.Tensor:
        return self.composer(*(codes[part.name] for part in self.parts))

    def sample(self, count: int, seed: int = 0) -> Codes:
        if not self.config.variational:
            raise ValueError("this RSGAN is not variational: its codes follow no known distribution to sample from")
        generator = torch.Generator().manual_seed(seed)
        device = self.columns.device
        return {part.name: torch.randn(count, *part.shape, generator=generator).to(device) for part in self.parts}

    def phases(self) -> list[Phase]:
        autoencoder = [*self.encoders.parameters(), *self.decoders.parameters(), *self.composer.parameters()]
        judges = [*self.critics.parameters(), *self.classifier.parameters()]
        how = {"learning_rate": self.config.learning_rate, "betas": self.config.betas}
        return [
            Phase("autoencoder", autoencoder, self._autoencoder_losses, **how),
            Phase("judges", judges, self._judge_losses, **how),
        ]

    # -- training (Algorithm A1)

    def _check(self, faces: Faces) -> None:
        if faces.size != (self.config.size,) * 2:
            raise ValueError(f"this RSGAN takes {self.config.size} px pictures, got {faces.size}: use faces.resize")

    def _distributions(self, images, attributes) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
        """Mean and log-variance of each part."""
        attributes = attributes.nan_to_num(0)
        return {
            name: encoder(attributes) if name.endswith("attributes") else encoder(images, attributes)
            for name, encoder in self.encoders.items()
        }

    def _draw(self, distributions) -> Codes:
        """Codes at random from their distributions; the means where the variant is not variational."""
        if not self.config.variational:
            return {name: mean for name, (mean, _) in distributions.items()}
        return {
            name: mean + torch.randn_like(mean) * (0.5 * log_variance).exp()
            for name, (mean, log_variance) in distributions.items()
        }

    def _targets(self, faces: Faces) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Face crop (its outside grey), picture with the face grey, and background mask (B, 1, S, S)."""
        if faces.landmarks is None or faces.attributes is None:
            raise ValueError("training RSGAN needs landmarks and attributes: prepare the data with both")
        size = self.config.size
        hull = photos.rsgan_mask(faces.landmarks, size, self.config.hull).to(faces.images.device)[:, None]
        left, top, side = (round(share * size) for share in self.config.face_crop)
        crop = (faces.images * hull)[..., top : top + side, left : left + side]
        face = F.interpolate(crop, (size, size), mode="bilinear", antialias=True)
        unknown = torch.zeros_like(hull)
        background = unknown if faces.labels is None else region(faces.labels, "background")[:, None]
        return face, faces.images * ~hull, background.float()

    def _fakes(self, codes: Codes) -> list[torch.Tensor]:
        """The reconstruction and, with the random branch, a picture of random appearance."""
        fakes = [self.decode(codes)]
        if self.config.random_branch and self.config.variational:
            random = {name: torch.randn_like(codes[name]) for name in ("face", "hair")}
            fakes.append(self.decode(codes | random))
        return fakes

    def _autoencoder_losses(self, faces: Faces) -> dict[str, torch.Tensor]:
        self._check(faces)
        face, hair, background = self._targets(faces)
        attributes = faces.attributes[:, self.columns]
        distributions = self._distributions(faces.images, attributes)
        codes = self._draw(distributions)
        fakes = self._fakes(codes)
        shown_face = self.decoders["face"](codes["face"], codes["face_attributes"])
        shown_hair = self.decoders["hair"](codes["hair"], codes["hair_attributes"])
        losses = {
            "reconstruction": weighted_l1(fakes[0], faces.images, background, self.config.spare),
            "face_reconstruction": (shown_face - face).abs().mean(),
            "hair_reconstruction": weighted_l1(shown_hair, hair, background, self.config.spare),
            "generated_classification": sum(attribute_loss(self.classifier(fake), attributes) for fake in fakes),
        }
        for name, critic in self.critics.items():
            losses[f"adversarial_{name}"] = fooling_loss([critic(fake) for fake in fakes])
        if self.config.variational:
            losses["kl"] = sum(kl_divergence(*distribution) for distribution in distributions.values())
        return losses

    def _judge_losses(self, faces: Faces) -> dict[str, torch.Tensor]:
        attributes = faces.attributes[:, self.columns]
        with torch.no_grad():
            fakes = self._fakes(self._draw(self._distributions(faces.images, attributes)))
        losses = {"classification": attribute_loss(self.classifier(faces.images), attributes)}
        for name, critic in self.critics.items():
            losses[f"critic_{name}"] = critic_loss(critic(faces.images), [critic(fake) for fake in fakes])
        return losses
