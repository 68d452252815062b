"""The sets that the second edition's networks learn from: any machine renders them again.

Recorded are the first 256 faces of each set (its command stands in studies/training/README.md): a digest of the 8-bit
picture and the label map, and both at 8 x 8 pixels. Where processor and versions are those of the recording, all is
the same to the last bit; elsewhere a grey level may be off.

    PYTHONPATH=tests python tests/synthetic/test_sets.py [FOLDER]    records the sets

FOLDER holds prepared sets under their names; those that aren't there are rendered.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import numpy as np
import official
import pytest
from PIL import Image

from swaplib import data, synthetic
from swaplib.faces import Faces, to_uint8

FOLDER = official.FOLDER / "sets"
RECORDED = FOLDER / "digests.json"
SETS = {
    "calm2": {"seed": 20},
    "wild2": {"seed": 21, "world": "wild"},
    "kin2": {"seed": 22, "shots": 4, "relatives": 4},
    "kinw2": {"seed": 23, "world": "wild", "shots": 4, "relatives": 4},
    "grid2": {"seed": 24, "shots": 4, "relatives": 2, "crossed": 4},
}
COUNT, EDGE = 256, 8  # faces of a set; pixels of a thumbnail
TRIED = range(0, COUNT, 17)  # every shot of a person, and every person of a group, is among them


def render(name: str, start: int, count: int = 1) -> Faces:
    return synthetic.render_faces(count, start=start, size=128, keep=False, **SETS[name])


def digest(faces: Faces) -> str:
    """Sixteen hexadecimal digits for one face."""
    return hashlib.sha256(to_uint8(faces.images[0]).tobytes() + faces.labels[0].numpy().tobytes()).hexdigest()[:16]


def shrink(faces: Faces) -> tuple[np.ndarray, np.ndarray]:
    """A face's thumbnail, (8, 8, 3), and every sixteenth of its labels, (8, 8)."""
    step = faces.size[0] // EDGE
    blocks = to_uint8(faces.images[0]).reshape(EDGE, step, EDGE, step, 3).mean((1, 3))
    return blocks.round().astype(np.uint8), faces.labels[0].numpy()[step // 2 :: step, step // 2 :: step]


def read_sheet(file: str) -> np.ndarray:
    """A sheet's thumbnails, (256, 8, 8, …)."""
    sheet = np.asarray(Image.open(FOLDER / file))
    rows = sheet.reshape(COUNT // 16, EDGE, 16, EDGE, *sheet.shape[2:])
    return rows.swapaxes(1, 2).reshape(COUNT, EDGE, EDGE, *sheet.shape[2:])


def save_sheet(file: str, thumbnails: np.ndarray) -> None:
    rows = thumbnails.reshape(COUNT // 16, 16, EDGE, EDGE, *thumbnails.shape[3:]).swapaxes(1, 2)
    Image.fromarray(rows.reshape(16 * EDGE, 16 * EDGE, *thumbnails.shape[3:])).save(FOLDER / file, optimize=True)


@pytest.mark.parametrize("name", SETS)
def test_a_set_is_rendered_again(name):
    recorded = json.loads(RECORDED.read_text())
    faces = [render(name, k) for k in TRIED]
    if official.describe_machine() == recorded["machine"]:
        assert [digest(face) for face in faces] == [recorded[name][k] for k in TRIED]
    pictures, labels = (np.stack(kind) for kind in zip(*map(shrink, faces), strict=True))
    wanted, regions = (read_sheet(f"{name}{kind}.png")[list(TRIED)] for kind in ("", "_labels"))
    assert np.abs(pictures.astype(int) - wanted).max() <= 1
    assert (labels == regions).mean() > 0.999


def test_the_commands_are_those_of_the_trainings():
    table = (Path(__file__).parents[2] / "studies/training/README.md").read_text(encoding="utf-8")
    for name, options in SETS.items():
        (command,) = (line for line in table.splitlines() if line.startswith(f"| {name} |"))
        assert all(f"--{option} {value}" in command for option, value in options.items())
        assert command.count("--") == len(options) + 1, "and the count"


def record(folder: Path | None) -> None:
    """Write the digests and the sheets of all sets."""
    FOLDER.mkdir(exist_ok=True)
    found = {"machine": official.describe_machine()}
    for name in SETS:
        prepared = folder is not None and (folder / name).is_dir()
        first = data.open(folder / name)[:COUNT] if prepared else render(name, 0, COUNT)
        faces = [first[[k]] for k in range(COUNT)]
        found[name] = [digest(face) for face in faces]
        for kind, thumbnails in zip(("", "_labels"), zip(*map(shrink, faces), strict=True), strict=True):
            save_sheet(f"{name}{kind}.png", np.stack(thumbnails))
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(value)}" for name, value in found.items())
    RECORDED.write_text(f"{{\n{lines}\n}}\n", encoding="utf-8")


if __name__ == "__main__":
    record(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
