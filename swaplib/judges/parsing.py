"""Face parsers: a picture to the 19 classes of CelebAMask-HQ.

The U-Net is the one whose encoder E4S uses for its parsing loss (Liu et al. 2023; Lee et al. 2020 trained it on
CelebAMask-HQ): 16, 32, 64, 128 and 256 channels, 1,944,355 parameters. Ours learns from rendered faces, whose labels
are exact, and from labelled photographs, both with strong augmentation.

Published files fill two more with the same interface: `PublicParser` is the public BiSeNet, `HelenParser` that of
Mask-Guided Portrait Editing, which knows fewer classes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import nn

from swaplib.data import Dataset
from swaplib.faces import CELEBAMASK_HQ, LABELS, Faces, label_table, one_hot
from swaplib.judges.augment import augment, occlude
from swaplib.judges.base import Judge, PublishedConfig, PublishedJudge
from swaplib.networks.bisenet import BiSeNet
from swaplib.networks.unet import UNet
from swaplib.training.model import Phase, Stage, cosine

CLASSES = len(CELEBAMASK_HQ)


@dataclass(frozen=True)
class Config:
    """Sizes and training."""

    size: int = 512  # pixels
    width: int = 16  # channels at full size, doubling four times
    classes: float = 1  # weight of the cross-entropy
    overlap: float = 0  # weight of the Dice loss, which counts every class alike, however small
    balance: float = 0  # a class's pixels count by this power of 1 / their share of the batch in the cross-entropy
    augmented: bool = True
    occluded: float = 0  # share of pictures in which something is held before the face
    grown: bool = False  # learn at half the size first: most of what there is to learn, at a quarter of the cost
    learning_rate: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    batch: int = 16
    steps: int = 100_000

    @classmethod
    def paper(cls) -> Config:
        """Return E4S's parser."""
        return cls()

    @classmethod
    def demo(cls) -> Config:
        """Return sizes for a CPU: 128 px."""
        return cls(size=128, overlap=1, occluded=0.25, grown=True, learning_rate=2e-3, steps=6000)

    @classmethod
    def photo(cls) -> Config:
        """Return the demo's sizes, to go on from its weights with photographs alone.

        These show what no rendered face does: hats, earrings and necklaces, few and small enough to be overlooked.
        """
        return replace(cls.demo(), balance=0.5, grown=False, learning_rate=1.5e-3, steps=4000)

    @classmethod
    def smoke(cls) -> Config:
        return replace(cls.demo(), size=32, width=4, augmented=False, occluded=0, grown=False, batch=4, steps=20)


class Double(nn.Sequential):
    """Two 3 x 3 convolutions, each with batch normalisation and ReLU."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__(
            nn.Conv2d(inputs, outputs, 3, 1, 1), nn.BatchNorm2d(outputs), nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, 1, 1), nn.BatchNorm2d(outputs), nn.ReLU(),
        )  # fmt: skip


class Up(nn.Module):
    """Doubles a map's size and joins it with the finer one."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.up = nn.ConvTranspose2d(inputs, outputs, 2, 2)
        self.join = Double(inputs, outputs)

    def forward(self, fine, coarse):  # (B, C, 2 H, 2 W), (B, 2 C, H, W) -> (B, C, 2 H, 2 W)
        return self.join(torch.cat([fine, self.up(coarse)], 1))


def overlap_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return 1 − Dice coefficient, mean over the classes that the batch shows (Milletari et al. 2016).

    logits (B, C, H, W), labels (B, H, W).
    """
    shares = logits.softmax(1)
    truth = one_hot(labels, logits.shape[1])
    both, each = (shares * truth).sum((0, 2, 3)), (shares + truth).sum((0, 2, 3))
    shown = truth.sum((0, 2, 3)) > 0
    return (1 - 2 * both[shown] / each[shown]).mean()


def balance_classes(labels: torch.Tensor, power: float) -> torch.Tensor:
    """Return weights (19,) of classes for the cross-entropy of labels (B, H, W): (1 / share of the pixels) ** power."""
    shares = labels.flatten().long().bincount(minlength=CLASSES) / labels.numel()
    return torch.where(shares > 0, shares**-power, 0.0)


class Parser(Judge):
    """Maps pictures to labels. Training needs `Faces.labels`."""

    name = "parser"
    Config = Config
    stand_ins: ClassVar[tuple[str, ...]] = ("bisenet",)
    mirrored = False  # the augmentation mirrors

    def __init__(self, config: Config):
        super().__init__(config)
        widths = [config.width << k for k in range(5)]
        self.downs = nn.ModuleList(
            Double(inputs, outputs) for inputs, outputs in zip([3, *widths[:-1]], widths, strict=True)
        )
        self.ups = nn.ModuleList(Up(wide, narrow) for narrow, wide in pairwise(widths))
        self.last = nn.Conv2d(widths[0], CLASSES, 1)
        self.to(memory_format=torch.channels_last)  # 1.5 times as fast on a CPU

    def features(self, images: torch.Tensor, size: int | None = None) -> list[torch.Tensor]:
        """Return the encoder's five maps, finest first, which E4S's parsing loss compares.

        size: pixels to which images are resized; the config's own where None.
        """
        maps, x = [], self.seen(images) if size is None else Faces(images).resize(size).images
        x = x.contiguous(memory_format=torch.channels_last)
        for level, double in enumerate(self.downs):
            maps.append(double(x if level == 0 else F.max_pool2d(maps[-1], 2)))
        return maps

    def project(self, images: torch.Tensor, size: int) -> list[torch.Tensor]:
        """Return what a projected discriminator sees of images at `size` pixels: the encoder's maps but the finest.

        In its place comes the picture itself, at half of its size: the maps hardly tell one colour from another.
        """
        return [Faces(images).resize(size // 2).images, *self.features(images, size)[1:]]

    def projected(self, size: int) -> tuple[list[int], list[int]]:
        """Return the channels and the sizes of `project`'s maps."""
        levels = range(1, len(self.downs))
        return [3, *(self.config.width << level for level in levels)], [size // 2, *(size >> level for level in levels)]

    def forward(self, images: torch.Tensor) -> torch.Tensor:  # (B, 3, H, W) -> (B, 19, S, S)
        """Return logits, float32, at the config's size S for images in [-1, 1]."""
        *fine, x = self.features(images)
        for finer, up in zip(fine[::-1], self.ups[::-1], strict=True):
            x = up(finer, x)
        return self.last(x).float()

    def parse(self, images: torch.Tensor) -> torch.Tensor:
        """Return labels (B, H, W) at the pictures' own size, uint8, without gradients."""
        return _labels(self, images)

    @torch.no_grad()
    def on_train_end(self, faces: Faces) -> None:
        """Take half of the balance back, by the classes' shares in what was learned from.

        A balanced loss shifts each class's logits by its balance, and then finds too much of what is rare.
        """
        if self.config.balance:
            weights = balance_classes(faces.labels, self.config.balance)
            self.last.bias -= weights.clamp(min=1).log().to(self.last.bias) / 2

    def report(self, dataset: Dataset) -> dict[str, float]:
        """Measure the share of correct pixels, and F1 and IoU, mean over the classes that the dataset shows."""
        found, truth = [], []
        for faces in dataset.batches(32):
            faces = faces.resize(self.config.size)
            found.append(self.parse(faces.images))
            truth.append(faces.labels)
        table = score_labels(torch.cat(found), torch.cat(truth))
        shown = torch.cat(truth).flatten().long().bincount(minlength=CLASSES) > 0
        means = {name: float(table[name][shown].mean()) for name in ("f1", "iou")}
        return {"accuracy": float(table["accuracy"]), **means}

    def phases(self) -> list[Phase]:
        rate, betas = self.config.learning_rate, self.config.betas
        return [Phase("parser", self.parameters(), self._losses, learning_rate=rate, betas=betas)]

    @classmethod
    def stages(cls, config: Config) -> list[Stage]:
        if not config.grown:
            return [Stage("whole", config, 1.0, cosine(1, 0.02))]
        half = replace(config, size=config.size // 2)
        return [Stage("half", half, 0.6, cosine(1, 0.3)), Stage("whole", config, 0.4, cosine(0.3, 0.02))]

    def _losses(self, faces: Faces) -> dict[str, torch.Tensor]:
        if faces.labels is None:
            raise ValueError("learning to parse needs faces.labels: train on rendered faces or CelebAMask-HQ")
        faces = occlude(faces, self.config.occluded) if self.config.occluded else faces
        faces = augment(faces, turn=20, shift=0.1, scale=0.2, strength=1.5) if self.config.augmented else faces
        logits = self(faces.images)
        weights = balance_classes(faces.labels, self.config.balance) if self.config.balance else None
        losses = {"classes": F.cross_entropy(logits, faces.labels.long(), weights)}
        if self.config.overlap:
            losses["overlap"] = overlap_loss(logits, faces.labels)
        return losses

    @torch.no_grad()
    def preview(self, faces: Faces) -> torch.Tensor:
        """Show pictures, their labels and the labels found, a grey for each class: (3, B, 3, S, S)."""
        faces = faces.resize(self.config.size).to(next(self.parameters()).device)
        found = self.parse(faces.images)
        truth = found if faces.labels is None else faces.labels
        shown = [(one[:, None].float() / (CLASSES - 1) * 2 - 1).expand(-1, 3, -1, -1) for one in (truth, found)]
        return torch.stack([faces.images, *shown])


@torch.no_grad()
def _labels(parser: nn.Module, images: torch.Tensor) -> torch.Tensor:
    logits = parser(images)
    if logits.shape[-2:] != images.shape[-2:]:
        logits = F.interpolate(logits, images.shape[-2:], mode="bilinear")
    return logits.argmax(1).to(torch.uint8)


@torch.no_grad()
def parse_steadily(parser: nn.Module, images: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Return labels as `Parser.parse`, of probabilities averaged over pictures: a film's label maps then don't flicker.

    weights: (B, B); row k tells how much each picture counts for picture k. Sums of rows are made 1.
    """
    shares = torch.cat([parser(part).softmax(1) for part in images.split(4)])  # no more at once than memory holds
    mixed = torch.einsum("ij,jchw->ichw", (weights / weights.sum(1, keepdim=True)).to(shares), shares)
    return F.interpolate(mixed, images.shape[-2:], mode="bilinear").argmax(1).to(torch.uint8)


class PublicParser(PublishedJudge):
    """BiSeNet, trained on CelebAMask-HQ: 79999_iter.pth, which the user must supply. Takes 512 px, ImageNet's scale."""

    name = "bisenet"

    def __init__(self, config: PublishedConfig | None = None):
        super().__init__(config)
        self.network = BiSeNet()
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406])[:, None, None], persistent=False)
        self.register_buffer("deviation", torch.tensor([0.229, 0.224, 0.225])[:, None, None], persistent=False)
        self.register_buffer("order", label_table("bisenet", "celebamask_hq").long().argsort(), persistent=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:  # (B, 3, H, W) -> (B, 19, 512, 512)
        """Return logits, the classes in CelebAMask-HQ's order, for images in [-1, 1]."""
        seen = (Faces(images).resize(512).images + 1) / 2
        return self.network((seen - self.mean) / self.deviation)[:, self.order]

    def features(self, images: torch.Tensor, size: int | None = None) -> list[torch.Tensor]:
        """Return the trunk's four maps, finest first, of images at `size` pixels, or at 512: for E4S's parsing loss."""
        seen = (Faces(images).resize(size or 512).images + 1) / 2
        return [*self.network.cp.resnet.features((seen - self.mean) / self.deviation)]

    def parse(self, images: torch.Tensor) -> torch.Tensor:
        """Return labels (B, H, W) at the pictures' own size, uint8, without gradients."""
        return _labels(self, images)


class HelenParser(PublishedJudge):
    """The parser of Mask-Guided Portrait Editing (Gu et al. 2019), trained on Helen, with 11 classes only.

    Its weights are the authors' latest_net_P.pth, which the user must supply. Sees 256 px.
    """

    name = "helen"

    def __init__(self, config: PublishedConfig | None = None):
        super().__init__(config)
        self.network = UNet(len(LABELS["mgpe"]))

    def forward(self, images: torch.Tensor) -> torch.Tensor:  # (B, 3, H, W) -> (B, 11, 256, 256)
        """Return logits, each between -1 and 1, for images in [-1, 1]."""
        return self.network(Faces(images).resize(256).images)

    def parse(self, images: torch.Tensor) -> torch.Tensor:
        """Return MGPE's labels (B, H, W) at the pictures' own size, uint8, without gradients."""
        return _labels(self, images)


# ---------------------------------------------------------------------------------------------- for other models


def label_faces(faces: Faces, parser: Parser) -> torch.Tensor:
    """Return the faces' labels, uint8 (B, H, W), or what a parser finds where they have none.

    Raises ValueError where the faces have no labels and the parser has no weights.
    """
    if faces.labels is not None:
        return faces.labels
    if not parser.trained:
        raise ValueError(
            "the pictures have no labels (faces.labels), and the parser that would find them has no weights: prepare "
            "them with swaplib prepare --parse, or train it (swaplib train parser)"
        )
    return parser.parse(faces.images)


def merge_classes(logits: torch.Tensor, order: str) -> torch.Tensor:
    """Return log-probabilities (B, C, H, W) of a coarser label order's classes from logits (B, 19, H, W)."""
    table = label_table("celebamask_hq", order).to(logits.device)
    shares = logits.log_softmax(1)
    return torch.stack([shares[:, table == k].logsumexp(1) for k in range(int(table.max()) + 1)], 1)


def parsing_loss(
    parser: Parser, images: torch.Tensor, labels: torch.Tensor, order: str, weights: torch.Tensor | None = None
) -> torch.Tensor:
    """Return the cross-entropy of the parser's logits of images (B, 3, H, W) to labels (B, H, W): L_GP of MGPE.

    order: of the labels. weights: of the order's classes, (C,); then the mean is weighted.
    """
    logits = parser(images)
    if logits.shape[-2:] != labels.shape[-2:]:
        logits = F.interpolate(logits, labels.shape[-2:], mode="bilinear")
    return F.nll_loss(merge_classes(logits, order), labels.long(), weights)


# ---------------------------------------------------------------------------------------------- scores


def score_labels(found: torch.Tensor, truth: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return each class's intersection over union and F1, (19,), and the share of correct pixels, of maps (B, H, W).

    Summed over all pictures; NaN for a class that neither map shows.
    """
    pairs = truth.long().flatten() * CLASSES + found.long().flatten()
    table = torch.bincount(pairs, minlength=CLASSES**2).reshape(CLASSES, CLASSES).double()
    right, either = table.diag(), table.sum(0) + table.sum(1)
    return {"iou": right / (either - right), "f1": 2 * right / either, "accuracy": right.sum() / table.sum()}
