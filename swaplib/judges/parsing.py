"""Which pixel shows what? Parsers: a picture to the 19 classes of CelebAMask-HQ.

The U-Net is the one whose encoder E4S takes for its parsing loss (Liu et al. 2023; Lee et al. 2020 trained it on
CelebAMask-HQ): 16, 32, 64, 128 and 256 channels, 1,944,355 parameters. Ours learns from rendered faces, whose labels
are exact, and from labelled photographs, both under strong augmentation.

`bisenet` loads the public BiSeNet parser's weights behind the same interface; `helen` those of Mask-Guided Portrait
Editing's parser, which knows fewer classes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import nn

from swaplib import weights
from swaplib.data import Dataset
from swaplib.faces import CELEBAMASK_HQ, LABELS, Faces, label_table, one_hot
from swaplib.judges.augment import augment
from swaplib.judges.base import Judge
from swaplib.networks import unet
from swaplib.networks.bisenet import BiSeNet
from swaplib.networks.unet import UNet
from swaplib.training.model import Phase, Stage, cosine

CLASSES = len(CELEBAMASK_HQ)


@dataclass(frozen=True)
class Config:
    """Sizes, and how to train."""

    size: int = 512  # pixels
    width: int = 16  # channels at full size, doubling four times
    classes: float = 1  # weight of the cross-entropy
    overlap: float = 0  # weight of the Dice loss, which counts every class alike, however small
    augmented: bool = True
    grown: bool = False  # learn at half the size first: most of what there is to learn, at a quarter of the cost
    learning_rate: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    batch: int = 16
    steps: int = 100_000

    @classmethod
    def paper(cls) -> Config:
        """E4S's parser."""
        return cls()

    @classmethod
    def demo(cls) -> Config:
        """128 px, for a CPU."""
        return cls(size=128, overlap=1, grown=True, learning_rate=2e-3, steps=6000)

    @classmethod
    def smoke(cls) -> Config:
        return replace(cls.demo(), size=32, width=4, augmented=False, grown=False, batch=4, steps=20)


class Double(nn.Sequential):
    """Two 3 x 3 convolutions, each with batch normalisation and ReLU."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__(
            nn.Conv2d(inputs, outputs, 3, 1, 1), nn.BatchNorm2d(outputs), nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, 1, 1), nn.BatchNorm2d(outputs), nn.ReLU(),
        )  # fmt: skip


class Up(nn.Module):
    """Doubles a map and joins it with the finer one."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.up = nn.ConvTranspose2d(inputs, outputs, 2, 2)
        self.join = Double(inputs, outputs)

    def forward(self, fine, coarse):
        return self.join(torch.cat([fine, self.up(coarse)], 1))


def overlap_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """1 − Dice coefficient, mean over the classes that the batch shows (Milletari et al. 2016).

    logits (B, C, H, W), labels (B, H, W).
    """
    shares = logits.softmax(1)
    truth = one_hot(labels, logits.shape[1])
    both, each = (shares * truth).sum((0, 2, 3)), (shares + truth).sum((0, 2, 3))
    shown = truth.sum((0, 2, 3)) > 0
    return (1 - 2 * both[shown] / each[shown]).mean()


class Parser(Judge):
    """Pictures to labels. Training needs `Faces.labels`."""

    name = "parser"
    Config = Config
    mirrored = False  # the augmentation mirrors

    def __init__(self, config: Config):
        super().__init__(config)
        widths = [config.width << k for k in range(5)]
        self.downs = nn.ModuleList(
            Double(inputs, outputs) for inputs, outputs in zip([3, *widths[:-1]], widths, strict=True)
        )
        self.ups = nn.ModuleList(Up(wide, narrow) for narrow, wide in pairwise(widths))
        self.last = nn.Conv2d(widths[0], CLASSES, 1)

    def features(self, images: torch.Tensor, size: int | None = None) -> list[torch.Tensor]:
        """The encoder's five maps, finest first: what E4S's parsing loss compares.

        size: pixels at which it looks; the config's own where None.
        """
        maps, x = [], self.seen(images) if size is None else Faces(images).resize(size).images
        for level, double in enumerate(self.downs):
            maps.append(double(x if level == 0 else F.max_pool2d(maps[-1], 2)))
        return maps

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) in [-1, 1] -> logits (B, 19, S, S) at the config's size S, float32."""
        *fine, x = self.features(images)
        for finer, up in zip(fine[::-1], self.ups[::-1], strict=True):
            x = up(finer, x)
        return self.last(x).float()

    def parse(self, images: torch.Tensor) -> torch.Tensor:
        """Labels (B, H, W) at the pictures' own size, uint8; no gradients."""
        return _labels(self, images)

    def report(self, dataset: Dataset) -> dict[str, float]:
        """Share of right pixels; F1 and intersection over union, mean over the classes that the dataset shows."""
        found, truth = [], []
        for faces in dataset.batches(32):
            faces = faces.resize(self.config.size)
            found.append(self.parse(faces.images))
            truth.append(faces.labels)
        table = scores(torch.cat(found), torch.cat(truth))
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
        faces = augment(faces, turn=20, shift=0.1, scale=0.2, strength=1.5) if self.config.augmented else faces
        logits = self(faces.images)
        losses = {"classes": F.cross_entropy(logits, faces.labels.long())}
        if self.config.overlap:
            losses["overlap"] = overlap_loss(logits, faces.labels)
        return losses

    @torch.no_grad()
    def look(self, faces: Faces) -> torch.Tensor:
        """Pictures, their labels, and the labels found, a grey for each class: (3, B, 3, S, S)."""
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


class PublicParser(nn.Module):
    """BiSeNet, trained on CelebAMask-HQ: 79999_iter.pth, which the user must have. Takes 512 px, ImageNet's scale."""

    name = "bisenet"

    def __init__(self):
        super().__init__()
        self.network = BiSeNet()
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406])[:, None, None], persistent=False)
        self.register_buffer("deviation", torch.tensor([0.229, 0.224, 0.225])[:, None, None], persistent=False)
        self.register_buffer("order", label_table("bisenet", "celebamask_hq").long().argsort(), persistent=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) in [-1, 1] -> logits (B, 19, 512, 512), the classes in CelebAMask-HQ's order."""
        seen = (Faces(images).resize(512).images + 1) / 2
        return self.network((seen - self.mean) / self.deviation)[:, self.order]

    def parse(self, images: torch.Tensor) -> torch.Tensor:
        """Labels (B, H, W) at the pictures' own size, uint8; no gradients."""
        return _labels(self, images)


def bisenet(path) -> PublicParser:
    """The public parser with the weights of a file; nothing in it is executed.

    Raises FileNotFoundError, and ValueError for a file of something else.
    """
    judge = PublicParser()
    try:
        judge.network.load_state_dict(weights.tensors(path))
    except RuntimeError as error:
        raise ValueError(
            f"{path} doesn't hold BiSeNet with 19 classes: its tensors have other names or shapes"
        ) from error
    return judge.requires_grad_(False).eval()


class HelenParser(nn.Module):
    """The parser of Mask-Guided Portrait Editing (Gu et al. 2019), trained on Helen, whose 11 classes it knows alone.

    latest_net_P.pth of its authors, which the user must have. Takes 256 px.
    """

    name = "helen"

    def __init__(self):
        super().__init__()
        self.network = UNet(len(LABELS["mgpe"]))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) in [-1, 1] -> logits (B, 11, 256, 256), each between -1 and 1."""
        return self.network(Faces(images).resize(256).images)

    def parse(self, images: torch.Tensor) -> torch.Tensor:
        """MGPE's labels (B, H, W) at the pictures' own size, uint8; no gradients."""
        return _labels(self, images)


def helen(path) -> HelenParser:
    """That parser with the weights of a file; nothing in it is executed.

    Raises FileNotFoundError, and ValueError for a file of something else.
    """
    judge = HelenParser()
    tensors = weights.tensors(path)
    kept = {name: value for name, value in judge.network.state_dict().items() if name.endswith("num_batches_tracked")}
    try:
        judge.network.load_state_dict(kept | {unet.our_name(name): value for name, value in tensors.items()})
    except (RuntimeError, ValueError, IndexError) as error:
        raise ValueError(f"{path} doesn't hold that parser: choose the file latest_net_P.pth of its authors") from error
    return judge.requires_grad_(False).eval()


# ---------------------------------------------------------------------------------------------- for other learners


def labelled(faces: Faces, parser: Callable[[], Parser]) -> torch.Tensor:
    """The faces' labels, uint8 (B, H, W); where they have none, what a parser finds, which is asked for only then.

    Raises ValueError where neither is there.
    """
    if faces.labels is not None:
        return faces.labels
    judge = parser()
    if not judge.trained:
        raise ValueError(
            "the pictures have no labels (faces.labels), and the parser that would find them has no weights: prepare "
            "them with swaplib prepare --parse, or train it (swaplib train parser)"
        )
    return judge.to(faces.images.device).parse(faces.images)


def merged(logits: torch.Tensor, order: str) -> torch.Tensor:
    """Log-probabilities (B, C, H, W) of the classes of a coarser label order, of logits (B, 19, H, W)."""
    table = label_table("celebamask_hq", order).to(logits.device)
    shares = logits.log_softmax(1)
    return torch.stack([shares[:, table == k].logsumexp(1) for k in range(int(table.max()) + 1)], 1)


def parsing_loss(
    parser: Parser, images: torch.Tensor, labels: torch.Tensor, order: str, weights: torch.Tensor | None = None
) -> torch.Tensor:
    """Cross-entropy of what the parser finds in images (B, 3, H, W), to labels (B, H, W) of an order.

    weights: of the order's classes, (C,); then the mean is weighted.
    """
    logits = parser(images)
    if logits.shape[-2:] != labels.shape[-2:]:
        logits = F.interpolate(logits, labels.shape[-2:], mode="bilinear")
    return F.nll_loss(merged(logits, order), labels.long(), weights)


# ---------------------------------------------------------------------------------------------- how well it parses


def scores(found: torch.Tensor, truth: torch.Tensor) -> dict[str, torch.Tensor]:
    """Of label maps (B, H, W): each class's intersection over union and F1, (19,), and the share of right pixels.

    Summed over all pictures; NaN for a class that neither shows.
    """
    pairs = truth.long().flatten() * CLASSES + found.long().flatten()
    table = torch.bincount(pairs, minlength=CLASSES**2).reshape(CLASSES, CLASSES).double()
    right, either = table.diag(), table.sum(0) + table.sum(1)
    return {"iou": right / (either - right), "f1": 2 * right / either, "accuracy": right.sum() / table.sum()}
