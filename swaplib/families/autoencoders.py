"""Three autoencoders with critics, that RSGAN was compared with: VAE-GAN, ALI and alpha-GAN.

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

| | code of a picture | reconstruction | critics | phases |
|---|---|---|---|---|
| VAE-GAN | random, KL to normal | squared error of the critic's features | picture | encoder, decoder, critic |
| ALI | random | none | picture with code | autoencoder, critic |
| alpha-GAN | one vector | L1 of pixels | picture; code | autoencoder, critics |

Where the papers are silent, or where we differ, and why:
- The pyramids are RSGAN's, of strided 4 x 4 convolutions, so that the four are compared at equal size; those of the
  critics are normalised spectrally (Miyato et al. 2018), where the papers' have batch normalisation or none.
- Encoders and decoders take the non-saturating form of the adversarial losses. Adam throughout; VAE-GAN has RMSProp.
- Losses are means, over pixels or features, and their weights are for that. A mean L1 of weight λ has a gradient of
  norm λ / √(3 S²) at a picture, 0.09 for λ = 10 at 64 px, while that of a critic is of the order of 1: we take λ = 100.
- VAE-GAN prints its squared error as a sum over features of variance 1, which as a mean has the number of features as
  its weight. Spectrally normalised features are small and have 49 times that: a standard deviation of 1/7.
- VAE-GAN: each network sees its own losses alone, as in Algorithm 1; so each is a phase of its own. The decoder gets
  γ × features − GAN, which for Adam is features and GAN with weights in the ratio of γ. The hidden layer is the
  critic's last at 8 x 8, after three strided convolutions at 64 px, as in the authors' code.
- ALI: what encoder and decoder do is told by the critic alone. Its dropout of 0.2 is in the fully connected layers,
  which have no normalisation. In the demo it learns faster than they do: at equal rates it stays undecided.
- alpha-GAN: Algorithm 1 doesn't say how the updates share their gradients. Encoder and decoder are one phase here, both
  critics another, as in the public reimplementation by Shepardson, whose L1 is a mean over pixels, too, with λ = 10.
  The critic of codes counts three times, which is λ = 33 for it.
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
from swaplib.networks.discriminators import Critic, critic_loss, fooling_loss
from swaplib.photos.alignment import move, warp
from swaplib.training.model import Phase, Stage, cosine


@dataclass(frozen=True)
class Config:
    """Sizes (pixels, channels, dimensions) and training; those of a family add the weights of its losses."""

    size: int = 128
    width: int = 64  # channels of the encoder after the first convolution; doubling each time
    width_decoder: int = 64  # channels of the decoder at its last resolution
    width_critic: int = 64  # channels of the critic of pictures after the first convolution
    most: int = 512  # channels at most
    z: int = 128  # dimensions of the code
    hull: int = 27  # first of the landmarks whose hull is the face that a swap pastes
    learning_rate: float = 2e-4
    critics_learning_rate: float = 2e-4
    last_rate: float = 1  # share of the learning rates that is left at the end, along half a cosine
    betas: tuple[float, float] = (0.5, 0.999)
    batch: int = 50
    steps: int = 120_000

    @classmethod
    def paper(cls) -> Config:
        """As RSGAN's: 128 px, 120,000 steps of 50 pictures."""
        return cls()

    @classmethod
    def demo(cls) -> Config:
        """64 px in portrait framing, sized for a CPU, with as many dimensions of the code as RSGAN's appearance codes.

        At RSGAN's learning rate of 1e-3, alpha-GAN's codes grow to ten times the size of normal ones.
        """
        return cls(
            size=64, width=32, width_decoder=32, width_critic=24, most=192, z=256, hull=0, learning_rate=3e-4,
            critics_learning_rate=3e-4, last_rate=0.05, batch=16, steps=40_000,
        )  # fmt: skip

    @classmethod
    def smoke(cls) -> Config:
        return replace(cls.demo(), size=32, width=8, width_decoder=8, width_critic=8, most=32, z=32, batch=4, steps=20)


# ------------------------------------------------------------------------------------------------------- networks
# All of them answer in float32, also under bfloat16: the losses need the digits.


class Encoder(nn.Module):
    """Picture to the mean of its code and, where codes are random, to the log-variance."""

    def __init__(self, config: Config, random: bool):
        super().__init__()
        channels = blocks.channels(config.size, config.width, config.most)
        self.body = blocks.down(3, channels)
        self.mean = nn.Linear(channels[-1] * 16, config.z)
        self.log_variance = nn.Linear(channels[-1] * 16, config.z) if random else None

    def forward(self, images):  # (B, 3, S, S) -> (B, Z), (B, Z) or None
        features = self.body(images).flatten(1)
        return self.mean(features).float(), None if self.log_variance is None else self.log_variance(features).float()


class PairCritic(nn.Module):
    """A logit for a picture with its code: (B, 3, S, S), (B, Z) -> (B, 1)."""

    def __init__(self, config: ALIConfig):
        super().__init__()
        channels = blocks.channels(config.size, config.width_critic, config.most)
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

    def forward(self, images, codes):
        return self.head(self.pair(torch.cat([self.picture(images).flatten(1), self.code(codes)], 1))).float()


class CodeCritic(nn.Module):
    """A logit for a code, without any normalisation: (B, Z) -> (B, 1)."""

    def __init__(self, config: AlphaGANConfig):
        super().__init__()
        wide = config.width_code
        self.body = nn.Sequential(
            nn.Linear(config.z, wide), nn.LeakyReLU(0.2), nn.Linear(wide, wide), nn.LeakyReLU(0.2), nn.Linear(wide, 1)
        )

    def forward(self, codes):
        return self.body(codes).float()


# ---------------------------------------------------------------------------------------------- losses and protocol


def feature_loss(features: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """½ (f' − f)², mean over all features: −log N(f | f', 1) for each, without the constant (VAE-GAN, §2.3)."""
    return 0.5 * (features - truth).square().mean()


def paste(
    face: torch.Tensor, face_points: torch.Tensor, surround: torch.Tensor, surround_points: torch.Tensor, hull: int = 27
) -> torch.Tensor:
    """The face put into the surround with its eyes on the other's eyes, images (B, 3, H, W) in [-1, 1].

    face, surround (B, 3, H, W) in [-1, 1]; their 68 landmarks (B, 68, 2) in pixels. Each face is turned, scaled and
    shifted so that the centres of its eyes lie on the surround's, and replaces what RSGAN's mask of its moved landmarks
    covers (`photos.rsgan_mask`, hull its first landmark). What the mask spares stays bit for bit, and so does all of a
    picture that is pasted into itself.
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
    """The similarity, 3x3, that takes the centres of both eyes to the others'; landmarks (68, 2) each."""
    (left, right), (left_onto, right_onto) = ((p[36:42].mean(0), p[42:48].mean(0)) for p in (points, onto))
    (x, y), (u, v) = (float(s) for s in right - left), (float(s) for s in right_onto - left_onto)
    length = x * x + y * y
    along, across = (x * u + y * v) / length, (x * v - y * u) / length
    matrix = np.array([[along, -across, 0], [across, along, 0], [0, 0, 1]])
    matrix[:2, 2] = left_onto - matrix[:2, :2] @ left
    return matrix


# ------------------------------------------------------------------------------------------------------- families


class Autoencoder(Family):
    """What the three share: encoder, decoder, and the swap by copy, paste and repair.

    face, surround                  the whole picture, of which a swap uses the region inside the mask, outside it
    face_points, surround_points    its 68 landmarks, in pixels
    """

    swap_parts = ("face", "face_points")
    training_only: ClassVar[tuple[str, ...]] = ("critics", "encoder.log_variance")
    random: ClassVar[bool]  # whether a picture's code is drawn from a distribution

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
        self.critics = self._critics(config)

    def encode(self, faces: Faces) -> Codes:
        """The pictures and their landmarks, twice.

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
        """Images (B, 3, S, S) in [-1, 1] through encoder and decoder, by the means of their codes."""
        self.check_size(images)
        return self.decoder(self.encoder(images)[0])

    def generate(self, count: int, seed: int = 0) -> torch.Tensor:
        """Images (count, 3, S, S) in [-1, 1] from random codes."""
        codes = torch.randn(count, self.config.z, generator=torch.Generator().manual_seed(seed))
        return self.decoder(codes.to(self.decoder.seed.weight.device))

    # -- training

    @classmethod
    def stages(cls, config: Config) -> list[Stage]:
        """One, its learning rates falling as the config says."""
        return [Stage("whole", config, 1.0, cosine(1.0, config.last_rate))]

    def _critics(self, config: Config) -> nn.ModuleDict:
        raise NotImplementedError

    def _phase(self, name: str, losses: Callable[[Faces], dict[str, torch.Tensor]], *networks: nn.Module) -> Phase:
        parameters = [parameter for network in networks for parameter in network.parameters()]
        rate = self.config.critics_learning_rate if networks == (self.critics,) else self.config.learning_rate
        return Phase(name, parameters, losses, learning_rate=rate, betas=self.config.betas)

    def _code(self, images: torch.Tensor) -> torch.Tensor:
        """A code of each picture, at random where the family's codes are, (B, Z)."""
        self.check_size(images)
        mean, log_variance = self.encoder(images)
        return draw(mean, log_variance) if self.random else mean

    def _fakes(self, codes: torch.Tensor) -> torch.Tensor:
        """Pictures of the codes and of as many random ones, (2 B, 3, S, S), normalised as one batch."""
        return self.decoder(torch.cat([codes, torch.randn_like(codes)]))

    def _image_critic_loss(self, images: torch.Tensor, fakes: torch.Tensor) -> torch.Tensor:
        real, *both = self.critics["image"](torch.cat([images, fakes])).chunk(3)
        return critic_loss(real, both)


# ------------------------------------------------------------------------------------------------------- VAE-GAN


@dataclass(frozen=True)
class VAEGANConfig(Config):
    """VAE-GAN's; γ is features / adversarial."""

    kl: float = 1
    features: float = 1_600_000  # 49 times as many as there are: 512 at 8 x 8
    adversarial: float = 200
    critic: float = 1

    @classmethod
    def demo(cls) -> VAEGANConfig:
        return replace(super().demo(), features=300_000)

    @classmethod
    def smoke(cls) -> VAEGANConfig:
        return replace(super().smoke(), features=50_000)


class VAEGAN(Autoencoder):
    """VAE-GAN: what makes two pictures alike is learned by a critic. Takes faces at the config's size."""

    name = "vae_gan"
    Config = VAEGANConfig
    random = True

    def _critics(self, config: VAEGANConfig) -> nn.ModuleDict:
        return nn.ModuleDict({"image": Critic(config.size, config.width_critic, config.most)})

    def phases(self) -> list[Phase]:
        return [
            self._phase("encoder", self._encoder_losses, self.encoder),
            self._phase("decoder", self._decoder_losses, self.decoder),
            self._phase("critic", self._critic_losses, self.critics),
        ]

    def _encoder_losses(self, faces: Faces) -> dict[str, torch.Tensor]:
        self.check_size(faces.images)
        mean, log_variance = self.encoder(faces.images)
        fakes = self.decoder(draw(mean, log_variance))
        features = self.critics["image"].features(fakes)
        return {
            "kl": kl_divergence(mean, log_variance),
            "features": feature_loss(features, self._true_features(faces)),
        }

    def _decoder_losses(self, faces: Faces) -> dict[str, torch.Tensor]:
        with torch.no_grad():
            codes = self._code(faces.images)
        critic = self.critics["image"]
        features = critic.features(self._fakes(codes))
        return {
            "features": feature_loss(features[: len(faces)], self._true_features(faces)),
            "adversarial": fooling_loss(critic.judge(features).chunk(2)),
        }

    @torch.no_grad()
    def _true_features(self, faces: Faces) -> torch.Tensor:
        return self.critics["image"].features(faces.images)

    def _critic_losses(self, faces: Faces) -> dict[str, torch.Tensor]:
        with torch.no_grad():
            fakes = self._fakes(self._code(faces.images))
        return {"critic": self._image_critic_loss(faces.images, fakes)}


# ------------------------------------------------------------------------------------------------------- ALI


@dataclass(frozen=True)
class ALIConfig(Config):
    """ALI's, with its sizes of code and critic for codes."""

    z: int = 256
    width_code: int = 1024  # channels of the critic's layers for codes; those for pairs have twice as many
    dropout: float = 0.2
    adversarial: float = 1
    critic: float = 1
    learning_rate: float = 1e-4
    critics_learning_rate: float = 1e-4

    @classmethod
    def demo(cls) -> ALIConfig:
        return replace(super().demo(), width_code=128, learning_rate=2e-4, critics_learning_rate=5e-4)

    @classmethod
    def smoke(cls) -> ALIConfig:
        return replace(super().smoke(), width_code=16)


class ALI(Autoencoder):
    """ALI: encoder and decoder make pairs of picture and code alike. Takes faces at the config's size."""

    name = "ali"
    Config = ALIConfig
    random = True

    def _critics(self, config: ALIConfig) -> nn.ModuleDict:
        return nn.ModuleDict({"pair": PairCritic(config)})

    def phases(self) -> list[Phase]:
        return [
            self._phase("autoencoder", self._autoencoder_losses, self.encoder, self.decoder),
            self._phase("critic", self._critic_losses, self.critics),
        ]

    def _pairs(self, faces: Faces) -> tuple[torch.Tensor, torch.Tensor]:
        """Pictures and codes of the pairs x, E(x), then of as many D(z), z."""
        codes = self._code(faces.images)
        random = torch.randn_like(codes)
        return torch.cat([faces.images, self.decoder(random)]), torch.cat([codes, random])

    def _autoencoder_losses(self, faces: Faces) -> dict[str, torch.Tensor]:
        encoded, decoded = self.critics["pair"](*self._pairs(faces)).chunk(2)
        return {"adversarial": fooling_loss([decoded, -encoded])}

    def _critic_losses(self, faces: Faces) -> dict[str, torch.Tensor]:
        with torch.no_grad():
            pairs = self._pairs(faces)
        encoded, decoded = self.critics["pair"](*pairs).chunk(2)
        return {"critic": critic_loss(encoded, [decoded])}


# ------------------------------------------------------------------------------------------------------- alpha-GAN


@dataclass(frozen=True)
class AlphaGANConfig(Config):
    """alpha-GAN's; λ is `reconstruction`."""

    width_code: int = 512  # channels of the critic of codes' layers
    reconstruction: float = 100
    adversarial: float = 1
    code_adversarial: float = 3
    critic: float = 1
    code_critic: float = 1

    @classmethod
    def demo(cls) -> AlphaGANConfig:
        return replace(super().demo(), width_code=256)

    @classmethod
    def smoke(cls) -> AlphaGANConfig:
        return replace(super().smoke(), width_code=16)


class AlphaGAN(Autoencoder):
    """alpha-GAN: an L1 autoencoder with a critic of pictures and one of codes. Takes faces at the config's size."""

    name = "alpha_gan"
    Config = AlphaGANConfig
    random = False

    def _critics(self, config: AlphaGANConfig) -> nn.ModuleDict:
        return nn.ModuleDict({
            "image": Critic(config.size, config.width_critic, config.most), "code": CodeCritic(config)
        })  # fmt: skip

    def phases(self) -> list[Phase]:
        return [
            self._phase("autoencoder", self._autoencoder_losses, self.encoder, self.decoder),
            self._phase("critics", self._critic_losses, self.critics),
        ]

    def _autoencoder_losses(self, faces: Faces) -> dict[str, torch.Tensor]:
        codes = self._code(faces.images)
        fakes = self._fakes(codes)
        return {
            "reconstruction": (fakes[: len(faces)] - faces.images).abs().mean(),
            "adversarial": fooling_loss(self.critics["image"](fakes).chunk(2)),
            "code_adversarial": fooling_loss([self.critics["code"](codes)]),
        }

    def _critic_losses(self, faces: Faces) -> dict[str, torch.Tensor]:
        with torch.no_grad():
            codes = self._code(faces.images)
            fakes = self._fakes(codes)
        normal, encoded = self.critics["code"](torch.cat([torch.randn_like(codes), codes])).chunk(2)
        return {
            "critic": self._image_critic_loss(faces.images, fakes),
            "code_critic": critic_loss(normal, [encoded]),
        }
