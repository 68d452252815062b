"""Models: networks with a name, a config and alternating training phases.

Families (`swaplib.families`), generators and judges are models. `swaplib.training.loop` trains any of them,
`swaplib.weights` saves and loads it, `swaplib.training.registry` finds it by name. Nothing here reads a file or knows
where data comes from.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import copy, deepcopy
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import torch
from torch import nn

from swaplib.faces import Faces

AT_ONCE = 64 * 128**2
"""Pixels of the pictures that a model makes at a time, where no gradients are taken."""


class Data(Protocol):
    """What a run learns from: `data.Dataset`, `Faces`, or anything else that gives `Faces` for a list of indices.

    Where an index stands for several pictures, as in `data.Shots`, `shots` says how many.
    """

    def __len__(self) -> int: ...
    def __getitem__(self, index: list[int]) -> Faces: ...


@dataclass(frozen=True)
class Phase:
    """One alternating step of a training loop.

    parameters      what the phase trains; all others are frozen meanwhile, and those without gradients stay out
    losses(batch)   named scalar terms, each under the name of its weight in the model's config
    every           run this phase once in this many steps
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
    """Keep the phases' own learning rates throughout."""
    return 1.0


def cosine(first: float = 1.0, last: float = 0.05) -> Schedule:
    """Follow half a cosine from one factor to another (Loshchilov & Hutter 2017, eq. 5, without restarts)."""
    return lambda progress: last + (first - last) * (1 + math.cos(math.pi * min(progress, 1.0))) / 2


def linear(steady: float = 0.0) -> Schedule:
    """Keep the whole rate up to a point of progress, then let it fall straight to nothing."""
    return lambda progress: min(1.0, (1 - min(progress, 1.0)) / (1 - steady))


def drops(factor: float, *at: float) -> Schedule:
    """Multiply by `factor` at each of some points of progress."""
    return lambda progress: factor ** sum(progress >= point for point in at)


@dataclass(frozen=True)
class Stage:
    """A stretch of a model's training: with which config, for which share of the whole, on which schedule."""

    name: str
    config: Any
    share: float
    schedule: Schedule = constant


class Model(nn.Module):
    """Base of everything that is trained. Subclasses define the class attributes, and what they learn by: `phases`.

    name     as in the registry and on the command line
    Config   a frozen dataclass with `smoke()`, `demo()` and `paper()`, and a field `size`, pixels
    training_only   names of the submodules and frozen models that only training needs (discriminators, teachers)
    optional   names of the frozen models that it can be used without, for a part of what it does
    official   submodules and buffers that a published file fills (`weights.filling.Fillable`); empty: there is no file
    stand_ins  names of published models that take its place at the preset "official", the best first
    mirrored   whether every other picture that it learns from is mirrored
    counted    names that `swaplib info` gives to submodules, at the paper's size: name -> submodule

    What a model takes from others, its frozen models, is handed to the constructor: keywords and kinds as
    `frozen_models` says. They are attributes like submodules, but belong to nobody: they are not in the state, are
    shared by copies, and a model that moves to another device takes a copy along.
    """

    name: ClassVar[str]
    Config: ClassVar[type]
    training_only: ClassVar[tuple[str, ...]] = ()
    optional: ClassVar[tuple[str, ...]] = ()
    official: ClassVar[tuple[str, ...]] = ()
    stand_ins: ClassVar[tuple[str, ...]] = ()
    mirrored: ClassVar[bool] = True
    counted: ClassVar[Mapping[str, str]] = {}
    frozen: dict[str, nn.Module]

    def __init__(self, config: Any, **frozen: nn.Module | None):
        super().__init__()
        self.config = config
        self.frozen = {name: model for name, model in frozen.items() if model is not None}

    @classmethod
    def frozen_models(cls, config: Any) -> dict[str, tuple[str, str]]:
        """Return the frozen models that the constructor takes: keyword -> name and preset."""
        return {}

    def frozen_hashes(self) -> dict[str, str]:
        """Return the SHA-256 of the files of its frozen models, by the constructor's keywords, where they have one."""
        named = ((keyword, self.frozen.get(keyword)) for keyword in self.frozen_models(self.config))
        return {keyword: model.sha256 for keyword, model in named if getattr(model, "sha256", None)}

    def __getattr__(self, name: str) -> Any:
        # Called only for what is no plain attribute, as nn.Module finds its submodules.
        frozen = self.__dict__.get("frozen", {})
        return frozen[name] if name in frozen else super().__getattr__(name)

    def __setattr__(self, name: str, value: Any) -> None:
        # Another frozen model in the place of one that was handed in is no submodule either.
        if name in self.__dict__.get("frozen", {}):
            self.frozen[name] = value
        else:
            super().__setattr__(name, value)

    def __deepcopy__(self, memo: dict[int, Any]) -> Model:
        """Copy all but the frozen models, which copies share."""
        memo |= {id(model): model for model in self.frozen.values()}
        copied = self.__class__.__new__(self.__class__)
        memo[id(self)] = copied
        copied.__dict__ = deepcopy(self.__dict__, memo)
        return copied

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> Model:
        super()._apply(fn, recurse)
        self.frozen = {name: _apply_to_copy(model, fn) for name, model in self.frozen.items()}
        return self

    def for_inference(self) -> Model:
        """Return a copy that shares its weights but lacks what `training_only` names: light to send to a process."""
        model = copy(self)
        for store in ("_modules", "frozen"):
            kept = {name: one for name, one in getattr(self, store).items() if name not in self.training_only}
            light = {name: one.for_inference() if isinstance(one, Model) else one for name, one in kept.items()}
            model.__dict__[store] = light
        return model

    def at_once(self, size: int | None = None) -> int:
        """Return how many pictures it takes at a time, so that memory doesn't grow with their number.

        size: pixels of the pictures, where they are not of the config's; 64 of 128 px or smaller, one of 1024.
        """
        return max(1, min(64, AT_ONCE // (size or self.config.size) ** 2))

    def phases(self) -> list[Phase]:
        """Return how it is trained; nothing for one that has nothing to learn."""
        return []

    @classmethod
    def stages(cls, config: Any) -> list[Stage]:
        """Return the stretches of its training, the last one with the config itself; each goes on from the last."""
        return [Stage("whole", config, 1.0)]

    @classmethod
    def training_data(cls, config: Any, datasets: Sequence[Data]) -> Data | None:
        """Return what it learns from, made of prepared datasets; None for all of them, each shown equally often."""
        return None

    def init_from(self, other: Model) -> None:
        """Begin with what another of its kind learned in an earlier stage."""
        self.load_state_dict(other.state_dict())

    def on_train_end(self, faces: Faces) -> None:
        """Measure what is measured, not trained, on some faces at the config's size: called once after training."""

    def preview(self, faces: Faces) -> torch.Tensor | None:
        """Return pictures (R, C, 3, H, W) in [-1, 1] that show how far it has come; None where nothing does."""
        return None


def _apply_to_copy(model: nn.Module, fn: Callable[[torch.Tensor], torch.Tensor]) -> nn.Module:
    """Return the model itself where `fn` leaves its tensors alone, else a copy to which `fn` was applied."""
    first = next(iter([*model.parameters(), *model.buffers()]), None)
    return model if first is None or fn(first) is first else deepcopy(model)._apply(fn)


class FrozenModel(Model):
    """A model that others learn from or measure with: trained first, then frozen."""

    trained: bool = True
    sha256: str | None = None  # of the file that its weights came from

    def freeze(self) -> FrozenModel:
        """Hold it in evaluation mode and without gradients of its own, for good."""
        self.is_frozen = True
        return self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> FrozenModel:
        return super().train(mode and not getattr(self, "is_frozen", False))

    def report(self, dataset: Data) -> dict[str, float]:
        """Measure how good it is on a prepared dataset: name -> number, for its card."""
        raise NotImplementedError

    def require_weights(self) -> None:
        """Raise ValueError where it has no weights that it could teach by."""
        if not self.trained:
            raise ValueError(
                f"the network {self.name} that this learns from has no weights: train it (swaplib train {self.name}), "
                "name the folder with its weights in SWAPLIB_WEIGHTS, and build the model by start, not by build"
            )
