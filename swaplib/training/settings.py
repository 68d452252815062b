"""How long and how to train: the settings of a run, checked before anything starts."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Literal

import torch

from swaplib.training.model import Data, Model, Schedule, constant

Precision = Literal["auto", "bf16", "tf32", "fp32"]
HELD_OUT = " held out"
"""What the names of a log's columns end with that are about faces which a run doesn't learn from."""
Preview = Callable[[Model], "torch.Tensor | None"]
"""Model -> images (B, 3, H, W) or (R, C, 3, H, W) in [-1, 1]; None where there is nothing to show."""


@dataclass(frozen=True)
class TrainSettings:
    """Settings of a training run. It ends after `steps` or `minutes` of training, whichever comes first.

    steps      in all runs of the folder together, as are the minutes
    batch      faces in a step, over all processes together; of `data.Shots`, people
    seed       all random numbers follow from it
    folder     gets checkpoint.pt, log.csv and previews/; None keeps nothing
    resume     continue from the folder's checkpoint if there is one. Settings must then be as before, except for
               steps, minutes, schedule, workers and how often to save
    schedule   of the learning rates
    ema        decay of the averaged weights for a step (0: no averaging); smaller in the first steps
    flips      mirror every other face by chance; factors of rendered faces are dropped then
    device     auto, cpu or cuda
    precision  fp32; tf32; bf16 (mixed: weights stay in 32 bits); auto: bf16 on a GPU, on a processor the faster
    compile    compile the model's networks (torch.compile): a minute at first, faster steps on a GPU
    workers    threads that read and resize the coming batches
    checkpoint_every, preview_every   steps from one to the next
    preview    pictures of the model with averaged weights, saved as a grid
    checked    faces that it doesn't learn from, whose losses are logged as well, every `check_every` steps
    progress   whether to show a bar

    Raises ValueError, in one sentence, for settings that don't fit.
    """

    steps: int | None = None
    minutes: float | None = None
    batch: int = 16
    seed: int = 0
    folder: str | os.PathLike | None = None
    resume: bool = False
    schedule: Schedule = constant
    ema: float = 0.999
    flips: bool = True
    device: str = "auto"
    precision: Precision = "auto"
    compile: bool = False
    workers: int = 2
    checkpoint_every: int = 500
    preview: Preview | None = None
    preview_every: int = 500
    checked: Data | None = None
    check_every: int = 200
    progress: bool = True

    def __post_init__(self):
        if self.steps is None and self.minutes is None:
            raise ValueError("say how long to train: give steps, minutes or both")
        for name in ("batch", "workers", "checkpoint_every", "preview_every", "check_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not 0 <= self.ema < 1 or self.seed < 0:
            raise ValueError(
                f"ema must be in [0, 1) and the seed not negative, got ema={self.ema} and seed={self.seed}"
            )

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Return the names of all settings."""
        return tuple(item.name for item in fields(cls))

    def progress_after(self, steps: int, seconds: float) -> float:
        """Return how far a run has come, 0 at the beginning to 1 at the end."""
        by_steps = steps / self.steps if self.steps else 0.0
        return max(by_steps, seconds / (60 * self.minutes) if self.minutes else 0.0)

    def end_after(self, steps: int, seconds: float) -> str | None:
        """Return why a run ends here, "steps" or "minutes"; None while it continues."""
        if self.steps is not None and steps >= self.steps:
            return "steps"
        return "minutes" if self.minutes is not None and seconds >= 60 * self.minutes else None
