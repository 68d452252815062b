"""E4S: fine-grained swapping by inverting a face region by region.

Zhian Liu, Maomao Li, Yong Zhang, Cairong Wang, Qi Zhang, Jue Wang, Yongwei Nie: Fine-Grained Face Swapping via Regional
GAN Inversion. CVPR 2023, arXiv:2211.14068.

    x ── F, pooled within each region of the label map m ── t_r ── MLP_r ── s_r ──┐
                                                                                  ├─ mask-guided G ── x'
    m ────────────────────────────────────────────────────────────────────────────┘

    swap: the source, driven to the target's pose ─┬─ t_r of the inner face ─────────┐
                                                   └─ m: inner face ─┐               ├─ G ── blended into the target
    target ─┬─ m: background, hair, neck, ears, glasses ─────────────┴─ recomposed ──┤
            └─ t_r of the rest ──────────────────────────────────────────────────────┘

    L = L_2 + λ_p Σ_scales LPIPS + λ_id Σ_levels (1 − cos) + λ_s Σ_levels (1 − cos of the parser's) + λ_adv L_adv

| paper | here |
|---|---|
| F_φ, MLP_r, G_θ | `encoder`, `mlps`, `generator` (`swaplib.networks.e4s`) |
| texture vector t_r, style codes s_r, shape m | the parts of the regions, `styles`, the part `mask` |
| face reenactor | `latent.Driven`, around this family or any other |
| K | `Config.masked` |
| RGI, RGI-Optim | training, `optimise` |
| λ of the controlled swap | `control_amounts` |

Training reconstructs single pictures: nothing is swapped. As in the authors' code, textures are swapped before the
MLPs, and a source without ears gets half of the target's texture for them.

Where we differ from the paper, and why:
- The feature distances are our classifier's, the identity is our smooth embedder's, and the parsing loss is our own
  parser's, whose encoder is as in the paper; `distance` can be replaced by LPIPS (`judges.load_official` with AlexNet's
  file).
- The discriminator starts from random weights: released generators come without theirs. `load_official` loads it where
  the file has one.
- Which level the single-scale encoder of ablation D pools is not stated: here the last one.
- Feature distances hardly mind colours, nor does a discriminator of features: with the printed weights eyes and lips
  of small networks turn green and purple. `colours` compares them alone; it is 0 in the paper's configuration.
- No rule is given for hair transfer: see `e4s_regions.transfer_hair_mask`.
- The demo is narrower, pools by shares of area (its coarse maps are 4 x 4, where eyes would vanish), and begins at half
  its size; its discriminator comes late, and judges what the parser sees (`projected`). The released weights learned by
  its features alone, without the colours that it gives along by now.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import nn

from swaplib.faces import E4S as REGIONS
from swaplib.faces import Faces, members, relabel, split_colours
from swaplib.families.base import Codes, Family, Part
from swaplib.families.e4s_regions import COVERED, TEXTURES, cover_face, is_in, swap_mask, swap_textures
from swaplib.generators.stylegan2 import StyleGAN2
from swaplib.judges import perceptual
from swaplib.judges.identity import Identity, IdentityLinear
from swaplib.judges.parsing import Parser, label_faces
from swaplib.judges.perceptual import FeatureDistance
from swaplib.networks import blocks
from swaplib.networks.discriminators import (
    ProjectedDiscriminator,
    discriminator_loss,
    generator_loss,
    hinge_generator_loss,
    tell_apart,
)
from swaplib.networks.e4s import RegionEncoder, RegionMLPs, masked_synthesis
from swaplib.networks.stylegan2 import Discriminator, Noise, gradient_penalty
from swaplib.training.model import Phase, Stage, cosine, drops


@dataclass(frozen=True)
class Config:
    """Sizes (pixels, channels), judges, and loss weights. Sections are the supplement's; "code" the authors'."""

    size: int = 1024
    framing: str = "portrait"  # how pictures are aligned (`photos.align`); that of official files is their authors'
    generator_preset: str = "paper"  # the StyleGAN2 that it starts from
    encoder_size: int = 256  # pixels that the encoder sees, code
    encoder_width: int = 64  # channels of its first convolution …
    encoder_factors: tuple[int, ...] = (2, 4, 8, 8)  # … and of its levels, as multiples
    encoder_units: tuple[int, ...] = (3, 4, 14, 3)  # residual units of its levels
    levels: tuple[int, ...] = (1, 2, 3)  # levels that are pooled
    soft: bool = False  # regions are pooled by shares of area
    masked: int = 13  # K: layers that are steered by region; later ones know only the mean code
    scales: tuple[int, ...] = (1, 2, 4)  # by how much pictures are reduced for the perceptual loss, §2
    parsed: int = 512  # pixels that the parser sees in the parsing loss, code
    embedder: str = "identity"
    parser_preset: str = ""  # of the parser, which also labels pictures without labels; empty: as the other judges'
    judges_preset: str = "paper"
    discriminator_base: int = 32768  # channels · size at most
    discriminator_most: int = 512  # channels at most
    projected: bool = False  # the discriminator sees the parser's features and small pictures, not pixels
    late: bool = False  # the adversarial loss joins after most of the training; a projected one begins alone
    grown: bool = False  # where late: before all that, train at half the size
    # Weights of the losses, §2
    pixels: float = 1
    colours: float = 0  # absolute error of `split_colours`; not the paper's
    perceptual: float = 0.8
    identity: float = 0.1
    parsing: float = 0.1
    adversarial: float = 0.01
    discriminator: float = 1
    accuracy: float = 0  # of the projected discriminator: logged, not learned from
    penalty: float = 0  # γ / 2 of R1; the code leaves it out
    discriminator_every: int = 15  # steps from one training of the discriminator to the next, code
    learning_rate: float = 1e-4
    betas: tuple[float, float] = (0.9, 0.999)
    stepwise: bool = True  # a tenth of the rate after a third of the steps; else half a cosine
    batch: int = 16
    steps: int = 300_000

    @classmethod
    def paper(cls) -> Config:
        return cls()

    @classmethod
    def demo(cls) -> Config:
        """Return sizes for a CPU: 128 px.

        The encoder has 16 to 128 channels and 6 units instead of 64 to 512 and 24, and sees 64 px; the parser sees
        128 px; codes have 192 numbers; 10 of the 12 layers of the demo's StyleGAN2 are masked.
        """
        return cls(
            size=128, generator_preset="demo", encoder_size=64, encoder_width=16, encoder_units=(1, 1, 2, 2),
            soft=True, masked=10, parsed=128, judges_preset="demo", discriminator_base=512, discriminator_most=64,
            projected=True, late=True, grown=True, pixels=10, colours=3, adversarial=0.02, learning_rate=1e-3,
            stepwise=False, batch=8, steps=40_000,
        )  # fmt: skip

    @classmethod
    def photo(cls) -> Config:
        """Return the demo's sizes, to go on from its weights with photographs and rendered faces in turn.

        The parser is the one that knows photographs.
        """
        return replace(cls.demo(), parser_preset="photo", grown=False, steps=4000)

    @classmethod
    def study(cls, **changes) -> Config:
        """Return the demo's networks with the printed losses but the discriminator's, briefly trained, for variants."""
        return replace(
            cls.demo(), pixels=1, colours=0, adversarial=0.0, projected=False, late=False, grown=False, steps=400,
            **changes,
        )  # fmt: skip

    @classmethod
    def smoke(cls) -> Config:
        return replace(
            cls.demo(), size=32, generator_preset="smoke", encoder_size=32, encoder_width=8,
            encoder_units=(1, 1, 1, 1), masked=6, parsed=32, judges_preset="smoke", discriminator_base=256,
            discriminator_most=16, projected=False, late=False, grown=False, pixels=1, colours=0, adversarial=0.01,
            penalty=0.8, discriminator_every=1, batch=4, steps=20,
        )  # fmt: skip


ABLATIONS = {"C": {"scales": ()}, "D": {"levels": (3,)}}
"""Ablations of the supplement's Table 1, as changes of the config: no perceptual loss, an encoder of a single scale."""


# ----------------------------------------------------------------------------------------------------------- networks
# They are `swaplib.networks.e4s` and `swaplib.networks.stylegan2`.


# ------------------------------------------------------------------------------------------------------------- losses


def scales_features(distance: FeatureDistance, images: torch.Tensor, scales: tuple[int, ...]) -> list[Any]:
    """Return the features of pictures reduced by each of some factors."""
    return [distance.features(F.avg_pool2d(images, scale)) for scale in scales]


def scales_loss(distance: FeatureDistance, shown: list[Any], truth: list[Any]) -> torch.Tensor:
    """Return the distance of `scales_features`, summed: multi-scale LPIPS (supplement, §2)."""
    return sum(distance.compare(*pair).mean() for pair in zip(shown, truth, strict=True))


def levels_loss(shown: list[torch.Tensor], truth: list[torch.Tensor]) -> torch.Tensor:
    """Return one minus the cosine of maps or vectors, summed over levels, mean over pictures (supplement, §2)."""
    pairs = zip(shown, truth, strict=True)
    return sum(1 - F.cosine_similarity(a.flatten(1).float(), b.flatten(1).float()).mean() for a, b in pairs)


def embed_levels(embedder: Identity, images: torch.Tensor) -> list[torch.Tensor]:
    """Return the embedder's four maps and its vector."""
    maps = embedder.trunk.features(embedder.seen(images))
    return [*maps, embedder.head(maps[-1].mean((2, 3)))]


# ------------------------------------------------------------------------------------------------------------- family


class E4S(Family):
    """Faces at the config's size; those without labels are parsed. Training needs only pictures."""

    name = "e4s"
    paper: ClassVar[tuple[str, str]] = ("E4S", "2211.14068")
    Config = Config
    swap_parts = (*TEXTURES, "mask")
    driven: ClassVar[bool] = True
    training_only: ClassVar[tuple[str, ...]] = ("discriminator", "embedder", "classifier", "distance")
    official: ClassVar[tuple[str, ...]] = ("encoder", "mlps", "generator", "mean")
    official_framing: ClassVar[str] = "ffhq"

    def __init__(
        self, config: Config, generator: StyleGAN2, parser: Parser, embedder: Identity, classifier: IdentityLinear
    ):
        super().__init__(config, parser=parser, embedder=embedder, classifier=classifier)
        self.frozen["distance"] = perceptual.feature_distance(classifier, own_size=True)
        self.encoder = RegionEncoder(
            config.encoder_size, config.encoder_width, config.encoder_factors, config.encoder_units, config.levels,
            len(REGIONS), config.soft,
        )  # fmt: skip
        self.generator, self.started = deepcopy(generator.network).requires_grad_(True), generator.trained
        self.generator.synthesis.crop(config.size)
        mean = self.generator.mapping.w_avg
        self.mlps = RegionMLPs(len(REGIONS), self.encoder.outputs, len(mean), config.masked)
        self.register_buffer("mean", mean.expand(self.generator.layers, -1).clone())
        if config.projected:
            self.discriminator = ProjectedDiscriminator(*parser.projected(config.size), config.discriminator_most)
        else:
            self.discriminator = Discriminator(config.size, config.discriminator_base, config.discriminator_most)
        self.generator.mapping.requires_grad_(False)
        for module, k in self.generator.synthesis.indexed():
            module.requires_grad_(k < config.masked)
        size = (config.size,) * 2
        textures = (Part(name, (self.encoder.outputs,), regions=members("e4s", name)) for name in REGIONS)
        self.parts = (*textures, Part("mask", size, "labels", "e4s"))

    # -- the contract

    @classmethod
    def frozen_models(cls, config: Config) -> dict[str, tuple[str, str]]:
        preset = config.judges_preset
        return {
            "generator": ("stylegan2", config.generator_preset),
            "parser": ("parser", config.parser_preset or preset),
            "embedder": (config.embedder, preset),
            "classifier": ("identity_linear", preset),
        }

    def encode(self, faces: Faces) -> Codes:
        """Return each region's texture, zeros where it isn't shown, and the label map, uint8 in the order of `REGIONS`.

        Raises ValueError for pictures of another size, and for ones without labels where the parser has no weights.
        """
        if not torch.is_grad_enabled() and len(faces) > self.at_once():
            chunks = [self.encode(faces[rows]) for rows in self.split(faces)]
            return {name: torch.cat([one[name] for one in chunks]) for name in chunks[0]}
        mask = self.labels(faces)
        textures = self.encoder(faces.images, mask)
        return {**self._named(textures), "mask": mask}

    def average(self, codes: Sequence[Codes]) -> Codes:
        """Return the mean texture of each region over the pictures that show it; the map is the first one's."""
        found = super().average(codes)
        for name in REGIONS if len(codes) > 1 else ():
            textures = torch.stack([one[name] for one in codes])
            found[name] = textures.sum(0) / (textures != 0).any(-1, keepdim=True).sum(0).clamp(min=1)
        return found

    def transfer(self, source: Codes, target: Codes) -> Codes:
        """Return the source's textures, and the target's label map with the source's inner face."""
        textures = swap_textures(self._stacked(source), self._stacked(target), REGIONS)
        return {**self._named(textures), "mask": swap_mask(source["mask"], target["mask"])[0]}

    def decode(self, codes: Codes) -> torch.Tensor:
        return self.show(self.styles(self._stacked(codes)), codes["mask"]).clamp(-1, 1)

    def cover(self, mixed: Codes, target: Codes) -> torch.Tensor:
        """Return the weights of `cover_face`: of the regions `COVERED`, and of all else that isn't the target's."""
        inside = is_in(mixed["mask"], *COVERED) | (mixed["mask"] != target["mask"])
        for k, name in enumerate(REGIONS):
            if name not in COVERED:
                exchanged = (mixed[name] != target[name]).any(1)
                inside |= (mixed["mask"] == k) & exchanged[:, None, None]
        return cover_face(inside)

    def tunable(self) -> Iterable[nn.Parameter]:
        """Return the generator's synthesis, which §8.4 fits to a video."""
        return self.generator.synthesis.parameters()

    def tuning_loss(self, images: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        """Return the weighted losses of `reconstruction` (§8.4). Raises ValueError where judges have no weights."""
        self._require_judges()
        with torch.no_grad():
            judged = self.judge(wanted)
        return self._weigh(self.reconstruction(images, judged))

    def consumers(self) -> dict[str, list[torch.Tensor]]:
        """Return the first layer of each region's MLP."""
        return {name: [mlp.mlp[0].weight.detach()] for name, mlp in zip(REGIONS, self.mlps, strict=True)}

    def load_official(self, path: str | os.PathLike) -> E4S:
        """Load the authors' networks, with the discriminator where the file has one: training may start from them.

        Raises as `Fillable.load_official` does.
        """
        super().load_official(path)
        self.started = True
        return self

    # -- between pictures and codes

    def labels(self, faces: Faces) -> torch.Tensor:
        """Return label maps (B, S, S), uint8 in the order of `REGIONS`: the faces' own, or the parser's."""
        self.check_size(faces.images)
        return relabel(label_faces(faces, self.parser), target="e4s")

    def styles(self, textures: torch.Tensor) -> torch.Tensor:
        """Return style codes (B, regions, layers, w) of textures (B, regions, D)."""
        return self.mlps(textures, self.mean)

    def show(self, styles: torch.Tensor, mask: torch.Tensor, noise: Noise = "const") -> torch.Tensor:
        """Generate pictures from style codes and label maps, not yet clamped to [-1, 1].

        Raises ValueError for other labels.
        """
        if mask.is_floating_point() or int(mask.max()) >= len(REGIONS):
            raise ValueError(f"a mask holds integers from 0 to {len(REGIONS) - 1}, E4S's regions: use faces.relabel")
        # At 1024 px a picture takes gigabytes while it is made: without gradients, one is made after the other.
        step = len(mask) if torch.is_grad_enabled() else self.at_once()
        pairs = zip(styles.split(step), mask.split(step), strict=True)
        made = [masked_synthesis(self.generator.synthesis, *pair, self.config.masked, noise) for pair in pairs]
        return made[0] if len(made) == 1 else torch.cat(made)

    def _named(self, textures: torch.Tensor) -> Codes:
        return dict(zip(REGIONS, textures.unbind(1), strict=True))

    def _stacked(self, codes: Codes) -> torch.Tensor:
        return torch.stack([codes[name] for name in REGIONS], 1)

    # -- training

    def phases(self) -> list[Phase]:
        config = self.config
        if not self.started:
            raise ValueError(
                "E4S starts from a trained StyleGAN2, and this one has no weights: train it (swaplib train stylegan2), "
                "name the folder with its weights in SWAPLIB_WEIGHTS, and build E4S by start, not by build"
            )
        self._require_judges()
        learned = [*self.encoder.parameters(), *self.mlps.parameters(), *self.generator.parameters()]
        rate, betas = config.learning_rate, config.betas
        phases = [Phase("inversion", learned, self._losses, 1, rate, betas)]
        if config.projected and config.discriminator:
            learned = self.discriminator.trainable()
            return [*phases, Phase("discriminator", learned, self._projected_losses, 1, rate, (0.0, 0.99))]
        if config.adversarial:
            learned, every = [*self.discriminator.parameters()], config.discriminator_every
            phases.append(Phase("discriminator", learned, self._discriminator_losses, every, rate, betas))
        return phases

    @classmethod
    def stages(cls, config: Config) -> list[Stage]:
        if config.stepwise:
            return [Stage("whole", config, 1.0, drops(0.1, 1 / 3))]
        if not config.late:
            return [Stage("whole", config, 1.0, cosine(1, 0.05))]
        alone, whole = replace(config, adversarial=0.0), Stage("whole", config, 0.3, cosine(0.4, 0.05))
        stages = [Stage("alone", alone, 0.7, cosine(1, 0.4)), whole]
        if config.projected:
            alone = replace(alone, discriminator=0)
            seeing = replace(config, adversarial=0.0)  # the discriminator begins alone
            stages = [
                Stage("alone", alone, 0.65, cosine(1, 0.4)),
                Stage("seeing", seeing, 0.05, cosine(0.4, 0.4)),
                whole,
            ]
        if not config.grown:
            return stages
        half = Stage("half", replace(alone, size=config.size // 2, parsed=config.parsed // 2), 0.3)
        return [half, replace(stages[0], share=stages[0].share - half.share), *stages[1:]]

    def init_from(self, other: E4S) -> None:
        """Take over what another of this size learned, or one of half the size, whose generator lacks larger blocks."""
        if other.config.size == self.config.size:
            super().init_from(other)
            return
        self.encoder.load_state_dict(other.encoder.state_dict())
        self.mlps.load_state_dict(other.mlps.state_dict())
        blocks.copy_by_name(self.generator, other.generator)

    def judge(self, images: torch.Tensor) -> dict[str, Any]:
        """Return what the losses compare in pictures: pixels, and what the frozen networks see."""
        found = {
            "pixels": images,
            "identity": embed_levels(self.embedder, images),
            "parsing": self.parser.features(images, self.config.parsed),
        }
        if self.config.scales:
            found["perceptual"] = scales_features(self.distance, images, self.config.scales)
        return found

    def reconstruction(self, shown: torch.Tensor, wanted: dict[str, Any]) -> dict[str, torch.Tensor]:
        """Return the losses of pictures that are to equal others: all but the discriminator's (supplement, §2).

        wanted: from `judge`, of the others.
        """
        seen = self.judge(shown)
        losses = {
            "pixels": F.mse_loss(shown, wanted["pixels"]),
            "identity": levels_loss(seen["identity"], wanted["identity"]),
            "parsing": levels_loss(seen["parsing"], wanted["parsing"]),
        }
        if self.config.colours:
            losses["colours"] = F.l1_loss(split_colours(shown), split_colours(wanted["pixels"]))
        if self.config.scales:
            losses["perceptual"] = scales_loss(self.distance, seen["perceptual"], wanted["perceptual"])
        return losses

    def _weigh(self, losses: dict[str, torch.Tensor]) -> torch.Tensor:
        return sum(getattr(self.config, name) * loss for name, loss in losses.items())

    def _require_judges(self) -> None:
        for model in (self.embedder, self.parser, self.classifier):
            model.require_weights()

    def _shown(self, faces: Faces) -> torch.Tensor:
        mask = self.labels(faces)
        return self.show(self.styles(self.encoder(faces.images, mask)), mask, "random")

    def _losses(self, faces: Faces) -> dict[str, torch.Tensor]:
        shown = self._shown(faces)
        with torch.no_grad():
            wanted = self.judge(faces.images)
        losses = self.reconstruction(shown, wanted)
        if self.config.adversarial and self.config.projected:
            losses["adversarial"] = hinge_generator_loss([self._judge(shown)])
        elif self.config.adversarial:
            losses["adversarial"] = generator_loss([self.discriminator(shown)])
        return losses

    def _judge(self, images: torch.Tensor) -> torch.Tensor:
        """Return the projected discriminator's logits (B, scales)."""
        return self.discriminator(self.parser.project(images, self.config.size))

    def _projected_losses(self, faces: Faces) -> dict[str, torch.Tensor]:
        with torch.no_grad():
            shown = self._shown(faces)
        return tell_apart(self._judge(faces.images), self._judge(shown))

    def _discriminator_losses(self, faces: Faces) -> dict[str, torch.Tensor]:
        with torch.no_grad():
            shown = self._shown(faces)
        losses = {"discriminator": discriminator_loss(self.discriminator(faces.images), [self.discriminator(shown)])}
        if self.config.penalty:
            losses["penalty"] = gradient_penalty(self.discriminator, faces.images)
        return losses


# ------------------------------------------------------------------------------------------------------- optimisation


def optimise(
    family: E4S,
    faces: Faces,
    steps: int = 50,
    learning_rate: float = 1e-2,
    watch: Callable[[int, torch.Tensor], None] | None = None,
    over: Literal["styles", "textures"] = "styles",
) -> torch.Tensor:
    """Fit codes that show some faces better than the encoder's do (RGI-Optim, §5).

    Adam minimises the losses without the discriminator's, starting from the encoder's answer; all weights stay fixed.
    over: the style codes (B, regions, layers, w) of the masked layers, as in the paper's words, or the texture vectors
    (B, regions, D) before the MLPs, as in the authors' script; they are returned. `family.show` takes style codes,
    `family.styles` makes them of textures, and `swap_textures` mixes either. watch: gets the number of steps done, from
    0 on, and the style codes then. Raises as `encode` does, and ValueError where judges have no weights, or for codes
    of another kind.
    """
    if over not in ("styles", "textures"):
        raise ValueError(f"E4S has no codes {over!r} to fit: choose styles or textures")
    family._require_judges()
    with torch.no_grad():
        mask = family.labels(faces)
        textures = family.encoder(faces.images, mask)
        first, wanted = family.styles(textures), family.judge(faces.images)
    masked = family.config.masked
    own = (textures if over == "textures" else first[:, :, :masked]).clone().requires_grad_()

    def complete() -> torch.Tensor:
        return family.styles(own) if over == "textures" else torch.cat([own, first[:, :, masked:]], 2)

    optimiser = torch.optim.Adam([own], learning_rate)
    with torch.enable_grad():
        for step in range(steps):
            styles = complete()
            if watch:
                watch(step, styles.detach())
            total = family._weigh(family.reconstruction(family.show(styles, mask), wanted))
            (own.grad,) = torch.autograd.grad(total, [own])
            optimiser.step()
    with torch.no_grad():
        styles = complete()
    if watch:
        watch(steps, styles)
    return own.detach() if over == "textures" else styles
