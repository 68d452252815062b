"""Prepared data sets: a folder of aligned faces and what is known about each.

images/            PNG (or JPEG)
labels/            PNG, CelebAMask-HQ's 19 classes; where labels are known
metadata.parquet   a row for each face: file, labels, source, subject, split, landmarks, attributes, licence, note,
                   matrix (photo to picture); for rendered faces also factor_<group> with the columns' values
card.json          what the set is and how it was made
skipped.csv        pictures of the source folder that could not be used, and why
"""

from __future__ import annotations

import errno
import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path, PurePosixPath
from threading import Lock
from typing import Any

import numpy as np
import pandas as pd
import torch
from cachetools import LRUCache, cached

from swaplib import synthetic
from swaplib.data import writer
from swaplib.faces import CELEBA_ATTRIBUTES, CELEBAMASK_HQ, Faces, from_uint8
from swaplib.photos.reading import PhotoError, open_image

# ---------------------------------------------------------------------------------------------- reading


def open(folder: str | os.PathLike) -> Dataset:
    """Open a prepared data set; raise FileNotFoundError or ValueError, with the remedy, for any other folder."""
    folder = Path(folder)
    if not folder.exists():
        raise FileNotFoundError(
            f"there is no folder {folder}: check the path, or make it with data.prepare or data.render"
        )
    card = writer.read_card(folder)
    if card is None:
        raise ValueError(f"{folder} is no prepared data set (it has no card.json): make one from it with data.prepare")
    if not card.get("complete") or not (folder / "metadata.parquet").exists():
        raise ValueError(f"{folder} is not finished: run the same {card['made_by']} again, it goes on where it stopped")
    table = writer.read_metadata(folder / "metadata.parquet")
    if wrong := _find_fault(table, card):
        raise ValueError(f"{folder} is damaged ({wrong}): prepare the data set again in an empty folder")
    return Dataset(folder, card, table)


def _find_fault(table: pd.DataFrame, card: dict[str, Any]) -> str | None:
    """Return what is wrong with a data set's tables; None where they are as `prepare` and `render` write them."""
    needed = ("file", "labels", "source", "subject", "split", "landmarks", "attributes", "licence")
    missing = [name for name in needed if name not in table.columns]
    if missing:
        return f"metadata.parquet has no column {missing[0]}"
    if not _is_size(card["size"]):
        return "card.json says no size"
    for name in ("file", "source", "subject", "split"):
        if not table[name].map(lambda value: isinstance(value, str)).all():
            return f"the column {name} holds more than text"
    for name in ("file", "labels"):
        for file in table[name].dropna():
            path = PurePosixPath(file) if isinstance(file, str) else None
            if path is None or path.is_absolute() or ".." in path.parts:
                return f"the column {name} names {file!r}, which is no file of the set"
    for name, length in (("landmarks", 136), ("attributes", len(CELEBA_ATTRIBUTES))):
        if not table[name].dropna().map(lambda value, n=length: np.size(value) == n).all():
            return f"the column {name} holds lists of another length than {length}"
        if not table[name].dropna().map(lambda value: np.asarray(value).dtype.kind in "biuf").all():
            return f"the column {name} holds more than numbers"
    if not table["landmarks"].dropna().map(lambda value: np.isfinite(value).all()).all():
        return "the column landmarks holds numbers that are not finite"
    return None


def _is_size(size: Any) -> bool:
    return (
        isinstance(size, list) and len(size) == 2 and all(isinstance(edge, int) and 0 < edge < 65536 for edge in size)
    )


# A small data set's pictures are decoded once, not in every epoch.
@cached(LRUCache(2**30, getsizeof=lambda picture: picture.nbytes), lock=Lock())
def _decoded(path: Path, mode: str, written: int) -> np.ndarray:
    """Read a picture as uint8, not to be changed; `written`, its file's time, makes a changed file be read again."""
    with open_image(path, str(path)) as image:
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
        """Return the faces of one split ("train", "val", "test")."""
        if name not in self.splits:
            raise ValueError(f"{self.folder} has no split {name!r}: it has {', '.join(sorted(self.splits))}")
        return self.where(self.metadata["split"] == name)

    def where(self, rows: Any) -> Dataset:
        """Return the faces chosen by a boolean mask over the metadata's rows."""
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
            labels=torch.stack([self._label_map(file) for file in rows["labels"]]) if known["labels"] else None,
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
        """Return the pictures alone, (B, 3, H, W): several times as fast when nothing else is needed."""
        return self._images(self.metadata["file"].iloc[list(rows)])

    def _images(self, files: pd.Series) -> torch.Tensor:
        return torch.stack([from_uint8(self._picture(file, "RGB")) for file in files])

    def _label_map(self, file: str) -> torch.Tensor:
        labels = self._picture(file, "L")
        if labels.max() >= len(CELEBAMASK_HQ):
            raise ValueError(
                f"{self.folder / file} holds the class {labels.max()}, and CelebAMask-HQ has {len(CELEBAMASK_HQ)}, "
                "from 0 on: prepare the data set again, naming the order of its labels"
            )
        return torch.from_numpy(labels)

    def _picture(self, file: str, mode: str) -> np.ndarray:
        path = self.folder / file
        try:
            if not path.is_file():  # a pipe, say, would wait for ever
                raise FileNotFoundError(errno.ENOENT, "no such file")
            return _decoded(path, mode, path.stat().st_mtime_ns)
        except PhotoError:
            raise
        except Exception as error:  # damaged files make Pillow's decoders raise a dozen kinds of exception
            reason = getattr(error, "strerror", None) or error
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
        """Yield batches of `size` faces.

        seed: shuffles every epoch differently, in the same way for the same seed; None keeps the order. epochs: None
        never ends. drop_last: leave out an epoch's last batch if it is smaller. skip: batches to pass over without
        reading them, to go on where a run stopped.
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
    """Several data sets as one for training, each of them shown equally often: a list of indices gives `Faces`.

    The smaller ones are repeated; an epoch is that of the largest. Either all have labels and landmarks, or none has.
    Attributes and factors that one of them lacks are NaN; identities are left out. size: of the pictures in pixels;
    None for that of the first data set.
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

    People with more pictures than that have several indices, the last one filled up with their first pictures; people
    with fewer have theirs repeated. People without a name or with a single picture are left out. `Faces.identity` is
    the person's number, from 0 to `people` − 1.

    Where relatives were rendered, an index stands for a whole group of them: within a batch only their heads tell them
    apart. A batch of n indices still holds n people: any beyond that number are left out.
    """

    datasets: Sequence[Dataset]
    shots: int

    @cached_property
    def _groups(self) -> list[list[tuple[int, int, list[int]]]]:
        """Groups of people that share an index: for each person the data set, the number, and `shots` rows in it."""
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


@dataclass(frozen=True)
class Crossed:
    """People who were rendered in the same shots (`crossed` of `data.render`), to learn from true swaps.

    Index k gives the pictures of one such group, person by person, each person's shots in the same order: picture
    (i, s) is the true swap of person i onto any other picture of shot s. taken: how many of a group's shots an index
    gives, so that batches of one size show more people; all of them where it is 0. Raises ValueError for other data
    sets, and for a number that doesn't divide that of the shots.
    """

    dataset: Dataset
    taken: int = 0

    def __post_init__(self):
        if self.people < 2:
            raise ValueError(f"{self.dataset.folder.name} has no people in the same shots: render with --crossed 4")
        if self.taken and self._rendered % self.taken:
            raise ValueError(f"{self._rendered} shots can't be taken {self.taken} at a time: choose a divisor")

    @property
    def people(self) -> int:
        """Number of people in a group."""
        return self.dataset.card["settings"].get("crossed", 1)

    @property
    def shots(self) -> int:
        """Number of pictures that an index stands for."""
        return self.people * (self.taken or self._rendered)

    @property
    def _rendered(self) -> int:
        """Number of shots of a group."""
        return self.dataset.card["settings"].get("shots", 1)

    @cached_property
    def _groups(self) -> list[list[int]]:
        rows, whole = defaultdict(list), self.people * self._rendered
        for row, number in enumerate(self.dataset.metadata["source"].astype(int)):
            rows[number // whole].append((number, row))
        groups = [[row for _, row in sorted(group)] for group in rows.values() if len(group) == whole]
        tables = [np.array(group).reshape(self.people, -1, self.taken or self._rendered) for group in groups]
        return [part.flatten().tolist() for table in tables for part in table.swapaxes(0, 1)]

    def __len__(self) -> int:
        return len(self._groups)

    def __getitem__(self, index: list[int]) -> Faces:
        return self.dataset[[row for k in index for row in self._groups[k]]]


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
