"""How far the rendered world is from photographs: three measures that need no eye.

    swaplib study worlds calm2 wild2 --photographs lfw128 --masks masks128 --parser parser_rendered.safetensors

- *Parsing*: a parser that learned from rendered faces alone, and saw no photograph, labels photographs whose labels are
  known. What it loses against held-out rendered faces is the gap between the worlds.
- *Descriptors*: Fréchet and kernel distance between rendered and photographed people in dlib's descriptors, whose
  network learned from photographs alone. Two halves of the photographs, of different people, give the floor.
- *Telling apart*: a linear classifier on the parser's encoder learns to tell thumbnails of two sets apart. The value is
  the share of held-out pairs, one picture of each set, that it gets right; guessing gives .5. What it makes of the
  labelled photographs and the others says how much any two collections differ. Once more with all but the face grey.

Saves worlds.csv: a row for each measure and pair of sets.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import torch
import typer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from swaplib import data, judges, photos
from swaplib.judges import fidelity
from swaplib.provenance import replacing
from swaplib.workbook import studies

VARIANTS = ("parsing", "descriptors", "telling")
"""What is measured."""
THUMBNAIL = 64
"""Edge in pixels of what is told apart."""
Folders = Annotated[list[Path], typer.Argument(help="Prepared datasets of rendered faces.")]


def main(
    rendered: Folders,
    photographs: Annotated[list[Path], typer.Option(help="Prepared datasets of photographs.")],
    masks: Annotated[Path, typer.Option(help="A prepared dataset of photographs with labels.")],
    parser: Annotated[Path, typer.Option(help="Weights of a parser that learned from rendered faces alone.")],
    count: Annotated[int, typer.Option(help="Faces of each set.")] = 1000,
    thumbnails: Annotated[int, typer.Option(help="Faces of each set to tell apart by, and others to be told.")] = 100,
) -> None:
    """Measure, and save the table."""
    torch.set_num_threads(1)
    counts = dict.fromkeys(VARIANTS, count) | {"telling": thumbnails}
    rows = [row for title in VARIANTS for row in measure(title, rendered, photographs, masks, parser, counts[title])]
    with replacing(studies.results("worlds.csv")) as temporary:
        pd.DataFrame(rows).round(4).to_csv(temporary, index=False)
    typer.echo(pd.DataFrame(rows).round(4).to_string(index=False))


def measure(
    title: str, rendered: list[Path], photographs: list[Path], masks: Path, parser: Path, count: int
) -> list[dict]:
    """Return the rows of one of the measures."""
    if title == "descriptors":
        return compare_descriptors(rendered, photographs, count)
    judge = judges.load("parser", file=parser)
    if title == "parsing":
        return compare_parsing(judge, rendered, masks, count)
    return compare_thumbnails(judge, [*rendered, masks], photographs, count)


def compare_parsing(parser: judges.Parser, rendered: list[Path], masks: Path, count: int) -> list[dict]:
    """Report a parser on held-out rendered faces and on labelled photographs."""
    rows = []
    for folder in (*rendered, masks):
        faces = data.open(folder)
        faces = faces.split("val") if folder != masks else faces
        chosen = faces.where(np.arange(len(faces)) < count)
        for name, value in parser.report(chosen).items():
            rows.append({"measure": f"parser, {name}", "set": folder.name, "to": "", "value": value,
                         "faces": len(chosen)})  # fmt: skip
    return rows


def compare_descriptors(rendered: list[Path], photographs: list[Path], count: int) -> list[dict]:
    """Compare dlib's descriptors of rendered faces with those of photographed people, one picture of each."""
    codes = {}
    for folder in (*rendered, *photographs):
        faces = data.open(folder)
        one_each = ~faces.metadata["subject"].duplicated() | (faces.metadata["subject"] == "")
        faces = faces.where(one_each & (one_each.cumsum() <= 2 * count))
        found = torch.cat([photos.describe(batch) for batch in faces.batches(32)]).double()
        codes[folder.name] = found[found.isfinite().all(1)]
    rows = []
    for mine in codes:
        for theirs in (folder.name for folder in photographs):
            one, other = codes[mine], codes[theirs]
            if mine == theirs:
                one, other = one[::2], one[1::2]
            number = min(count, len(one), len(other), *(len(some) // 2 for some in codes.values()))
            one, other = one[:number], other[:number]
            to = f"{theirs}, other people" if mine == theirs else theirs
            for name, value in {
                "descriptors, Fréchet": fidelity.frechet_distance(one, other),
                "descriptors, kernel": fidelity.kernel_distance(one, other, min(1000, number))[0],
            }.items():
                rows.append({"measure": name, "set": mine, "to": to, "value": value, "faces": number})
    return rows


def compare_thumbnails(parser: judges.Parser, folders: list[Path], photographs: list[Path], count: int) -> list[dict]:
    """Tell thumbnails of each set from those of photographs, whole and with the face alone."""
    rows, sets = [], {folder: data.open(folder) for folder in (*folders, *photographs)}
    for name, alone in {"told apart": False, "told apart, face alone": True}.items():
        found = {
            folder: [read_thumbnails(parser, faces.split(split), count, alone) for split in ("train", "val")]
            for folder, faces in sets.items()
        }
        for mine in folders:
            for theirs in photographs:
                learned, tried = zip(found[mine], found[theirs], strict=True)
                rows.append({"measure": name, "set": mine.name, "to": theirs.name, "value": tell_apart(learned, tried),
                             "faces": min(map(len, tried))})  # fmt: skip
    return rows


@torch.no_grad()
def read_thumbnails(parser: judges.Parser, faces: data.Dataset, count: int, alone: bool) -> np.ndarray:
    """Return the means of the encoder's maps over each thumbnail, (N, 496), of up to `count` faces drawn by a seed.

    alone: everything outside the face's hull is grey.
    """
    found = []
    chosen = np.sort(np.random.default_rng(0).permutation(len(faces))[:count])
    for batch in (faces[rows].resize(THUMBNAIL) for rows in np.array_split(chosen, -(-len(chosen) // 32))):
        images = batch.images
        if alone:
            images = images * photos.rsgan_mask(batch.landmarks, THUMBNAIL)[:, None]
        found.append(torch.cat([one.mean((2, 3)) for one in parser.features(images, THUMBNAIL)], 1))
    return torch.cat(found).double().numpy()


def tell_apart(learned: tuple[np.ndarray, np.ndarray], tried: tuple[np.ndarray, np.ndarray]) -> float:
    """Return the area under the curve of a logistic regression that learned from other pictures of two sets."""
    which = [np.repeat([0, 1], [len(one), len(other)]) for one, other in (learned, tried)]
    reader = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000, class_weight="balanced"))
    reader.fit(np.concatenate(learned), which[0])
    return float(roc_auc_score(which[1], reader.decision_function(np.concatenate(tried))))
