"""The first thing to run where there is a GPU: seconds at the papers' sizes, training rates, and the CUDA tests.

    python benchmarks/gpu.py                          # at most 12 minutes; writes studies/results/gpu.csv
    python benchmarks/gpu.py --device cpu --preset smoke --minutes 1 --out /tmp/gpu.csv

Networks have random weights, which cost what trained ones do. Whatever would begin after the time is up is left out,
and said so. `swaplib info --results` and the README show the seconds of a swap once the file is there.
"""

from __future__ import annotations

import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import pandas as pd
import torch
import typer

from swaplib import families, generators, judges, synthetic, weights
from swaplib.faces import Faces
from swaplib.networks.facevid2vid import FaceVid2Vid
from swaplib.training.loop import train
from swaplib.workbook import studies

VARIANTS = {
    "fp32": {"precision": "fp32"}, "tf32": {"precision": "tf32"}, "bf16": {"precision": "bf16"},
    "bf16, compiled": {"precision": "bf16", "compile": True},
}  # fmt: skip
TRAINED = ("rsgan", "smooth_swap", "e4s")
"""Families whose training is measured."""
SWAPPED = ("e4s", "latent_swap", "smooth_swap", "mask_guided", "rsgan")
_TESTS = Path(__file__).parents[1] / "tests" / "test_cuda.py"
_RESERVED = 60  # seconds that the tests get at least

Row = tuple[str, float, str]
"""What was measured, the number, and its unit."""


def time_call(call: Callable[[], object], device: str, seconds: float = 2.0) -> float:
    """Return the median seconds of a call, after two that warm it up."""

    def wait() -> None:
        if torch.device(device).type == "cuda":
            torch.cuda.synchronize()

    took, end = [], time.perf_counter() + seconds
    for number in range(1000):
        start = time.perf_counter()
        with torch.no_grad():
            call()
        wait()
        if number >= 2:
            took.append(time.perf_counter() - start)
        if took and time.perf_counter() > end:
            break
    return statistics.median(took)


def make_faces(count: int, size: int) -> Faces:
    """Render faces with everything that any system asks for, at any size."""
    return synthetic.render_faces(count, size=min(512, max(64, size))).resize(size)


def measure_swaps(preset: str, device: str) -> Iterator[Callable[[], list[Row]]]:
    """Yield measurements of a pair's swap, whole and by its stages."""

    def swap(name: str) -> list[Row]:
        family = families.build(name, preset).to(device).eval()
        source, target = (make_faces(2, family.config.size)[[k]].to(device) for k in (0, 1))
        with torch.no_grad():
            ours, theirs = family.encode(source), family.encode(target)
        steps = {
            "swap": lambda: family.swap(source, target),
            "encode": lambda: family.encode(source),
            "mix": lambda: family.mix(ours, theirs),
            "decode": lambda: family.decode(theirs),
        }
        return [(f"{name}, {step}", time_call(call, device), "s") for step, call in steps.items()]

    for name in SWAPPED:
        yield lambda name=name: swap(name)


def measure_others(preset: str, device: str) -> Iterator[Callable[[], list[Row]]]:
    """Yield measurements of what stands around a swap: generator, reenactor, parser."""

    def generate(batch: int) -> list[Row]:
        model = generators.build("stylegan2", preset).to(device).eval()
        ws = model.sample(batch)
        name = f"stylegan2, {model.config.size} px, batch of {batch}"
        return [(name, batch / time_call(lambda: model(ws), device), "pictures/s")]

    def drive() -> list[Row]:
        network = FaceVid2Vid(64 if preset == "paper" else 2).to(device).eval()
        images = torch.zeros(1, 3, 256, 256, device=device)
        return [("facevid2vid, drive", time_call(lambda: network(images, images), device), "s")]

    def parse() -> list[Row]:
        parser = judges.PUBLISHED.build("bisenet").to(device).eval()
        images = torch.zeros(1, 3, 512, 512, device=device)
        return [("bisenet, parse", time_call(lambda: parser.parse(images), device), "s")]

    yield lambda: generate(1)
    yield lambda: generate(8)
    yield drive
    yield parse


def measure_training(preset: str, device: str) -> Iterator[Callable[[], list[Row]]]:
    """Yield measurements of training rates, and the hours that the paper's own number of pictures takes."""

    def rate(name: str, variant: str) -> list[Row]:
        family = families.build(name, preset)
        for teacher in family.frozen.values():
            teacher.trained = True  # their numbers don't matter, their costs do
        family.started = True
        config = family.config
        batch = min(config.batch, 4) if config.size >= 1024 else config.batch
        options = {"batch": batch, "workers": 2, "progress": False, "device": device, **VARIANTS[variant]}
        loop = train(family, make_faces(16, config.size), 10**9, **options)
        for _ in range(4):
            next(loop)
        start, done = time.perf_counter(), 0
        while done < 3 or (time.perf_counter() - start < 3 and done < 200):
            next(loop)
            done += 1
        seconds = time.perf_counter() - start
        loop.close()
        speed = done * batch / seconds
        hours = config.steps * config.batch / speed / 3600
        return [(f"{name}, training in {variant}", speed, "images/s"), (f"{name}, all of it in {variant}", hours, "h")]

    for variant in VARIANTS:  # compiling, which takes minutes, comes last
        if device == "cpu" and ("tf32" in variant or "compiled" in variant):
            continue
        for name in TRAINED:
            yield lambda name=name, variant=variant: rate(name, variant)


def run_tests(seconds: float) -> Row:
    """Run the CUDA tests; the number of those that failed."""
    command = [sys.executable, "-m", "pytest", "-q", str(_TESTS)]
    try:
        done = subprocess.run(command, cwd=_TESTS.parents[1], timeout=max(1.0, seconds), check=False)
    except subprocess.TimeoutExpired:
        return ("CUDA tests, not ended in time", 1.0, "failures")
    return ("CUDA tests", float(done.returncode not in (0, 5)), "failures")


def main(
    device: Annotated[str, typer.Option(help="cuda or cpu.")] = "cuda",
    preset: Annotated[str, typer.Option(help="paper, or smoke to see whether it runs.")] = "paper",
    minutes: Annotated[float, typer.Option(min=0.1, help="It ends before.")] = 12.0,
    out: Annotated[Path | None, typer.Option(help="CSV; studies/results/gpu.csv by default.")] = None,
    tests: Annotated[bool, typer.Option(help="Whether the CUDA tests run.")] = True,
) -> None:
    """Measure, print, and write the table."""
    if device == "cuda" and not torch.cuda.is_available():
        raise typer.BadParameter("there is no CUDA device here: this is for a machine with a GPU")
    end = time.perf_counter() + 60 * minutes
    if device == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    rows: list[Row] = []
    if tests and device == "cuda":
        rows.append(run_tests(min(180, 60 * minutes / 3)))
        typer.echo(f"{rows[0][0]:<44} {rows[0][1]:>10.0f} {rows[0][2]}")
    left_out = failed = 0
    signal.signal(signal.SIGALRM, _stop)
    signal.setitimer(signal.ITIMER_REAL, max(1.0, end - time.perf_counter() - 5))
    for kind in (measure_swaps, measure_others, measure_training):
        for task in kind(preset, device):
            if time.perf_counter() > end - _RESERVED * (minutes > 2):
                left_out += 1
                continue
            try:
                made = task()
            except TimeoutError:
                left_out += 1
                continue
            except Exception as error:  # too little memory, a compiler that is missing: the rest is still worth knowing
                failed += 1
                typer.echo(f"failed: {type(error).__name__}: {str(error).strip().splitlines()[:1]}")
                continue
            finally:
                if device == "cuda":
                    torch.cuda.empty_cache()
            for name, value, unit in made:
                typer.echo(f"{name:<44} {value:>10.4g} {unit}")
            rows += made
    signal.setitimer(signal.ITIMER_REAL, 0)
    if left_out or failed:
        typer.echo(f"{left_out} measurements left out, as the time was up; {failed} failed")
    table = pd.DataFrame(rows, columns=["measure", "value", "unit"])
    table["device"], table["preset"], table["torch"] = weights.describe_hardware(device), preset, torch.__version__
    path = out or studies.results("gpu.csv")
    path.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(path, index=False)
    typer.echo(f"{path}: {len(table)} numbers")


def _stop(number: int, frame: object) -> None:
    raise TimeoutError("the time is up")


if __name__ == "__main__":
    typer.run(main)
