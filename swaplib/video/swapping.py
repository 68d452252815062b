"""Swapping faces in a film: people found and told apart, swapped frame by frame, put back into the frames.

    film ─ find ─ tell apart ─ choose ─ bridge ─ smooth ─┬─ align ─ swap ─► pictures ─┐
                                                         └────────────────────────────┴─ paste back ─► film

What was found is kept by the film's content (`looking`). What was swapped is kept in a folder next to the result,
OUT.unfinished, by the settings that made it, sixteen frames to a file, each whole or not at all. A run killed at any
moment goes on from there when it is started again, and gives the frames that an uninterrupted run gives; one with
other settings starts over, with the faces that were found. The folder is deleted once the result is complete.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from swaplib import latent, photos
from swaplib.faces import Faces, from_uint8, to_uint8
from swaplib.families import Family
from swaplib.foreign import read_arrays
from swaplib.judges.parsing import parse_steadily
from swaplib.provenance import DigitalSource, Hold, replacing, sha256
from swaplib.video import files, looking, people
from swaplib.video.looking import Footage
from swaplib.video.people import Person
from swaplib.weights import to_plain

TUNED = 64  # frames of a film that a family is tuned on, at most
_MAKE_AGAIN = "delete it, and give the same command again"
_CUT = 0.15  # mean difference of aligned pictures, of a range of 2, from which their label maps aren't averaged

# ---------------------------------------------------------------------------------------------- the swap


def swap(
    family: Family,
    source: latent.Photo | Sequence[latent.Photo],
    target: str | os.PathLike,
    out: str | os.PathLike,
    kind: photos.Kind = "portrait",
    size: int | None = None,
    face: latent.Who = "largest",
    others: Sequence[latent.Photo] = (),
    amounts: Mapping[str, float] | None = None,
    sigma: float = 1.5,
    seed: int = 0,
    tune: int = 0,
    made: DigitalSource = "composite",
    text: str = "",
    progress: bool = True,
    strict: bool = False,
) -> list[str]:
    """Put the source's face into the target film and write `out`, .mp4 or .gif, with the film's sound (`files.write`).

    source: a photograph, or several of one person as a list. face: who is swapped. A photograph: who is likest to it;
    "all": everyone gets the source, or, with photographs of others, the next people theirs, and who is beyond the last
    stays; otherwise as in `people.choose`. kind, size, amounts: as in `latent.swap_photographs`; size None means, for
    families that take any size, the faces' median size in the film. sigma: as in `smooth_landmarks`; label maps are
    averaged over half of it. seed: of families that draw noise. tune: steps of fitting a driven family to the driven
    frames (`latent.tune`), of which `TUNED` are looked at. made, text: for the metadata. strict: refuse a swap that
    changes nothing. Frames without the face are passed through.
    Returns notes on what was done. Raises FileNotFoundError and ValueError with one sentence: no film, no face in it,
    nobody of that number or alike.
    """
    target, out = Path(target), files.check_out(out)
    own = [*source] if isinstance(source, (list, tuple)) else [source]
    if others and not _is_everybody(face):
        raise ValueError("photographs of others are for face 'all': leave them out, or swap all")
    if tune and _find_driven(family) is None:
        raise ValueError("tuning fits a family to driven frames: drive it by landmarks, say, or leave tuning out")
    files.info(target)
    for one in (*own, *others):  # fails early if a source can't be used
        latent.prepare_photo("source", one, kind, size or family.config.size, "largest")
    code = latent.describe_likeness(face)
    settings = {"kind": kind, "size": size, "amounts": amounts, "sigma": sigma, "seed": seed, "tune": tune}
    settings |= {"face": repr(face) if code is None else code.tolist(), "target": sha256(target)}
    settings |= {"sources": [_hash_of(one) for one in own], "others": [_hash_of(one) for one in others]}
    key = _make_key(family, settings)
    work = out.with_name(f"{out.name}.unfinished")
    with Hold(work):
        footage = looking.look_through(target, progress)
        everyone = people.tell_apart(footage.faces, footage.codes)
        if not everyone:
            raise ValueError(
                f"no face found in any of the {len(footage.times)} frames of {target}: choose a film that shows one"
            )
        if _is_everybody(face):
            chosen = people.lasting(everyone, footage.times)[: 1 + len(others) if others else None]
        else:
            chosen = [people.choose(everyone, face, looking.square_shape(footage.about), code)]
        job = _Job(family, target, work, key, footage, kind, seed, progress, sigma)
        marks = np.stack([people.smooth_landmarks(one, sigma) for one in job.bridge(chosen, everyone)])
        size = size or _fitting(family, marks[np.isfinite(marks).all((2, 3))], kind)
        prepared = [latent.prepare_photo("source", one, kind, size, "largest") for one in (*own, *others)]
        faces = [one.faces for one in prepared]
        first, rest = faces[: len(own)], faces[len(own) :]
        # Of each person as many pictures as of the source's, for each of the chosen.
        given = [Faces.cat([one, *rest])[[k % (1 + len(rest)) for k in range(len(chosen))]] for one in first]
        if tune:
            job = replace(job, family=job.tune(given, marks, size, tune))
        job.swap(given, marks, size, amounts)
        notes = files.write(out, job.frames(marks, size, strict), footage.about.fps, made, text, target, footage.times)
        shutil.rmtree(work, ignore_errors=True)
    told = [f"source: {one.note}" for one in prepared if one.note]
    return [*dict.fromkeys([*told, *notes, *_notes(footage, everyone, chosen, marks)])]


def _is_everybody(face: latent.Who) -> bool:
    return isinstance(face, str) and face == "all"


def _make_key(family: Family, settings: Mapping[str, Any]) -> str:
    """Return the SHA-256 of all that a swap's frames follow from: its settings, the family and its parser."""
    parser = _find_parser(family)
    settings = {**settings, "chunk": looking.CHUNK, "family": family.name, "config": to_plain(family.config)}
    settings |= {"weights": _hash_of(family), "parser": None if parser is None else _hash_of(parser)}
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def _notes(footage: Footage, everyone: Sequence[Person], chosen: Sequence[Person], marks: np.ndarray) -> list[str]:
    """Say what was done."""
    about, times = footage.about, footage.times
    notes = [*about.notes]
    if len(times) < 0.9 * about.count:
        notes.append(f"the target breaks off: {len(times)} of its {about.count} frames were read")
    elif not about.count and about.end and float(times[-1]) < 0.9 * about.end - 1 / about.fps:
        notes.append(f"the target breaks off: {float(times[-1]):.1f} of {float(about.end):.1f} s were read")
    there = people.lasting(everyone, times)
    if len(there) > 1:
        numbers = [next(k for k, one in enumerate(everyone) if one is person) for person in chosen]
        which = f"number {numbers[0]} was" if len(numbers) == 1 else f"numbers {', '.join(map(str, numbers))} were"
        notes.append(f"{len(there)} people are in the film, {which} swapped: swaplib faces shows who is who")
    seen = np.isfinite(marks).all((2, 3))
    if bridged := int(seen.sum()) - sum(len(person.faces) for person in chosen):
        notes.append(f"in {bridged} frames the face was followed where it is blurred or askew")
    return [*notes, f"{seen.any(0).sum()} of {len(times)} frames show the face that was swapped"]


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


@dataclass(frozen=True)
class _Job:
    """One film's swap and where its unfinished work lies.

    Landmarks are (P, T, 68, 2), of P people in T frames, on square pixels.
    """

    family: Family
    target: Path
    work: Path
    key: str
    footage: Footage
    kind: photos.Kind
    seed: int
    progress: bool
    sigma: float

    def chunks(self, doing: str) -> Iterator[tuple[slice, list[np.ndarray]]]:
        """Yield the frames, `CHUNK` at a time, with the slice of their numbers."""
        for chunk, frames, _ in looking.chunks(self.target, self.footage.about, doing, self.progress):
            yield chunk, frames

    def file(self, chunk: slice) -> Path:
        return self.work / f"swapped_{self.key[:16]}_{chunk.start:07d}.npz"

    def bridge(self, chosen: Sequence[Person], everyone: Sequence[Person]) -> np.ndarray:
        """Return the landmarks of the chosen, followed through short gaps where the picture still shows them."""
        times = self.footage.times
        marks = np.stack([person.landmarks(len(times)) for person in chosen])
        wanted: dict[int, list[tuple[int, slice, np.ndarray]]] = {}
        for k, person in enumerate(chosen):
            for gap in people.find_gaps(marks[k], times):
                guesses = people.interpolate(marks[k], gap, times)
                for frame, face in people.adopt(person, everyone, gap, guesses).items():
                    marks[k, frame] = face.landmarks
                for frame in range(gap.start - 1, gap.stop):
                    wanted.setdefault(frame, []).append((k, gap, guesses))
        if not wanted:
            return marks
        before: dict[int, np.ndarray] = {}
        for chunk, frames in self.chunks("bridging gaps"):
            for number in range(chunk.start, chunk.stop):
                for k, gap, guesses in wanted.get(number, ()):
                    frame = looking.square(frames[number - chunk.start], self.footage.about)
                    if number == gap.start - 1:
                        before[k] = frame
                        continue
                    guess = guesses[number - gap.start]
                    if np.isfinite(marks[k, number]).all():
                        continue
                    found = people.find_again(frame, guess, before[k], marks[k, gap.start - 1])
                    if found is not None and not people.is_taken(chosen[k], everyone, number, found):
                        marks[k, number] = found
        return marks

    def aligned(
        self, frames: Sequence[np.ndarray], marks: np.ndarray, size: int
    ) -> tuple[list[tuple[int, int]], list[np.ndarray], Faces | None]:
        """Align the faces in some frames, given their landmarks: (person, frame) of each, its matrix, the faces."""
        which = [(k, t) for t in range(len(frames)) for k in range(len(marks)) if np.isfinite(marks[k, t]).all()]
        if not which:
            return [], [], None
        about = self.footage.about
        shape = photos.canvas(self.kind, size)
        wide = photos.resizing((about.height, about.width), looking.square_shape(about))
        squared = [photos.alignment(marks[one], self.kind, size, looking.square_shape(about)) for one in which]
        matrices = [matrix @ wide for matrix in squared]
        pictures = [photos.warp_photo(frames[t], matrix, shape) for (_, t), matrix in zip(which, matrices, strict=True)]
        points = [photos.move(marks[one], matrix) for one, matrix in zip(which, squared, strict=True)]
        return which, matrices, Faces(from_uint8(np.stack(pictures)), landmarks=torch.tensor(np.stack(points)).float())

    def tune(self, sources: Sequence[Faces], marks: np.ndarray, size: int, steps: int) -> Family:
        """Return the family fitted to the driven frames of the one person that is swapped (`latent.tune`).

        What was fitted is kept with the unfinished work. Raises ValueError for several people.
        """
        if len(marks) > 1:
            raise ValueError("a family is tuned on the frames of one person: swap one face, or leave tuning out")
        driven = _find_driven(self.family)
        path = self.work / f"tuned_{self.key[:16]}.npz"
        if not path.exists():
            seen = np.flatnonzero(np.isfinite(marks[0]).all((1, 2)))
            chosen = set(seen[:: -(-len(seen) // TUNED)].tolist())
            frames = []
            for chunk, pictures in self.chunks("looking at frames"):
                here = [k for k in range(len(pictures)) if chunk.start + k in chosen]
                if here:
                    _, _, faces = self.aligned(
                        [pictures[k] for k in here], marks[:, [chunk.start + k for k in here]], size
                    )
                    frames.append(driven.reenactor.drive(sources[0][[0] * len(faces)], faces))
            tuned = latent.tune(self.family, Faces.cat(frames), steps, seed=self.seed, progress=self.progress)
            _save(path, **{f"{k:04d}": value.detach().cpu().numpy() for k, value in enumerate(tuned.tunable())})
        tuned = deepcopy(self.family).eval()
        kept = read_arrays(path, _MAKE_AGAIN, [f"{k:04d}" for k, _ in enumerate(tuned.tunable())])
        with torch.no_grad():
            for k, value in enumerate(tuned.tunable()):
                value.copy_(torch.from_numpy(kept[f"{k:04d}"]))
        return tuned

    def swap(self, sources: Sequence[Faces], marks: np.ndarray, size: int, amounts: Mapping[str, float] | None) -> None:
        """Swap the faces of every frame that shows them; sources: one for each person, in one or more pictures."""
        device = next((parameter.device for parameter in self.family.parameters()), "cpu")
        for chunk, frames, wide, more in _with_neighbours(self.chunks("swapping"), _frames_beside(self.sigma)):
            path = self.file(chunk)
            if path.exists():
                continue
            which, _, faces = self.aligned(frames, marks[:, chunk], size)
            if not which:
                continue
            if (parser := _find_parser(self.family)) is not None and self.sigma > 0:
                near, _, seen = self.aligned(more, marks[:, wide], size)
                labels = self.parse(parser, seen.to(device), [(k, t + wide.start) for k, t in near])
                kept = [row for row, (_, t) in enumerate(near) if chunk.start <= t + wide.start < chunk.stop]
                faces = replace(faces, labels=labels[kept].cpu())
            own, *also = (one[[k for k, _ in which]].to(device) for one in sources)
            with torch.random.fork_rng():
                torch.manual_seed(self.seed + chunk.start)
                try:
                    images, weights = self.family.overlay(own, faces.to(device), amounts, also)
                except ValueError as error:
                    raise ValueError(f"{self.family.name} can't swap this video: {error}") from error
            weights = latent.weigh(images.cpu(), faces.images, weights)
            _save(path, pictures=to_uint8(images), weights=np.rint(255 * weights).astype(np.uint8))

    def parse(self, parser: torch.nn.Module, faces: Faces, which: Sequence[tuple[int, int]]) -> torch.Tensor:
        """Label aligned faces, (person, frame) each, by probabilities averaged over neighbouring frames of a person.

        Frames count by a Gaussian of half of `sigma`, and not at all where the picture has become another, as at a cut.
        """
        person, frame = (torch.tensor(column, device=faces.images.device) for column in zip(*which, strict=True))
        weights = torch.exp(-2 * ((frame[:, None] - frame) / self.sigma) ** 2) * (person[:, None] == person)
        small = F.adaptive_avg_pool2d(faces.images, 16).flatten(1)
        apart = (small[:, None] - small).abs().mean(-1)
        return parse_steadily(parser, faces.images, weights * (apart < _CUT))

    def frames(self, marks: np.ndarray, size: int, strict: bool) -> Iterator[np.ndarray]:
        """Yield all frames, with the swapped faces put back; if strict, raise ValueError where none has changed."""
        changed = False
        for chunk, frames in self.chunks("writing"):
            which, matrices, _ = self.aligned(frames, marks[:, chunk], size)
            if which:
                kept = read_arrays(self.file(chunk), _MAKE_AGAIN, ("pictures", "weights"))
                pictures, weights = kept["pictures"], kept["weights"] / 255
                for (_, t), matrix, picture, weight in zip(which, matrices, pictures, weights, strict=True):
                    swapped = photos.paste_back(frames[t], picture, matrix, weight)
                    changed = changed or not np.array_equal(swapped, frames[t])
                    frames[t] = swapped
            yield from frames
        if strict and not changed:
            raise ValueError(latent.describe_unchanged(self.family, self.target))


def _find_driven(family: Family) -> latent.Driven | None:
    """Return the wrapper that drives a family's sources, if there is one."""
    return next((one for one in family.modules() if isinstance(one, latent.Driven)), None)


def _find_parser(family: Family) -> torch.nn.Module | None:
    """Return the parser that finds a family's label maps; None where it has none, or one without weights."""
    if not any(part.geometry == "labels" for part in family.parts):
        return None
    found = (module.frozen["parser"] for module in family.modules() if "parser" in getattr(module, "frozen", ()))
    return next((parser for parser in found if parser.trained), None)


def _frames_beside(sigma: float) -> int:
    """Return how many frames on either side count for a label map."""
    return int(np.ceil(1.5 * sigma))


def _with_neighbours(
    chunks: Iterator[tuple[slice, list[np.ndarray]]], reach: int
) -> Iterator[tuple[slice, list[np.ndarray], slice, list[np.ndarray]]]:
    """Yield chunks of frames, each again with up to `reach` frames of those before and after it."""
    before: list[np.ndarray] = []
    held: tuple[slice, list[np.ndarray]] | None = None
    for following in chain(chunks, [None]):
        if held is not None:
            chunk, frames = held
            after = following[1][:reach] if following else []
            wide = slice(chunk.start - len(before), chunk.stop + len(after))
            yield chunk, frames, wide, [*before, *frames, *after]
            before = frames[-reach:] if reach else []
        held = following


def _save(path: Path, **arrays: np.ndarray) -> None:
    with replacing(path) as temporary:
        np.savez_compressed(temporary, **arrays)
