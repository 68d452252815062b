"""Identity embedders: a picture to a unit vector, near for one person and far for two.

Jiseob Kim, Jihoon Lee, Byoung-Tak Zhang: Smooth-Swap: A Simple Enhancement for Face-Swapping with Smoothness. CVPR
2022, arXiv:2112.05907, §4.1: an embedder trained by a supervised contrastive loss changes smoothly along a path from
one person to another; one trained to tell classes apart, above all with a margin, doesn't.

    x ── trunk ── pooled vector ── linear, BN, LeakyReLU, linear, BN ── ‖·‖ = 1 ── z

Four judges of one build that differ in their training loss:

| name | loss | in the paper |
|---|---|---|
| `identity` | supervised contrastive, the denominator holding one positive and all negatives | Smooth |
| `identity_supcon` | the same with all other positives in the denominator (Khosla et al. 2020) | – |
| `identity_linear` | cross-entropy of a linear classifier | CE-Lin |
| `identity_margin` | cross-entropy with ArcFace's angular margin (Deng et al. 2019) | CE-Arc |

Where we differ from the paper, and why: the demo's trunk is a narrow residual network with one block per level and no
initial pooling, its pictures are smaller than the paper's 256 px, and it learns from rendered people (for whom we know
everything) and a few photographed ones. Many of the rendered ones are relatives, four people sharing one skin: where
all people differ in skin, an embedder learns skin and little else, and a swapper that it trains only paints. The leaky
ReLU's slope of 0.01, which the paper doesn't give, is that of LatentSwap's authors, who publish such an embedder; it
fills `LatentSwapEmbedder`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import nn

from swaplib import photos
from swaplib.data import Dataset, Shots
from swaplib.faces import Faces
from swaplib.judges import smoothness
from swaplib.judges.augment import augment
from swaplib.judges.base import Judge, PublishedConfig, PublishedJudge
from swaplib.networks.ir_se import IRSE50
from swaplib.networks.resnet import Basic, ResNet, resnet50
from swaplib.training.model import Phase, Stage, cosine, drops


@dataclass(frozen=True)
class Config:
    """Sizes and training. Sections are the paper's."""

    size: int = 256  # pixels, §5.1
    trunk: Literal["resnet50", "narrow"] = "resnet50"
    width: int = 64  # channels of a narrow trunk's first level
    hidden: int = 1024  # of the head
    dimensions: int = 512  # of the embedding
    people: int = 9000  # at most: classes of the classifiers; VGGFace2 has 9,131
    blocks: tuple[int, int, int, int] = (1, 1, 1, 1)  # of a narrow trunk's levels
    pooled: bool = False  # whether a narrow trunk halves its first maps, as ResNet-50 does
    augmented: bool = False  # the paper names no augmentation
    attacked: float = 0  # by how many grey levels, at most, every other picture is changed against the loss
    contrast: float = 1  # weight of the loss
    temperature: float = 0.07  # τ, §5.1
    scale: float = 64  # s and m of the margin's loss
    margin: float = 0.5
    learning_rate: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    stepwise: bool = True  # a tenth of the rate at 60, 75 and 90% of the steps; else half a cosine
    batch: int = 32  # people in a step …
    shots: int = 4  # … and pictures of each
    steps: int = 101_000

    @classmethod
    def paper(cls) -> Config:
        return cls()

    @classmethod
    def demo(cls) -> Config:
        """Return sizes for a CPU: 128 px."""
        return cls(
            size=128, trunk="narrow", width=32, blocks=(2, 2, 2, 1), pooled=True, hidden=256, dimensions=128,
            people=12_000, augmented=True, scale=24, margin=0.3, stepwise=False, steps=8000,
        )  # fmt: skip

    @classmethod
    def smoke(cls) -> Config:
        return replace(
            cls.demo(), size=32, width=8, blocks=(1, 1, 1, 1), pooled=False, hidden=32, dimensions=16, people=4096,
            augmented=False, attacked=0, batch=4, shots=2, steps=20,
        )  # fmt: skip


class RivalConfig(Config):
    """Sizes and training of the classifiers, which lesson 11 compares with a contrastive embedder of equal size."""

    @classmethod
    def demo(cls) -> RivalConfig:
        """Return sizes for a CPU: 64 px."""
        return cls(
            size=64, trunk="narrow", width=24, hidden=256, dimensions=128, people=7000, augmented=True, scale=24,
            margin=0.3, stepwise=False, steps=6000,
        )  # fmt: skip


# --------------------------------------------------------------------------------------------------------- losses


def contrastive_loss(
    codes: torch.Tensor, people: torch.Tensor, temperature: float = 0.07, positives: bool = False
) -> torch.Tensor:
    """Return the supervised contrastive loss of unit vectors (B, D) of the people (B,) (Smooth-Swap, §4.1).

    −log( e^{z·z⁺/τ} / (e^{z·z⁺/τ} + Σ_negatives e^{z·z⁻/τ}) ), mean over the positives of each picture, then over
    the pictures. positives: put all other positives into the denominator, too (Khosla et al. 2020, eq. 2). With two
    pictures of each person both forms are equal. Pictures without a positive count as 0.
    """
    logits = codes @ codes.T / temperature
    itself = torch.eye(len(codes), dtype=torch.bool, device=codes.device)
    same = (people[:, None] == people[None]) & ~itself
    others = ~same & ~itself
    if positives:
        denominator = torch.logsumexp(logits.masked_fill(itself, -torch.inf), 1, keepdim=True)
    else:
        negatives = torch.logsumexp(logits.masked_fill(~others, -torch.inf), 1, keepdim=True)
        denominator = torch.logaddexp(logits, negatives)
    terms = ((denominator - logits) * same).sum(1) / same.sum(1).clamp(min=1)
    return terms.mean()


def margin_logits(
    codes: torch.Tensor, centres: torch.Tensor, people: torch.Tensor, scale: float = 64, margin: float = 0.5
) -> torch.Tensor:
    """Return s cos(θ + m) to each picture's own centre, s cos θ to the others, (B, P) (Deng et al. 2019, eq. 3).

    codes: unit vectors (B, D); centres (D, P), normalised here. Where θ + m exceeds π, cos θ − m sin m continues the
    decrease.
    """
    cosines = (codes @ F.normalize(centres, dim=0)).clamp(-1, 1)
    angle = torch.tensor(margin)
    sines = (1 - cosines.square()).clamp(min=0).sqrt()
    pushed = cosines * angle.cos() - sines * angle.sin()
    pushed = torch.where(cosines > -angle.cos(), pushed, cosines - angle.sin() * margin)
    own = F.one_hot(people, cosines.shape[1]).bool()
    return scale * torch.where(own, pushed, cosines)


def attack(images: torch.Tensor, loss: Callable[[torch.Tensor], torch.Tensor], most: float) -> torch.Tensor:
    """Return images in [-1, 1], every other one changed so that the loss of them all rises.

    One step along the gradient from a random start ("Fast is better than free", Wong et al. 2020, with lengths for
    signs). The change's root mean square is drawn for each picture from 0 to `most` grey levels of 256. An embedder
    that learns from such pictures can't be satisfied by pixels that show nobody.
    """
    half = images[::2].detach()
    radius = torch.rand(len(half), 1, 1, 1, device=images.device) * most / 127.5
    change = _scaled(torch.randn_like(half), radius / 2).requires_grad_()
    pictures = images.detach().clone()
    pictures[::2] = half + change
    (slope,) = torch.autograd.grad(loss(pictures), change)
    changed = images.clone()
    changed[::2] = (half + _scaled(_scaled(slope, radius) + change.detach() / 2, radius)).clamp(-1, 1)
    return changed


def _scaled(change: torch.Tensor, radius: torch.Tensor) -> torch.Tensor:
    """Return each change (B, C, H, W) with a root mean square of `radius` (B, 1, 1, 1)."""
    return change * (radius / root_mean_square(change))


def root_mean_square(change: torch.Tensor) -> torch.Tensor:
    """Return the size of each change (B, C, H, W), (B, 1, 1, 1), above 0."""
    return change.square().mean((1, 2, 3), keepdim=True).sqrt().clamp(min=1e-12)


def identity_loss(found: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Return one minus the cosine of unit vectors (B, D), mean: the identity loss of swaps (Smooth-Swap, eq. 3)."""
    return 1 - (found * wanted).sum(1).mean()


# --------------------------------------------------------------------------------------------------------- judges


class Identity(Judge):
    """Maps pictures in portrait framing to unit vectors. Training needs `Faces.identity`, which `data.Shots` gives."""

    name = "identity"
    Config = Config
    objective: ClassVar[Literal["smooth", "supcon", "linear", "margin"]] = "smooth"
    training_only: ClassVar[tuple[str, ...]] = ("classes",)
    mirrored: ClassVar[bool] = False

    def __init__(self, config: Config):
        super().__init__(config)
        narrow = config.trunk == "narrow"
        self.trunk = ResNet(Basic, config.blocks, config.width, config.pooled) if narrow else resnet50()
        self.head = nn.Sequential(
            nn.Linear(self.trunk.outputs, config.hidden),
            nn.BatchNorm1d(config.hidden),
            nn.LeakyReLU(0.01),
            nn.Linear(config.hidden, config.dimensions),
            nn.BatchNorm1d(config.dimensions),
        )
        if self.objective in ("linear", "margin"):
            self.classes = nn.Linear(config.dimensions, config.people, bias=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:  # (B, 3, H, W) -> (B, D)
        """Embed images in [-1, 1] as unit vectors."""
        return F.normalize(self.head(self.trunk(self.seen(images))).float(), dim=1)

    def features(self, images: torch.Tensor, size: int | None = None) -> list[torch.Tensor]:
        """Return the trunk's maps, finest first. size: pixels to which images are resized; the config's where None."""
        return self.trunk.features(self.seen(images) if size is None else Faces(images).resize(size).images)

    def embed(self, faces: Faces) -> torch.Tensor:
        """Embed faces as unit vectors, without gradients."""
        with torch.no_grad():
            return self(faces.images)

    def report(self, dataset: Dataset) -> dict[str, float]:
        """Measure verification, and smoothness with half of the pictures as pairs, the others as the gallery."""
        codes, people = smoothness.embed_dataset(self, dataset)
        pairs, gallery = codes[::2], codes[1::2]
        return {
            "auc": smoothness.measure_verification(codes, people),
            "d_smooth": float(smoothness.measure_by_samples(pairs, gallery, 0.5).mean()),
        }

    def phases(self) -> list[Phase]:
        rate, betas = self.config.learning_rate, self.config.betas
        return [Phase("embedder", self.parameters(), self._losses, learning_rate=rate, betas=betas)]

    @classmethod
    def stages(cls, config: Config) -> list[Stage]:
        return [Stage("whole", config, 1.0, drops(0.1, 0.6, 0.75, 0.9) if config.stepwise else cosine(1, 0.02))]

    @classmethod
    def training_data(cls, config: Config, datasets: Sequence[Dataset]) -> Shots:
        """Take all people of all datasets, or raise ValueError for more of them than the config has classes."""
        shots = Shots(datasets, config.shots)
        if shots.people > config.people:
            raise ValueError(
                f"{shots.people:,} people, but the config has {config.people:,} classes: give it more (people=…)"
            )
        return shots

    def _losses(self, faces: Faces) -> dict[str, torch.Tensor]:
        if faces.identity is None:
            raise ValueError("learning identities needs faces.identity: train on data.Shots of a dataset with subjects")
        config, people = self.config, faces.identity
        images = augment(replace(faces, labels=None, landmarks=None)).images if config.augmented else faces.images
        if config.attacked:
            images = attack(images, lambda pictures: self._contrast(pictures, people), config.attacked)
        return {"contrast": self._contrast(images, people)}

    def _contrast(self, images: torch.Tensor, people: torch.Tensor) -> torch.Tensor:
        config = self.config
        vectors = self.head(self.trunk(self.seen(images))).float()
        with torch.autocast(images.device.type, enabled=False):  # bfloat16 can't tell cosines of 0.99 and 0.995 apart
            if self.objective == "linear":  # the classifier sees the vector before it is normalised
                return F.cross_entropy(self.classes(vectors), people)
            codes = F.normalize(vectors, dim=1)
            if self.objective == "margin":
                logits = margin_logits(codes, self.classes.weight.T, people, config.scale, config.margin)
                return F.cross_entropy(logits, people)
            return contrastive_loss(codes, people, config.temperature, self.objective == "supcon")


class IdentitySupCon(Identity):
    """The embedder trained by Khosla's form of the contrastive loss."""

    name = "identity_supcon"
    objective = "supcon"


class IdentityLinear(Identity):
    """The embedder trained by a linear classifier, the paper's CE-Lin."""

    name = "identity_linear"
    Config = RivalConfig
    objective = "linear"


class IdentityMargin(Identity):
    """The embedder trained with an angular margin, the paper's CE-Arc."""

    name = "identity_margin"
    Config = RivalConfig
    objective = "margin"

    @classmethod
    def stages(cls, config: Config) -> list[Stage]:
        """Start without the margin unless rates are stepwise: a small network that meets it at once learns nothing."""
        (whole,) = super().stages(config)
        if config.stepwise:
            return [whole]
        return [Stage("free", replace(config, margin=0.0), 0.4), replace(whole, share=0.6)]


# --------------------------------------------------------------------------------------------------------- others'


class Dlib:
    """dlib's descriptor (128 dimensions, nearly of unit length) with the embedders' interface.

    It is the judge that trains none of our models.
    """

    name = "dlib"

    def embed(self, faces: Faces) -> torch.Tensor:
        """Return descriptors (B, 128), NaN for faces that dlib doesn't find."""
        return photos.describe(faces)


class ArcFace(PublishedJudge):
    """IR-SE50 trained with ArcFace: model_ir_se50.pth, which the user must supply. Needs pictures aligned "arcface"."""

    name = "ir_se50"

    def __init__(self, config: PublishedConfig | None = None):
        super().__init__(config)
        self.network = IRSE50()

    def forward(self, images: torch.Tensor) -> torch.Tensor:  # (B, 3, H, W) -> (B, 512)
        """Embed five-point crops in [-1, 1] as unit vectors."""
        return self.network(Faces(images).resize(112).images)

    def embed(self, faces: Faces) -> torch.Tensor:
        """Crop faces, by landmarks where they have any, and embed them, without gradients."""
        with torch.no_grad():
            crops = faces.images if faces.landmarks is None else photos.align(faces, "arcface", 112).images
            return self(crops.to(faces.images.device))  # photos are aligned on the CPU


class LatentSwapEmbedder(PublishedJudge):
    """The only published embedder that was trained like Smooth-Swap's, by LatentSwap's authors: 256 px, in [0, 1]."""

    name = "latentswap_embedder"
    official = ("resnet", "last")

    def __init__(self, config: PublishedConfig | None = None):
        super().__init__(config)
        self.resnet = resnet50()
        self.resnet.fc = nn.Linear(2048, 2048)
        self.last = nn.Sequential(
            nn.Linear(2048, 1024), nn.BatchNorm1d(1024), nn.LeakyReLU(0.01), nn.Linear(1024, 512), nn.BatchNorm1d(512)
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:  # (B, 3, H, W) -> (B, 512)
        """Embed images in [-1, 1] as unit vectors."""
        seen = (Faces(images).resize(256).images + 1) / 2
        return F.normalize(self.last(self.resnet.fc(self.resnet(seen))), dim=1)

    def embed(self, faces: Faces) -> torch.Tensor:
        with torch.no_grad():
            return self(faces.images)
