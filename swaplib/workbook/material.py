"""What a lesson looks at: rendered faces, or photographs of a prepared folder in their place; and by which weights."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from swaplib import data, families, judges, synthetic, weights
from swaplib.faces import Faces
from swaplib.families import Family
from swaplib.foreign import read_table
from swaplib.judges import Judges
from swaplib.judges.parsing import Parser, label_faces
from swaplib.latent import directions

STEP = 32
"""Pairs that are looked at together."""

# ---------------------------------------------------------------------------------------------- faces


def draw_faces(
    count: int,
    seed: int = 0,
    start: int = 0,
    world: str = "calm",
    size: int = 128,
    folder: str | os.PathLike | None = None,
    jobs: int = 1,
) -> Faces:
    """Return faces of a series, at `size` pixels: rendered ones, or photographs of a prepared folder.

    seed, start, world, jobs: as for `synthetic.render_faces`. Of photographs, seed and start choose which are taken
    first; where there are fewer than asked for, they come again; factors, where a folder has them, are not told. Raises
    as `data.open` does, and ValueError for a folder without photographs.
    """
    if folder is None:
        return synthetic.render_faces(count, seed, start, world, size, jobs=jobs)
    photographs = data.open(folder)
    if not len(photographs):
        raise ValueError(f"{folder} holds no faces: prepare photographs into it (swaplib prepare)")
    order = np.random.default_rng(seed).permutation(len(photographs))
    return _take(photographs, [int(order[(start + k) % len(order)]) for k in range(count)], size)


def _take(photographs: data.Dataset, rows: list[int], size: int) -> Faces:
    return replace(photographs[rows], factors=None).resize(size)


@dataclass(frozen=True)
class Pairs:
    """Sources and targets of a series, drawn `STEP` pairs at a time whenever they are gone through.

    So what is in memory doesn't grow with their number. Pair k is of the faces k and count + k that `draw_faces` gives
    for the same arguments; it raises the same.
    """

    count: int
    seed: int = 0
    start: int = 0
    world: str = "calm"
    size: int = 128
    folder: str | os.PathLike | None = None
    jobs: int = 1

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[tuple[Faces, Faces]]:
        for first in range(self.start, self.start + self.count, STEP):
            several = min(STEP, self.start + self.count - first)
            look = (self.world, self.size, self.folder, self.jobs)
            yield tuple(draw_faces(several, self.seed, number, *look) for number in (first, first + self.count))


def draw_clip(
    seconds: float,
    fps: float,
    seed: int = 0,
    start: int = 0,
    size: int = 128,
    folder: str | os.PathLike | None = None,
    jobs: int = 1,
) -> tuple[Faces, Faces]:
    """Return a source, a batch of one, and the frames of a clip: rendered, or of a prepared folder.

    Rendered, the clip is of face `start` of a series, and the source the fourth one after it. Of a folder, the clip is
    its first subject's pictures in the order of their files, as many as `seconds` have, and the source the first
    picture of another subject. Where it knows no subjects, all pictures but the last are the clip, and the last is the
    source. Raises as `data.open` does, and ValueError for a folder without two frames and a source.
    """
    if folder is None:
        clip = synthetic.render_clip(seconds, seed, start, size=size, fps=fps, jobs=jobs)
        return synthetic.render_faces(1, seed, start + 4, "calm", size), clip
    photographs = data.open(folder)
    subjects = photographs.metadata["subject"]
    order = photographs.metadata["source"].sort_values(kind="stable").index.tolist()
    own = [k for k in order if subjects[k] == subjects[order[0]]] if order and subjects[order[0]] else order[:-1]
    others = [k for k in order if k not in set(own)]
    if len(own) < 2 or not others:
        raise ValueError(f"{folder} holds no clip and a source: prepare a film's frames and another person's picture")
    return _take(photographs, others[:1], size), _take(photographs, own[: round(seconds * fps)], size)


def true_swap(source: Faces, target: Faces, size: int | None = None) -> dict[str, Faces]:
    """Return {"true swap": faces} of rendered pairs, at `size` pixels; nothing of photographs: nobody knows theirs."""
    if source.factors is None or target.factors is None:
        return {}
    truth = synthetic.true_swap(source, target)
    return {"true swap": truth if size is None else truth.resize(size)}


def name_world(world: str, folder: str | os.PathLike | None) -> str:
    """Say in a caption where pairs are from: "the calm world", or "photographs"."""
    return f"the {world} world" if folder is None else "photographs"


def find_scores(faces: Faces, name: str, panel: Judges) -> torch.Tensor:
    """Return what is known of faces under a name (`directions.find_known_scores`), (N,), or what judges read.

    Where it isn't known, the shape judge reads `pose.yaw` in degrees, and the parser finds the skin whose lightness
    stands for `Pale_Skin`. Raises ValueError for what is neither known nor read.
    """
    known = faces.factors is not None if "." in name else faces.attributes is not None
    if not known and name == "pose.yaw" and panel.shape is not None:
        return torch.cat([panel.read(some)["form"]["pose"][:, 1].cpu() for some in faces.images.split(32)])
    if not known and name == "Pale_Skin" and panel.parser is not None:
        return torch.cat([panel.colours(some)["skin"][:, 0] for some in faces.images.split(32)])
    return directions.find_known_scores(faces, name)


def label(faces: Faces, parser: Parser | None = None) -> Faces:
    """Return the faces with label maps: their own, or what a parser finds, by default our own for photographs."""
    parser = judges.load_for_photographs("parser", faces.images.device) if parser is None else parser
    with torch.no_grad():
        return replace(faces, labels=label_faces(faces, parser))


def open_photographs(folder: str | os.PathLike | None) -> data.Dataset | None:
    """Open a prepared folder; None where none is named."""
    return None if folder is None else data.open(folder)


# ---------------------------------------------------------------------------------------------- weights


def load_systems(
    names: Sequence[str],
    preset: str,
    device: str | torch.device = "cpu",
    file: str | os.PathLike | None = None,
) -> dict[str, Family]:
    """Load families to compare, by name, and say which of them are left out: without weights at the preset.

    file: weights of one of them, taken in place of the preset's. Raises as `families.load` does.
    """
    own = None if file is None else weights.read_name(file)
    there = [name for name in names if name == own or name in families.ready(preset)]
    if left := [name for name in names if name not in there]:
        print(f"left out, without weights at the preset {preset}: {', '.join(left)}")
    return {name: families.load(name, preset, device, file if name == own else None) for name in there}


def list_weights(preset: str, *names: str, file: str | os.PathLike | None = None) -> list[Path]:
    """Return the files of models' weights at a preset, those that are there.

    file: weights that take the place of their model's.
    """
    own = None if file is None else weights.read_name(file)
    paths = (Path(file) if name == own else weights.find_released(name, preset) for name in names)
    return [path for path in paths if path.exists()]


def read_log(name: str, preset: str) -> pd.DataFrame:
    """Return the log of a training that gave released weights."""
    log = weights.find_released(name, preset).with_suffix(".csv")
    return read_table(log, "take the weights and their files from the project again")
