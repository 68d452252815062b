"""Prepared data sets: a folder of aligned faces and what is known about each.

    images/            PNG (or JPEG)
    labels/            PNG, CelebAMask-HQ's 19 classes; where labels are known
    metadata.parquet   a row for each face: file, labels, source, subject, split, landmarks, attributes, licence, note,
                       matrix (photo to picture), for rendered faces also factor_<group> with the columns' values
    card.json          what the set is and how it was made
    skipped.csv        pictures of the source folder that could not be used, and why

`swaplib.store` writes them so that a run may be killed at any moment, `swaplib.readers` knows the published layouts.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from cachetools import LRUCache, cached
from joblib import delayed
from PIL import Image
from tqdm.auto import tqdm

import swaplib
from swaplib import photos, store, synthetic
from swaplib.faces import CELEBA_ATTRIBUTES, Faces, from_uint8, to_uint8
from swaplib.photos import PhotoError
from swaplib.readers import LICENCES, Entry, Layout, read_labels, recognise

SHARD = 32
"""Rendered faces that are made together."""


# ---------------------------------------------------------------------------------------------- reading


def open(folder: str | os.PathLike) -> Dataset:
    """Open a prepared data set. Raises FileNotFoundError or ValueError, with the remedy, for what is none."""
    folder = Path(folder)
    if not folder.exists():
        raise FileNotFoundError(
            f"there is no folder {folder}: check the path, or make it with data.prepare or data.render"
        )
    card = store.read_card(folder)
    if card is None:
        raise ValueError(f"{folder} is no prepared data set (it has no card.json): make one from it with data.prepare")
    if not card.get("complete") or not (folder / "metadata.parquet").exists():
        raise ValueError(f"{folder} is not finished: run the same {card['made_by']} again, it goes on where it stopped")
    return Dataset(folder, card, pd.read_parquet(folder / "metadata.parquet"))


# A small data set's pictures are decoded once, not in every epoch.
@cached(LRUCache(2**30, getsizeof=lambda picture: picture.nbytes), lock=Lock())
def _decoded(path: Path, mode: str, written: int) -> np.ndarray:
    """A picture as uint8, not to be changed. `written`: when its file was, so that a new one is read anew."""
    with Image.open(path) as image:
        return np.array(image if image.mode == mode else image.convert(mode))


@dataclass(frozen=True)
class Dataset:
    """A prepared data set. Index it (an int, a slice, a list) for `Faces`; an int gives a batch of one."""

    folder: Path
    card: dict[str, Any]
    metadata: pd.DataFrame
    numbers: dict[str, int] | None = None

    def __len__(self) -> int:
        return len(self.metadata)

    def __repr__(self) -> str:
        splits = ", ".join(f"{count:,} {name}" for name, count in sorted(self.splits.items()))
        return f"Dataset({self.folder.name}: {len(self):,} faces of {self.card['size'][0]} px; {splits})"

    @property
    def splits(self) -> dict[str, int]:
        """Number of faces in each split."""
        return self.metadata["split"].value_counts().to_dict()

    @cached_property
    def identities(self) -> dict[str, int]:
        """Subject -> the number that stands for it in `Faces.identity`; the same in every split."""
        if self.numbers is not None:
            return self.numbers
        subjects = sorted(set(self.metadata["subject"]) - {""})
        if all(subject.isdecimal() for subject in subjects):
            return {subject: int(subject) for subject in subjects}
        return {subject: number for number, subject in enumerate(subjects)}

    def split(self, name: str) -> Dataset:
        """The faces of one split ("train", "val", "test")."""
        if name not in self.splits:
            raise ValueError(f"{self.folder} has no split {name!r}: it has {', '.join(sorted(self.splits))}")
        return self.where(self.metadata["split"] == name)

    def where(self, rows: Any) -> Dataset:
        """The chosen faces: a boolean mask over the metadata's rows."""
        return replace(
            self, metadata=self.metadata[np.asarray(rows, bool)].reset_index(drop=True), numbers=self.identities
        )

    def __getitem__(self, index: int | slice | list[int] | np.ndarray) -> Faces:
        if isinstance(index, (int, np.integer)):
            if not -len(self) <= index < len(self):
                raise IndexError(f"there is no face {index}: {self.folder} has {len(self)}")
            index = [int(index)]
        rows = self.metadata.iloc[index]
        known = {name: rows[name].notna().all() for name in ("labels", "landmarks", "attributes")}
        return Faces(
            self._images(rows["file"]),
            labels=torch.stack([torch.from_numpy(self._picture(file, "L")) for file in rows["labels"]])
            if known["labels"]
            else None,
            landmarks=_stack(rows["landmarks"]).reshape(-1, 68, 2) if known["landmarks"] else None,
            attributes=_stack(rows["attributes"]) if known["attributes"] else None,
            identity=torch.tensor([self.identities.get(subject, -1) for subject in rows["subject"]]),
            factors={
                name.removeprefix("factor_"): _stack(rows[name]) for name in rows.columns if name.startswith("factor_")
            }
            or None,
            names=tuple(rows["file"]),
        )

    def __iter__(self) -> Iterator[Faces]:
        return (self[k] for k in range(len(self)))

    def images(self, rows: Sequence[int]) -> torch.Tensor:
        """The pictures alone, (B, 3, H, W): for what needs nothing else, several times as fast."""
        return self._images(self.metadata["file"].iloc[list(rows)])

    def _images(self, files: pd.Series) -> torch.Tensor:
        return torch.stack([from_uint8(self._picture(file, "RGB")) for file in files])

    def _picture(self, file: str, mode: str) -> np.ndarray:
        path = self.folder / file
        try:
            return _decoded(path, mode, path.stat().st_mtime_ns)
        except OSError as error:
            reason = error.strerror or error
            raise ValueError(f"{path} can't be read ({reason}): delete it and prepare the data set again") from error

    def batches(
        self,
        size: int,
        seed: int | None = None,
        split: str | None = None,
        epochs: int | None = 1,
        drop_last: bool = False,
        skip: int = 0,
    ) -> Iterator[Faces]:
        """Batches of `size` faces.

        seed: shuffles anew in every epoch, the same way for the same seed; None keeps the order. epochs: None never
        ends. drop_last: leave out an epoch's last batch if it is smaller. skip: batches to pass over without reading
        them, to go on where a run stopped.
        """
        if split is not None:
            yield from self.split(split).batches(size, seed, None, epochs, drop_last, skip)
            return
        if size < 1 or (drop_last and size > len(self)) or len(self) == 0:
            raise ValueError(f"batches of {size} can't be made from {len(self)} faces: choose another size")
        stop = len(self) - size + 1 if drop_last else len(self)
        starts = range(0, stop, size)
        for number in range(skip, len(starts) * epochs if epochs is not None else 2**63):
            epoch, batch = divmod(number, len(starts))
            order = np.arange(len(self))
            if seed is not None:
                order = np.random.default_rng([seed, epoch]).permutation(len(self))
            yield self[order[starts[batch] : starts[batch] + size]]


@dataclass(frozen=True)
class Mixed:
    """Several data sets as one to train on, each of them shown equally often: a list of indices gives `Faces`.

    The smaller ones are repeated, an epoch being that of the largest. All must have labels and landmarks, or none.
    Attributes and factors that one of them lacks are NaN; identities are left out. size: of the pictures, pixels; None
    for that of the first data set.
    """

    datasets: Sequence[Dataset | Faces]
    size: int | None = None

    def __len__(self) -> int:
        return len(self.datasets) * max(map(len, self.datasets))

    def __getitem__(self, index: list[int]) -> Faces:
        parts = []
        for k, dataset in enumerate(self.datasets):
            rows = [i // len(self.datasets) % len(dataset) for i in index if i % len(self.datasets) == k]
            if rows:
                parts.append(_without_identity(dataset[rows]))
        size = self.size or tuple(self.datasets[0].card["size"])
        return Faces.cat([part.resize(size) for part in parts])


@dataclass(frozen=True)
class Shots:
    """The people of several data sets, to learn identities from: index k gives `shots` pictures of one person.

    Somebody with more pictures than that comes under several indices, the last filled up from the first; somebody
    with fewer is repeated. People without a name and those with a single picture are left out. `Faces.identity` is
    the person's number, from 0 to `people` − 1.

    Where relatives were rendered, an index stands for all of a family: seen together, only their heads tell them
    apart. A batch of n indices is n people then, too: those that are too many are left out.
    """

    datasets: Sequence[Dataset]
    shots: int

    @cached_property
    def _groups(self) -> list[list[tuple[int, int, list[int]]]]:
        """People that come together: of each the data set, the number, and so many rows in the data set."""
        groups, person = [], 0
        for k, dataset in enumerate(self.datasets):
            settings = dataset.card["settings"]
            families = defaultdict(list)
            for subject, rows in dataset.metadata.groupby("subject", sort=True).indices.items():
                if not subject or len(rows) < 2:
                    continue
                family = subject
                if (relatives := settings.get("relatives", 1)) > 1:
                    family = int(subject) // (relatives * settings.get("shots", 1))
                for start in range(0, len(rows), self.shots):
                    chosen = [int(rows[(start + i) % len(rows)]) for i in range(self.shots)]
                    families[family, start].append((k, person, chosen))
                person += 1
            groups += families.values()
        if not groups:
            names = ", ".join(dataset.folder.name for dataset in self.datasets)
            raise ValueError(f"{names}: nobody is in two pictures: render with --shots 4, or prepare VGGFace2 or LFW")
        return groups

    def __len__(self) -> int:
        return len(self._groups)

    @property
    def people(self) -> int:
        return 1 + max(person for group in self._groups for _, person, _ in group)

    def __getitem__(self, index: list[int]) -> Faces:
        size = tuple(self.datasets[0].card["size"])
        parts = []
        for k, person, rows in [someone for i in index for someone in self._groups[i]][: len(index)]:
            faces = Faces(self.datasets[k].images(rows), identity=torch.full((len(rows),), person))
            parts.append(faces.resize(size))
        return Faces.cat(parts)


def _without_identity(faces: Faces) -> Faces:
    attributes, factors = faces.attributes, faces.factors
    if attributes is None:
        attributes = torch.full((len(faces), len(CELEBA_ATTRIBUTES)), torch.nan)
    if factors is None:
        groups = synthetic.columns().items()
        factors = {group: torch.full((len(faces), len(names)), torch.nan) for group, names in groups}
    return replace(faces, attributes=attributes, identity=None, factors=factors, names=None)


def _stack(column: pd.Series) -> torch.Tensor:
    return torch.from_numpy(np.stack([np.asarray(value, np.float32) for value in column]))


# ---------------------------------------------------------------------------------------------- photographs


@dataclass(frozen=True)
class Report:
    """What `prepare` did: `faces` in the data set, `done` of them in this run, and why pictures were skipped."""

    folder: Path
    found: str
    faces: int
    done: int
    skipped: pd.DataFrame
    seconds: float

    def __str__(self) -> str:
        lines = [f"{self.found} -> {self.faces:,} faces in {self.folder}"]
        if self.done:
            lines.append(f"{self.done:,} made in {self.seconds:.0f} s ({self.done / self.seconds:.1f} a second)")
        if len(self.skipped):
            causes = ", ".join(f"{count:,} {cause}" for cause, count in self.skipped["cause"].value_counts().items())
            lines.append(f"{len(self.skipped):,} skipped: {causes}; the reasons are in {self.folder / 'skipped.csv'}")
        return "\n".join(lines)


@dataclass(frozen=True)
class _Job:
    """What is the same for all pictures of a run."""

    folder: Path
    out: Path
    kind: photos.Kind
    size: int | tuple[int, int] | None
    smallest: float
    labels: str
    licence: str
    validation: float
    parser: photos.Parser | None


def prepare(
    folder: str | os.PathLike,
    out: str | os.PathLike,
    layout: str = "auto",
    kind: photos.Kind = "portrait",
    size: int | tuple[int, int] | None = 256,
    jobs: int = 2,
    *,
    backend: str | None = None,
    labels: bool = True,
    label_order: str | None = None,
    face: Literal["largest", "central"] | None = None,
    smallest: float = 32,
    validation: float = 0.1,
    licence: str | None = None,
    picture: Literal["png", "jpg"] = "png",
    limit: int | None = None,
    parser: photos.Parser | None = None,
    progress: bool = True,
) -> Report:
    """Find, align and save the faces of a folder of pictures; run it again to go on after a stop.

    layout      celeba, celebamask_hq, ffhq, vggface2, helen, lfw, plain; auto recognises it and says what it found
    kind, size  as in `photos.alignment`; "as_is" keeps pictures that are aligned already
    backend     joblib's, "dask" for a cluster; None: the one of `joblib.parallel_config`, or processes
    labels      take label maps along where there are any, by the same warp; label_order as in `readers.recognise`
    face        which of several faces is taken; None leaves it to the layout
    smallest    least width of a face, pixels
    validation  the share of people that goes to the split "val" where the layout has no splits
    licence     in place of the layout's
    picture     "png" (lossless) or "jpg"
    limit       only the first so many pictures
    parser      makes the label maps where the pictures come without: `Parser.parse` of a judge

    A finished set may be prepared again: new and changed pictures are added, skipped ones tried again. The result
    depends neither on `jobs` nor on stops. Pictures that can't be used are listed in skipped.csv, each with its reason.
    Raises FileNotFoundError, NotADirectoryError or ValueError for folders that don't fit, OSError if writing fails.
    """
    began = time.perf_counter()
    folder, out = Path(folder), Path(out)
    if picture not in ("png", "jpg"):
        raise ValueError(f"picture must be 'png' or 'jpg', got {picture!r}")
    shape = photos.canvas(kind, size)
    found = recognise(folder, layout, label_order)
    if out.resolve() == folder.resolve() or folder.resolve() in out.resolve().parents:
        raise ValueError(f"{out} lies in the folder of the pictures, {folder}: choose one outside")
    terms = LICENCES[found.name] if licence is None else licence
    settings = {"source": folder.resolve().name, "layout": found.name, "kind": kind, "size": list(shape)}
    settings |= {"labels": found.labels if labels else "", "face": face, "smallest": smallest}
    settings |= {"validation": validation, "licence": terms, "picture": picture}
    settings |= {"parsed": True} if parser else {}
    card = _card("data.prepare", f"{found}, aligned as {kind}", shape, settings)
    job = _Job(folder, out, kind, size, smallest, settings["labels"], terms, validation, parser)
    store.start(out, card)
    entries = [replace(entry, face=face) if face else entry for entry in found.entries[:limit]]
    before = _work(job, found, entries, picture, jobs, backend, progress)
    rows, skipped = _known(job)
    table = pd.DataFrame([skipped[name] for name in sorted(skipped)], columns=["source", "cause", "reason"])
    store.finish(out, card, rows.values(), table)
    return Report(out, str(found), len(rows), len(rows) - before, table, time.perf_counter() - began)


def _card(made_by: str, what: str, shape: tuple[int, int], settings: dict[str, Any]) -> dict[str, Any]:
    version = {"swaplib": swaplib.__version__, "labels": "CelebAMask-HQ, 19 classes"}
    return {"made_by": made_by, "what": what, "size": list(shape), "settings": settings, **version}


def _work(
    job: _Job, found: Layout, entries: list[Entry], picture: str, jobs: int, backend: str | None, progress: bool
) -> int:
    """Prepare the entries that are not done; the number of faces that were there before."""
    rows, skipped = _known(job)
    names = _names(found, picture)
    todo = [entry for entry in entries if entry.source not in rows and entry.source not in skipped]
    if progress:
        resumed = f"; {len(entries) - len(todo):,} were done before" if len(todo) < len(entries) else ""
        tqdm.write(f"{found}{resumed}")
    bar = tqdm(total=len(entries), initial=len(entries) - len(todo), unit="picture", disable=not progress)
    store.run(job.out, (delayed(_prepare_one)(job, entry, names[entry.source]) for entry in todo), jobs, backend, bar)
    return len(rows)


def _known(job: _Job) -> tuple[dict[str, dict[str, Any]], dict[str, dict[str, Any]]]:
    """By source: the rows of pictures that are done and unchanged, and the records of those skipped in this run."""

    def current(row: dict[str, Any]) -> bool:
        try:
            same = (job.folder / row["source"]).stat().st_size == row["source_bytes"]
        except FileNotFoundError:
            same = True  # what was prepared stays, though its photo is gone
        return same and all((job.out / row[name]).exists() for name in ("file", "labels") if row[name])

    records = store.read_records(job.out)
    done = [*store.read_rows(job.out), *(record for record in records if "file" in record)]
    rows = {row["source"]: row for row in done if current(row)}
    return rows, {one["source"]: one for one in records if "reason" in one and one["source"] not in rows}


def _names(found: Layout, picture: str) -> dict[str, str]:
    """Where each source's picture goes, below images/: its own path with the new suffix; the old one is kept too where
    two differ in nothing else."""
    short = {entry.source: entry.source.removeprefix(f"{found.base}/").rpartition(".")[0] for entry in found.entries}
    short = {source: name or source.removeprefix(f"{found.base}/") for source, name in short.items()}
    count = Counter(name.casefold() for name in short.values())
    full = {source: source.removeprefix(f"{found.base}/") for source in short}
    return {
        source: f"{name if count[name.casefold()] == 1 else full[source]}.{picture}" for source, name in short.items()
    }


def _prepare_one(job: _Job, entry: Entry, name: str) -> int:
    try:
        image, labels, row = _align_one(job, entry)
    except PhotoError as error:
        reason = str(error).replace(f"{job.folder}{os.sep}", "")
        record = {"source": entry.source, "cause": error.cause, "reason": reason}
    except (ArithmeticError, RuntimeError, ValueError, MemoryError) as error:  # one odd picture must not end the run
        reason = f"{entry.source} made {type(error).__name__} ({error}): look at the picture, or report it"
        record = {"source": entry.source, "cause": "unexpected", "reason": reason}
    else:
        store.write_picture(job.out, f"images/{name}", image)
        record = {"file": f"images/{name}", "labels": None, **row}
        if labels is None and job.parser is not None:
            labels = photos.parse(image, np.reshape(row["landmarks"], (68, 2)), job.parser)
        if labels is not None:
            record["labels"] = f"labels/{name.rpartition('.')[0]}.png"
            store.write_picture(job.out, record["labels"], labels)
    store.write_record(job.out, hashlib.sha256(entry.source.encode()).hexdigest()[:32], record)
    return 1


def _align_one(job: _Job, entry: Entry) -> tuple[np.ndarray, np.ndarray | None, dict[str, Any]]:
    path = job.folder / entry.source
    if entry.landmarks is None:
        photo, face, notes = photos.find(path, entry.face, job.smallest)
        landmarks = face.landmarks
    else:
        (photo, notes), landmarks = photos.read(path), np.array(entry.landmarks, float)
    shape = photos.canvas(job.kind, job.size)
    matrix = photos.alignment(landmarks, job.kind, job.size, photo.shape)
    labels = None
    if job.labels:
        values = read_labels(job.folder, entry, job.labels)
        labels = photos.warp_labels(values, matrix @ photos.resizing(values.shape, photo.shape), shape)
    licence = job.licence if entry.licence is None else entry.licence
    row = {
        "source": entry.source,
        "subject": entry.subject,
        "split": entry.split or _split(entry.subject or entry.source, job.validation),
        "landmarks": photos.move(landmarks, matrix).astype(np.float32).ravel().tolist(),
        "attributes": None if entry.attributes is None else list(entry.attributes),
        "licence": licence,
        "note": "; ".join(notes),
        "matrix": matrix.ravel().tolist(),
        "source_bytes": path.stat().st_size,
    }
    return photos.warp_photo(photo, matrix, shape), labels, row


def _split(name: str, validation: float) -> str:
    """Train or val, by the person's (or picture's) name alone, so that nobody is in both."""
    share = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") / 2**32
    return "val" if share < validation else "train"


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
    backend: str | None = None,
    validation: float = 0.1,
    progress: bool = True,
) -> Path:
    """Render `count` synthetic faces into a prepared data set; run it again to go on after a stop, or with a greater
    count to add to it. The arguments are those of `synthetic.faces` and `prepare`. Face k depends on (seed, k) alone.
    """
    out = Path(out)
    if count < 1:
        raise ValueError(f"count must be at least 1, got {count}")
    if world not in synthetic.WORLDS:
        raise ValueError(f"unknown world {world!r}: choose one of {', '.join(synthetic.WORLDS)}")
    for name, value in {"shots": shots, "relatives": relatives}.items():
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    settings = {"seed": seed, "world": world, "size": size, "validation": validation}
    settings |= {"shots": shots} if shots > 1 else {}
    settings |= {"relatives": relatives} if relatives > 1 else {}
    what = f"rendered faces, {world} world{f', {shots} of each person' if shots > 1 else ''}"
    what += f", {relatives} people to a skin" if relatives > 1 else ""
    card = _card("data.render", what, (size, size), settings)
    store.start(out, card)
    rows = _rendered(out)
    if len(rows) > count:
        raise ValueError(f"{out} holds {len(rows):,} faces already, more than {count:,}: choose another folder")
    shards = defaultdict(list)
    for k in (k for k in range(count) if k not in rows):
        shards[k // SHARD].append(k)
    tasks = [delayed(_render_shard)(out, settings, wanted) for wanted in shards.values()]
    bar = tqdm(total=count, initial=len(rows), unit="face", disable=not progress)
    store.run(out, tasks, jobs, backend, bar)
    store.finish(out, card, _rendered(out).values(), pd.DataFrame(columns=["source", "cause", "reason"]))
    return out


def _rendered(out: Path) -> dict[int, dict[str, Any]]:
    """The rows of the faces that are there, by number."""
    rows = [*store.read_rows(out), *(row for record in store.read_records(out) for row in record)]
    rows = [row for row in rows if (out / row["file"]).exists() and (out / row["labels"]).exists()]
    return {int(row["source"]): row for row in rows}


def _render_shard(out: Path, settings: dict[str, Any], wanted: list[int]) -> int:
    """Render a whole shard and save the faces of the wanted numbers: their last bits depend on the batch."""
    start = wanted[0] // SHARD * SHARD
    seed, world, size = settings["seed"], settings["world"], settings["size"]
    people = {name: settings.get(name, 1) for name in ("shots", "relatives")}
    faces = synthetic.faces(SHARD, seed=seed, start=start, world=world, size=size, jobs=1, **people)
    images, rows = to_uint8(faces.images), []
    for k in (number - start for number in wanted):
        name = f"{start + k:08d}.png"
        store.write_picture(out, f"images/{name}", images[k])
        store.write_picture(out, f"labels/{name}", faces.labels[k].numpy())
        subject = str(int(faces.identity[k]))
        row = {"file": f"images/{name}", "labels": f"labels/{name}", "source": f"{start + k:08d}", "subject": subject}
        row |= {"split": _split(subject, settings["validation"]), "licence": "Apache-2.0", "note": ""}
        row |= {"landmarks": faces.landmarks[k].ravel().tolist(), "attributes": faces.attributes[k].tolist()}
        row |= {f"factor_{group}": values[k].tolist() for group, values in faces.factors.items()}
        rows.append(row)
    store.write_record(out, f"{wanted[0]:08d}-{wanted[-1]:08d}", rows)
    return len(wanted)
