"""What a training run stands on: its batches, its folder, and the processor, random numbers and signals around a step.

The folder holds:

    checkpoint.pt   all that is needed to go on; always whole
    log.csv         a row for each step
    previews/       grids of pictures
"""

from __future__ import annotations

import csv
import io
import json
import logging
import math
import os
import random
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.fabric import Fabric
from PIL import Image
from torch import nn

from swaplib import cache
from swaplib.faces import Faces, to_uint8
from swaplib.foreign import TABLE_BYTES, check_fields, damaged, parse_json, read_text
from swaplib.provenance import png_text, replacing
from swaplib.training.model import Data, Model
from swaplib.training.settings import Precision
from swaplib.weights import describe_differences, describe_hardware, fill_defaults, read_content, to_plain

CHECKPOINT = "checkpoint.pt"


# ---------------------------------------------------------------------------------------------- batches


def batches(
    data: Data,
    size: int | tuple[int, int],
    batch: int,
    seed: int,
    flips: bool,
    start: int,
    share: slice,
    workers: int,
) -> Iterator[Faces]:
    """Yield a process's share of each batch from the `start`th on, without end, resized, read ahead by threads.

    Batches follow each other without gaps through endless epochs, each shuffled in its own way. So every batch is
    full, and where to go on is known from the number of steps alone.
    """
    order = lru_cache(4)(lambda epoch: np.random.default_rng([seed, epoch]).permutation(len(data)))

    def submit(number: int) -> Future[Faces]:
        places = (divmod(place, len(data)) for place in range(number * batch, (number + 1) * batch)[share])
        rows = [int(order(epoch)[place]) for epoch, place in places]
        mirrored = np.random.default_rng([seed, number, 0]).random(batch)[share] < 0.5 if flips else None
        return pool.submit(_prepare, data, rows, mirrored, size)

    pool = ThreadPoolExecutor(workers)
    try:
        numbers = count(start)
        ahead = deque(submit(next(numbers)) for _ in range(workers))
        while True:
            ahead.append(submit(next(numbers)))
            yield ahead.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _prepare(data: Data, rows: list[int], mirrored: np.ndarray | None, size: int | tuple[int, int]) -> Faces:
    faces = data[rows].resize(size)
    if mirrored is None:
        return faces
    mirrored = torch.from_numpy(mirrored)
    return Faces.cat([faces[~mirrored], faces[mirrored].mirror()])


# ---------------------------------------------------------------------------------------------- what a folder holds


def write(path: Path, content: dict[str, Any]) -> None:
    """Write a checkpoint under another name, then rename it: killed at any moment, the old or the new one is there.

    Raises OSError where the disk is full or the folder can't be written.
    """
    try:
        with replacing(path) as temporary, open(temporary, "wb") as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
    except (OSError, RuntimeError) as error:
        raise OSError(
            f"could not write {path} ({error}): make room or choose another folder; what was saved before is kept"
        ) from error


def _load(path: Path) -> dict[str, Any]:
    """Return a checkpoint's content. Nothing in the file is executed.

    Raises FileNotFoundError, and ValueError for a file that is damaged or holds something else.
    """
    if not path.exists():
        raise FileNotFoundError(f"there is no {path}: train with this folder first")
    remedy = "choose the folder of another run"
    found = check_fields(read_content(path, remedy), _CONTENT, path, remedy)
    try:
        config = check_fields(parse_json(found["config"]), {}, path, remedy)
    except ValueError as error:
        raise damaged(path, "its config is none", remedy) from error
    check_fields(found["settings"], {"batch": int}, path, remedy)
    for name, tensor in [*found["weights"].items(), *found["ema"].items()]:
        if not isinstance(name, str) or not isinstance(tensor, torch.Tensor):
            raise damaged(path, "its weights are no tensors by name", remedy)
    return {**found, "config": config}


_CONTENT = {
    "family": str, "config": str, "settings": dict, "step": int, "seconds": (int, float), "weights": dict, "ema": dict,
    "optimisers": dict,
}  # fmt: skip
"""What a checkpoint holds, and of which kind each is."""


def config_of(path: Path) -> dict[str, Any]:
    """Return the config that a checkpoint was made with, as JSON gives it."""
    return _load(path)["config"]


def read(path: Path, model: Model) -> dict[str, Any]:
    """Read a checkpoint of this model with this config. Nothing in the file is executed."""
    content = _load(path)
    if content["family"] != model.name:
        raise ValueError(f"{path} is a checkpoint of {content['family']}, not of {model.name}: choose another folder")
    if differing := describe_differences(fill_defaults(content["config"], type(model.config)), to_plain(model.config)):
        raise ValueError(f"{path} is of a {model.name} with {differing}: build the family like that")
    return content


@contextmanager
def log(path: Path, columns: list[str], step: int) -> Iterator[Callable[[dict[str, Any]], Any]]:
    """Open a CSV with a row for each step; rows after the checkpoint's step, the last maybe torn, are cut."""
    kept = []
    if path.exists() and path.stat().st_size:
        text = read_text(path, "the log of a run", "delete it to go on without what it says", TABLE_BYTES)
        rows = csv.DictReader(io.StringIO(text, newline=""), restval=None)
        try:
            kept = [row for _, row in zip(range(step), rows, strict=False)]
        except csv.Error as error:
            raise damaged(path, error, "delete it to go on without what it says") from error
    with replacing(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, restval="", extrasaction="ignore")
        writer.writeheader()
        writer.writerows(kept)

    with open(path, "a", newline="", encoding="utf-8", buffering=1) as file:
        yield csv.DictWriter(file, columns, restval="").writerow


def save_grid(images: torch.Tensor, path: Path, text: str) -> None:
    """Save images (B, 3, H, W) in [-1, 1] as a square grid, (R, C, 3, H, W) as R rows; marked as generated."""
    columns = images.shape[1] if images.ndim == 5 else math.ceil(math.sqrt(len(images)))
    pictures = to_uint8(images.flatten(0, 1) if images.ndim == 5 else images)
    number, height, width, _ = pictures.shape
    grid = np.full((math.ceil(number / columns) * height, columns * width, 3), 255, np.uint8)
    for k, picture in enumerate(pictures):
        top, left = k // columns * height, k % columns * width
        grid[top : top + height, left : left + width] = picture
    with replacing(path) as temporary:
        Image.fromarray(grid).save(temporary, pnginfo=png_text("generated", text))


# ---------------------------------------------------------------------------------------------- around a step


def processor(device: str, precision: Precision) -> tuple[Fabric, Precision]:
    """Choose device, precision and processes. Started by torchrun, one of its processes; else the only one."""
    if precision not in ("auto", "bf16", "tf32", "fp32"):
        raise ValueError(f"unknown precision {precision!r}: choose one of auto, bf16, tf32, fp32")
    if device not in ("auto", "cpu", "cuda"):
        raise ValueError(f"unknown device {device!r}: choose one of auto, cpu, cuda")
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("there is no CUDA device here: choose device cpu or auto")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if precision == "auto":
        precision = choose_precision(device)
    distributed = torch.distributed.is_available() and torch.distributed.is_torchelastic_launched()
    here = int(os.environ["LOCAL_WORLD_SIZE"]) if distributed else 1
    nodes = int(os.environ["WORLD_SIZE"]) // here if distributed else 1
    with _quiet():
        fabric = Fabric(
            accelerator=device,
            strategy="ddp_find_unused_parameters_true" if distributed else "auto",
            devices=here,
            num_nodes=nodes,
            precision="bf16-mixed" if precision == "bf16" else "32-true",
        )
        if not os.environ.get("LT_CLI_USED"):  # `fabric run` has launched it
            fabric.launch()
    return fabric, precision


def choose_precision(device: str) -> Precision:
    """Return what is fastest: bf16 on a GPU; on a processor that multiplies in bfloat16, what was measured there once.

    With AMX, bf16 always won; with AVX-512 alone, fp32 was 1.2 to 1.35 times as fast on one processor, bf16 1.5 to 1.9
    times on another. Elsewhere bf16 is emulated.
    """
    if device == "cuda":
        return "bf16"
    able = _bf16_of_cpu()
    if not any(able.values()):
        return "fp32"
    # Kept, so that all processes choose alike, and a run that goes on as it began.
    key = json.dumps([describe_hardware(), able, torch.__version__]).encode()
    kept = cache.recall("precision", [key], lambda missing: [{"seconds": torch.tensor(_time_steps())}])
    bf16, fp32 = kept[0]["seconds"]
    return "bf16" if bf16 < fp32 else "fp32"


def _bf16_of_cpu() -> dict[str, bool]:
    """Return what of bfloat16's arithmetic the processor has."""
    names = {"AMX": "_is_amx_tile_supported", "AVX-512": "_is_avx512_bf16_supported"}
    return {kind: getattr(torch.cpu, name, bool)() for kind, name in names.items()}


def _time_steps(tries: int = 10) -> tuple[float, float]:
    """Return the processor's seconds for a convolution there and back in bf16 and in fp32, each in its best try."""
    seconds: dict[bool, list[float]] = {True: [], False: []}
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        layer = nn.Conv2d(64, 64, 3, padding=1)
        for _ in range(tries):
            for bf16, some in seconds.items():
                begin = time.process_time()
                with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                    loss = layer(torch.zeros(8, 64, 32, 32)).square().mean()
                loss.backward()
                some.append(time.process_time() - begin)
    return min(seconds[True]), min(seconds[False])


def compile_networks(module: nn.Module) -> None:
    """Compile each network that the module calls; dictionaries and lists of networks are opened."""
    # On a GPU, where this pays, frozen models are copies of the model's own.
    for child in (*module.children(), *getattr(module, "frozen", {}).values()):
        if isinstance(child, (nn.ModuleDict, nn.ModuleList)):
            compile_networks(child)
        else:
            child.compile()


@contextmanager
def _quiet():
    """Silence log messages below warnings: Lightning reports the precision that it was asked for."""
    before = logging.root.manager.disable
    logging.disable(logging.INFO)
    try:
        yield
    finally:
        logging.disable(before)


@contextmanager
def randomness(seed: int, step: int, process: int, device: torch.device):
    """Seed the global generators for this step and process; afterwards they are as they were."""
    state = int(np.random.SeedSequence([seed, step, process]).generate_state(1, np.uint64)[0])
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002 a loss may use the global generator
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        try:
            torch.manual_seed(state)
            random.seed(state)
            np.random.seed(state % 2**32)  # noqa: NPY002
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)  # noqa: NPY002


@contextmanager
def arithmetic(precision: Precision, device: torch.device):
    """Use TF32 for what stays in 32 bits, and cuDNN's search for fast convolutions, on a GPU, while a step runs."""
    if device.type != "cuda" or precision == "fp32":
        yield
        return
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.benchmark
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.benchmark = True
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.benchmark = before[1]


@contextmanager
def grad_flags(network: nn.Module):
    """Let every parameter require gradients or not as before, afterwards."""
    before = [(parameter, parameter.requires_grad) for parameter in network.parameters()]
    try:
        yield
    finally:
        for parameter, flag in before:
            parameter.requires_grad_(flag)


@contextmanager
def stop_requests():
    """Collect the signals that ask to stop, in a list. After the first one, a second acts as it usually does."""
    requests: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield requests  # Python handles signals in its main thread only
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore_handlers() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def ask(number: int, frame: Any) -> None:
        requests.append(number)
        restore_handlers()

    for number in before:
        signal.signal(number, ask)
    try:
        yield requests
    finally:
        restore_handlers()
