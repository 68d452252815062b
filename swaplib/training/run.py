"""A run's state: what a step needs and changes, how it begins, and its checkpoints."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, nullcontext
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from lightning.fabric import Fabric
from torch import nn

from swaplib.faces import Faces
from swaplib.provenance import Hold
from swaplib.training import runtime
from swaplib.training.model import Data, Model, Phase
from swaplib.training.optimiser import make_adam
from swaplib.training.runtime import CHECKPOINT
from swaplib.training.settings import HELD_OUT, Precision, TrainSettings
from swaplib.weights import describe_differences, to_plain

Losses = dict[str, torch.Tensor]
CHECKED = 4
"""Batches of held-out faces at most whose losses are logged."""


class _PhaseModule(nn.Module):
    """A phase as a module: its parameters, whose gradients DDP averages, and its losses as the forward pass."""

    def __init__(self, phase: Phase):
        super().__init__()
        self.own = nn.ParameterList(phase.parameters)
        self.losses = phase.losses

    def forward(self, faces: Faces) -> Losses:  # B faces -> term -> ()
        return self.losses(faces)


@dataclass
class Run:
    """All that a step needs and changes.

    kept      the settings that a resumed run must share, as the checkpoint holds them
    terms     phase -> names of its losses
    compute_losses   phase -> its losses of a batch; with several processes, through DDP
    saved     the step of the last checkpoint
    hold      of the folder, which keeps other processes out of it
    """

    model: Model
    ema: Model
    data: Data
    fabric: Fabric
    precision: Precision
    settings: TrainSettings
    kept: dict[str, Any]
    phases: list[Phase]
    terms: dict[str, list[str]]
    optimisers: dict[str, torch.optim.Optimizer]
    compute_losses: dict[str, Callable[[Faces], Losses]]
    hold: Hold | None = None
    step: int = 0
    seconds: float = 0.0
    saved: int = -1

    # -- the beginning

    @classmethod
    def begin(cls, model: Model, data: Data, settings: TrainSettings) -> Run:
        """Prepare a run up to its first step: placed, checked, loaded from the checkpoint where there is one."""
        if len(data) == 0:
            raise ValueError("there are no faces to train on: the data is empty")
        fabric, precision = runtime.processor(settings.device, settings.precision)
        if settings.batch % fabric.world_size:
            raise ValueError(
                f"a batch of {settings.batch} can't be shared out evenly among {fabric.world_size} processes"
            )
        kept = {name: getattr(settings, name) for name in ("seed", "batch", "flips", "ema")}
        kept |= {"faces": len(data), "precision": precision, "frozen": model.frozen_hashes()}
        kept |= {"shots": data.shots} if hasattr(data, "shots") else {}
        _place_model(model, fabric)
        phases = [replace(phase, parameters=_trainable(phase)) for phase in model.phases()]
        if not phases:
            raise ValueError(f"{model.name} has nothing to learn: it has no training phases")
        ema = deepcopy(model).requires_grad_(False).eval()
        optimisers = {
            phase.name: make_adam(phase.parameters, phase.learning_rate, phase.betas, phase.weight_decay)
            for phase in phases
            if phase.shares is None
        }
        losses = {phase.name: _averaged_losses(phase, fabric) for phase in phases}
        run = cls(model, ema, data, fabric, precision, settings, kept, phases, {}, optimisers, losses)
        run.terms = run._find_terms()
        run._open_folder()
        if settings.compile:
            runtime.compile_networks(model)
        return run

    def _find_terms(self) -> dict[str, list[str]]:
        """Return phase -> names of its losses, found by trying them on a copy of the model; each must have a weight."""
        with closing(self.batches()) as batches:
            faces = self.place(next(batches))
        terms = {}
        with self.randomness(), self.arithmetic(), self.fabric.autocast():
            for phase in deepcopy(self.model).train().phases():
                losses = phase.losses(faces)
                if not losses:
                    raise ValueError(f"the phase {phase.name} returns no losses")
                _check_losses(self.model, phase.name, losses)
                terms[phase.name] = list(losses)
        return terms

    def _open_folder(self) -> None:
        """Continue from the folder's checkpoint, or write the first one, so that a full disk is found now."""
        if self.folder is None:
            return
        if self.first:
            self.hold = Hold(self.folder).__enter__()
        try:
            begun = (self.folder / CHECKPOINT).exists()
            if self.fabric.broadcast(begun):  # the first process's answer: it writes the folder's first one below
                self._continue()
            else:
                self.save()
        except BaseException:
            self.let_go()
            raise

    # -- what a step needs

    @property
    def first(self) -> bool:
        """Whether this process is the one that writes."""
        return self.fabric.global_rank == 0

    @property
    def folder(self) -> Path | None:
        return None if self.settings.folder is None else Path(self.settings.folder)

    @property
    def images(self) -> int:
        """Images seen so far, by all processes together."""
        return _count_images(self.step, self.kept)

    @property
    def progress(self) -> float:
        """How far the run has come, 0 to 1."""
        return self.settings.progress_after(self.step, self.seconds)

    @property
    def end(self) -> str | None:
        """Why the run ends after the last step; None while it continues."""
        return self.settings.end_after(self.step, self.seconds)

    def batches(self) -> Iterator[Faces]:
        """Yield this process's share of the batches, from the current step on."""
        settings, rank = self.settings, self.fabric.global_rank
        each = settings.batch // self.fabric.world_size
        share = slice(rank * each, (rank + 1) * each)
        return runtime.batches(
            self.data, self.model.config.size, settings.batch, settings.seed, settings.flips, self.step, share,
            settings.workers,
        )  # fmt: skip

    def place(self, faces: Faces) -> Faces:
        """Move faces to the device, channels last in memory: convolutions are faster so, on every processor."""
        faces = faces.to(self.fabric.device)
        return replace(faces, images=faces.images.contiguous(memory_format=torch.channels_last))

    def randomness(self) -> AbstractContextManager:
        return runtime.randomness(self.settings.seed, self.step, self.fabric.global_rank, self.fabric.device)

    def arithmetic(self) -> AbstractContextManager:
        return runtime.arithmetic(self.precision, self.fabric.device)

    def average(self, tensors: list[torch.Tensor]) -> None:
        """Average small tensors over the processes, in place, in one message."""
        if self.fabric.world_size == 1 or not tensors:
            return
        flat = self.fabric.all_reduce(torch.cat([tensor.flatten() for tensor in tensors]))
        for tensor, mean in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(mean.view_as(tensor))

    def agree(self, requests: list[int]) -> str | None:
        """Return the signal that one of the processes was sent. All go by the slowest one's clock."""
        asked = max(requests, default=0)
        if self.fabric.world_size > 1:
            state = torch.tensor([asked, self.seconds], dtype=torch.float64, device=self.fabric.device)
            asked, self.seconds = self.fabric.all_reduce(state, reduce_op="max").tolist()
        return signal.Signals(int(asked)).name if asked else None

    def let_go(self) -> None:
        """Let other processes work in the folder again."""
        if self.hold is not None:
            self.hold.__exit__()

    # -- what it leaves

    def log(self) -> AbstractContextManager[Callable[[dict[str, Any]], Any]]:
        """Open the log: the context is a function that writes a row."""
        if self.folder is None or not self.first:
            return nullcontext(lambda row: None)
        columns = [f"{phase}/{name}" for phase, names in self.terms.items() for name in (*names, "total")]
        if self.settings.checked is not None:
            columns += [f"{phase}/{name}{HELD_OUT}" for phase, names in self.terms.items() for name in names]
        return runtime.log(self.folder / "log.csv", ["step", "images", "seconds", "rate", *columns], self.step)

    def check(self) -> dict[str, float]:
        """Return the mean losses of the held-out faces, as columns of the log; nothing where there are none.

        The random numbers are the same every time. What losses note in the model's buffers is taken back.
        """
        faces, batch = self.settings.checked, self.settings.batch
        if faces is None or not self.first:
            return {}
        rows = list(range(min(len(faces), CHECKED * batch)))
        noted = {name: value.clone() for name, value in self.model.named_buffers()}
        found: dict[str, list[float]] = {}
        with runtime.randomness(self.settings.seed, 0, 0, self.fabric.device), self.arithmetic():
            for start in range(0, len(rows) - len(rows) % batch, batch):
                some = self.place(faces[rows[start : start + batch]].resize(self.model.config.size))
                for phase in self.phases:
                    with self.fabric.autocast():
                        losses = phase.losses(some)
                    for name, value in losses.items():
                        found.setdefault(f"{phase.name}/{name}{HELD_OUT}", []).append(value.item())
        with torch.no_grad():
            for name, value in self.model.named_buffers():
                value.copy_(noted[name])
        return {name: sum(values) / len(values) for name, values in found.items()}

    @torch.no_grad()
    def save_preview(self) -> None:
        """Save a grid of the settings' preview, where there is one."""
        if not (self.settings.preview and self.first and self.folder):
            return
        images = self.settings.preview(self.ema)
        if images is not None:
            text = f"Pictures of {self.model.name} after {self.step} training steps."
            runtime.save_grid(images, self.folder / "previews" / f"{self.step:08d}.png", text)

    def save(self) -> None:
        """Write the checkpoint: whole under another name, then renamed. Weights that are not finite are refused."""
        if self.folder is None or self.saved == self.step:
            return
        averaged = {f"the average of {name}": value for name, value in self.ema.state_dict().items()}
        for name, value in {**self.model.state_dict(), **averaged}.items():
            if not torch.isfinite(value).all():
                raise FloatingPointError(
                    f"{name} is no longer finite after step {self.step:,}, though the losses were: "
                    f"{self.folder / CHECKPOINT} is still that of step {self.saved:,}; try a smaller learning rate"
                )
        self.saved = self.step
        if self.first:
            content = {
                "family": self.model.name,
                "config": json.dumps(to_plain(self.model.config)),
                "settings": self.kept,
                "step": self.step,
                "seconds": self.seconds,
                "weights": self.model.state_dict(),
                "ema": self.ema.state_dict(),
                "optimisers": {name: optimiser.state_dict() for name, optimiser in self.optimisers.items()},
            }
            runtime.write(self.folder / CHECKPOINT, content)

    def _continue(self) -> None:
        """Take over the state of the folder's checkpoint."""
        path = self.folder / CHECKPOINT
        content = runtime.read(path, self.model)
        if not self.settings.resume:
            raise ValueError(
                f"{self.folder} holds a run of {content['step']:,} steps: resume it (resume=True, or --resume), or "
                "choose another folder"
            )
        if differing := describe_differences(content["settings"], self.kept):
            raise ValueError(f"{path} is of a run with {differing}: resume with the same, or choose another folder")
        try:
            self.model.load_state_dict(content["weights"])
            self.ema.load_state_dict(content["ema"])
            for name, optimiser in self.optimisers.items():
                optimiser.load_state_dict(content["optimisers"][name])
        except (RuntimeError, KeyError, ValueError) as error:
            raise _misfit(path, self.model) from error
        self.step, self.seconds, self.saved = content["step"], content["seconds"], content["step"]


def _place_model(model: Model, fabric: Fabric) -> None:
    """Move a model to the device, channels last; give all processes the weights of the first."""
    fabric.to_device(model)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 4:
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    if fabric.world_size > 1:
        for tensor in model.state_dict().values():
            tensor.copy_(fabric.broadcast(tensor))


def _trainable(phase: Phase) -> list[nn.Parameter]:
    """Return the parameters that a phase trains. Raises ValueError where there are none."""
    parameters = [parameter for parameter in phase.parameters if parameter.requires_grad]
    if not parameters:
        raise ValueError(f"the phase {phase.name} has no parameters to train")
    return parameters


def _averaged_losses(phase: Phase, fabric: Fabric) -> Callable[[Faces], Losses]:
    """Return a phase's losses; with several processes, such that their gradients are averaged as they come.

    Every phase has a DDP of its own: phases that share parameters don't disturb each other, since a DDP only listens
    between its own forward pass and the backward pass after it.
    """
    return phase.losses if fabric.world_size == 1 else fabric.strategy.setup_module(_PhaseModule(phase))


def _check_losses(model: Model, phase: str, losses: Losses) -> None:
    """Raise ValueError for a loss without a weight in the config, and for one that is no single number."""
    for name, value in losses.items():
        if not isinstance(getattr(model.config, name, None), (int, float)):
            raise ValueError(
                f"the loss {phase}/{name} has no weight: give {type(model.config).__name__} a number named {name!r}"
            )
        if value.ndim:
            raise ValueError(f"the loss {phase}/{name} must be a single number, got shape {tuple(value.shape)}")


def restore(model: Model, folder: str | os.PathLike, ema: bool = True) -> dict[str, Any]:
    """Load a folder's checkpoint into a model: the averaged weights, or the trained ones themselves.

    Returns the run's step, images, seconds (as in `Step`) and settings. Raises FileNotFoundError where there is none,
    ValueError for a damaged one, and for one of another model or config.
    """
    path = Path(folder) / CHECKPOINT
    content = runtime.read(path, model)
    try:
        model.load_state_dict(content["ema" if ema else "weights"])
    except RuntimeError as error:
        raise _misfit(path, model) from error
    model.eval()
    images = _count_images(content["step"], content["settings"])
    return {"images": images, **{name: content[name] for name in ("step", "seconds", "settings")}}


def _misfit(path: Path, model: Model) -> ValueError:
    return ValueError(f"{path} doesn't fit this {model.name}: it was made with another version of it; train again")


def _count_images(steps: int, kept: dict[str, Any]) -> int:
    return steps * kept["batch"] * kept.get("shots", 1)
