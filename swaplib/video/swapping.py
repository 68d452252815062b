"""Swapping a face in a video: found and followed, swapped frame by frame, put back into the frames.

    video ─ detect ─ follow ─ smooth ─┬─ align ─ swap ─► pictures ─┐
                                      └────────────────────────────┴─ paste back into the frames ─► video

Work in progress is kept in a folder next to the result, OUT.unfinished, each of its files whole or not at all: what was
found and what was swapped, sixteen frames to a file. A run killed at any moment goes on from there when it is started
again, and gives the frames that an uninterrupted run gives. The folder is deleted once the result is complete.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm.auto import tqdm

from swaplib import latent, photos
from swaplib.faces import Faces, from_uint8, to_uint8
from swaplib.families import Family
from swaplib.photos import Detection
from swaplib.provenance import DigitalSource, replacing, sha256
from swaplib.video import files
from swaplib.video.people import follow, smooth_landmarks
from swaplib.weights import to_plain

CHUNK = 16  # frames to a file of the unfinished work


# ---------------------------------------------------------------------------------------------- the swap


def swap(
    family: Family,
    source: latent.Photo,
    target: str | os.PathLike,
    out: str | os.PathLike,
    kind: photos.Kind = "portrait",
    size: int | None = None,
    face: latent.Face = "largest",
    amounts: Mapping[str, float] | None = None,
    sigma: float = 1.5,
    seed: int = 0,
    made: DigitalSource = "composite",
    text: str = "",
    progress: bool = True,
) -> list[str]:
    """Put the source's face into the target video and write `out`, an .mp4 with the target's sound (`files.write`).

    source: a photograph. face: which face of the video is swapped, as in `follow`. kind, size, amounts: as in
    `latent.swap_photographs`; size None means, for families that take any size, the face's median size in the video.
    sigma: as in `smooth_landmarks`. seed: of families that draw noise. made, text: for the metadata. Frames without
    the face are passed through.
    Returns notes on what was done. Raises FileNotFoundError and ValueError with one sentence: no video, no face in it,
    another swap's unfinished work next to `out`.
    """
    target, out = Path(target), Path(out)
    if out.suffix.lower() != ".mp4":
        raise ValueError(f"{out}: videos are saved as .mp4; choose that ending")
    about = files.info(target)
    latent.prepare_photo(
        "source", source, kind, size or family.config.size, "largest"
    )  # fails early if the source can't be used
    settings = {"kind": kind, "size": size, "face": face, "amounts": amounts, "sigma": sigma, "seed": seed}
    settings |= {"source": _hash_of(source), "target": sha256(target), "family": family.name}
    settings |= {"config": to_plain(family.config), "weights": _hash_of(family)}
    settings |= {"chunk": CHUNK}
    work = _begin(out, settings)
    job = _Job(family, target, work, about, kind, seed, progress)
    found = job.find()
    marks = smooth_landmarks(follow(found, (about.height, about.width), face), sigma)
    seen = np.isfinite(marks).all((1, 2))
    if not seen.any():
        shutil.rmtree(work)
        raise ValueError(f"no face found in any of the {len(found)} frames of {target}: choose a video that shows one")
    size = size or _fitting(family, marks[seen], kind)
    own = latent.prepare_photo("source", source, kind, size, "largest")
    job.swap(own.faces, marks, size, amounts)
    notes = files.write(out, job.frames(marks, size), about.fps, made, text, sound=target)
    shutil.rmtree(work)
    if len(found) < 0.9 * about.count:
        notes.append(f"the target breaks off: {len(found)} of the {about.count} frames that it should have were read")
    several = sum(len(faces) > 1 for faces in found)
    notes = [f"source: {own.note}"] * bool(own.note) + notes
    notes += [f"{several} frames show several faces, one was followed"] * bool(several)
    return [*notes, f"{seen.sum()} of {len(seen)} frames show the face that was swapped"]


def _fitting(family: Family, marks: np.ndarray, kind: photos.Kind) -> int:
    """Return the family's size or, if it takes any size, that of the face in the video."""
    size = family.config.size
    if not family.any_size or kind == "as_is":
        return size
    scales = [np.sqrt(np.linalg.det(photos.alignment(one, kind, size)[:2, :2])) for one in marks]
    return int(np.clip(size / np.median(scales), 64, 1024))


def _hash_of(thing: Any) -> str:
    """Return the SHA-256 of a network's weights, of a picture's pixels or of a file."""
    if isinstance(thing, (str, os.PathLike)):
        if not Path(thing).is_file():
            raise FileNotFoundError(f"there is no file {thing}: check the path")
        return sha256(thing)
    digest = hashlib.sha256()
    if isinstance(thing, torch.nn.Module):
        for name, value in thing.state_dict().items():
            digest.update(name.encode())
            digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    else:
        digest.update(np.ascontiguousarray(photos.load(thing)).data)
    return digest.hexdigest()


def _begin(out: Path, settings: Mapping[str, Any]) -> Path:
    """Make the folder of the unfinished work; raise ValueError if it is another swap's."""
    work = out.with_name(f"{out.name}.unfinished")
    work.mkdir(parents=True, exist_ok=True)
    path, text = work / "settings.json", json.dumps(settings, sort_keys=True)
    if not path.exists():
        with replacing(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    elif path.read_text(encoding="utf-8") != text:
        raise ValueError(
            f"{work} holds the unfinished work of a swap with other files or options: delete it, or choose another "
            "name for the result"
        )
    return work


@dataclass(frozen=True)
class _Job:
    """One video's swap and where its unfinished work lies."""

    family: Family
    target: Path
    work: Path
    about: files.Info
    kind: photos.Kind
    seed: int
    progress: bool

    def chunks(self, doing: str) -> Iterator[tuple[slice, list[np.ndarray]]]:
        """Yield the frames, `CHUNK` at a time, with the slice of their numbers."""
        total = self.about.count or None
        with tqdm(total=total, desc=doing, unit="frame", disable=not self.progress) as bar:
            held: list[np.ndarray] = []
            start = 0
            for frame in files.frames(self.target):
                held.append(frame)
                if len(held) == CHUNK:
                    yield slice(start, start + CHUNK), held
                    bar.update(CHUNK)
                    start, held = start + CHUNK, []
            if held:
                yield slice(start, start + len(held)), held
                bar.update(len(held))

    def file(self, what: str, chunk: slice) -> Path:
        return self.work / f"{what}_{chunk.start:07d}.npz"

    def find(self) -> list[list[Detection]]:
        """Find the faces of every frame."""
        found: list[list[Detection]] = []
        for chunk, frames in self.chunks("finding faces"):
            path = self.file("found", chunk)
            if not path.exists():
                faces = [photos.detect(frame) for frame in frames]
                flat = [one for several in faces for one in several]
                _save(
                    path,
                    counts=np.array([len(several) for several in faces]),
                    boxes=np.array([one.box for one in flat]).reshape(-1, 4),
                    scores=np.array([one.score for one in flat]),
                    landmarks=np.array([one.landmarks for one in flat]).reshape(-1, 68, 2),
                )
            with np.load(path) as file:
                rows = zip(file["boxes"].tolist(), file["scores"].tolist(), file["landmarks"], strict=True)
                flat = iter([Detection(tuple(box), score, marks) for box, score, marks in rows])
                found += [[next(flat) for _ in range(count)] for count in file["counts"]]
        return found

    def aligned(
        self, frames: Sequence[np.ndarray], marks: np.ndarray, size: int
    ) -> tuple[list[int], list[np.ndarray], Faces | None]:
        """Align the face in some frames, given its landmarks: which frames show it, the matrices, the aligned faces."""
        which = [k for k in range(len(frames)) if np.isfinite(marks[k]).all()]
        if not which:
            return [], [], None
        shape = photos.canvas(self.kind, size)
        matrices = [photos.alignment(marks[k], self.kind, size, frames[k].shape) for k in which]
        pictures = [photos.warp_photo(frames[k], matrix, shape) for k, matrix in zip(which, matrices, strict=True)]
        points = [photos.move(marks[k], matrix) for k, matrix in zip(which, matrices, strict=True)]
        return which, matrices, Faces(from_uint8(np.stack(pictures)), landmarks=torch.tensor(np.stack(points)).float())

    def swap(self, source: Faces, marks: np.ndarray, size: int, amounts: Mapping[str, float] | None) -> None:
        """Swap the face of every frame that shows it."""
        device = next((parameter.device for parameter in self.family.parameters()), "cpu")
        for chunk, frames in self.chunks("swapping"):
            path = self.file("swapped", chunk)
            if path.exists():
                continue
            which, _, faces = self.aligned(frames, marks[chunk], size)
            if not which:
                continue
            own = source[[0] * len(faces)]
            with torch.random.fork_rng():
                torch.manual_seed(self.seed + chunk.start)
                try:
                    images, weights = self.family.overlay(own.to(device), faces.to(device), amounts)
                except ValueError as error:
                    raise ValueError(f"{self.family.name} can't swap this video: {error}") from error
            weights = latent.weigh(images.cpu(), faces.images, weights)
            _save(path, pictures=to_uint8(images), weights=np.rint(255 * weights).astype(np.uint8))

    def frames(self, marks: np.ndarray, size: int) -> Iterator[np.ndarray]:
        """Yield all frames, with the swapped faces put back."""
        for chunk, frames in self.chunks("writing"):
            which, matrices, _ = self.aligned(frames, marks[chunk], size)
            if which:
                with np.load(self.file("swapped", chunk)) as file:
                    pictures, weights = file["pictures"], file["weights"] / 255
                for k, matrix, picture, weight in zip(which, matrices, pictures, weights, strict=True):
                    frames[k] = photos.paste_back(frames[k], picture, matrix, weight)
            yield from frames


def _save(path: Path, **arrays: np.ndarray) -> None:
    with replacing(path) as temporary:
        np.savez_compressed(temporary, **arrays)
