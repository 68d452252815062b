"""StyleGAN2: pictures from a random vector, which steers each layer of the generator separately.

Tero Karras et al.: Analyzing and Improving the Image Quality of StyleGAN. CVPR 2020, arXiv:1912.04958.

    z ── mapping ── w ── one copy for each layer, w+ ── synthesis (+ noise) ── picture ── augment ── discriminator
    L_G = −log D(G(z)) + γ_pl E (‖J_wᵀ y‖ − a)²          L_D = −log D(x) − log(1 − D(G(z))) + γ/2 E ‖∇D(x)‖²

| paper | here |
|---|---|
| f, g, D | `network.mapping`, `network.synthesis`, `discriminator` |
| path length regulariser, R1 (both lazy, every 4th and 16th step) | phases `path`, `smoothness` |
| style mixing | `Config.mixing` |
| ADA (Karras et al. 2020, arXiv:2006.06676) | `augment`, `swaplib.networks.ada` |

Where we differ from the paper, and why:
- R1 is taken at the augmented pictures, not through the augmentation, which can be differentiated only once.
- The training loop averages the weights.
- `paired` is R3GAN's game instead of the paper's (Huang et al. 2024, arXiv:2501.05441), for a comparison.
- The demo is narrower and learns without noise: at 64 px, where rendered faces have no random detail, adversarial
  training turned the noise into specks on their skin. With a discriminator (`adversarial`) it augments, as its data set
  is small, with γ by the rule of ADA's authors (0.0002 · pixels / batch).
- A discriminator alone teaches too slowly for a CPU: after 56,000 pictures at 32 px the demo showed masks with dots for
  eyes. So training begins with the generator as the second half of an autoencoder, first at half its size:

    picture ── reader ── q(w) ── w ── synthesis ── picture    L = log σ + KL(q ‖ N(0, 1)) / numbers, σ² = mean sq. error
    z ── mapping ── w', distributed as the w that are read    L = energy distance of w' and w

  The bound, whose deviation σ follows the error (Rybkin et al. 2021, arXiv:2006.13202), balances picture and code by
  itself. Pixels alone give blurred pictures, so log σ is taken of our classifier's features, too (`judges.perceptual`).
  Codes are not distributed as the bound wants; the mapping learns their distribution, as in two-stage autoencoders (Dai
  & Wipf 2019, arXiv:1903.05789), by the energy distance (Székely & Rizzo 2013) and, at the end, by regression. Then the
  discriminator may join in, and reading continues now and then, so that no picture of the data is forgotten.
- The demo is the renderer's pupil (`pupil`): codes are made from the factors of a rendered face instead of being read
  from its picture, and so the code of every rendered face is known. Its discriminator is a projected one (`projected`),
  which judges what a frozen parser sees, and compares rendered faces with the generator's of the same factors.
  Features mind colours and small things little: so colours are also compared alone (`colours`), the face counts more
  than what is around it (`emphasis`), and features are compared in a close-up, too (`close`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import nn

from swaplib import synthetic
from swaplib.data import Dataset
from swaplib.faces import Faces, region, split_colours
from swaplib.generators.base import CodedGenerator
from swaplib.judges import fidelity, perceptual
from swaplib.judges.identity import IdentityLinear
from swaplib.judges.parsing import Parser
from swaplib.networks import blocks
from swaplib.networks.ada import Augment
from swaplib.networks.codes import draw, kl_divergence
from swaplib.networks.discriminators import (
    ProjectedDiscriminator,
    discriminator_loss,
    generator_loss,
    hinge_generator_loss,
    paired_loss,
    tell_apart,
)
from swaplib.networks.stylegan2 import Discriminator, Generator, Noise, gradient_penalty, path_lengths
from swaplib.training.model import Phase, Stage, cosine


@dataclass(frozen=True)
class Config:
    """Sizes (pixels, channels, dimensions) and loss weights: config-f."""

    size: int = 1024
    base: int = 32768  # channels · size at most
    most: int = 512  # channels at most
    z: int = 512
    w: int = 512
    depth: int = 8  # layers of the mapping
    mixing: float = 0.9  # share of pictures whose later layers have another code
    noise: bool = True  # whether layers get noise in training; else its strengths stay 0
    target: float = 0  # r_t of ADA; 0: no augmentation
    adaptation: int = 500_000  # real pictures in which the augmentation can go from never to always
    width: int = 32  # channels of the reader after the first convolution
    seen: int = 64  # channels of a projected discriminator
    # Weights of the losses. A lazy one counts for the steps in between.
    read: float = 0  # of the autoencoder's bound, by which training begins; 0: no reader, as in the paper
    perceptual: float = 0  # of the feature distance in it
    close: bool = False  # features of a close-up are compared, too
    colours: float = 0  # of the error of `split_colours` in it, which features and discriminator hardly mind
    emphasis: float = 0  # additional weight of the face's pixels in it
    pupil: bool = False  # what is read is a rendered face's factors, not its picture
    paired: bool = False  # R3GAN's loss: a picture should look truer than its partner; R1 of true and generated ones
    projected: bool = False  # the discriminator sees a parser's features, and pictures that are read, not random ones
    judges_preset: str = "paper"
    mapping: float = 1
    adversarial: float = 1
    path: float = 8  # γ_pl = 2, times the 4 steps
    discriminator: float = 1
    accuracy: float = 0  # of the projected discriminator: logged, not learned from
    penalty: float = 80  # γ / 2 = 5, times the 16 steps
    path_every: int = 4
    penalty_every: int = 16
    learning_rate: float = 2e-3
    betas: tuple[float, float] = (0.0, 0.99)
    last_rate: float = 1  # final share of the learning rates, reached along half a cosine
    batch: int = 32
    steps: int = 781_250  # 25 million pictures

    @classmethod
    def paper(cls) -> Config:
        return cls()

    @classmethod
    def demo(cls) -> Config:
        """Return sizes for a CPU: 128 px, the renderer's pupil."""
        return cls(
            size=128, base=3072, most=224, z=128, w=192, depth=4, target=0.6, adaptation=200_000, read=1, perceptual=1,
            colours=1, emphasis=6, close=True, pupil=True, projected=True, judges_preset="demo", adversarial=0.2,
            noise=False, penalty=0.4, last_rate=0.05, batch=16, steps=60_000,
        )  # fmt: skip

    @classmethod
    def smoke(cls) -> Config:
        return replace(
            cls.demo(), size=32, base=256, most=16, z=16, w=16, depth=2, colours=0, emphasis=0, close=False,
            pupil=False, projected=False, judges_preset="smoke", adversarial=1, last_rate=0.1, batch=4, steps=20,
        )  # fmt: skip


# ------------------------------------------------------------------------------------------------------- networks
# Generator and discriminator are `swaplib.networks.stylegan2`.


class Reader(nn.Module):
    """Maps pictures to mean and log-variance of their w."""

    def __init__(self, config: Config):
        super().__init__()
        channels = blocks.channels(config.size, config.width, config.most)
        self.pyramid = blocks.down(3, channels)
        self.code = nn.Linear(channels[-1] * 16, 2 * config.w)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:  # (B, 3, S, S) -> (B, w), (B, w)
        return self.code(self.pyramid(images).flatten(1)).float().chunk(2, 1)


class Pupil(nn.Module):
    """Maps rendered faces' factors to their codes in W, of w dimensions."""

    def __init__(self, w: int):
        super().__init__()
        count, wide = synthetic.count_factors(), 2 * w
        self.normalise = nn.BatchNorm1d(count, affine=False, momentum=0.01)
        self.body = nn.Sequential(
            nn.Linear(count, wide), nn.LeakyReLU(0.2), nn.Linear(wide, wide), nn.LeakyReLU(0.2), nn.Linear(wide, w)
        )

    def forward(self, factors: synthetic.Factors) -> torch.Tensor:  # of B faces -> (B, w)
        given = synthetic.flatten_factors(factors).to(self.normalise.running_mean.device)
        # Rare factors are hundreds of deviations from their mean: what is worn by one in a thousand.
        return self.body(self.normalise(given).clamp(-5, 5)).float()


class Mean(nn.Module):
    """The running mean a of the path lengths."""

    def __init__(self):
        super().__init__()
        self.register_buffer("value", torch.zeros(()))

    def forward(self, lengths: torch.Tensor) -> torch.Tensor:  # (B,) -> ()
        self.value.lerp_(lengths.detach().mean(), 0.01)
        return self.value


class Recent(nn.Module):
    """The last codes that were read, (1024, w): a batch alone says too little about their distribution."""

    def __init__(self, w: int):
        super().__init__()
        self.register_buffer("codes", torch.zeros(1024, w))

    def forward(self, codes: torch.Tensor) -> torch.Tensor:  # (B, w) -> (1024, w)
        self.codes.copy_(torch.cat([self.codes, codes])[-len(self.codes) :])
        return self.codes


FITTED, FITTED_RATE = 6000, 0.5
"""Steps that fit the mapping at the end of a training, and their rate at first; its layers learn at a hundredth."""

# ------------------------------------------------------------------------------------------------------- losses
# The adversarial ones are `swaplib.networks.discriminators`; path lengths (eq. 4) and R1 `swaplib.networks.stylegan2`.


# ------------------------------------------------------------------------------------------------------- generator


class StyleGAN2(CodedGenerator):
    """Pictures from codes in W+. Training needs only pictures."""

    name = "stylegan2"
    Config = Config
    training_only: ClassVar[tuple[str, ...]] = (
        "discriminator",
        "augment",
        "mean",
        "reader",
        "recent",
        "classifier",
        "distance",
        "parser",
    )
    counted: ClassVar[Mapping[str, str]] = {
        "stylegan2_generator_1024": "network", "stylegan2_discriminator_1024": "discriminator"
    }  # fmt: skip

    def __init__(self, config: Config, classifier: IdentityLinear | None = None, parser: Parser | None = None):
        super().__init__(config, classifier=classifier, parser=parser)
        self.network = Generator(config.size, config.base, config.most, config.z, config.w, config.depth)
        if config.projected:
            self.discriminator = ProjectedDiscriminator(*parser.projected(config.size), config.seen)
        else:
            self.discriminator = Discriminator(config.size, config.base, config.most)
        self.augment = Augment(config.target, config.adaptation)
        self.mean = Mean()
        self.pupil = Pupil(config.w) if config.pupil else None
        self.reader = Reader(config) if config.read and not config.pupil else None
        self.recent = Recent(config.w) if config.read else None
        if classifier is not None:
            self.frozen["distance"] = perceptual.feature_distance(classifier, True, config.close)

    # -- the contract

    @classmethod
    def frozen_models(cls, config: Config) -> dict[str, tuple[str, str]]:
        compares = config.read and config.perceptual
        found = {"classifier": ("identity_linear", config.judges_preset)} if compares else {}
        return found | ({"parser": ("parser", config.judges_preset)} if config.projected else {})

    @property
    def mirrored(self) -> bool:
        """Whether pictures are mirrored: not those whose factors are read."""
        return not self.config.pupil

    def forward(self, ws: torch.Tensor) -> torch.Tensor:  # (B, layers, w) -> (B, 3, S, S)
        """Generate pictures, clamped to [-1, 1], always with the same noise; without gradients, a few at a time."""
        learned = ws.requires_grad or any(parameter.requires_grad for parameter in self.network.parameters())
        step = len(ws) if torch.is_grad_enabled() and learned else self.at_once()
        made = [self.network.synthesis(some).clamp(-1, 1) for some in ws.split(step)]
        return made[0] if len(made) == 1 else torch.cat(made)

    def paint(self, ws: torch.Tensor) -> torch.Tensor:
        """Generate pictures as others learn from them: not clamped, with new noise."""
        return self.network.synthesis(ws, "random")

    @torch.no_grad()
    def preview(self, faces: Faces) -> torch.Tensor:
        """Show the same random codes every time, more truncated from row to row: (3, B, 3, S, S)."""
        return torch.stack([self(self.sample(len(faces), 0, truncation)) for truncation in (1.0, 0.7, 0.4)])

    def report(self, dataset: Dataset) -> dict[str, float]:
        """Measure how far random pictures, as many as the dataset has, are from the dataset's, by `judges.fidelity`."""
        features, size = fidelity.load_features(), self.config.size
        own = fidelity.gather_features((faces.resize(size).images for faces in dataset.batches(32)), features)
        drawn = fidelity.gather_features((self(ws) for ws in self.sample(len(dataset)).split(32)), features)
        return {
            "frechet": fidelity.frechet_distance(drawn, own),
            "kernel": fidelity.kernel_distance(drawn, own)[0],
            "pictures": len(own),
        }

    def on_train_end(self, faces: Faces) -> None:
        """Fit the mapping to the codes that faces are read as, direction by direction.

        The energy distance hardly sees directions in which codes vary little, and random pictures of codes that are off
        there have colours that no face has. So each z gets a goal on the normal distribution with the mean and the
        principal axes of the codes that were read.
        """
        if self.recent is None:
            return
        z, mapping = self.config.z, self.network.mapping
        with torch.no_grad():
            codes = torch.cat([self._read(faces[k : k + 256].to(self.mean.value.device))[0]
                               for k in range(0, len(faces), 256)])  # fmt: skip
            values, axes = torch.linalg.eigh(codes.T.cov())
            axes = (axes * values.clamp(min=0).sqrt())[:, -z:]  # (w, z at most)
            mapping.w_avg.copy_(codes.mean(0))
        optimiser = torch.optim.Adam(mapping.parameters(), FITTED_RATE, (0.9, 0.99))
        with torch.random.fork_rng(devices=[]), torch.enable_grad():
            torch.manual_seed(0)
            for step in range(FITTED):
                optimiser.param_groups[0]["lr"] = FITTED_RATE * cosine(1, 0)(step / FITTED)
                drawn = torch.randn(256, z, device=codes.device)
                there = F.normalize(drawn, dim=1)[:, -axes.shape[1] :] * z**0.5
                goal = mapping.w_avg + there @ axes.T
                optimiser.zero_grad()
                (mapping(drawn).float() - goal).square().mean().backward()
                optimiser.step()

    # -- training

    def phases(self) -> list[Phase]:
        generator, discriminator = [*self.network.parameters()], [*self.discriminator.parameters()]
        rate_g, betas_g = self._lazily(self.config.path_every)
        rate_d, betas_d = self._lazily(self.config.penalty_every)
        every_g, every_d = self.config.path_every, self.config.penalty_every
        phases = []
        if "classifier" in self.frozen:
            self.classifier.require_weights()
        if self.config.projected:
            return self._projected_phases()
        if self.recent is not None:
            every, rate = every_g if self.config.adversarial else 1, self.config.learning_rate
            learned = [*(self.pupil or self.reader).parameters(), *self.network.synthesis.parameters()]
            phases.append(Phase("reader", learned, self._reading_losses, every, rate, (0.9, 0.99)))
        if not self.config.adversarial:
            mapping = [*self.network.mapping.parameters()]
            return [*phases, Phase("mapping", mapping, self._mapping_losses, 1, rate / 0.01, (0.9, 0.99))]
        phases.append(Phase("generator", generator, self._generator_losses, 1, rate_g, betas_g))
        if self.config.path:
            phases.append(Phase("path", generator, self._path_losses, every_g, rate_g, betas_g, shares="generator"))
        return [
            *phases,
            Phase("discriminator", discriminator, self._discriminator_losses, 1, rate_d, betas_d),
            Phase("smoothness", discriminator, self._penalty, every_d, rate_d, betas_d, shares="discriminator"),
        ]

    def _projected_phases(self) -> list[Phase]:
        """Return what alternates where pictures are read and judged by frozen features all along."""
        config = self.config
        if self.recent is None:
            raise ValueError("a projected discriminator judges pictures that are read: give read a weight")
        learned = [*(self.pupil or self.reader).parameters(), *self.network.synthesis.parameters()]
        rate, mapping = config.learning_rate, [*self.network.mapping.parameters()]
        phases = [
            Phase("reader", learned, self._reading_losses, 1, rate, (0.9, 0.99)),
            Phase("mapping", mapping, self._mapping_losses, 1, rate / 0.01, (0.9, 0.99)),
        ]
        if config.discriminator:
            judged = self.discriminator.trainable()
            phases.append(Phase("discriminator", judged, self._projected_losses, 1, config.learning_rate, config.betas))
        return phases

    def _lazily(self, every: int) -> tuple[float, tuple[float, float]]:
        """Return learning rate and betas, corrected for the optimiser's additional steps (Appendix B)."""
        share = every / (every + 1)
        return self.config.learning_rate * share, tuple(beta**share for beta in self.config.betas)

    @classmethod
    def stages(cls, config: Config) -> list[Stage]:
        if not config.read:
            return [Stage("whole", config, 1.0, cosine(1, config.last_rate))]
        reading = replace(config, adversarial=0)
        if config.projected:
            reading = replace(reading, discriminator=0)
        half = replace(reading, size=config.size // 2)
        if config.projected and config.adversarial:
            seeing = replace(config, adversarial=0)  # the discriminator begins alone
            return [
                Stage("half", half, 0.25),
                Stage("reading", reading, 0.3, cosine(1, 0.5)),
                Stage("seeing", seeing, 0.05, cosine(0.5, 0.5)),
                Stage("whole", config, 0.4, cosine(0.5, config.last_rate)),
            ]
        whole = Stage("whole", config, 0.3, cosine(1, config.last_rate))
        return [Stage("half", half, 0.2), Stage("reading", reading, 0.5), *([whole] if config.adversarial else [])]

    def init_from(self, other: StyleGAN2) -> None:
        """Copy all that pictures of both sizes need; what larger ones need in addition adds nothing at first."""
        blocks.copy_by_name(self, other)
        if self.reader is not None:
            blocks.copy_layers(self.reader, other.reader)
        for size in set(self.network.synthesis.sizes) - set(other.network.synthesis.sizes):
            torgb = self.network.synthesis.get_submodule(f"b{size}.torgb")
            nn.init.zeros_(torgb.weight)

    def _codes(self, count: int) -> torch.Tensor:
        """Draw random codes (count, layers, w), some of which change to another code at a random layer."""
        layers, device = self.network.layers, self.mean.value.device
        codes = self.network.mapping(torch.randn(2 * count, self.config.z, device=device))
        first, second = self.network.plus(codes).chunk(2)
        start = torch.randint(1, layers, (count, 1), device=device)
        mixed = torch.rand(count, 1, device=device) < self.config.mixing
        return torch.where((mixed & (torch.arange(layers, device=device) >= start))[..., None], second, first)

    @property
    def _noise(self) -> Noise:
        return "random" if self.config.noise else "none"

    def _fakes(self, count: int) -> torch.Tensor:
        return self.augment(self.network.synthesis(self._codes(count), self._noise))

    def _reading_losses(self, faces: Faces) -> dict[str, torch.Tensor]:
        """Return the bound per number of a picture, and log σ of features and of colours (Rybkin et al. 2021)."""
        codes, divergence = self._read(faces)
        shown = self.network.synthesis(self.network.plus(codes), self._noise)
        weights = self._weights(faces)
        error = (weights * (shown - faces.images).square()).mean()
        losses = {"read": error.log() / 2 + divergence / faces.images[0].numel()}
        if "distance" in self.frozen:
            losses["perceptual"] = self.distance(shown, faces.images).mean().log() / 2
        if self.config.colours:
            error = (split_colours(shown) - split_colours(faces.images)).square()
            losses["colours"] = (weights * error).mean().log() / 2
        if self.config.projected and self.config.adversarial:
            losses["adversarial"] = hinge_generator_loss([self._judge(shown)])
        return losses

    def _weights(self, faces: Faces) -> torch.Tensor | float:
        """Return how much each pixel counts, (B, 1, S, S), 1 on average: those of the face more than others."""
        if not self.config.emphasis:
            return 1.0
        if faces.labels is None:
            raise ValueError("emphasising the face needs faces.labels: train on rendered or parsed faces")
        weights = 1 + self.config.emphasis * region(faces.labels, *synthetic.FACE_REGION)[:, None].float()
        return weights / weights.mean()

    def _read(self, faces: Faces) -> tuple[torch.Tensor, torch.Tensor]:
        """Return codes w (B, w) of faces and their divergence from the prior: none for what the renderer knows."""
        if self.pupil is not None:
            codes = self._known(faces)
            return codes, codes.new_zeros(())
        mean, log_variance = self.reader(faces.images)
        return draw(mean, log_variance), kl_divergence(mean, log_variance)

    def _known(self, faces: Faces) -> torch.Tensor:
        if faces.factors is None:
            raise ValueError("this generator reads factors, which only rendered faces have: train on rendered faces")
        return self.pupil(faces.factors)

    def _judge(self, images: torch.Tensor) -> torch.Tensor:
        """Return the projected discriminator's logits (B, scales) of pictures, changed as the augmentation does."""
        return self.discriminator(self.parser.project(self.augment(images), self.config.size))

    def _projected_losses(self, faces: Faces) -> dict[str, torch.Tensor]:
        with torch.no_grad():
            shown = self.network.synthesis(self.network.plus(self._read(faces)[0]), self._noise)
        real, fake = self._judge(faces.images), self._judge(shown)
        self.augment.follow(real.mean(1))
        return tell_apart(real, fake)

    def _mapping_losses(self, faces: Faces) -> dict[str, torch.Tensor]:
        """Return the energy distance of mapped and read codes, less the read codes' own, constant term."""
        with torch.no_grad():
            read = self.recent(self._read(faces)[0])
        codes = self.network.mapping(torch.randn(256, self.config.z, device=read.device)).float()
        return {"mapping": 2 * torch.cdist(codes, read).mean() - torch.pdist(codes).mean()}

    def _generator_losses(self, faces: Faces) -> dict[str, torch.Tensor]:
        logits = self.discriminator(self._fakes(len(faces)))
        if not self.config.paired:
            return {"adversarial": generator_loss([logits])}
        with torch.no_grad():
            real = self.discriminator(self.augment(faces.images))
        return {"adversarial": paired_loss(logits, real)}

    def _path_losses(self, faces: Faces) -> dict[str, torch.Tensor]:
        ws = self._codes(max(1, len(faces) // 2))  # half a batch: second derivatives need memory
        shown = torch.randn(len(ws), *faces.images.shape[1:], device=ws.device)
        lengths = path_lengths(self.network.synthesis, ws, shown, self._noise)
        return {"path": (lengths - self.mean(lengths)).square().mean()}

    def _discriminator_losses(self, faces: Faces) -> dict[str, torch.Tensor]:
        with torch.no_grad():
            fakes = self._fakes(len(faces))
        real = self.discriminator(self.augment(faces.images))
        self.augment.follow(real)
        fake = self.discriminator(fakes)
        return {"discriminator": paired_loss(real, fake) if self.config.paired else discriminator_loss(real, [fake])}

    def _penalty(self, faces: Faces) -> dict[str, torch.Tensor]:
        penalty = gradient_penalty(self.discriminator, self.augment(faces.images))
        if self.config.paired:
            with torch.no_grad():
                fakes = self._fakes(len(faces))
            penalty = penalty + gradient_penalty(self.discriminator, fakes)
        return {"penalty": penalty}
