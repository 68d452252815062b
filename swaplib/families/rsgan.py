"""RSGAN: a face and its hair in separate latent spaces.

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
| FE-cf, FE-ch | `encoders["face_attributes"]`, `["hair_attributes"]` | D_g, D_p | `discriminators` |
| FD-f, FD-h | `decoders["face"]`, `["hair"]` | C | `classifier` |
| M_BG, β | `background`, `Config.spare` | λ | the fields of `Config` under the losses' names |

Where we differ from the paper, and why:
- Layers and latent sizes are not given: stride-2 4 x 4 convolutions down to 4 x 4, batch normalisation, 128 and 64
  dimensions per region. All sizes are fields of the config.
- λ_rec = 4000 balances a KL divergence summed over dimensions only if L1 is a mean over pixels, as it is here.
- The printed adversarial loss is the discriminators'; encoders, decoders and composer use the non-saturating form.
- A random picture keeps the batch's attribute codes and draws the two appearance codes, so that the classifier's loss
  on it has a target.
- Attributes that a picture lacks (NaN) count as absent where they are an input and are left out of the losses.
- Encoders, decoders and composer use batch normalisation and get real and random codes in one batch, so that the
  statistics they learn hold when they are used. Discriminators and classifier see real and generated pictures in turn
  and are normalised differently: the former spectrally (Miyato et al. 2018), the latter by groups of channels.
- Algorithm A1 prints which losses each network learns from: encoders not from L_rec, the composer not from L_GC. The
  demo lets all losses reach all networks; the paper's preset keeps the printed routes, at the price of two more passes
  through the composer.
- With a small weight of the KL divergence, codes don't lie as N(0, 1) says; the demo draws random ones as its
  training's codes lie (`fitted`).
- The layout of the variant with an LSTM (§4.2, Figs A5 and A6) is not given: ours reads face and hair codes as a
  sequence of two and passes its states to the composer.
- The demo's hull covers brows and cheeks too: the paper's, of landmarks 27 to 67, leaves two-tone faces at its scale.
  Its encoders see only their own region. Its losses count the face's region twice and also compare colours separately,
  which its encoders see amplified: red, green and blue are so correlated that the sign of an L1 loss reflects only
  brightness, and grey pictures are a saddle that a short training doesn't leave. Its codes' KL weight is lower, it
  grows from half its size, and its discriminator comes late.
- The demo's one discriminator takes the place of D_g and D_p and sees what a frozen parser sees, and colours
  (`projected`: Sauer et al. 2021, arXiv:2111.01007): fresh ones are blind for longer than a demo learns. It judges
  every other picture, reconstructed or random, since the parser costs as much as all the rest. Reconstructions are also
  compared by a network's features (`perceptual`), of the picture and of a close-up (`close`): the mean of all faces
  that a code could mean is a blurred one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import nn

from swaplib import photos
from swaplib.faces import CELEBA_ATTRIBUTES, Faces, region, split_colours
from swaplib.families.base import Codes, Family, Part
from swaplib.judges import perceptual
from swaplib.judges.identity import IdentityLinear
from swaplib.judges.parsing import Parser
from swaplib.networks import blocks
from swaplib.networks.codes import draw, kl_divergence
from swaplib.networks.discriminators import (
    PatchDiscriminator,
    ProjectedDiscriminator,
    discriminator_loss,
    generator_loss,
    hinge_generator_loss,
    tell_apart,
)
from swaplib.training.model import Phase, Stage, cosine


@dataclass(frozen=True)
class Config:
    """Sizes (pixels, channels, dimensions), options and loss weights. Sections are the paper's."""

    size: int = 128  # §3.1
    width: int = 64  # channels of the encoders after the first convolution; doubling each time
    width_parts: int = 64  # channels of the part decoders at their last resolution
    width_composer: int = 64  # the same of the composer
    width_discriminators: int = 64  # channels of the discriminators after the first convolution
    width_classifier: int = 64  # the same of the classifier
    most: int = 512  # channels at most
    z_x: int = 128  # dimensions of an appearance code
    z_c: int = 64  # dimensions of an attribute code
    attributes: tuple[str, ...] = CELEBA_ATTRIBUTES  # §3.2
    face_crop: tuple[float, float, float] = (30 / 178, 50 / 178, 118 / 178)  # left, top, side; shares of the picture
    hull: int = 27  # first of the landmarks whose hull is the face, §3.2
    spare: float = 0.5  # β: how much of the background the reconstruction losses leave out, §3.1
    variational: bool = True  # §4.2: the other variant reconstructs better and can't sample
    random_branch: bool = True  # §3: without random codes the composer ignores the face's
    lstm: bool = False  # §4.2: an LSTM between the codes and the composer
    regional: bool = False  # each appearance encoder sees only its own region, not the whole picture
    chroma: float = 0  # appearance encoders get luminance, and red's and blue's differences from it times this; 0: RGB
    emphasis: float = 0  # additional weight of the face's pixels in the reconstruction
    projected: bool = False  # one discriminator that sees a frozen parser's features and colours, instead of two
    judges_preset: str = "paper"  # of that parser, and of the network whose features are compared
    grown: bool = False  # train at half the size first (§4.2), and with the discriminators only at the end
    printed_routes: bool = False  # Algorithm A1: no L_rec for the encoders, no L_GC for the composer
    summed: bool = False  # attribute losses are sums over attributes, as printed in §3.1, not means
    fitted: bool = False  # random codes follow what training has found, not the prior N(0, 1)
    discriminators_every: int = 1  # steps from one training of the discriminators and the classifier to the next
    # Weights of the losses, §3.1.
    reconstruction: float = 4000
    face_reconstruction: float = 4000
    hair_reconstruction: float = 4000
    colours: float = 0  # the same of all three pictures' colours alone
    close: bool = False  # features of a close-up are compared, too
    perceptual: float = 0  # of the distance of the reconstruction's features from the picture's
    kl: float = 1
    adversarial_global: float = 20
    adversarial_patch: float = 30
    generated_classification: float = 50
    discriminator_global: float = 20
    discriminator_patch: float = 30
    accuracy: float = 0  # of the projected discriminator: logged, not learned from
    classification: float = 1
    # §3.1, §4
    learning_rate: float = 2e-4
    discriminators_learning_rate: float = 2e-4
    betas: tuple[float, float] = (0.5, 0.999)
    batch: int = 50
    steps: int = 120_000

    @classmethod
    def paper(cls) -> Config:
        """Return the paper's sizes: 128 px, for the lower square of pictures aligned as CelebA is.

        `swaplib prepare --kind rsgan` makes them.
        """
        return cls(printed_routes=True, summed=True)

    @classmethod
    def demo(cls) -> Config:
        """Return sizes for a CPU: 128 px in portrait framing."""
        return cls(
            width=32, width_parts=12, width_composer=24, width_discriminators=64, width_classifier=16, most=240,
            z_x=192, z_c=16, face_crop=(0.165, 0.2425, 0.675), hull=0, regional=True, chroma=4, emphasis=1,
            projected=True, judges_preset="demo", grown=True, summed=True, fitted=True, discriminators_every=2,
            colours=8000, close=True, perceptual=6000, kl=0.02, generated_classification=25, adversarial_global=80,
            adversarial_patch=0, discriminator_global=1, discriminator_patch=0, discriminators_learning_rate=1e-3,
            learning_rate=1e-3, betas=(0.9, 0.999), batch=16, steps=60_000,
        )  # fmt: skip

    @classmethod
    def study(cls, **changes) -> Config:
        """Return a small variant at 32 px, with the paper's losses and encoders, to compare variants in minutes."""
        small = cls(
            size=32, width=24, width_parts=24, width_composer=24, width_discriminators=24, width_classifier=16, most=96,
            z_x=48, z_c=16, face_crop=(0.165, 0.2425, 0.675), hull=0, emphasis=1, discriminators_every=2, kl=0.05,
            adversarial_global=10, adversarial_patch=15, generated_classification=20, discriminator_global=10,
            discriminator_patch=15, learning_rate=5e-4, betas=(0.9, 0.999), batch=16, steps=2000,
        )  # fmt: skip
        return replace(small, **changes)

    @classmethod
    def smoke(cls) -> Config:
        return replace(
            cls.study(), width=8, width_parts=8, width_composer=8, width_discriminators=8, width_classifier=8, most=32,
            z_x=16, z_c=8, regional=True, chroma=4, colours=8000, kl=0.02, learning_rate=1e-3, batch=4, steps=20,
        )  # fmt: skip


# ----------------------------------------------------------------------------------------------------------- networks
# All of them return float32, also under bfloat16: the losses need the precision.


class Encoder(nn.Module):
    """Maps picture and attributes to mean and log-variance of an appearance code."""

    def __init__(self, config: Config):
        super().__init__()
        self.chroma = config.chroma
        channels = blocks.channels(config.size, config.width, config.most)
        self.body = blocks.down(3 + len(config.attributes), channels)
        self.head = nn.Linear(channels[-1] * 16, 2 * config.z_x)

    def forward(self, images, attributes):  # (B, 3, S, S), (B, A) -> (B, Z), (B, Z)
        if self.chroma:
            images = torch.cat([images.mean(1, keepdim=True), self.chroma * split_colours(images)], 1)
        planes = attributes[:, :, None, None].expand(-1, -1, *images.shape[-2:])
        mean, log_variance = self.head(self.body(torch.cat([images, planes], 1)).flatten(1)).float().chunk(2, 1)
        return mean, log_variance


class AttributeEncoder(nn.Module):
    """Maps attributes to mean and log-variance of an attribute code."""

    def __init__(self, config: Config):
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(len(config.attributes), 256), nn.LeakyReLU(0.2), nn.Linear(256, 2 * config.z_c)
        )

    def forward(self, attributes):  # (B, A) -> (B, Z), (B, Z)
        mean, log_variance = self.body(attributes).float().chunk(2, 1)
        return mean, log_variance


class Classifier(nn.Module):
    """Maps a picture to the logits of its attributes."""

    def __init__(self, config: Config):
        super().__init__()
        channels = blocks.channels(config.size, config.width_classifier, config.most)
        self.body = blocks.down(3, channels, "group")
        self.head = nn.Linear(channels[-1] * 16, len(config.attributes))

    def forward(self, images):  # (B, 3, S, S) -> (B, A)
        return self.head(self.body(images).flatten(1)).float()


# ------------------------------------------------------------------------------------------------------------- losses


def weighted_l1_loss(images: torch.Tensor, truth: torch.Tensor, weight: torch.Tensor | float = 1.0) -> torch.Tensor:
    """Return the mean of |x' − x| W with weights W (B, 1, H, W); in §3.1, W = 1 − β M, M the background."""
    return ((images - truth).abs() * weight).mean()


def attribute_loss(logits: torch.Tensor, attributes: torch.Tensor, summed: bool = False) -> torch.Tensor:
    """Return the binary cross-entropy of the known attributes (not NaN), mean over pictures: §3.1's classification.

    summed: over attributes, as the paper prints it; else their mean, a fortieth of it.
    """
    known = ~attributes.isnan()
    terms = F.binary_cross_entropy_with_logits(logits, attributes.nan_to_num(0), reduction="none")
    return (terms * known).sum() / (len(logits) if summed else known.sum().clamp(min=1))


# ------------------------------------------------------------------------------------------------------------- family


EDITS = {
    "face": ("Smiling", "Male", "Young", "Pale_Skin", "No_Beard", "Eyeglasses"),
    "hair": ("Black_Hair", "Blond_Hair", "Gray_Hair", "Bald", "Bangs", "Straight_Hair"),
}
"""Attributes that `RSGAN.directions` offers to edit, by region."""


def _edits() -> list[tuple[str, str]]:
    return [(part, name) for part, names in EDITS.items() for name in names]


class RSGAN(Family):
    """Faces at the config's size. Encoding estimates their attributes by the classifier.

    Where the config is `regional`, encoding needs landmarks, which say which region is the face. Training also needs
    attributes, and labels to tell the background (without them all pixels count fully).
    """

    name = "rsgan"
    paper: ClassVar[tuple[str, str]] = ("RSGAN", "1804.03447")
    Config = Config
    swap_parts = ("face", "face_attributes")
    moved: ClassVar[tuple[str, ...]] = ("expression", "pose", "light")
    training_only: ClassVar[tuple[str, ...]] = ("discriminators", "decoders", "parser", "embedder", "distance")

    def __init__(self, config: Config, parser: Parser | None = None, embedder: IdentityLinear | None = None):
        super().__init__(config, parser=parser, embedder=embedder)
        if embedder is not None:
            self.frozen["distance"] = perceptual.feature_distance(embedder, close=config.close)
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
        size, most = config.size, config.most
        self.decoders = nn.ModuleDict({
            name: blocks.Decoder(size, both, config.width_parts, most) for name in ("face", "hair")
        })  # fmt: skip
        self.reader = nn.LSTM(both, both, batch_first=True) if config.lstm else None
        self.composer = blocks.Decoder(size, 2 * both, config.width_composer, most)
        width = config.width_discriminators
        if config.projected:
            judging = {"global": ProjectedDiscriminator(*parser.projected(size), width)}
        else:
            judging = {name: PatchDiscriminator(size, width, most, name == "patch") for name in ("global", "patch")}
        self.discriminators = nn.ModuleDict(judging)
        self.classifier = Classifier(config)
        self.register_buffer("edits", torch.zeros(len(_edits()), both))
        if config.fitted:
            self.register_buffer("prior_mean", torch.zeros(2 * both))
            self.register_buffer("prior_root", torch.eye(2 * both))
        known = [CELEBA_ATTRIBUTES.index(name) for name in config.attributes]
        self.register_buffer("columns", torch.tensor(known), persistent=False)

    # -- the contract

    @classmethod
    def frozen_models(cls, config: Config) -> dict[str, tuple[str, str]]:
        found = {"parser": ("parser", config.judges_preset)} if config.projected else {}
        return found | ({"embedder": ("identity_linear", config.judges_preset)} if config.perceptual else {})

    def encode(self, faces: Faces, attributes: torch.Tensor | None = None) -> Codes:
        """Return the means of the four codes.

        attributes (B, A), 0 to 1: used instead of the classifier's estimate, to edit a face. Raises ValueError for
        pictures of another size, and for faces without landmarks where the config is regional.
        """
        self.check_size(faces.images)
        if attributes is None:
            attributes = self.attributes(faces)
        return {name: mean for name, (mean, _) in self._distributions(faces, attributes).items()}

    def decode(self, codes: Codes) -> torch.Tensor:
        ordered = [codes[part.name] for part in self.parts]
        if self.reader is not None:
            sequence = torch.stack([torch.cat(ordered[:2], 1), torch.cat(ordered[2:], 1)], 1)
            ordered = [self.reader(sequence)[0].flatten(1)]
        return self.composer(*ordered)

    def sample(self, count: int, seed: int = 0, fitted: bool | None = None) -> Codes:
        """Draw random codes: from the prior, or as the codes of the training's faces lie.

        fitted: the config's own where None. Raises ValueError where codes follow no known distribution.
        """
        if not self.config.variational:
            raise ValueError("this RSGAN is not variational: its codes follow no known distribution to sample from")
        generator = torch.Generator().manual_seed(seed)
        device = self.columns.device
        drawn = {part.name: torch.randn(count, *part.shape, generator=generator).to(device) for part in self.parts}
        if not (self.config.fitted if fitted is None else fitted):
            return drawn
        codes = self.prior_mean + torch.cat(list(drawn.values()), 1) @ self.prior_root.T
        return dict(zip(drawn, codes.split([part.shape[0] for part in self.parts], 1), strict=True))

    def directions(self) -> dict[str, Codes]:
        """Return the edits that `on_train_end` measured: how an attribute changes its region's codes."""
        sizes = self.config.z_x, self.config.z_c
        found = {}
        for (part, name), edit in zip(_edits(), self.edits, strict=True):
            if edit.any():
                both = zip((part, f"{part}_attributes"), edit.split(sizes), strict=True)
                found[f"{part}: {name.replace('_', ' ')}"] = dict(both)
        return found

    def consumers(self) -> dict[str, list[torch.Tensor]]:
        """Return the composer's first layer, or the LSTM's where there is one."""
        sizes = [part.shape[0] for part in self.parts]
        if self.reader is None:
            weights = self.composer.seed.weight.detach().split(sizes, 1)
        else:
            weights = 2 * self.reader.weight_ih_l0.detach().split(sizes[:2], 1)
        return {part.name: [weight] for part, weight in zip(self.parts, weights, strict=True)}

    def tunable(self) -> Iterable[nn.Parameter]:
        return [*self.composer.parameters(), *(() if self.reader is None else self.reader.parameters())]

    # -- between pictures and codes

    def attributes(self, faces: Faces) -> torch.Tensor:
        """Return the classifier's estimate c* of the config's attributes, (B, A) from 0 to 1 (§3.3)."""
        self.check_size(faces.images)
        return self.classifier(faces.images).sigmoid()

    def regions(self, faces: Faces) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return face crop (grey outside), picture with the face grey, and the face's hull, bool (B, 1, S, S)."""
        if faces.landmarks is None:
            raise ValueError(
                "this RSGAN needs faces.landmarks, which say where the face is: prepare the photographs first"
            )
        size = self.config.size
        hull = photos.rsgan_mask(faces.landmarks, size, self.config.hull).to(faces.images.device)[:, None]
        left, top, side = (round(share * size) for share in self.config.face_crop)
        crop = (faces.images * hull)[..., top : top + side, left : left + side]
        return F.interpolate(crop, (size, size), mode="bilinear", antialias=True), faces.images * ~hull, hull

    def _distributions(self, faces: Faces, attributes, regions=None) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
        """Return mean and log-variance of each part.

        regions: as from `regions`, where the caller has them already.
        """
        attributes = attributes.nan_to_num(0)
        seen = {"face": faces.images, "hair": faces.images}
        if self.config.regional:
            face, hair, _ = regions or self.regions(faces)
            seen = {"face": face, "hair": hair}
        return {
            name: encoder(seen[name], attributes) if name in seen else encoder(attributes)
            for name, encoder in self.encoders.items()
        }

    # -- training (Algorithm A1)

    def phases(self) -> list[Phase]:
        autoencoder = [*self.encoders.parameters(), *self.decoders.parameters(), *self.composer.parameters()]
        if self.reader is not None:
            autoencoder += self.reader.parameters()
        judges = [*self.classifier.parameters()]
        for one in self.discriminators.values():
            judges += one.trainable() if self.config.projected else one.parameters()
        rate, betas = self.config.learning_rate, self.config.betas
        rate_judges, every = self.config.discriminators_learning_rate, self.config.discriminators_every
        betas_judges = (0.0, 0.99) if self.config.projected else betas
        return [
            Phase("autoencoder", autoencoder, self._autoencoder_losses, learning_rate=rate, betas=betas),
            Phase("discriminators", judges, self._discriminator_losses, every, rate_judges, betas_judges),
        ]

    @classmethod
    def stages(cls, config: Config) -> list[Stage]:
        """Return one stage; if grown, first half the size, then without the discriminators, then as it is."""
        if not config.grown:
            return [Stage("whole", config, 1.0)]
        off = (
            "adversarial_global",
            "adversarial_patch",
            "generated_classification",
            "discriminator_global",
            "discriminator_patch",
        )
        alone = replace(config, **dict.fromkeys(off, 0))
        twice = {name: 2 * getattr(config, name) for name in vars(config) if name.startswith("width")}
        half = replace(alone, size=config.size // 2, **twice)
        seeing = replace(config, adversarial_global=0, adversarial_patch=0)  # the discriminator begins alone
        return [
            Stage("half", half, 0.2, cosine(1.0, 0.9)),
            Stage("alone", alone, 0.5, cosine(0.9, 0.5)),
            *([Stage("seeing", seeing, 0.02, cosine(0.5, 0.5))] if config.projected else []),
            Stage("whole", config, 0.28 if config.projected else 0.3, cosine(0.5, 0.02)),
        ]

    def init_from(self, other: RSGAN) -> None:
        """Copy what an RSGAN of this or of half the size has learned, but no discriminator of another kind."""
        alike = self.config.projected == other.config.projected
        for name, network in self.named_children():
            if alike or name != "discriminators":
                blocks.copy_layers(network, getattr(other, name))

    @torch.no_grad()
    def on_train_end(self, faces: Faces) -> None:
        """Measure attribute vectors, as VAE-GAN edits with (Larsen et al. 2016, §4.1), and how codes are distributed.

        Each vector is the mean code of the faces that have an attribute less that of those without. An attribute with
        fewer than 4 faces on one side gets none.
        """
        encoded = []
        for k in range(0, len(faces), 64):
            chunk = faces[k : k + 64].to(self.edits.device)
            encoded.append(self._distributions(chunk, self.attributes(chunk)))
        codes, spreads = (
            {part.name: torch.cat([one[part.name][k] for one in encoded]) for part in self.parts} for k in (0, 1)
        )
        if self.config.fitted:
            means, variances = (torch.cat(list(one.values()), 1).double() for one in (codes, spreads))
            self.prior_mean.copy_(means.mean(0))
            # The means' covariance, and what the codes are blurred by: it also keeps the root from failing.
            self.prior_root.copy_(torch.linalg.cholesky(means.T.cov() + variances.exp().mean(0).diag()))
        for row, (part, name) in enumerate(_edits()):
            has = faces.attributes[:, CELEBA_ATTRIBUTES.index(name)].to(self.edits.device)
            if min((has == 1).sum(), (has == 0).sum()) >= 4:
                both = torch.cat([codes[part], codes[f"{part}_attributes"]], 1)
                self.edits[row] = both[has == 1].mean(0) - both[has == 0].mean(0)

    def _draw(self, distributions) -> Codes:
        """Draw codes from their distributions, or take the means where the config is not variational."""
        if not self.config.variational:
            return {name: mean for name, (mean, _) in distributions.items()}
        return {name: draw(*distribution) for name, distribution in distributions.items()}

    def _fakes(self, codes: Codes, still: bool = False) -> list[torch.Tensor]:
        """Return the reconstruction and, with the random branch, a picture of random appearance.

        still: gradients pass through the composer to the codes, but don't reach its weights.
        """
        both = self.config.random_branch and self.config.variational and self._judged
        if both:
            random = codes | {name: torch.randn_like(codes[name]) for name in ("face", "hair")}
            codes = {name: torch.cat([codes[name], random[name]]) for name in codes}
        learned = [one for one in self.tunable() if one.requires_grad] if still else []
        for one in learned:
            one.requires_grad_(False)
        shown = self.decode(codes)
        for one in learned:
            one.requires_grad_(True)
        return list(shown.chunk(2)) if both else [shown]

    @property
    def _judged(self) -> bool:
        """Whether discriminators and classifier count: if all their weights are zero, nothing is generated for them."""
        weights = ("adversarial_global", "adversarial_patch", "generated_classification")
        return any(getattr(self.config, name) for name in weights)

    def _autoencoder_losses(self, faces: Faces) -> dict[str, torch.Tensor]:
        config = self.config
        attributes = self._known(faces)
        face, hair, hull = regions = self.regions(faces)
        distributions = self._distributions(faces, attributes, regions)
        codes = self._draw(distributions)
        fakes = self._fakes(codes)
        printed = config.printed_routes
        shown = self.decode({name: code.detach() for name, code in codes.items()}) if printed else fakes[0]
        shown_face = self.decoders["face"](codes["face"], codes["face_attributes"])
        shown_hair = self.decoders["hair"](codes["hair"], codes["hair_attributes"])
        background = 0.0 if faces.labels is None else region(faces.labels, "background")[:, None].float()
        spared = 1 - config.spare * background
        compared = {
            "reconstruction": (shown, faces.images, spared + config.emphasis * hull),
            "face_reconstruction": (shown_face, face, 1.0),
            "hair_reconstruction": (shown_hair, hair, spared),
        }
        losses = {name: weighted_l1_loss(*both) for name, both in compared.items()}
        if config.colours:
            losses["colours"] = sum(
                weighted_l1_loss(split_colours(shown), split_colours(truth), weight)
                for shown, truth, weight in compared.values()
            )
        if "distance" in self.frozen:
            losses["perceptual"] = self.distance(shown, faces.images).mean()
        if config.generated_classification:
            judged = self._fakes(codes, still=True) if printed else fakes
            terms = [attribute_loss(self.classifier(fake), attributes, config.summed) for fake in judged]
            losses["generated_classification"] = sum(terms)
        losses |= self._adversarial_losses(fakes)
        if config.variational:
            losses["kl"] = sum(kl_divergence(*distribution) for distribution in distributions.values())
        return losses

    def _adversarial_losses(self, fakes: list[torch.Tensor]) -> dict[str, torch.Tensor]:
        losses = {}
        for name, discriminator in self.discriminators.items():
            if getattr(self.config, f"adversarial_{name}"):
                loss = hinge_generator_loss if self.config.projected else generator_loss
                judge = self._project if self.config.projected else discriminator
                losses[f"adversarial_{name}"] = loss([judge(fake) for fake in fakes])
        return losses

    def _discriminator_losses(self, faces: Faces) -> dict[str, torch.Tensor]:
        attributes = self._known(faces)
        losses = {"classification": attribute_loss(self.classifier(faces.images), attributes, self.config.summed)}
        weighted = {
            name: discriminator
            for name, discriminator in self.discriminators.items()
            if getattr(self.config, f"discriminator_{name}")
        }
        if weighted:
            with torch.no_grad():
                fakes = self._fakes(self._draw(self._distributions(faces, attributes)))
        if self.config.projected and weighted:
            told = tell_apart(self._project(faces.images), torch.cat([self._project(fake) for fake in fakes]))
            return losses | {"discriminator_global": told["discriminator"], "accuracy": told["accuracy"]}
        for name, discriminator in weighted.items():
            losses[f"discriminator_{name}"] = discriminator_loss(
                discriminator(faces.images), [discriminator(fake) for fake in fakes]
            )
        return losses

    def _project(self, images: torch.Tensor) -> torch.Tensor:
        """Return the projected discriminator's logits of every other picture, (B / 2, scales)."""
        return self.discriminators["global"](self.parser.project(images[::2], self.config.size))

    def _known(self, faces: Faces) -> torch.Tensor:
        self.check_size(faces.images)
        if faces.attributes is None:
            raise ValueError("training RSGAN needs faces.attributes: prepare data that has them, or render it")
        return faces.attributes[:, self.columns]
