"""The judges' accuracy on pictures that none of them learned from: the tables behind the notebook 11_judges.

    python benchmarks/judges.py --people people --people lfw --parsed faces --parsed celebahq --marked london

Only prepared datasets with a held-out part ("val"), split by person, are used; `--marked` names folders of portraits
with landmarks.csv, 189 points set by hand. Saves table2, parser and shape under judges/ in the figures folder.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import torch
import typer

from swaplib import data, figures, judges, photos, weights
from swaplib.faces import CELEBAMASK_HQ
from swaplib.judges import identity, parsing, smoothness
from swaplib.photos.alignment import move

EMBEDDERS = {"smooth": "identity", "CE-Lin": "identity_linear", "CE-Arc": "identity_margin"}
POINTS = {18: 36, 22: 39, 23: 42, 27: 45, 55: 30, 87: 48, 93: 54, 90: 51, 106: 57}
"""Points of the hand-set template -> iBUG's: corners of eyes and mouth, tip of the nose, rims of the lips."""
GALLERY = 1500
"""Most pictures of a training set among which the nearest are searched for."""
Folders = Annotated[list[Path], typer.Option()]


def main(people: Folders = [], parsed: Folders = [], marked: Folders = []) -> None:  # noqa: B006 typer wants lists
    """Measure all judges on the held-out parts of these datasets."""
    torch.set_num_threads(1)
    if people:
        used = [weights.find_released(name, "demo") for name in EMBEDDERS.values()]
        rows = {(folder.name, title): row for folder in people for title, row in embedders(folder).items()}
        save(rows, "table2", "Smooth-Swap Table 2", "Embedders on people that none of them has seen.", used)
    if parsed:
        rows = {folder.name: parser(folder) for folder in parsed}
        table = pd.DataFrame(rows).rename_axis("class")
        caption = "Intersection over union of the parser, class by class, on pictures that it has not seen."
        used = [weights.find_released("parser", "demo")]
        figures.save_table(table.round(3), "judges/parser", caption=caption, checkpoints=used)
        typer.echo(table.round(3).to_string())
    judge = judges.load("shape")
    rows = {(folder.name, "its landmarks"): judge.report(data.open(folder).split("val")) for folder in parsed}
    rows |= {(folder.name, "landmarks set by hand"): by_hand(judge, folder) for folder in marked}
    if rows:
        caption = "The shape judge's errors: landmarks in % of the distance of the outer corners of the eyes."
        save(rows, "shape", None, caption, [weights.find_released("shape", "demo")])


def save(rows: dict[tuple[str, str], dict], name: str, paper: str | None, caption: str, used: list[Path]) -> None:
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis(["dataset", "judge" if paper else "truth"])
    figures.save_table(table.round(4), f"judges/{name}", paper, caption, checkpoints=used)
    typer.echo(table.round(4).to_string())


def embedders(folder: Path) -> dict[str, dict[str, float]]:
    """Return verification, smoothness by samples and unique retrievals, of each embedder and of dlib's."""
    known, new = (data.open(folder).split(name) for name in ("train", "val"))
    known = known.where(np.arange(len(known)) < GALLERY)
    rows = {}
    for title, embedder in {
        **{title: judges.load(name) for title, name in EMBEDDERS.items()},
        "dlib": identity.Dlib(),
    }.items():
        codes, names = smoothness.embed_dataset(embedder, new)
        gallery, _ = smoothness.embed_dataset(embedder, known)
        found = smoothness.count_unique(codes, gallery)
        rows[title] = {
            "AUC": smoothness.measure_verification(codes, names),
            "d_smooth, r = 0.25": float(smoothness.measure_by_samples(codes, gallery, 0.25).mean()),
            "d_smooth, r = 0.5": float(smoothness.measure_by_samples(codes, gallery, 0.5).mean()),
            "unique of 9": float(found.mean()),
            "± std": float(found.std(ddof=1)),
            "people": len(np.unique(names)),
        }
    return rows


def parser(folder: Path) -> dict[str, float]:
    """Return intersection over union by class, mean F1 over the classes shown, pixel accuracy, milliseconds."""
    judge, new = judges.load("parser"), data.open(folder).split("val")
    faces = [batch.resize(judge.config.size) for batch in new.batches(16)]
    start = time.perf_counter()
    found = torch.cat([judge.parse(batch.images) for batch in faces])
    each = 1000 * (time.perf_counter() - start) / len(new)
    table = parsing.score_labels(found, torch.cat([batch.labels for batch in faces]))
    rows = {name: float(value) for name, value in zip(CELEBAMASK_HQ, table["iou"], strict=True)}
    means = {"mean IoU": float(table["iou"].nanmean()), "mean F1": float(table["f1"].nanmean())}
    return rows | means | {"accuracy": float(table["accuracy"]), "ms per picture": each, "pictures": len(new)}


def by_hand(judge, folder: Path) -> dict[str, float]:
    """Return the mean error at the points that both templates have, and that of dlib's own landmarks."""
    template = pd.read_csv(folder / "landmarks.csv").set_index("file")
    ours, theirs = list(POINTS.values()), list(POINTS)
    missed, dlib = [], []
    for file, row in template.iterrows():
        prepared = photos.prepare(folder / file, "portrait", 256)
        points = move(row.to_numpy(float).reshape(-1, 2), prepared.matrix)
        eyes = np.linalg.norm(points[18] - points[27])
        codes = judge.measure(prepared.faces.images)
        found = (judge.landmarks(codes)[0].numpy() + 1) / 2 * 256 - 0.5
        for errors, marks in ((missed, found), (dlib, prepared.faces.landmarks[0].numpy())):
            errors.append(100 * np.linalg.norm(marks[ours] - points[theirs], axis=1).mean() / eyes)
    return {"landmarks": float(np.mean(missed)), "dlib's landmarks": float(np.mean(dlib)), "pictures": len(missed)}


if __name__ == "__main__":
    typer.run(main)
