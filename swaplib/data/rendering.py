"""Rendered faces as a prepared data set, resumable."""

from __future__ import annotations

import os
from collections import defaultdict
from pathlib import Path
from typing import Any

import pandas as pd
from joblib import delayed
from tqdm.auto import tqdm

from swaplib import synthetic
from swaplib.data import writer
from swaplib.data.preparation import make_card, split_of
from swaplib.faces import to_uint8
from swaplib.provenance import Hold

SHARD = 32
"""Rendered faces that are made together."""


# ---------------------------------------------------------------------------------------------- rendered faces


def render(
    out: str | os.PathLike,
    count: int,
    seed: int = 0,
    world: str = "calm",
    size: int = 128,
    jobs: int = 2,
    *,
    shots: int = 1,
    relatives: int = 1,
    crossed: int = 1,
    backend: str | None = None,
    validation: float = 0.1,
    progress: bool = True,
) -> Path:
    """Render `count` synthetic faces into a prepared data set.

    Run it again to go on after a stop, or with a greater count to add to the set. The arguments are those of
    `synthetic.render_faces` and `prepare`. Face k depends on (seed, k) alone.
    """
    out = Path(out)
    if count < 1:
        raise ValueError(f"count must be at least 1, got {count}")
    if world not in synthetic.WORLDS:
        raise ValueError(f"unknown world {world!r}: choose one of {', '.join(synthetic.WORLDS)}")
    for name, value in {"shots": shots, "relatives": relatives, "crossed": crossed}.items():
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    settings = {"renderer": synthetic.RENDERER, "seed": seed, "world": world, "size": size, "validation": validation}
    settings |= {"shots": shots} if shots > 1 else {}
    settings |= {"relatives": relatives} if relatives > 1 else {}
    settings |= {"crossed": crossed} if crossed > 1 else {}
    what = f"faces of renderer {synthetic.RENDERER}, {world} world{f', {shots} of each person' if shots > 1 else ''}"
    what += f", {relatives} people to a skin" if relatives > 1 else ""
    what += f", {crossed} people to the same shots" if crossed > 1 else ""
    card = make_card("data.render", what, (size, size), settings)
    with Hold(out):
        writer.start(out, card)
        rows = _rendered(out)
        if len(rows) > count:
            raise ValueError(f"{out} holds {len(rows):,} faces already, more than {count:,}: choose another folder")
        shards = defaultdict(list)
        for k in (k for k in range(count) if k not in rows):
            shards[k // SHARD].append(k)
        tasks = [delayed(_render_shard)(out, settings, wanted) for wanted in shards.values()]
        bar = tqdm(total=count, initial=len(rows), unit="face", disable=not progress)
        writer.run(out, tasks, jobs, backend, bar)
        writer.finish(out, card, _rendered(out).values(), pd.DataFrame(columns=["source", "cause", "reason"]))
    return out


def _rendered(out: Path) -> dict[int, dict[str, Any]]:
    """Return the rows of the faces that exist, by number."""
    rows = [*writer.read_rows(out), *(row for record in writer.read_records(out) for row in record)]
    rows = [row for row in rows if (out / row["file"]).exists() and (out / row["labels"]).exists()]
    return {int(row["source"]): row for row in rows}


def _render_shard(out: Path, settings: dict[str, Any], wanted: list[int]) -> int:
    """Render a whole shard and save the faces of the wanted numbers: their last bits depend on the batch."""
    start = wanted[0] // SHARD * SHARD
    seed, world, size = settings["seed"], settings["world"], settings["size"]
    people = {name: settings.get(name, 1) for name in ("shots", "relatives", "crossed")}
    faces = synthetic.render_faces(SHARD, seed=seed, start=start, world=world, size=size, jobs=1, keep=False, **people)
    images, rows = to_uint8(faces.images), []
    for k in (number - start for number in wanted):
        name = f"{start + k:08d}.png"
        writer.write_picture(out, f"images/{name}", images[k])
        writer.write_picture(out, f"labels/{name}", faces.labels[k].numpy())
        subject = str(int(faces.identity[k]))
        among = str(int(subject) - int(subject) % (people["shots"] * people["crossed"]))  # all who share shots
        row = {"file": f"images/{name}", "labels": f"labels/{name}", "source": f"{start + k:08d}", "subject": subject}
        row |= {"split": split_of(among, settings["validation"]), "licence": "Apache-2.0", "note": ""}
        row |= {"landmarks": faces.landmarks[k].ravel().tolist(), "attributes": faces.attributes[k].tolist()}
        row |= {f"factor_{group}": values[k].tolist() for group, values in faces.factors.items()}
        rows.append(row)
    writer.write_record(out, f"{wanted[0]:08d}-{wanted[-1]:08d}", rows)
    return len(wanted)
