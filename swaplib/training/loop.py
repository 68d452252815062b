"""One training loop for every family and judge: it yields a small record after each step.

    for step in train(family, data, steps=2000, folder="runs/rsgan"):
        print(step.step, step.totals)

A step draws a batch and lets each of the family's phases work on it in turn: the phase's losses, weighted as the
family's config says, and one Adam step on the phase's own parameters. What is called a family here may be a judge, or
any other `swaplib.training.model.Learner`; `Phase` is the contract.

Random numbers follow from (seed, step, process) alone, data included. So a run that was stopped goes on, at fp32 on
a CPU bit for bit, as if it hadn't been, and what the caller draws between two steps changes nothing.
A loss may take random numbers from Python's, numpy's and torch's global generators; they are given back untouched.

Several GPUs: start the same script with `torchrun --nproc_per_node N`. The batch is shared out among the processes.
"""

from __future__ import annotations

import json
import math
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, nullcontext
from copy import deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from lightning.fabric import Fabric
from torch import nn
from tqdm.auto import tqdm

from swaplib.faces import Faces
from swaplib.training import runtime
from swaplib.training.model import Data, Learner, Phase, Schedule, constant
from swaplib.training.runtime import CHECKPOINT, Precision
from swaplib.weights import differences, plain


@dataclass(frozen=True)
class Step:
    """What happened up to the end of a step.

    step      number of steps done, from 1; in all runs of the folder together, as are the next two
    images    images seen, by all processes together
    seconds   time spent in training steps, waiting for data included
    losses    phase -> term -> value before weighting, averaged over the processes; lazy phases only when they ran
    totals    phase -> weighted sum of its terms
    rate      the schedule's factor for the learning rates in this step
    family    the family with averaged weights, in evaluation mode: the one to look at and to save. It goes on changing
              with the next step
    end       why the run ends with this step: "steps", "minutes", "SIGINT", "SIGTERM"; None while it goes on
    """

    step: int
    images: int
    seconds: float
    losses: dict[str, dict[str, float]]
    totals: dict[str, float]
    rate: float
    family: Learner = field(repr=False)
    end: str | None = None


# ---------------------------------------------------------------------------------------------- the loop


def train(
    family: Learner,
    data: Data,
    steps: int | None = None,
    *,
    minutes: float | None = None,
    batch: int = 16,
    seed: int = 0,
    folder: str | os.PathLike | None = None,
    resume: bool = False,
    schedule: Schedule = constant,
    ema: float = 0.999,
    flips: bool = True,
    device: str = "auto",
    precision: Precision = "auto",
    compile: bool = False,
    workers: int = 2,
    checkpoint_every: int = 500,
    sample: Callable[[Learner], torch.Tensor | None] | None = None,
    sample_every: int = 500,
    progress: bool = True,
) -> Iterator[Step]:
    """Train a family in place, until so many steps or minutes of training are done, whichever comes first.

    family     its weights are the beginning; it is moved to the device
    data       faces; resized to the config's size, in an order that the seed decides
    minutes    of training, in all runs of the folder together
    batch      faces in a step, over all processes together; of `data.Shots`, people
    folder     gets checkpoint.pt, log.csv and samples/; None keeps nothing
    resume     go on from the folder's checkpoint if there is one. The other arguments must be as before, but
               for steps, minutes, schedule, workers and how often to save
    ema        decay of the averaged weights for a step (0: no averaging); smaller in the first steps
    flips      mirror every other face by chance; factors of rendered faces are dropped then
    precision  fp32; tf32; bf16 (mixed: weights stay in 32 bits); auto: bf16 where the processor has it
    compile    compile the family's networks (torch.compile): a minute at first, faster steps on a GPU
    workers    threads that read and resize the coming batches
    sample     family -> images (B, 3, H, W) or (R, C, 3, H, W) in [-1, 1], saved as a grid every `sample_every`
               steps; None: nothing to show

    A run that is complete already yields nothing; `restore` gives its weights.
    Ctrl-C and SIGTERM let the step finish, save, and end the loop; a second one acts at once. Leaving the loop with
    `break` saves too. A `KeyboardInterrupt` or an error within a step saves nothing.

    Raises ValueError before training for arguments that don't fit, a loss without a weight in the config and a folder
    that holds another run; FloatingPointError in the step where a loss is no longer finite, nothing being saved then;
    OSError where the folder can't be written.
    """
    if steps is None and minutes is None:
        raise ValueError("say how long to train: give steps, minutes or both")
    for name, value in {"batch": batch, "workers": workers, "checkpoint_every": checkpoint_every}.items():
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    if not 0 <= ema < 1 or seed < 0:
        raise ValueError(f"ema must be in [0, 1) and the seed not negative, got ema={ema} and seed={seed}")
    if len(data) == 0:
        raise ValueError("there are no faces to train on: the data is empty")
    fabric, precision = runtime.processor(device, precision)
    if batch % fabric.world_size:
        raise ValueError(f"a batch of {batch} can't be shared out evenly among {fabric.world_size} processes")
    settings = {"seed": seed, "batch": batch, "flips": flips, "ema": ema, "faces": len(data), "precision": precision}
    settings |= {"shots": data.shots} if hasattr(data, "shots") else {}
    run = _start(family, data, fabric, settings, None if folder is None else Path(folder), resume, workers)
    if compile:
        runtime.compile_networks(family)
    limits = _Limits(steps, minutes, schedule)
    return _loop(run, limits, checkpoint_every, sample, sample_every, progress)


def _loop(
    run: _Run,
    limits: _Limits,
    checkpoint_every: int,
    sample: Callable[[Learner], torch.Tensor | None] | None,
    sample_every: int,
    progress: bool,
) -> Iterator[Step]:
    """The steps that are left. What the heart of training is, is here and in `_update`."""
    if limits.end(run):
        return
    bar = tqdm(total=limits.steps, initial=run.step, unit="step", disable=not (progress and run.first))
    with (
        closing(run.batches()) as batches,
        runtime.stop_requests() as requests,
        runtime.grad_flags(run.family),
        run.log() as log,
        bar,
    ):
        try:
            while True:
                started = time.perf_counter()
                faces = run.place(next(batches))
                rate = limits.schedule(limits.progress(run))
                run.family.train()
                with run.randomness(), run.arithmetic():
                    phases = [phase for phase in run.phases if run.step % phase.every == 0]
                    done = {phase.name: _update(run, phase, faces, rate) for phase in phases}
                run.step += 1
                _follow(run)
                run.seconds += time.perf_counter() - started
                asked = run.agree(requests)
                step = Step(
                    run.step,
                    _images(run.step, run.settings),
                    run.seconds,
                    {name: losses for name, (losses, _) in done.items()},
                    {name: total for name, (_, total) in done.items()},
                    rate,
                    run.ema,
                    asked or limits.end(run),
                )
                log(_row(step))
                if step.end or run.step % checkpoint_every == 0:
                    _save(run)
                if sample and run.first and run.folder and (step.end or run.step % sample_every == 0):
                    with torch.no_grad():
                        images = sample(run.ema)
                    text = f"Samples of {run.family.name} after {run.step} training steps."
                    if images is not None:
                        runtime.save_grid(images, run.folder / "samples" / f"{run.step:08d}.png", text)
                bar.update()
                bar.set_postfix({name: f"{total:.4g}" for name, total in step.totals.items()}, refresh=False)
                if asked:
                    bar.write(f"{asked}: stopped after step {run.step:,}", file=sys.stderr)
                yield step
                if step.end:
                    return
        except GeneratorExit:  # the caller left the loop
            _save(run)
            raise
        finally:
            run.family.eval()


def _update(run: _Run, phase: Phase, faces: Faces, rate: float) -> tuple[dict[str, float], float]:
    """One phase's step: its losses, their weighted total, both as numbers."""
    own = {id(parameter) for parameter in phase.parameters}
    for parameter in run.family.parameters():
        parameter.requires_grad_(id(parameter) in own)
    optimiser = run.optimisers[phase.shares or phase.name]
    optimiser.zero_grad()
    with run.fabric.autocast():
        losses = {name: value.float() for name, value in phase.losses(faces).items()}
    if list(losses) != run.terms[phase.name]:
        before = ", ".join(run.terms[phase.name])
        raise ValueError(
            f"the phase {phase.name} returned {', '.join(losses)} in step {run.step + 1:,} and {before} before: it "
            "must return the same terms in every step"
        )
    total = sum(getattr(run.family.config, name) * value for name, value in losses.items())
    total.backward()
    values = torch.stack([*losses.values(), total]).detach()
    run.average([values, *(parameter.grad for parameter in phase.parameters if parameter.grad is not None)])
    *values, total = values.tolist()
    for name, value in zip(losses, values, strict=True):
        if not math.isfinite(value):
            kept = f"; {run.folder / CHECKPOINT} is still that of step {run.saved:,}" if run.folder else ""
            raise FloatingPointError(
                f"the loss {phase.name}/{name} became {value} in step {run.step + 1:,}{kept}: try a smaller learning "
                "rate or a smaller weight"
            )
    for group in optimiser.param_groups:
        group["lr"] = phase.learning_rate * rate
    optimiser.step()
    return dict(zip(losses, values, strict=True)), total


def _row(step: Step) -> dict[str, Any]:
    """A step's row in the log."""
    row = {"step": step.step, "images": step.images, "seconds": f"{step.seconds:.3f}", "rate": f"{step.rate:.6g}"}
    for phase, losses in step.losses.items():
        row |= {f"{phase}/{name}": f"{value:.6g}" for name, value in {**losses, "total": step.totals[phase]}.items()}
    return row


@torch.no_grad()
def _follow(run: _Run) -> None:
    """Move the averaged weights after the trained ones; running statistics are averaged alike."""
    run.average([buffer for buffer in run.family.buffers() if buffer.is_floating_point()])
    # Young averages forget their random beginning sooner (as in TensorFlow's ExponentialMovingAverage).
    decay = min(run.settings["ema"], run.step / (run.step + 9))
    for kept, new in zip(run.ema.state_dict().values(), run.family.state_dict().values(), strict=True):
        if kept.is_floating_point():
            kept.lerp_(new, 1 - decay)
        else:
            kept.copy_(new)


@dataclass(frozen=True)
class _Limits:
    """How long to train, and the learning rate on the way."""

    steps: int | None
    minutes: float | None
    schedule: Schedule

    def progress(self, run: _Run) -> float:
        """0 at the beginning to 1 at the end."""
        by_steps = run.step / self.steps if self.steps else 0.0
        return max(by_steps, run.seconds / (60 * self.minutes) if self.minutes else 0.0)

    def end(self, run: _Run) -> str | None:
        if self.steps is not None and run.step >= self.steps:
            return "steps"
        return "minutes" if self.minutes is not None and run.seconds >= 60 * self.minutes else None


# ---------------------------------------------------------------------------------------------- a run's state


@dataclass
class _Run:
    """All that a step needs and changes."""

    family: Learner
    ema: Learner
    data: Data
    fabric: Fabric
    settings: dict[str, Any]
    folder: Path | None
    workers: int
    phases: list[Phase]
    terms: dict[str, list[str]]
    optimisers: dict[str, torch.optim.Optimizer]
    step: int = 0
    seconds: float = 0.0
    saved: int = -1

    @property
    def first(self) -> bool:
        """Whether this process is the one that writes."""
        return self.fabric.global_rank == 0

    def place(self, faces: Faces) -> Faces:
        """On the device, channels last in memory: convolutions are faster so, on every processor."""
        faces = faces.to(self.fabric.device)
        return replace(faces, images=faces.images.contiguous(memory_format=torch.channels_last))

    def average(self, tensors: list[torch.Tensor]) -> None:
        """Mean over the processes, in place, in one message."""
        if self.fabric.world_size == 1 or not tensors:
            return
        flat = self.fabric.all_reduce(torch.cat([tensor.flatten() for tensor in tensors]))
        for tensor, mean in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(mean.view_as(tensor))

    def agree(self, requests: list[int]) -> str | None:
        """The signal that one of the processes was sent. All go by the slowest one's clock."""
        asked = max(requests, default=0)
        if self.fabric.world_size > 1:
            state = torch.tensor([asked, self.seconds], dtype=torch.float64, device=self.fabric.device)
            asked, self.seconds = self.fabric.all_reduce(state, reduce_op="max").tolist()
        return signal.Signals(int(asked)).name if asked else None

    def batches(self) -> Iterator[Faces]:
        """This process's share of the batches, from the current step on."""
        each = self.settings["batch"] // self.fabric.world_size
        share = slice(self.fabric.global_rank * each, (self.fabric.global_rank + 1) * each)
        batch, seed, flips = (self.settings[name] for name in ("batch", "seed", "flips"))
        return runtime.batches(self.data, self.family.config.size, batch, seed, flips, self.step, share, self.workers)

    def randomness(self):
        return runtime.randomness(self.settings["seed"], self.step, self.fabric.global_rank, self.fabric.device)

    def arithmetic(self):
        return runtime.arithmetic(self.settings["precision"], self.fabric.device)

    def log(self):
        """The open log: a function that writes a row."""
        if self.folder is None or not self.first:
            return nullcontext(lambda row: None)
        columns = [f"{phase}/{name}" for phase, names in self.terms.items() for name in (*names, "total")]
        return runtime.log(self.folder / "log.csv", ["step", "images", "seconds", "rate", *columns], self.step)


def _start(
    family: Learner,
    data: Data,
    fabric: Fabric,
    settings: dict[str, Any],
    folder: Path | None,
    resume: bool,
    workers: int,
) -> _Run:
    """Everything before the first step: placed, checked, loaded from the checkpoint where there is one."""
    fabric.to_device(family)
    with torch.no_grad():
        for parameter in family.parameters():
            if parameter.ndim == 4:
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    if fabric.world_size > 1:
        for tensor in family.state_dict().values():
            tensor.copy_(fabric.broadcast(tensor))
    phases = [replace(phase, parameters=_trainable(phase)) for phase in family.phases()]
    if not phases:
        raise ValueError(f"{family.name} has nothing to learn: it has no training phases")
    optimisers = {
        phase.name: torch.optim.AdamW(
            phase.parameters, phase.learning_rate, phase.betas, weight_decay=phase.weight_decay, fused=True
        )
        for phase in phases
        if phase.shares is None
    }
    ema = deepcopy(family).requires_grad_(False).eval()
    run = _Run(family, ema, data, fabric, settings, folder, workers, phases, {}, optimisers)
    run.terms = _terms(run)
    if folder is not None:
        begun = (folder / CHECKPOINT).exists()
        if fabric.broadcast(begun):  # the first process's answer: it writes the folder's first checkpoint below
            _continue(run, resume)
        else:
            _save(run)  # so that a folder that can't be written is found now
    return run


def _trainable(phase: Phase) -> list[nn.Parameter]:
    parameters = [parameter for parameter in phase.parameters if parameter.requires_grad]
    if not parameters:
        raise ValueError(f"the phase {phase.name} has no parameters to train")
    return parameters


def _terms(run: _Run) -> dict[str, list[str]]:
    """Phase -> names of its losses, found by trying them on a copy of the family; each must have a weight."""
    with closing(run.batches()) as batches:
        faces = run.place(next(batches))
    terms = {}
    with run.randomness(), run.arithmetic(), run.fabric.autocast():
        for phase in deepcopy(run.family).train().phases():
            losses = phase.losses(faces)
            if not losses:
                raise ValueError(f"the phase {phase.name} returns no losses")
            _check(run.family, phase.name, losses)
            terms[phase.name] = list(losses)
    return terms


def _check(family: Learner, phase: str, losses: dict[str, torch.Tensor]) -> None:
    for name, value in losses.items():
        if not isinstance(getattr(family.config, name, None), (int, float)):
            raise ValueError(
                f"the loss {phase}/{name} has no weight: give {type(family.config).__name__} a number named {name!r}"
            )
        if value.ndim:
            raise ValueError(f"the loss {phase}/{name} must be a single number, got shape {tuple(value.shape)}")


# ---------------------------------------------------------------------------------------------- checkpoints


def _save(run: _Run) -> None:
    """Write the checkpoint: whole under another name, then renamed. Weights that are not finite are refused."""
    if run.folder is None or run.saved == run.step:
        return
    for name, value in run.family.state_dict().items():
        if not torch.isfinite(value).all():
            raise FloatingPointError(
                f"{name} is no longer finite after step {run.step:,}, though the losses were: "
                f"{run.folder / CHECKPOINT} is still that of step {run.saved:,}; try a smaller learning rate"
            )
    run.saved = run.step
    if not run.first:
        return
    content = {
        "family": run.family.name,
        "config": json.dumps(plain(run.family.config)),
        "settings": run.settings,
        "step": run.step,
        "seconds": run.seconds,
        "weights": run.family.state_dict(),
        "ema": run.ema.state_dict(),
        "optimisers": {name: optimiser.state_dict() for name, optimiser in run.optimisers.items()},
    }
    runtime.write(run.folder / CHECKPOINT, content)


def _continue(run: _Run, resume: bool) -> None:
    """Take over the state of the folder's checkpoint."""
    path = run.folder / CHECKPOINT
    content = runtime.read(path, run.family)
    if not resume:
        raise ValueError(
            f"{run.folder} holds a run of {content['step']:,} steps: go on with it (resume), or choose another folder"
        )
    if differing := differences(content["settings"], run.settings):
        raise ValueError(f"{path} is of a run with {differing}: resume with the same, or choose another folder")
    try:
        run.family.load_state_dict(content["weights"])
        run.ema.load_state_dict(content["ema"])
        for name, optimiser in run.optimisers.items():
            optimiser.load_state_dict(content["optimisers"][name])
    except (RuntimeError, KeyError, ValueError) as error:
        raise _misfit(path, run.family) from error
    run.step, run.seconds, run.saved = content["step"], content["seconds"], content["step"]


def restore(family: Learner, folder: str | os.PathLike, ema: bool = True) -> dict[str, Any]:
    """Load a folder's checkpoint into a family: the averaged weights, or the trained ones themselves.

    Returns the run's step, images, seconds (as in `Step`) and settings. Raises FileNotFoundError where there is none,
    ValueError for a damaged one, and for one of another family or config.
    """
    path = Path(folder) / CHECKPOINT
    content = runtime.read(path, family)
    try:
        family.load_state_dict(content["ema" if ema else "weights"])
    except RuntimeError as error:
        raise _misfit(path, family) from error
    family.eval()
    images = _images(content["step"], content["settings"])
    return {"images": images, **{name: content[name] for name in ("step", "seconds", "settings")}}


def _misfit(path: Path, family: Learner) -> ValueError:
    return ValueError(f"{path} doesn't fit this {family.name}: it was made with another version of it; train anew")


def _images(steps: int, settings: dict[str, Any]) -> int:
    return steps * settings["batch"] * settings.get("shots", 1)
