"""What can be trained, saved and loaded: a network with a name, a config and alternating training phases.

Families (`swaplib.families`) and judges (`swaplib.judges`) are learners. `swaplib.training.loop` trains any of them,
`swaplib.weights` saves and loads it, `swaplib.training.registry` finds it by name.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import torch
from torch import nn

from swaplib.data import Dataset, Mixed
from swaplib.faces import Faces
from swaplib.networks import blocks


class Data(Protocol):
    """What a run learns from: `data.Dataset`, `Faces`, or anything else that gives `Faces` for a list of indices.

    Where an index stands for several pictures, as in `data.Shots`, `shots` says how many.
    """

    def __len__(self) -> int: ...
    def __getitem__(self, index: list[int]) -> Faces: ...


@dataclass(frozen=True)
class Phase:
    """One alternating step of a training loop.

    parameters      what the phase trains; all others are held still, and parameters that require no gradient stay out
    losses(batch)   named scalar terms, each under the name of its weight in the learner's config
    every           run this phase once in so many steps
    learning_rate, betas, weight_decay   AdamW's; without decay, Adam's
    shares    name of an earlier phase of the same parameters whose optimiser it goes on with: a regulariser that runs
              now and then keeps its weight against the main loss only so (StyleGAN2, Appendix B)
    """

    name: str
    parameters: Iterable[nn.Parameter]
    losses: Callable[[Faces], dict[str, torch.Tensor]]
    every: int = 1
    learning_rate: float = 2e-4
    betas: tuple[float, float] = (0.5, 0.999)
    weight_decay: float = 0.0
    shares: str | None = None


Schedule = Callable[[float], float]
"""Progress of a stage, 0 to 1 -> factor by which every phase's learning rate is multiplied."""


def constant(progress: float) -> float:
    """The phases' own learning rates throughout."""
    return 1.0


def cosine(first: float = 1.0, last: float = 0.05) -> Schedule:
    """Half a cosine from one factor to another (Loshchilov & Hutter 2017, eq. 5, without restarts)."""
    return lambda progress: last + (first - last) * (1 + math.cos(math.pi * min(progress, 1.0))) / 2


def linear(steady: float = 0.0) -> Schedule:
    """The whole rate up to a point of progress, then straight down to nothing."""
    return lambda progress: min(1.0, (1 - min(progress, 1.0)) / (1 - steady))


def drops(factor: float, *at: float) -> Schedule:
    """Multiplied by `factor` at each of some points of progress."""
    return lambda progress: factor ** sum(progress >= point for point in at)


@dataclass(frozen=True)
class Stage:
    """A stretch of a learner's training: with which config, for which share of the whole, on which schedule."""

    name: str
    config: Any
    share: float
    schedule: Schedule = constant


class Learner(nn.Module):
    """Subclasses define the class attributes, and what they learn by: `phases`.

    name     as in the registry and on the command line
    Config   a frozen dataclass with `smoke()`, `demo()` and `paper()`, and a field `size`, pixels
    training_only   names of the submodules that only training needs (critics, classes): released weights lack them
    mirrored   whether every other picture that it learns from is mirrored
    counted    names that `swaplib info` gives to submodules, at the paper's size: name -> submodule
    """

    name: ClassVar[str]
    Config: ClassVar[type]
    training_only: ClassVar[tuple[str, ...]] = ()
    mirrored: ClassVar[bool] = True
    counted: ClassVar[Mapping[str, str]] = {}

    def __init__(self, config: Any):
        super().__init__()
        self.config = config

    def lean(self) -> Learner:
        """A copy that shares its weights but lacks the submodules of `training_only`: light to send to a process."""
        learner = copy(self)
        learner._modules = {
            name: module.lean() if isinstance(module, Learner) else module
            for name, module in self._modules.items()
            if name not in self.training_only
        }
        return learner

    def phases(self) -> list[Phase]:
        """How it is trained; empty for one with nothing to learn."""
        return []

    @classmethod
    def stages(cls, config: Any) -> list[Stage]:
        """The stretches of its training, the last one with the config itself; each goes on from the one before."""
        return [Stage("whole", config, 1.0)]

    @classmethod
    def lesson(cls, config: Any, datasets: Sequence[Dataset]) -> Data:
        """What it learns from, made of prepared datasets; of several, each is shown equally often."""
        return datasets[0] if len(datasets) == 1 else Mixed(datasets)

    def adopt(self, other: Learner) -> None:
        """Take over what another of its kind learned in an earlier stage; teachers that are held still stay its own."""
        self.load_state_dict(self.state_dict() | blocks.learned(self, other))

    def finish(self, faces: Faces) -> None:
        """Called once after training, with some faces at the config's size: for what is measured, not trained."""

    def look(self, faces: Faces) -> torch.Tensor | None:
        """Pictures (R, C, 3, H, W) in [-1, 1] that show how far it has come on some faces; None where nothing is."""
        return None


class Teacher(Learner):
    """A learner that others learn from: trained first, then held still."""

    trained: bool = True

    def freeze(self) -> Teacher:
        """For good in evaluation mode and without gradients of its own, also as a part of a family that trains."""
        self.frozen = True
        return self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> Teacher:
        return super().train(mode and not getattr(self, "frozen", False))

    def report(self, dataset: Dataset) -> dict[str, float]:
        """How good it is on a prepared dataset: name -> number, for its card."""
        raise NotImplementedError

    def needed(self) -> None:
        """Raises ValueError where it has no weights that it could teach by."""
        if not self.trained:
            raise ValueError(
                f"the network {self.name} that this learns from has no weights: train it (swaplib train {self.name}) "
                "and name the folder with its weights in SWAPLIB_WEIGHTS"
            )
