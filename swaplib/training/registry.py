"""Learners by name."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any, Generic, TypeVar

import torch

from swaplib import weights
from swaplib.training.model import Learner

PRESETS = ("smoke", "demo", "paper")
T = TypeVar("T", bound=Learner)


class Registry(Generic[T]):
    """Classes of learners, each under its name; `what` they are stands in error messages."""

    def __init__(self, what: str, kinds: Sequence[type[T]]):
        self.what = what
        self._kinds = {kind.name: kind for kind in kinds}

    def __iter__(self) -> Iterator[str]:
        return iter(self._kinds)

    @property
    def trained(self) -> tuple[str, ...]:
        """The names of those that have something to learn."""
        return tuple(name for name, kind in self._kinds.items() if kind.phases is not Learner.phases)

    def ready(self, preset: str = "demo") -> tuple[str, ...]:
        """The names of those that `load` gives at a preset: released, or with nothing to learn."""
        trained = self.trained
        return tuple(name for name in self if name not in trained or weights.find_released(name, preset).exists())

    def kind(self, name: str) -> type[T]:
        """The class of that name. Raises ValueError for an unknown one."""
        if name not in self._kinds:
            raise ValueError(f"unknown {self.what} {name!r}: choose one of {', '.join(self._kinds)}")
        return self._kinds[name]

    def config(self, name: str, preset: str | Any) -> Any:
        """The config at a preset; a config itself is passed on.

        Raises ValueError for an unknown name and for a preset that is not in `PRESETS`.
        """
        own = self.kind(name).Config
        if isinstance(preset, own):
            return preset
        if preset not in PRESETS:
            raise ValueError(f"unknown preset {preset!r}: choose one of {', '.join(PRESETS)}")
        return getattr(own, preset)()

    def build(self, name: str, preset: str | Any = "demo", seed: int = 0) -> T:
        """The learner of that name at a preset's size, untrained, its random weights following from the seed.

        preset: its name, or a config of the learner's own. Raises ValueError as `config` does.
        """
        chosen = self.config(name, preset)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return self.kind(name)(chosen)

    def load(
        self,
        name: str,
        preset: str = "demo",
        device: str | torch.device = "cpu",
        file: str | os.PathLike | None = None,
    ) -> T:
        """The learner of that name, trained, in evaluation mode: with the preset's released weights or a file's.

        preset: also "photo", weights of the demo's size that learned from photographs, too, where there are such.
        file: weights saved by `weights.save`; the config is then the one they were trained with, not the preset's.
        Raises ValueError as `build` and `weights.load` do, FileNotFoundError where there are no such weights.
        """
        if preset == "photo" and name not in self.trained:
            preset = "demo"
        if file is None and preset == "photo":
            file = weights.find_released(name, preset)
            if not file.exists():
                raise FileNotFoundError(
                    f"{name} has no released weights that know photographs: choose the preset demo, or train your own"
                )
        if file is not None:
            learner = self.build(name, weights.config(file, self.kind(name)))
            return weights.load(learner, file).to(device)
        learner = self.build(name, preset)
        if name in self.trained:
            released = weights.find_released(name, preset)
            if not released.exists():
                raise FileNotFoundError(
                    f"{name} has no released weights for the preset {preset}: train it (swaplib train {name} --preset "
                    f"{preset}) and load that file, or choose another preset"
                )
            weights.load(learner, released)
        return learner.to(device).eval()

    def frozen(self, name: str, preset: str) -> T:
        """A `Teacher` held still, to train others: with the weights found for the preset, else with none.

        One without weights has `trained` False; whoever learns from it then refuses.
        """
        found = weights.find_released(name, preset).exists()
        teacher = self.load(name, preset) if found else self.build(name, preset)
        teacher.trained = found
        return teacher.freeze()
