"""Released weights answer as they did when they were recorded: what a refactoring must leave alone.

Where processor and versions are those of the recording, to the last bit; elsewhere to a grey level or two.

    PYTHONPATH=tests python tests/weights/test_answers.py    records the answers of this machine
"""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path

import numpy as np
import official
import pytest
import torch

from swaplib import families, generators, judges, latent, synthetic
from swaplib.weights import FOLDER

REFERENCE = Path(__file__).parents[1] / "fixtures" / "released.json"
FILES = sorted(path.stem for path in FOLDER.glob("*.safetensors") if "study" not in path.stem)


@cache
def faces():
    rendered = synthetic.render_faces(4, seed=7, size=64)
    return rendered[:2], rendered[2:]


def answer(stem: str) -> torch.Tensor:
    """What the network of a released file makes of rendered faces: (N, …)."""
    name = stem.rpartition("_")[0]
    file = FOLDER / f"{stem}.safetensors"
    source, target = faces()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.no_grad():
            torch.manual_seed(0)
            if name in families.NAMES:
                return latent.swap(families.load(name, file=file), source, target)
            if name in generators.NAMES:
                found = generators.load(name, file=file)
                return found(found.sample(2, seed=3) if hasattr(found, "sample") else source.images)
            found = judges.load(name, file=file)(source.images)
            return torch.cat([*found.values()], 1) if isinstance(found, dict) else found
    finally:
        torch.set_num_threads(threads)


def summary(found: torch.Tensor) -> list[float]:
    """Sixteen means of neighbouring numbers of each answer."""
    return [round(float(part.mean()), 5) for row in found.float() for part in row.flatten().chunk(16)]


def digest(found: torch.Tensor) -> str:
    return hashlib.sha256(found.contiguous().numpy().tobytes()).hexdigest()


@pytest.mark.parametrize("stem", FILES)
def test_released_weights_answer_as_recorded(stem):
    recorded = json.loads(REFERENCE.read_text())
    found = answer(stem)
    assert found.isfinite().all()
    np.testing.assert_allclose(summary(found), recorded["answers"][stem]["means"], atol=0.02, rtol=0.02)
    if official.describe_machine() == recorded["machine"]:
        assert digest(found) == recorded["answers"][stem]["sha256"]


def test_all_released_files_are_recorded():
    assert set(json.loads(REFERENCE.read_text())["answers"]) == set(FILES)


if __name__ == "__main__":
    answers = {stem: answer(stem) for stem in FILES}
    table = {stem: {"sha256": digest(found), "means": summary(found)} for stem, found in answers.items()}
    lines = ",\n".join(f"  {json.dumps(stem)}: {json.dumps(row)}" for stem, row in table.items())
    REFERENCE.write_text(f'{{"machine": {json.dumps(official.describe_machine())}, "answers": {{\n{lines}\n}}}}\n')
