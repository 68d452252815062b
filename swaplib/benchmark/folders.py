"""The benchmark as folders of plain pictures: pairs are exported, swaps of any system lie in a folder of their own.

PAIRS/source/00000.png, target/00000.png …   what a swapper gets
PAIRS/truth/00000.png …                      what it doesn't get: the true swaps
PAIRS/card.json                              set, size, seed, series, and the pairs with their pictures' hashes
SWAPS/00000.png …                            a system's answers, named like the pairs; JPEG and WebP will do
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from joblib import Parallel, delayed
from tqdm.auto import tqdm

from swaplib import figures, metrics, photos
from swaplib.faces import Faces, from_uint8, to_uint8
from swaplib.families import Family
from swaplib.foreign import check_fields, read_json
from swaplib.metrics.pairs import SERIES, Pairs, PairSet, find_set
from swaplib.provenance import write_text
from swaplib.synthetic import RENDERER
from swaplib.synthetic.threads import one_thread

ENDINGS = (".png", ".jpg", ".jpeg", ".webp")
_CHUNK = 8
_ROLES = ("source", "target", "truth")


@dataclass(frozen=True)
class Card:
    """What a folder of pairs holds. pairs: of each its number, its faces' numbers, facts, and SHA-256 by role."""

    set: str
    size: int
    seed: int
    series: str
    renderer: str
    pairs: tuple[dict[str, Any], ...]

    @property
    def kind(self) -> PairSet:
        return find_set(self.set)

    @property
    def names(self) -> list[str]:
        """What the files of the pairs are called, without their ending."""
        return [self.kind.name_pair(pair["number"]) for pair in self.pairs]

    @property
    def digest(self) -> str:
        """Return a digest of all pictures: equal where two folders hold the same pairs."""
        hashes = (pair["sha256"][role] for pair in self.pairs for role in _ROLES)
        return hashlib.sha256("".join(hashes).encode()).hexdigest()


def export(
    out: str | os.PathLike,
    name: str = "calm",
    count: int | None = None,
    size: int = 256,
    seed: int = 0,
    jobs: int = 2,
    progress: bool = True,
) -> Card:
    """Write the pairs of a set as pictures; return the card.

    name: of the set, in `metrics.SETS`. count: of pairs; the set's own number by default. size: pixels, 128 to 512.
    Pictures that are there are written again only where they differ. Raises ValueError for an unknown set, a size
    outside the range and a count below 1; FileExistsError for a folder that holds other pairs.
    """
    out, kind = Path(out), find_set(name)
    count = kind.count if count is None else count
    if not 128 <= size <= 512 or count < 1:
        raise ValueError(f"{count} pairs of {size} px: give 1 pair or more, and 128 to 512 px")
    if (out / "card.json").exists():
        old = read_card(out)
        if (old.set, old.size, old.seed) != (name, size, seed):
            raise FileExistsError(
                f"{out} holds pairs of {old.set}, {old.size} px, seed {old.seed}: choose another folder"
            )
    chunks = [range(first, min(first + _CHUNK, count)) for first in range(0, count, _CHUNK)]
    work = (delayed(_export_some)(out, name, chunk, size, seed) for chunk in chunks)
    done = Parallel(n_jobs=jobs, return_as="generator")(work)
    bar = tqdm(done, total=len(chunks), unit=f"x{_CHUNK}", desc=name, disable=not progress)
    card = Card(name, size, seed, SERIES, RENDERER, tuple(pair for some in bar for pair in some))
    facts = {"series": SERIES, "set": name, "title": kind.title, "size": size, "seed": seed, "renderer": RENDERER}
    facts |= {"digest": card.digest, "pairs": card.pairs}
    write_text(out / "card.json", json.dumps(facts, indent=1, ensure_ascii=False) + "\n")
    return card


def _export_some(out: Path, name: str, numbers: range, size: int, seed: int) -> list[dict[str, Any]]:
    with one_thread():
        pairs = metrics.draw_pairs(name, numbers, size, seed)
    entries = [dict(facts) for facts in pairs.facts]
    for role in _ROLES:
        for entry, picture in zip(entries, to_uint8(getattr(pairs, role).images), strict=True):
            path = out / role / f"{find_set(name).name_pair(entry['number'])}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            figures.save_picture(picture, path, "rendered", f"Face {role} of the benchmark {SERIES}, {name}.")
            entry.setdefault("sha256", {})[role] = hash_picture(picture)
    return entries


def hash_picture(picture: Any) -> str:
    """Return the SHA-256 of a picture's pixels, uint8 RGB (H, W, 3)."""
    return hashlib.sha256(picture.tobytes()).hexdigest()


def read_card(folder: str | os.PathLike) -> Card:
    """Read the card of a folder of pairs. Raises FileNotFoundError and ValueError where there is none, or another."""
    path = Path(folder) / "card.json"
    if not path.exists():
        raise FileNotFoundError(f"{folder} holds no pairs (no card.json): make them with swaplib benchmark export")
    remedy = "export them again"
    fields = {"set": str, "size": int, "seed": int, "series": str, "renderer": str, "pairs": list}
    facts = read_json(path, "a card of pairs", remedy, fields)
    if not 128 <= facts["size"] <= 512 or facts["seed"] < 0:
        raise ValueError(f"{path} is no card of pairs (of {facts['size']} px, seed {facts['seed']}): {remedy}")
    try:
        find_set(facts["set"])
    except ValueError as error:
        raise ValueError(f"{path} is no card of pairs ({error}): {remedy}") from error
    for pair in facts["pairs"]:
        check_fields(pair, {"number": int, "sha256": dict}, path, remedy)
        check_fields(pair["sha256"], dict.fromkeys(_ROLES, str), path, remedy)
    return Card(**{name: facts[name] for name in fields if name != "pairs"}, pairs=tuple(facts["pairs"]))


def draw_again(card: Card, rows: Sequence[int]) -> Pairs:
    """Render some pairs of a card, by their rows, with all that is known about them.

    Raises ValueError where this version draws other pictures than those that were exported.
    """
    pairs = metrics.draw_pairs(card.set, [card.pairs[row]["number"] for row in rows], card.size, card.seed)
    for role in _ROLES:
        for row, picture in zip(rows, to_uint8(getattr(pairs, role).images), strict=True):
            if hash_picture(picture) != card.pairs[row]["sha256"][role]:
                raise ValueError(
                    f"pair {card.names[row]} looks different here: it was exported by renderer {card.renderer}, and "
                    f"this is {RENDERER}; export the pairs again, and swap them again"
                )
    return pairs


# ----------------------------------------------------------------------------------------------------------- swaps


def run(
    family: Family, pairs: str | os.PathLike, out: str | os.PathLike, bare: bool = False, progress: bool = True
) -> Path:
    """Fill a folder with a family's swaps of exported pairs; go on where an earlier run was stopped.

    bare: give it pictures alone, as any outside system has them, landmarks found by dlib and regions by the parser;
    otherwise it gets the known landmarks and regions, as in the lessons.
    """
    card, out = read_card(pairs), Path(out)
    missing = [row for row, name in enumerate(card.names) if not (out / f"{name}.png").exists()]
    device = next((parameter.device for parameter in family.parameters()), "cpu")
    with torch.no_grad():
        for first in tqdm(range(0, len(missing), _CHUNK), unit=f"x{_CHUNK}", desc=family.name, disable=not progress):
            rows = missing[first : first + _CHUNK]
            drawn = draw_again(card, rows)
            source, target = (_bare(one) if bare else one for one in (drawn.source, drawn.target))
            overlay = family.overlay(*(family.fit_size(one).to(device) for one in (source, target))).to("cpu")
            for row, image in zip(rows, overlay.over(target), strict=True):
                text = f"Swap of the benchmark {card.series}, {card.set}, by {family.name}."
                figures.save_picture(image, out / f"{card.names[row]}.png", "composite", text)
    return out


def _bare(faces: Faces) -> Faces:
    """Return faces with what can be seen of them: landmarks as dlib finds them, the known ones where it doesn't."""
    landmarks = faces.landmarks.clone()
    for row, picture in enumerate(to_uint8(faces.images)):
        if found := photos.detect(picture):
            landmarks[row] = torch.from_numpy(found[0].landmarks)
    return Faces(faces.images, landmarks=landmarks)


def find_swap(folder: Path, name: str) -> Path | None:
    """Return the file with a pair's swap; None where there is none."""
    return next((path for ending in ENDINGS if (path := folder / f"{name}{ending}").exists()), None)


def read_swap(path: Path, size: int) -> tuple[torch.Tensor, bool]:
    """Read a swap, (1, 3, size, size) in [-1, 1], resized where it has another size; return whether it had.

    Raises PhotoError for a file that can't be read, or that is no square.
    """
    picture = photos.load(path)
    height, width = picture.shape[:2]
    if height != width:
        raise photos.PhotoError(f"{path} has {width} x {height} pixels: swaps are square, as the pairs are", "shape")
    image = from_uint8(picture)[None]
    return (image, False) if height == size else (metrics.image.resized(image, size), True)
