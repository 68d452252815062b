"""One training loop for every model: it yields a small record after each step.

    for step in train(model, data, steps=2000, folder="runs/rsgan"):
        print(step.step, step.totals)

A step draws a batch and lets each of the model's phases work on it in turn: the phase's losses, weighted as the
model's config says, and one Adam step on the phase's own parameters. `swaplib.training.model.Phase` is the contract.

Random numbers follow from (seed, step, process) alone, data included. So a run that was stopped continues, at fp32 on
a CPU bit for bit, as if it hadn't been stopped, and what the caller draws between two steps changes nothing.
A loss may take random numbers from Python's, numpy's and torch's global generators; they are given back untouched.

Several GPUs: start the same script with `torchrun --nproc_per_node N`. The batch is shared out among the processes;
DDP averages gradients while they are being computed.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from tqdm.auto import tqdm

from swaplib.faces import Faces
from swaplib.training import runtime
from swaplib.training.model import Data, Model, Phase
from swaplib.training.run import CHECKPOINT, Run, restore
from swaplib.training.settings import TrainSettings

__all__ = ["Step", "TrainSettings", "restore", "train"]


@dataclass(frozen=True)
class Step:
    """What happened up to the end of a step.

    step      number of steps done, from 1; in all runs of the folder together, as are the next two
    images    images seen, by all processes together
    seconds   time spent in training steps, waiting for data included
    losses    phase -> term -> value before weighting, averaged over the processes; lazy phases only when they ran
    totals    phase -> weighted sum of its terms
    rate      the schedule's factor for the learning rates in this step
    model     the model with averaged weights, in evaluation mode: the one to look at and to save. It changes with the
              next step
    end       why the run ends with this step: "steps", "minutes", "SIGINT", "SIGTERM"; None while it continues
    """

    step: int
    images: int
    seconds: float
    losses: dict[str, dict[str, float]]
    totals: dict[str, float]
    rate: float
    model: Model = field(repr=False)
    end: str | None = None


def train(model: Model, data: Data, steps: int | None = None, **settings: Any) -> Iterator[Step]:
    """Train a model in place and yield a record after each step.

    model     its weights are the beginning; it is moved to the device
    data      faces; resized to the config's size, in an order that the seed decides
    settings  the other fields of `TrainSettings`: minutes, batch, seed, folder, resume, schedule, …

    A run that is complete already yields nothing; `restore` gives its weights.
    Ctrl-C and SIGTERM let the step finish, save, and end the loop; a second one acts at once. Leaving the loop with
    `break` saves too. A `KeyboardInterrupt` or an error within a step saves nothing.

    Raises ValueError before training for settings that don't fit, a loss without a weight in the config and a folder
    that holds another run; FloatingPointError in the step where a loss is no longer finite, nothing being saved then;
    OSError where the folder can't be written.
    """
    run = Run.begin(model, data, TrainSettings(steps, **settings))
    return _record_steps(run)


def _take_steps(run: Run) -> Iterator[Step]:
    """Take one step after the other, without end: this is the heart of training."""
    with closing(run.batches()) as batches:
        while True:
            started = time.perf_counter()
            faces = run.place(next(batches))
            rate = run.settings.schedule(run.progress)
            run.model.train()
            losses, totals = {}, {}
            with run.randomness(), run.arithmetic():
                for phase in run.phases:
                    if run.step % phase.every == 0:
                        losses[phase.name], totals[phase.name] = _update(run, phase, faces, rate)
            run.step += 1
            _average_weights(run)
            run.seconds += time.perf_counter() - started
            yield Step(run.step, run.images, run.seconds, losses, totals, rate, run.ema)


def _update(run: Run, phase: Phase, faces: Faces, rate: float) -> tuple[dict[str, float], float]:
    """Take one phase's step; return its losses and their weighted total as numbers."""
    own = {id(parameter) for parameter in phase.parameters}
    for parameter in run.model.parameters():
        parameter.requires_grad_(id(parameter) in own)
    optimiser = run.optimisers[phase.shares or phase.name]
    optimiser.zero_grad()
    with run.fabric.autocast():
        losses = {name: value.float() for name, value in run.compute_losses[phase.name](faces).items()}
    if list(losses) != run.terms[phase.name]:
        before = ", ".join(run.terms[phase.name])
        raise ValueError(
            f"the phase {phase.name} returned {', '.join(losses)} in step {run.step + 1:,} and {before} before: it "
            "must return the same terms in every step"
        )
    total = sum(getattr(run.model.config, name) * value for name, value in losses.items())
    total.backward()
    numbers = torch.stack([*losses.values(), total]).detach()
    run.average([numbers])
    *values, total = numbers.tolist()
    values = dict(zip(losses, values, strict=True))
    _require_finite(run, phase, values)
    for group in optimiser.param_groups:
        group["lr"] = phase.learning_rate * rate
    optimiser.step()
    return values, total


def _require_finite(run: Run, phase: Phase, values: dict[str, float]) -> None:
    """Raise FloatingPointError for a loss that is no longer finite."""
    for name, value in values.items():
        if not math.isfinite(value):
            kept = f"; {run.folder / CHECKPOINT} is still that of step {run.saved:,}" if run.folder else ""
            raise FloatingPointError(
                f"the loss {phase.name}/{name} became {value} in step {run.step + 1:,}{kept}: try a smaller learning "
                "rate or a smaller weight"
            )


@torch.no_grad()
def _average_weights(run: Run) -> None:
    """Move the averaged weights towards the trained ones; running statistics are averaged alike."""
    run.average([buffer for buffer in run.model.buffers() if buffer.is_floating_point()])
    # Young averages forget their random beginning sooner (as in TensorFlow's ExponentialMovingAverage).
    decay = min(run.settings.ema, run.step / (run.step + 9))
    for kept, new in zip(run.ema.state_dict().values(), run.model.state_dict().values(), strict=True):
        if kept.is_floating_point():
            kept.lerp_(new, 1 - decay)
        else:
            kept.copy_(new)


# ---------------------------------------------------------------------------------------------- around the steps


def _record_steps(run: Run) -> Iterator[Step]:
    """Take the steps that are left: log, save, show and stop around each of them."""
    if run.end:
        run.let_go()
        return
    settings = run.settings
    bar = tqdm(total=settings.steps, initial=run.step, unit="step", disable=not (settings.progress and run.first))
    with (
        closing(_take_steps(run)) as steps,
        runtime.stop_requests() as requests,
        runtime.grad_flags(run.model),
        run.log() as log,
        bar,
    ):
        try:
            for step in steps:
                asked = run.agree(requests)
                step = replace(step, seconds=run.seconds, end=asked or run.end)
                due = step.end or run.step % settings.check_every == 0
                log(_log_row(step) | {name: f"{value:.6g}" for name, value in (run.check() if due else {}).items()})
                if step.end or run.step % settings.checkpoint_every == 0:
                    run.save()
                if step.end or run.step % settings.preview_every == 0:
                    run.save_preview()
                bar.update()
                bar.set_postfix({name: f"{total:.4g}" for name, total in step.totals.items()}, refresh=False)
                if asked:
                    bar.write(f"{asked}: stopped after step {run.step:,}", file=sys.stderr)
                yield step
                if step.end:
                    return
        except GeneratorExit:  # the caller left the loop
            run.save()
            raise
        finally:
            run.model.eval()
            run.let_go()


def _log_row(step: Step) -> dict[str, Any]:
    """Return a step's row in the log."""
    row = {"step": step.step, "images": step.images, "seconds": f"{step.seconds:.3f}", "rate": f"{step.rate:.6g}"}
    for phase, losses in step.losses.items():
        row |= {f"{phase}/{name}": f"{value:.6g}" for name, value in {**losses, "total": step.totals[phase]}.items()}
    return row
