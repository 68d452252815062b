"""Three autoencoders with discriminators that RSGAN was compared with: VAE-GAN, ALI and alpha-GAN.

    VAE-GAN     Larsen, Sønderby, Larochelle, Winther: Autoencoding beyond pixels using a learned similarity metric.
                ICML 2016, arXiv:1512.09300.
    ALI         Dumoulin, Belghazi, Poole, Mastropietro, Lamb, Arjovsky, Courville: Adversarially Learned Inference.
                ICLR 2017, arXiv:1606.00704.
    alpha-GAN   Rosca, Lakshminarayanan, Warde-Farley, Mohamed: Variational Approaches for Auto-Encoding Generative
                Adversarial Networks. 2017, arXiv:1706.04987.

None of them has a code of the face alone. As in RSGAN's comparison (Natsume et al. 2018, arXiv:1804.03447, Table 1),
they swap by copy, paste and repair: the autoencoder is to remove the seam.

    source ─── face, its points ───┐
                                   ├─ eyes onto eyes, paste ─ encoder ─ mean code ─ decoder ─► picture
    target ─ surround, its points ─┘

| | code of a picture | reconstruction | discriminators | phases |
|---|---|---|---|---|
| VAE-GAN | random, KL to normal | squares of discriminator features | picture | encoder, decoder, discriminator |
| ALI | random | none | picture with code | autoencoder, discriminator |
| alpha-GAN | one vector | L1 of pixels | picture; code | autoencoder, discriminators |

| paper | here |
|---|---|
| γ of VAE-GAN | `features` / `adversarial` |
| λ of alpha-GAN | `reconstruction` |

Where we differ from the papers, and why:
- The pyramids are RSGAN's, of strided 4 x 4 convolutions, so that the four can be compared at equal size; those of the
  discriminators are spectrally normalised (Miyato et al. 2018), where the papers' have batch normalisation or none.
- Encoders and decoders use the non-saturating form of the adversarial losses. All use Adam, VAE-GAN's paper RMSProp.
- Losses are means over pixels or features, with weights to match. A mean L1 of weight λ has a gradient of norm
  λ / √(3 S²) at a picture, 0.09 for λ = 10 at 64 px, while that of a discriminator is of the order of 1: we take
  λ = 100.
- VAE-GAN prints its squared error as a sum over features of variance 1, which as a mean has the number of features as
  its weight. Spectrally normalised features are small and have 49 times that: a standard deviation of 1/7.
- VAE-GAN: each network sees only its own losses, as in Algorithm 1; so each is a phase of its own. The decoder gets
  γ × features − GAN, which for Adam is features and GAN with weights in the ratio of γ. The hidden layer is the
  discriminator's last at 8 x 8, after three strided convolutions at 64 px, as in the authors' code.
- ALI: only the discriminator teaches encoder and decoder. Its dropout of 0.2 is in the fully connected layers, which
  have no normalisation. In the demo it learns faster than they do: at equal rates it stays undecided.
- alpha-GAN: Algorithm 1 doesn't say how the updates share their gradients. Encoder and decoder are one phase here, both
  discriminators another, as in the public reimplementation by Shepardson, whose L1 is also a mean over pixels, with
  λ = 10. The discriminator of codes counts three times, which is λ = 33 for it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import ClassVar

import numpy as np
import torch
from torch import nn

from swaplib import photos
from swaplib.faces import Faces
from swaplib.families.base import Codes, Family, Part
from swaplib.networks import blocks
from swaplib.networks.codes import draw, kl_divergence
from swaplib.networks.discriminators import PatchDiscriminator, discriminator_loss, generator_loss
from swaplib.photos.alignment import move, warp
from swaplib.training.model import Phase, Stage, cosine


@dataclass(frozen=True)
class Config:
    """Sizes (pixels, channels, dimensions) and training; the families' own configs add the weights of their losses."""

    size: int = 128
    width: int = 64  # channels of the encoder after the first convolution; doubling each time
    width_decoder: int = 64  # channels of the decoder at its last resolution
    width_discriminator: int = 64  # channels of the discriminator of pictures after the first convolution
    most: int = 512  # channels at most
    z: int = 128  # dimensions of the code
    hull: int = 27  # first of the landmarks whose hull is the face that a swap pastes
    learning_rate: float = 2e-4
    discriminators_learning_rate: float = 2e-4
    last_rate: float = 1  # final share of the learning rates, reached along half a cosine
    betas: tuple[float, float] = (0.5, 0.999)
    batch: int = 50
    steps: int = 120_000

    @classmethod
    def paper(cls) -> Config:
        """Return RSGAN's sizes: 128 px, 120,000 steps of 50 pictures."""
        return cls()

    @classmethod
    def demo(cls) -> Config:
        """Return sizes for a CPU: 64 px in portrait framing, a code as large as RSGAN's two appearance codes.

        At RSGAN's learning rate of 1e-3, alpha-GAN's codes grow to ten times the size of normal ones.
        """
        return cls(
            size=64, width=32, width_decoder=32, width_discriminator=24, most=192, z=256, hull=0, learning_rate=3e-4,
            discriminators_learning_rate=3e-4, last_rate=0.05, batch=16, steps=40_000,
        )  # fmt: skip

    @classmethod
    def smoke(cls) -> Config:
        return replace(
            cls.demo(), size=32, width=8, width_decoder=8, width_discriminator=8, most=32, z=32, batch=4, steps=20
        )


# -------------------------------------------------------------------------------------------------- masks and regions


def paste(
    face: torch.Tensor, face_points: torch.Tensor, surround: torch.Tensor, surround_points: torch.Tensor, hull: int = 27
) -> torch.Tensor:
    """Paste a face into a surround, with its eyes on the other's eyes: images (B, 3, H, W) in [-1, 1].

    face, surround (B, 3, H, W) in [-1, 1]; their 68 landmarks (B, 68, 2) in pixels. Each face is turned, scaled and
    shifted so that the centres of its eyes lie on the surround's, and replaces what RSGAN's mask of its moved landmarks
    covers (`photos.rsgan_mask`, hull its first landmark). What the mask spares stays bit for bit, and so does a picture
    that is pasted into itself.
    """
    pasted = surround.clone()
    pairs = zip(_array(face_points), _array(surround_points), strict=True)
    for k, (points, onto) in enumerate(pairs):
        matrix = _eyes_onto_eyes(points, onto)
        moved = warp(np.ascontiguousarray(_array(face[k].movedim(0, -1), np.float32)), matrix, surround.shape[-2:])
        mask = photos.rsgan_mask(move(points, matrix), tuple(surround.shape[-2:]), hull).to(surround.device)
        front = torch.from_numpy(moved).to(surround).movedim(-1, 0).clamp(-1, 1)
        pasted[k] = torch.where(mask, front, pasted[k])
    return pasted


def _array(tensor: torch.Tensor, kind: type = np.float64) -> np.ndarray:
    return tensor.detach().cpu().numpy().astype(kind)


def _eyes_onto_eyes(points: np.ndarray, onto: np.ndarray) -> np.ndarray:
    """Return the similarity, 3x3, that maps the centres of both eyes onto the others'; landmarks (68, 2) each."""
    (left, right), (left_onto, right_onto) = ((p[36:42].mean(0), p[42:48].mean(0)) for p in (points, onto))
    (x, y), (u, v) = (float(s) for s in right - left), (float(s) for s in right_onto - left_onto)
    length = x * x + y * y
    along, across = (x * u + y * v) / length, (x * v - y * u) / length
    matrix = np.array([[along, -across, 0], [across, along, 0], [0, 0, 1]])
    matrix[:2, 2] = left_onto - matrix[:2, :2] @ left
    return matrix


# ----------------------------------------------------------------------------------------------------------- networks
# All of them return float32, also under bfloat16: the losses need the precision.


class Encoder(nn.Module):
    """Maps a picture to the mean of its code and, where codes are random, to the log-variance."""

    def __init__(self, config: Config, random: bool):
        super().__init__()
        channels = blocks.channels(config.size, config.width, config.most)
        self.body = blocks.down(3, channels)
        self.mean = nn.Linear(channels[-1] * 16, config.z)
        self.log_variance = nn.Linear(channels[-1] * 16, config.z) if random else None

    def forward(self, images):  # (B, 3, S, S) -> (B, Z), (B, Z) or None
        features = self.body(images).flatten(1)
        return self.mean(features).float(), None if self.log_variance is None else self.log_variance(features).float()


class PairDiscriminator(nn.Module):
    """Maps a picture with its code to a logit."""

    def __init__(self, config: ALIConfig):
        super().__init__()
        channels = blocks.channels(config.size, config.width_discriminator, config.most)
        wide = config.width_code
        self.picture = blocks.down(3, channels, "spectral")
        self.code = self._layers(config.dropout, config.z, wide, wide)
        self.pair = self._layers(config.dropout, channels[-1] * 16 + wide, 2 * wide, 2 * wide)
        self.head = nn.Linear(2 * wide, 1)

    @staticmethod
    def _layers(dropout: float, *widths: int) -> nn.Sequential:
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(widths):
            layers += [nn.Dropout(dropout), nn.Linear(inputs, outputs), nn.LeakyReLU(0.2)]
        return nn.Sequential(*layers)

    def forward(self, images, codes):  # (B, 3, S, S), (B, Z) -> (B, 1)
        return self.head(self.pair(torch.cat([self.picture(images).flatten(1), self.code(codes)], 1))).float()


class CodeDiscriminator(nn.Module):
    """Maps a code to a logit, without any normalisation."""

    def __init__(self, config: AlphaGANConfig):
        super().__init__()
        wide = config.width_code
        self.body = nn.Sequential(
            nn.Linear(config.z, wide), nn.LeakyReLU(0.2), nn.Linear(wide, wide), nn.LeakyReLU(0.2), nn.Linear(wide, 1)
        )

    def forward(self, codes):  # (B, Z) -> (B, 1)
        return self.body(codes).float()


# ------------------------------------------------------------------------------------------------------------- losses


def feature_loss(features: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Return ½ (f' − f)², mean over all features: −log N(f | f', 1), without the constant (VAE-GAN, §2.3)."""
    return 0.5 * (features - truth).square().mean()


# ------------------------------------------------------------------------------------------------------------- family


class Autoencoder(Family):
    """The base of all three, which add their `discriminators`: encoder, decoder, the swap by copy, paste and repair.

    face, surround                  the whole picture, of which a swap uses the region inside the mask, outside it
    face_points, surround_points    its 68 landmarks, in pixels
    """

    swap_parts = ("face", "face_points")
    training_only: ClassVar[tuple[str, ...]] = ("discriminators", "encoder.log_variance")
    random: ClassVar[bool]  # whether a picture's code is drawn from a distribution
    discriminators: nn.ModuleDict

    def __init__(self, config: Config):
        super().__init__(config)
        size = config.size
        self.parts = (
            Part("face", (3, size, size), "image"),
            Part("face_points", (68, 2)),
            Part("surround", (3, size, size), "image"),
            Part("surround_points", (68, 2)),
        )
        self.encoder = Encoder(config, self.random)
        self.decoder = blocks.Decoder(size, config.z, config.width_decoder, config.most)

    # -- the contract

    def encode(self, faces: Faces) -> Codes:
        """Return the pictures and their landmarks, twice.

        Raises ValueError for pictures of another size and for faces without landmarks.
        """
        self.check_size(faces.images)
        if faces.landmarks is None:
            raise ValueError(f"{self.name} needs faces.landmarks (68 points each): prepare the pictures first")
        if not bool(torch.isfinite(faces.landmarks).all()):
            raise ValueError("faces.landmarks holds values that are not finite: leave out the faces without landmarks")
        return {
            "face": faces.images,
            "face_points": faces.landmarks,
            "surround": faces.images,
            "surround_points": faces.landmarks,
        }

    def decode(self, codes: Codes) -> torch.Tensor:
        return self.reconstruct(paste(*(codes[part.name] for part in self.parts), self.config.hull))

    def reconstruct(self, images: torch.Tensor) -> torch.Tensor:
        """Pass images (B, 3, S, S) in [-1, 1] through encoder and decoder, by the means of their codes."""
        self.check_size(images)
        return self.decoder(self.encoder(images)[0])

    def generate(self, count: int, seed: int = 0) -> torch.Tensor:
        """Generate images (count, 3, S, S) in [-1, 1] from random codes."""
        codes = torch.randn(count, self.config.z, generator=torch.Generator().manual_seed(seed))
        return self.decoder(codes.to(self.decoder.seed.weight.device))

    # -- training

    @classmethod
    def stages(cls, config: Config) -> list[Stage]:
        """Return one stage, its learning rates falling as the config says."""
        return [Stage("whole", config, 1.0, cosine(1.0, config.last_rate))]

    def _phase(self, name: str, losses: Callable[[Faces], dict[str, torch.Tensor]], *networks: nn.Module) -> Phase:
        parameters = [parameter for network in networks for parameter in network.parameters()]
        rate = (
            self.config.discriminators_learning_rate
            if networks == (self.discriminators,)
            else self.config.learning_rate
        )
        return Phase(name, parameters, losses, learning_rate=rate, betas=self.config.betas)

    def _code(self, images: torch.Tensor) -> torch.Tensor:
        """Return a code of each picture, (B, Z), drawn at random where the family's codes are."""
        self.check_size(images)
        mean, log_variance = self.encoder(images)
        return draw(mean, log_variance) if self.random else mean

    def _fakes(self, codes: torch.Tensor) -> torch.Tensor:
        """Decode the codes and as many random ones, normalised as one batch, (2 B, 3, S, S)."""
        return self.decoder(torch.cat([codes, torch.randn_like(codes)]))

    def _image_discriminator_loss(self, images: torch.Tensor, fakes: torch.Tensor) -> torch.Tensor:
        real, *both = self.discriminators["image"](torch.cat([images, fakes])).chunk(3)
        return discriminator_loss(real, both)


# ------------------------------------------------------------------------------------------------------------ VAE-GAN


@dataclass(frozen=True)
class VAEGANConfig(Config):
    """Weights of VAE-GAN's losses; γ is features / adversarial."""

    kl: float = 1
    features: float = 1_600_000  # 49 times as many as there are: 512 at 8 x 8
    adversarial: float = 200
    discriminator: float = 1

    @classmethod
    def demo(cls) -> VAEGANConfig:
        return replace(super().demo(), features=300_000)

    @classmethod
    def smoke(cls) -> VAEGANConfig:
        return replace(super().smoke(), features=50_000)


class VAEGAN(Autoencoder):
    """VAE-GAN: a discriminator learns what makes two pictures alike. Takes faces at the config's size."""

    name = "vae_gan"
    Config = VAEGANConfig
    random = True

    def __init__(self, config: VAEGANConfig):
        super().__init__(config)
        image = PatchDiscriminator(config.size, config.width_discriminator, config.most)
        self.discriminators = nn.ModuleDict({"image": image})

    def phases(self) -> list[Phase]:
        return [
            self._phase("encoder", self._encoder_losses, self.encoder),
            self._phase("decoder", self._decoder_losses, self.decoder),
            self._phase("discriminator", self._discriminator_losses, self.discriminators),
        ]

    def _encoder_losses(self, faces: Faces) -> dict[str, torch.Tensor]:
        self.check_size(faces.images)
        mean, log_variance = self.encoder(faces.images)
        fakes = self.decoder(draw(mean, log_variance))
        features = self.discriminators["image"].features(fakes)
        return {
            "kl": kl_divergence(mean, log_variance),
            "features": feature_loss(features, self._true_features(faces)),
        }

    def _decoder_losses(self, faces: Faces) -> dict[str, torch.Tensor]:
        with torch.no_grad():
            codes = self._code(faces.images)
        discriminator = self.discriminators["image"]
        features = discriminator.features(self._fakes(codes))
        return {
            "features": feature_loss(features[: len(faces)], self._true_features(faces)),
            "adversarial": generator_loss(discriminator.judge(features).chunk(2)),
        }

    @torch.no_grad()
    def _true_features(self, faces: Faces) -> torch.Tensor:
        return self.discriminators["image"].features(faces.images)

    def _discriminator_losses(self, faces: Faces) -> dict[str, torch.Tensor]:
        with torch.no_grad():
            fakes = self._fakes(self._code(faces.images))
        return {"discriminator": self._image_discriminator_loss(faces.images, fakes)}


# ---------------------------------------------------------------------------------------------------------------- ALI


@dataclass(frozen=True)
class ALIConfig(Config):
    """Sizes of ALI's code and discriminator, and the weights of its losses."""

    z: int = 256
    width_code: int = 1024  # channels of the discriminator's layers for codes; those for pairs have twice as many
    dropout: float = 0.2
    adversarial: float = 1
    discriminator: float = 1
    learning_rate: float = 1e-4
    discriminators_learning_rate: float = 1e-4

    @classmethod
    def demo(cls) -> ALIConfig:
        return replace(super().demo(), width_code=128, learning_rate=2e-4, discriminators_learning_rate=5e-4)

    @classmethod
    def smoke(cls) -> ALIConfig:
        return replace(super().smoke(), width_code=16)


class ALI(Autoencoder):
    """ALI: encoder and decoder make their pairs of picture and code alike. Takes faces at the config's size."""

    name = "ali"
    Config = ALIConfig
    random = True

    def __init__(self, config: ALIConfig):
        super().__init__(config)
        self.discriminators = nn.ModuleDict({"pair": PairDiscriminator(config)})

    def phases(self) -> list[Phase]:
        return [
            self._phase("autoencoder", self._autoencoder_losses, self.encoder, self.decoder),
            self._phase("discriminator", self._discriminator_losses, self.discriminators),
        ]

    def _pairs(self, faces: Faces) -> tuple[torch.Tensor, torch.Tensor]:
        """Return pictures and codes of the pairs x, E(x), then of as many D(z), z."""
        codes = self._code(faces.images)
        random = torch.randn_like(codes)
        return torch.cat([faces.images, self.decoder(random)]), torch.cat([codes, random])

    def _autoencoder_losses(self, faces: Faces) -> dict[str, torch.Tensor]:
        encoded, decoded = self.discriminators["pair"](*self._pairs(faces)).chunk(2)
        return {"adversarial": generator_loss([decoded, -encoded])}

    def _discriminator_losses(self, faces: Faces) -> dict[str, torch.Tensor]:
        with torch.no_grad():
            pairs = self._pairs(faces)
        encoded, decoded = self.discriminators["pair"](*pairs).chunk(2)
        return {"discriminator": discriminator_loss(encoded, [decoded])}


# ---------------------------------------------------------------------------------------------------------- alpha-GAN


@dataclass(frozen=True)
class AlphaGANConfig(Config):
    """Width of alpha-GAN's code discriminator, and the weights of its losses; λ is `reconstruction`."""

    width_code: int = 512  # channels of the discriminator of codes' layers
    reconstruction: float = 100
    adversarial: float = 1
    code_adversarial: float = 3
    discriminator: float = 1
    code_discriminator: float = 1

    @classmethod
    def demo(cls) -> AlphaGANConfig:
        return replace(super().demo(), width_code=256)

    @classmethod
    def smoke(cls) -> AlphaGANConfig:
        return replace(super().smoke(), width_code=16)


class AlphaGAN(Autoencoder):
    """alpha-GAN: an L1 autoencoder with discriminators of pictures and of codes. Takes faces at the config's size."""

    name = "alpha_gan"
    Config = AlphaGANConfig
    random = False

    def __init__(self, config: AlphaGANConfig):
        super().__init__(config)
        self.discriminators = nn.ModuleDict({
            "image": PatchDiscriminator(config.size, config.width_discriminator, config.most),
            "code": CodeDiscriminator(config),
        })  # fmt: skip

    def phases(self) -> list[Phase]:
        return [
            self._phase("autoencoder", self._autoencoder_losses, self.encoder, self.decoder),
            self._phase("discriminators", self._discriminator_losses, self.discriminators),
        ]

    def _autoencoder_losses(self, faces: Faces) -> dict[str, torch.Tensor]:
        codes = self._code(faces.images)
        fakes = self._fakes(codes)
        return {
            "reconstruction": (fakes[: len(faces)] - faces.images).abs().mean(),
            "adversarial": generator_loss(self.discriminators["image"](fakes).chunk(2)),
            "code_adversarial": generator_loss([self.discriminators["code"](codes)]),
        }

    def _discriminator_losses(self, faces: Faces) -> dict[str, torch.Tensor]:
        with torch.no_grad():
            codes = self._code(faces.images)
            fakes = self._fakes(codes)
        normal, encoded = self.discriminators["code"](torch.cat([torch.randn_like(codes), codes])).chunk(2)
        return {
            "discriminator": self._image_discriminator_loss(faces.images, fakes),
            "code_discriminator": discriminator_loss(normal, [encoded]),
        }
