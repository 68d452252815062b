"""Reenactment: a person's picture with the pose and the expression of another.

    driven = reenactment.load("landmarks").drive(source, driver)

E4S swaps only between faces of like pose and expression, so it first drives the source by the target. Five ways:

    identity     nothing is moved
    rendered     rendered faces, whose factors are known, are rendered again: the exact answer
    landmarks    the picture is warped so that its landmarks lie where they should
    exact        as rendered where the factors are known, otherwise as landmarks
    facevid2vid  the published network that E4S uses (`networks.facevid2vid`), imported or from its authors' file
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Protocol

import cv2
import numpy as np
import torch
from torch import nn

from swaplib import judges, synthetic, weights
from swaplib.faces import Faces
from swaplib.judges.shape import Shape
from swaplib.networks import facevid2vid
from swaplib.training.model import FrozenModel
from swaplib.training.registry import Registry
from swaplib.weights import published

DRIVEN = ("expression", "pose", "camera")
"""Groups of a rendered face's factors that its driver gives; all others stay its own."""


class Reenactor(Protocol):
    """A way to drive faces."""

    name: ClassVar[str]

    def drive(self, source: Faces, driver: Faces) -> Faces:
        """Return the sources' people in the drivers' pose and expression, one driver for each source.

        Both are in portrait framing. The pictures have the sources' size. What is no longer known is None. Raises
        ValueError.
        """
        ...


def _pairs(source: Faces, driver: Faces) -> None:
    if len(source) != len(driver):
        raise ValueError(f"{len(source)} sources but {len(driver)} drivers: give one driver for each source")


def _driven(source: Faces, images: torch.Tensor, **known: torch.Tensor | None) -> Faces:
    """Make a record of driven pictures: the sources' identity and names, and what else is given as known."""
    return Faces(images, identity=source.identity, names=source.names, **known)


class Identity:
    """The source as it is."""

    name = "identity"

    def drive(self, source: Faces, driver: Faces) -> Faces:
        _pairs(source, driver)
        return source


class Rendered:
    """Rendered faces, rendered again with their driver's expression, pose and camera. Needs the factors of both."""

    name = "rendered"

    def drive(self, source: Faces, driver: Faces) -> Faces:
        _pairs(source, driver)
        if source.factors is None or driver.factors is None:
            raise ValueError(
                "only rendered faces, whose factors are known, are rendered again: choose another reenactor, such as "
                "landmarks"
            )
        factors = source.factors | {group: driver.factors[group] for group in DRIVEN}
        size = source.size[0]
        driven = synthetic.render(factors, max(64, size)).to(source.images.device).resize(size)
        return replace(driven, identity=source.identity, names=source.names)


# ---------------------------------------------------------------------------------------------- landmarks


class Landmarks:
    """A thin-plate warp (Bookstein 1989) of the picture, from the source's landmarks to where they should be.

    The shape judge's head model says where that is: the source's head at rest with the driver's expression, in the
    driver's pose, seen by the driver's camera. The source's landmarks move by the difference between that and the model
    of the source itself, so that errors the judge makes in both cancel. Nothing is uncovered: a mouth that opens shows
    stretched lips, a head that turns shows no other cheek. Needs landmarks of the source; both in portrait framing.
    """

    name = "landmarks"

    def __init__(self, judge: Shape | None = None):
        """Take a shape judge, by default the released one.

        Raises FileNotFoundError where that has no weights.
        """
        self.judge = judges.load("shape") if judge is None else judge

    def wanted(self, source: Faces, driver: Faces) -> torch.Tensor:
        """Return where the source's landmarks should be, (B, 68, 2), in pixels of the source's picture."""
        if source.landmarks is None or not bool(source.landmarks.isfinite().all()):
            raise ValueError(
                "driving by landmarks needs faces.landmarks of every source: prepare the photographs first"
            )
        device = next(self.judge.parameters()).device
        own, theirs = (self.judge.measure(faces.images.to(device)) for faces in (source, driver))
        step = self.judge.landmarks(theirs | {"shape": own["shape"]}) - self.judge.landmarks(own)
        return source.landmarks + step.to(source.landmarks) * (source.size[1] / 2)

    def drive(self, source: Faces, driver: Faces) -> Faces:
        _pairs(source, driver)
        wanted = self.wanted(source, driver)
        images, labels = [], []
        for k, (start, end) in enumerate(zip(source.landmarks, wanted, strict=True)):
            where = backward_map(_points(start), _points(end), source.size)
            images.append(_warped(source.images[k].movedim(0, -1), where, cv2.INTER_CUBIC).movedim(-1, 0).clamp(-1, 1))
            if source.labels is not None:
                labels.append(_warped(source.labels[k], where, cv2.INTER_NEAREST))
        known = {"labels": torch.stack(labels) if labels else None, "landmarks": wanted}
        return _driven(source, torch.stack(images), **known)


def _points(landmarks: torch.Tensor) -> np.ndarray:
    return landmarks.detach().cpu().double().numpy()


def backward_map(start: np.ndarray, end: np.ndarray, size: tuple[int, int], step: int = 2) -> np.ndarray:
    """Return where each pixel of a warped picture comes from, float32 (H, W, 2), by a thin plate through points (N, 2).

    The points `start` move to `end`; eight on the picture's border stay. The plate is slightly stiff: an exact one
    would fold the picture where landmarks come close to each other. It is smooth, so it is computed at every `step`-th
    pixel and interpolated.
    """
    from scipy.interpolate import RBFInterpolator  # slow to load

    height, width = size
    x, y = np.linspace(0, width - 1, 3), np.linspace(0, height - 1, 3)
    border = np.array([(a, b) for a in x for b in y if (a, b) != (x[1], y[1])])
    start, end = np.concatenate([start, border]), np.concatenate([end, border])
    plate = RBFInterpolator(end / max(size), start - end, smoothing=1e-4, kernel="thin_plate_spline")
    rows, columns = (np.linspace(0, n - 1, max(2, -(-n // step))) for n in size)
    coarse = np.stack(np.meshgrid(columns, rows), -1)
    shift = plate(coarse.reshape(-1, 2) / max(size)).reshape(coarse.shape).astype(np.float32)
    rows, columns = np.indices(size, np.float32)
    at = columns * ((shift.shape[1] - 1) / (width - 1)), rows * ((shift.shape[0] - 1) / (height - 1))
    return np.stack([columns, rows], -1) + cv2.remap(shift, *at, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _warped(picture: torch.Tensor, where: np.ndarray, method: int) -> torch.Tensor:
    array = np.ascontiguousarray(picture.detach().cpu().numpy())
    return torch.from_numpy(cv2.remap(array, where, None, method, borderMode=cv2.BORDER_REPLICATE)).to(picture.device)


class Exact:
    """As exactly as can be: rendered again where the factors of both are known, otherwise moved by landmarks."""

    name = "exact"

    def __init__(self, judge: Shape | None = None):
        self._by = {True: Rendered(), False: Landmarks(judge)}

    def drive(self, source: Faces, driver: Faces) -> Faces:
        return self._by[source.factors is not None and driver.factors is not None].drive(source, driver)


# ---------------------------------------------------------------------------------------------- the network


@dataclass(frozen=True)
class Config:
    """The size of FaceVid2Vid's network, which an imported file brings along."""

    width: int = 64  # channels of its first layers

    @classmethod
    def paper(cls) -> Config:
        return cls()

    @classmethod
    def smoke(cls) -> Config:
        return cls(width=2)

    demo = smoke


class DrivingNetwork(FrozenModel):
    """FaceVid2Vid's network as a model that is saved and loaded; never trained here."""

    name = "facevid2vid"
    Config = Config
    official: ClassVar[tuple[str, ...]] = ("network",)

    def __init__(self, config: Config, network: nn.Module | None = None):
        super().__init__(config)
        self.network = facevid2vid.FaceVid2Vid(config.width) if network is None else network


PUBLISHED: Registry[DrivingNetwork] = Registry("reenactor", (DrivingNetwork,))


class FaceVid2Vid:
    """The published network at its 256 px, with absolute motion, as E4S uses it."""

    name = "facevid2vid"

    def __init__(self, network: nn.Module):
        self.network = network

    @torch.no_grad()
    def drive(self, source: Faces, driver: Faces) -> Faces:
        _pairs(source, driver)
        size, device = self.network.size, next(self.network.parameters()).device
        pairs = zip(source.resize(size).images.split(8), driver.resize(size).images.split(8), strict=True)
        images = torch.cat([self.network(*(one.to(device) for one in pair)) for pair in pairs]).to(source.images)
        return _driven(source, Faces(images).resize(source.size).images)


KINDS: Mapping[str, type[Reenactor]] = {kind.name: kind for kind in (Identity, Rendered, Landmarks, Exact, FaceVid2Vid)}


def load(name: str, file: str | os.PathLike | None = None, device: str | torch.device = "cpu") -> Reenactor:
    """Return the reenactor of that name.

    file: FaceVid2Vid's, published or imported; None for the one that has been imported. No other needs any. Raises
    ValueError for an unknown name and as `published.load_official` does, FileNotFoundError without weights.
    """
    if name not in KINDS:
        raise ValueError(f"unknown reenactor {name!r}: choose one of {', '.join(KINDS)}")
    if name != FaceVid2Vid.name:
        return KINDS[name]()
    if file is None or weights.read_name(file):
        network = PUBLISHED.load(name, weights.OFFICIAL, file=file).network
    else:
        network = published.load_official(file)["facevid2vid"]
    return FaceVid2Vid(network.to(device))
