"""The published layouts of face data sets: which pictures a folder holds, and what is known about each.

A reader looks at names and annotation files only; pictures and label maps are opened when they are prepared.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from swaplib.faces import CELEBA_ATTRIBUTES, CELEBAMASK_HQ, LABELS, label_table
from swaplib.foreign import TABLE_BYTES, damaged, read_json, read_table, read_text
from swaplib.photos.reading import PhotoError, open_image

PICTURES = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm"}
# Names of CelebAMask-HQ's part masks in its classes' order: later parts cover earlier ones (its g_mask.py).
PARTS = (
    "skin", "nose", "eye_g", "l_eye", "r_eye", "l_brow", "r_brow", "l_ear", "r_ear", "mouth", "u_lip", "l_lip", "hair",
    "hat", "ear_r", "neck_l", "neck", "cloth",
)  # fmt: skip
# Helen's sides are the viewer's, CelebAMask-HQ's the person's own.
_HELEN = (
    "background", "skin", "right_brow", "left_brow", "right_eye", "left_eye", "nose", "upper_lip", "mouth", "lower_lip",
    "hair",
)  # fmt: skip
LICENCES = {
    "celeba": "CelebA: non-commercial research, no further distribution",
    "celebamask_hq": "CelebAMask-HQ: non-commercial research and education",
    "ffhq": "FFHQ: CC BY-NC-SA 4.0, each picture under its own Flickr licence",
    "vggface2": "VGGFace2: research; the pictures are their owners'",
    "helen": "Helen: research; the pictures are their owners'",
    "lfw": "LFW: research; the news pictures are their owners'",
    "plain": "",
}


@dataclass(frozen=True)
class Entry:
    """One picture: its path below the folder, and what the data set says about it ("" and None: nothing).

    face: which of several faces is meant (as in `photos.choose`). landmarks: 68 known points, in the picture's pixels.
    labels: the files of its label map.
    """

    source: str
    subject: str = ""
    split: str = ""
    face: str | tuple[float, float] = "largest"
    landmarks: tuple[tuple[float, float], ...] | None = None
    attributes: tuple[float, ...] | None = None
    labels: tuple[str, ...] = ()
    licence: str | None = None


@dataclass(frozen=True)
class Layout:
    """A recognised folder. base: where its pictures lie; labels: how label maps are stored (see `read_labels`)."""

    name: str
    entries: list[Entry]
    base: str = ""
    labels: str = ""
    also: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        extras = f" with {', '.join(self.also)}" if self.also else ""
        people = len({entry.subject for entry in self.entries if entry.subject})
        of = f" of {people:,} people" if people else ""
        what = "files" if self.name == "plain" else "pictures"
        return f"{self.name}: {len(self.entries):,} {what}{of}{extras}"


def recognise(folder: str | os.PathLike, layout: str = "auto", label_order: str | None = None) -> Layout:
    """Recognise a folder's layout; "auto" tries the known ones, and falls back on a folder of plain pictures.

    label_order: of flat label maps ("celebamask_hq", "bisenet" or "mgpe", which is Helen's), if the folder doesn't say.
    Raises FileNotFoundError or NotADirectoryError if there is no such folder, ValueError for one that doesn't fit.
    """
    folder = Path(folder)
    if not folder.exists():
        raise FileNotFoundError(f"there is no folder {folder}: check the path")
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder} is a file: give the folder that holds the pictures")
    if layout not in ("auto", *READERS):
        raise ValueError(f"unknown layout {layout!r}: choose auto, {', '.join(READERS)}")
    if (folder / "card.json").exists() and (folder / "metadata.parquet").exists():
        raise ValueError(f"{folder} is a prepared data set already: open it with data.open")
    for name in READERS if layout == "auto" else [layout]:
        found = READERS[name](folder, label_order)
        if found is not None and found.entries:
            return found
    if layout == "auto":
        raise ValueError(f"{folder} holds no files: give the folder with the pictures in it or below it")
    raise ValueError(f"{folder} doesn't look like {layout}: expected {_EXPECTED[layout]}")


# ---------------------------------------------------------------------------------------------- finding files


def _files(folder: Path, below: str = "") -> list[str]:
    """List all files below a folder except hidden ones, as sorted paths from `folder` with forward slashes."""
    found = []
    for root, folders, files in os.walk(folder / below):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [(Path(root) / name).relative_to(folder).as_posix() for name in files if not name.startswith(".")]
    return sorted(found)


def _pictures(folder: Path, below: str = "") -> list[str]:
    return [path for path in _files(folder, below) if Path(path).suffix.lower() in PICTURES]


def _folder(folder: Path, *names: str) -> str | None:
    """Find the first of the named folders in `folder` or one level below it, as a relative path."""
    for name in names:
        for found in [folder / name, *sorted(folder.glob(f"*/{name}"))]:
            if found.is_dir():
                return found.relative_to(folder).as_posix()
    return None


def _annotation(folder: Path, *names: str) -> Path | None:
    """Find an annotation file in `folder`, one level below it or next to it."""
    for name in names:
        for found in [folder / name, *sorted(folder.glob(f"*/{name}")), folder.parent / name]:
            if found.is_file():
                return found
    return None


def _table(path: Path, header: bool) -> pd.DataFrame:
    """Read a table of CelebA's, indexed by file stem.

    It is text, with a count and names above the rows if `header`, or CSV with the same content.
    """
    if path.suffix == ".csv":
        table = read_table(path, _FRESH, index_col=0)
    else:
        names = read_text(path, "a table", _FRESH, TABLE_BYTES).split("\n", 2)[1:2] if header else []
        rows = {"skiprows": 2, "names": ["file", *" ".join(names).split()]} if header else {"header": None}
        table = read_table(path, _FRESH, sep=r"\s+", index_col=0, **rows)
    if table.shape[1] == 0:
        raise damaged(path, "it isn't in CelebA's format: it has no second column", _FRESH)
    table.index = [Path(str(name)).stem for name in table.index]
    return table


_FRESH = "get a fresh copy of it"


def _points(path: Path, table: pd.DataFrame) -> dict[Any, tuple[float, float]]:
    """Return the middle of the five points (x, y) in each row of a table that was read from a file."""
    try:
        points = table.to_numpy(float).reshape(-1, 5, 2)
    except ValueError as error:
        raise damaged(path, "a row holds other than five points", _FRESH) from error
    if not np.isfinite(points).all():
        raise damaged(path, "it holds points that are not finite", _FRESH)
    return dict(zip(table.index, map(tuple, points.mean(1).tolist()), strict=True))


def _column(path: Path | None) -> dict[str, Any]:
    """Return the first column of a table of CelebA's by file stem; empty where there is no file."""
    return {} if path is None else _table(path, False).iloc[:, 0].to_dict()


def _attributes(path: Path | None) -> dict[str, tuple[float, ...]]:
    if path is None:
        return {}
    table = _table(path, header=True)
    missing = [name for name in CELEBA_ATTRIBUTES if name not in table]
    if missing:
        raise ValueError(f"{path} has no column {missing[0]}: it must hold CelebA's 40 attributes")
    numbers = table[list(CELEBA_ATTRIBUTES)].to_numpy()
    if numbers.dtype.kind not in "iu":
        raise damaged(path, "it holds attributes that are no whole numbers", _FRESH)
    values = (numbers > 0).astype(float)
    return dict(zip(table.index, map(tuple, values.tolist()), strict=True))


# ---------------------------------------------------------------------------------------------- the readers


def _celeba(folder: Path, _: str | None) -> Layout | None:
    files = {
        "attributes": _annotation(folder, "list_attr_celeba.txt", "list_attr_celeba.csv"),
        "identities": _annotation(folder, "identity_CelebA.txt", "identity_celeba.txt"),
        "splits": _annotation(folder, "list_eval_partition.txt", "list_eval_partition.csv"),
    }
    base = _folder(folder, "img_align_celeba", "img_align_celeba_png", "img_align_celeba_png.7z", "img_celeba")
    if base is None and any(path is not None and path.parent == folder for path in files.values()):
        base = ""  # the pictures lie next to the tables
    if base is None and folder.name.startswith(("img_align_celeba", "img_celeba")):
        base = ""
    if base is None:
        return None
    wild = "img_celeba" in (Path(base).name, folder.name)
    stem = "list_landmarks_celeba" if wild else "list_landmarks_align_celeba"
    files["landmarks"] = _annotation(folder, f"{stem}.txt", f"{stem}.csv")
    attributes = _attributes(files["attributes"])
    identity, split = _column(files["identities"]), _column(files["splits"])
    if strange := set(split.values()) - {0, 1, 2}:
        raise damaged(files["splits"], f"it names the split {next(iter(strange))}, and splits are 0, 1 and 2", _FRESH)
    marks = files["landmarks"]
    middle = {} if marks is None else _points(marks, _table(marks, True))
    entries = []
    for source in _pictures(folder, base):
        stem = Path(source).stem
        entries.append(
            Entry(
                source,
                subject=str(identity.get(stem, "")),
                split=("train", "val", "test")[int(split[stem])] if stem in split else "",
                face=middle.get(stem, "largest"),
                attributes=attributes.get(stem),
            )
        )
    return Layout("celeba", entries, base, also=[name for name, path in files.items() if path is not None])


def _celebamask_hq(folder: Path, order: str | None) -> Layout | None:
    base = _folder(folder, "CelebA-HQ-img")
    if base is None:
        return _flat(folder, "celebamask_hq", order)
    home = Path(base).parent
    attributes = _attributes(_annotation(folder / home, "CelebAMask-HQ-attribute-anno.txt"))
    identity = _hq_identities(folder / home)
    masks: dict[int, list[str]] = defaultdict(list)
    for path in _files(folder, (home / "CelebAMask-HQ-mask-anno").as_posix()):
        number, _, part = Path(path).stem.partition("_")
        if number.isdecimal() and part in PARTS:
            masks[int(number)].append(path)
    entries = []
    for source in _pictures(folder, base):
        stem = Path(source).stem
        number = int(stem) if stem.isdecimal() else -1
        parts = sorted(masks.get(number, ()), key=lambda path: PARTS.index(Path(path).stem.partition("_")[2]))
        entries.append(
            Entry(
                source,
                subject=identity.get(number, ""),
                split="train" if number < 28000 else "test",  # as E4S and others split it
                attributes=attributes.get(stem),
                labels=tuple(parts),
            )
        )
    also = [name for name, there in (("masks", masks), ("attributes", attributes), ("identities", identity)) if there]
    return Layout("celebamask_hq", entries, base, "parts" if masks else "", also)


def _hq_identities(folder: Path) -> dict[int, str]:
    """Read CelebA's identity for each number of CelebA-HQ, if both files exist."""
    mapping = _annotation(folder, "CelebA-HQ-to-CelebA-mapping.txt")
    identities = _annotation(folder, "identity_CelebA.txt", "identity_celeba.txt")
    if mapping is None or identities is None:
        return {}
    identity = _column(identities)
    rows = [line.split() for line in read_text(mapping, "a table", _FRESH).splitlines()[1:] if line.strip()]
    if not all(len(row) >= 3 and row[0].isdecimal() for row in rows):
        raise damaged(mapping, "a line holds no number, CelebA's number and file", _FRESH)
    return {int(row[0]): str(identity.get(Path(row[2]).stem, "")) for row in rows}


def _ffhq(folder: Path, _: str | None) -> Layout | None:
    base = _folder(folder, "images1024x1024", "thumbnails128x128", "in-the-wild-images")
    info = _annotation(folder, "ffhq-dataset-v2.json")
    if base is None:
        inside = [path for path in folder.iterdir() if not path.name.startswith(".")]
        folders = [path for path in inside if path.is_dir()]
        if not folders or not all(re.fullmatch(r"\d{5}", path.name) for path in folders):
            return None
        base = ""
    known = {} if info is None else read_json(info, "FFHQ's list", _FRESH, most=TABLE_BYTES)
    kind = Path(base).name or folder.name
    entries = []
    for source in _pictures(folder, base):
        stem = Path(source).stem
        record = known.get(str(int(stem))) if stem.isdecimal() else None
        split = "" if not stem.isdecimal() else "train" if int(stem) < 60000 else "val"
        if record is None:
            entries.append(Entry(source, split=split, face="central"))
            continue
        wild = kind == "in-the-wild-images"
        points = _ffhq_points(record, "in_the_wild" if wild else "image", info)
        if kind == "thumbnails128x128":
            points = (points + 0.5) / 8 - 0.5
        split = {"training": "train", "validation": "val"}.get(str(record.get("category")), split)
        about = record.get("metadata")
        licence = about.get("license") if isinstance(about, dict) else None
        entries.append(Entry(source, split=split, landmarks=tuple(map(tuple, points.tolist())), licence=licence))
    return Layout("ffhq", entries, base, also=["landmarks and licences"] if known else [])


def _ffhq_points(record: Any, which: str, info: Path) -> np.ndarray:
    """Return the 68 points (x, y) of a picture in FFHQ's list."""
    try:
        points = np.array(record[which]["face_landmarks"], float)
    except (LookupError, TypeError, ValueError):
        points = np.empty(0)
    if points.shape != (68, 2) or not np.isfinite(points).all():
        raise damaged(info, f"a picture has no 68 points under {which}, face_landmarks", _FRESH)
    return points


def _vggface2(folder: Path, _: str | None) -> Layout | None:
    def people(path: Path) -> bool:
        return path.is_dir() and any(re.fullmatch(r"n\d{6}", one.name) for one in path.iterdir() if one.is_dir())

    homes = [f"{home}{name}" for home in ("", "data/", "VGG-Face2/data/") for name in ("train", "test")]
    splits = {path: Path(path).name for path in homes if people(folder / path)}
    if not splits and people(folder):
        splits = {"": folder.name if folder.name in ("train", "test") else ""}
    if not splits:
        return None
    middle = {}
    for name in ("train", "test"):
        points = _annotation(folder, f"loose_landmark_{name}.csv")
        if points is not None:
            middle |= _points(points, read_table(points, _FRESH, index_col=0))
    entries = []
    for path, split in splits.items():
        for source in _pictures(folder, path):
            subject = Path(source).parent.name
            point = middle.get(f"{subject}/{Path(source).stem}")
            entries.append(Entry(source, subject, split, face=point or "central"))
    return Layout("vggface2", entries, also=["landmarks"] if middle else [])


def _helen(folder: Path, order: str | None) -> Layout | None:
    lists = {"exemplars.txt": "train", "tuning.txt": "val", "testing.txt": "test"}
    home = next((path.parent for name in lists if (path := _annotation(folder, name)) is not None), None)
    base = _folder(folder, "images")
    if home is None or base is None:
        return _flat(folder, "helen", order)
    split = {}
    for name, which in lists.items():
        if (home / name).is_file():
            # A line reads "1 , 100032540_1".
            lines = read_text(home / name, "a list of pictures", _FRESH).splitlines()
            split |= {line.split(",")[-1].strip(): which for line in lines if line.strip()}
    maps = (Path(base).parent / "labels").as_posix()
    entries = []
    for source in _pictures(folder, base):
        stem = Path(source).stem
        labels = tuple(f"{maps}/{stem}/{stem}_lbl{k:02d}.png" for k in range(len(_HELEN)))
        entries.append(Entry(source, split=split.get(stem, ""), labels=labels))
    return Layout("helen", entries, base, "helen_maps", ["11 soft label maps each"])


def _flat(folder: Path, name: str, order: str | None) -> Layout | None:
    """Pair pictures and label maps of the same names in two folders, in CelebAMask-HQ's, BiSeNet's or Helen's order."""
    base, maps = _folder(folder, "images", "image", "img"), _folder(folder, "labels", "label", "masks", "mask")
    if base is None or maps is None:
        return None
    by_stem = {Path(path).stem: path for path in _pictures(folder, maps)}
    sources = _pictures(folder, base)
    pairs = [(source, by_stem.get(Path(source).stem)) for source in sources]
    if not any(label for _, label in pairs):
        return None
    order = order or _named_order(folder / maps) or _guessed_order(folder, [label for _, label in pairs if label])
    if order not in ("celebamask_hq", "bisenet", "mgpe"):
        raise ValueError(f"unknown label order {order!r}: choose celebamask_hq, bisenet or mgpe (Helen's)")
    if (order == "mgpe") != (name == "helen"):
        return None
    entries = [Entry(source, labels=(label,) if label else ()) for source, label in pairs]
    return Layout(name, entries, base, order, [f"{len(LABELS[order])}-class label maps ({order} order)"])


def _named_order(maps: Path) -> str | None:
    """Read the order from a table of classes (value, name) next to the label maps."""
    table = next((path for path in (maps / "classes.csv", maps.parent / "classes.csv") if path.is_file()), None)
    if table is None:
        return None
    names = read_table(table, "delete it, or " + _FRESH, ("value", "name")).set_index("value")["name"]
    names = names.astype(str).str.lower()
    if len(names) == len(_HELEN):
        return "mgpe"
    return {"hair": "bisenet", "neck": "celebamask_hq"}.get(str(names.get(17)))


def _guessed_order(folder: Path, labels: list[str]) -> str:
    """Guess the order: eleven classes are Helen's; with 19 the positions tell, since hair lies above the neck."""
    highest, heights = 0, []
    for path in labels[:: max(1, len(labels) // 40)]:
        try:
            values = read_index_map(folder / path)
        except PhotoError:
            continue  # reported when the picture is prepared
        highest = max(highest, int(values.max()))
        rows = [np.nonzero(values == value)[0] for value in (13, 17)]
        if all(len(row) for row in rows):
            heights.append(rows[0].mean() - rows[1].mean())
    if highest >= len(CELEBAMASK_HQ) or highest == 0:
        raise ValueError(
            f"{folder / Path(labels[0]).parent} holds no class maps (the highest value is {highest}; faces have 11 or "
            "19 classes): rename that folder, or give the folder of pictures alone"
        )
    if heights and np.median(heights) > 0:
        raise ValueError(
            f"the label maps in {folder} seem to be in BiSeNet's order (class 17 lies above class 13): pass "
            "label_order='bisenet', or 'celebamask_hq' if they are not"
        )
    return "mgpe" if highest < len(_HELEN) else "celebamask_hq"


def _lfw(folder: Path, _: str | None) -> Layout | None:
    for base in ("", *(path.name for path in sorted(folder.iterdir()) if path.is_dir() and path.name[0] != ".")):
        # Each person's folder, or all pictures in one.
        near = [path for path in _files(folder, base) if path.removeprefix(base).strip("/").count("/") <= 1]
        named = [path for path in near if _lfw_person(path)]
        if named and len(named) >= 0.9 * sum(Path(path).suffix.lower() in PICTURES for path in near):
            homes = {Path(path).parent for path in named}
            # Lists and the like next to the people's folders were never meant to be pictures.
            kept = [path for path in near if Path(path).parent in homes]
            return Layout("lfw", [Entry(path, _lfw_person(path) or "", face="central") for path in kept], base)
    return None


def _lfw_person(source: str) -> str | None:
    """Return who is shown in First_Last_0001.jpg; a single name counts only in a folder of that name."""
    path = Path(source)
    found = re.fullmatch(r"([^\W\d].*)_\d{4}", path.stem)
    if not found or path.suffix.lower() not in PICTURES:
        return None
    return found[1] if path.parent.name == found[1] or "_" in found[1] else None


def _plain(folder: Path, _: str | None) -> Layout:
    return Layout("plain", [Entry(source) for source in _files(folder)])


READERS: dict[str, Callable[[Path, str | None], Layout | None]] = {
    "celebamask_hq": _celebamask_hq,
    "celeba": _celeba,
    "ffhq": _ffhq,
    "vggface2": _vggface2,
    "helen": _helen,
    "lfw": _lfw,
    "plain": _plain,
}
_EXPECTED = {
    "celeba": "a folder img_align_celeba (or img_celeba), with list_attr_celeba.txt and the other lists near it",
    "celebamask_hq": "CelebA-HQ-img/ and CelebAMask-HQ-mask-anno/, or images/ and labels/ with 19 classes",
    "ffhq": "images1024x1024/00000/00000.png and so on, or its sub-folders of a thousand",
    "vggface2": "train/n000002/0001_01.jpg and so on",
    "helen": "images/, labels/NAME/NAME_lbl00.png and exemplars.txt, or images/ and labels/ with 11 classes",
    "lfw": "First_Last/First_Last_0001.jpg and so on, or these files in one folder",
    "plain": "at least one file",
}


# ---------------------------------------------------------------------------------------------- label maps


def read_labels(folder: Path, entry: Entry, how: str) -> np.ndarray:
    """Read the label map of an entry, uint8 (H, W) in CelebAMask-HQ's order.

    how: "parts" (CelebAMask-HQ's mask for each part), "helen_maps" (Helen's soft map for each class), or the order of a
    single index map: "celebamask_hq", "bisenet", "mgpe". Raises PhotoError for maps that are missing or don't fit.
    """
    if not entry.labels:
        raise PhotoError(
            f"{folder / entry.source} has no label map: add it, or prepare the pictures alone", "no labels"
        )
    if how == "parts":
        return _merge_parts(folder, entry.labels)
    if how == "helen_maps":
        maps = np.stack([read_index_map(folder / path) for path in entry.labels])
        return _numbers(_HELEN)[maps.argmax(0)]
    values = read_index_map(folder / entry.labels[0])
    table = _numbers(_HELEN) if how == "mgpe" else label_table(how, "celebamask_hq").numpy()
    if values.max() >= len(table):
        raise PhotoError(
            f"{folder / entry.labels[0]} holds the value {values.max()}, but the order {how!r} has {len(table)} "
            f"classes (0 to {len(table) - 1}): check which order the file uses",
            "labels",
        )
    return table[values]


def _numbers(names: Iterable[str]) -> np.ndarray:
    return np.array([CELEBAMASK_HQ.index(name) for name in names], np.uint8)


def _merge_parts(folder: Path, paths: tuple[str, ...]) -> np.ndarray:
    merged: Any = None
    for path in paths:
        mask = read_index_map(folder / path) > 0
        merged = np.zeros(mask.shape, np.uint8) if merged is None else merged
        if mask.shape != merged.shape:
            raise PhotoError(
                f"{folder / path} is {mask.shape}, its other parts {merged.shape}: get a fresh copy", "labels"
            )
        merged[mask] = PARTS.index(Path(path).stem.partition("_")[2]) + 1
    return merged


def read_index_map(path: Path) -> np.ndarray:
    """Read a label map stored as class numbers, uint8 (H, W): grey or palette, or grey stored as RGB."""
    try:
        with open_image(path, str(path)) as image:
            values = np.array(image)
    except Exception as error:  # damaged files make Pillow's decoders raise a dozen kinds of exception
        raise PhotoError(f"the label map {path} can't be read ({error}): get a whole copy of it", "labels") from error
    if values.ndim == 3:
        if (values[..., :1] != values[..., :3]).any():
            raise PhotoError(f"{path} is a coloured picture: labels must be class numbers in one channel", "labels")
        values = values[..., 0]
    if values.max(initial=0) > 255:
        raise PhotoError(f"{path} holds the value {values.max()}: labels are class numbers below 256", "labels")
    return values.astype(np.uint8)
