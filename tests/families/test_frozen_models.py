"""Frozen models are handed in: what is built follows from its arguments, and what is loaded is shared and checked."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from copy import deepcopy

import drawn
import pytest
import torch

from swaplib import families, generators, judges, weights
from swaplib.weights import released

CARD = weights.Card("d", 1, 1, 1.0, "h", "c", "l")


@pytest.fixture
def other_weights(tmp_path, monkeypatch):
    """A folder with other weights of all frozen models, which SWAPLIB_WEIGHTS lists."""
    for registry in (judges.ALL, generators.ALL):
        for name in registry.trained:
            weights.save(registry.build(name, "smoke", seed=5), tmp_path / f"{name}_smoke.safetensors", CARD)
    monkeypatch.setenv("SWAPLIB_WEIGHTS", str(tmp_path))
    return tmp_path


def tensors(model) -> dict[str, torch.Tensor]:
    """All tensors of a model and of its frozen models."""
    found = {f"own.{name}": value for name, value in model.state_dict().items()}
    for keyword in model.frozen_models(model.config):
        if keyword in model.frozen:
            found |= {f"{keyword}.{name}": value for name, value in model.frozen[keyword].state_dict().items()}
    return found


@pytest.mark.parametrize("name", [*families.NAMES, *generators.NAMES])
def test_what_is_built_depends_on_no_file(name, tmp_path, monkeypatch, request):
    registry = families.ALL if name in families.NAMES else generators.ALL
    before = tensors(registry.build(name, "smoke", 0))
    folder = request.getfixturevalue("other_weights")
    assert list(folder.glob("*.safetensors"))
    after = tensors(registry.build(name, "smoke", 0))
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_a_start_takes_the_weights_that_are_found(other_weights):
    family = families.start("smooth_swap", "smoke")
    own = judges.load("identity", file=other_weights / "identity_smoke.safetensors")
    assert torch.equal(family.embedder.trunk.conv1.weight, own.trunk.conv1.weight)
    assert family.embedder.trained
    assert not families.build("smooth_swap", "smoke").embedder.trained


def test_an_earlier_file_is_found_beside_its_successor(other_weights):
    """A system goes on with the judge that it was trained with, when there is a better one for others."""
    family = families.start("smooth_swap", "smoke")
    weights.save(family, other_weights / "smooth_swap_smoke.safetensors", CARD)
    old, known = other_weights / "identity_smoke.safetensors", family.embedder.sha256
    old.rename(other_weights / f"identity_smoke-{known[:8]}.safetensors")
    weights.save(judges.build("identity", "smoke", seed=6), old, CARD)
    loaded = families.load("smooth_swap", file=other_weights / "smooth_swap_smoke.safetensors")
    assert loaded.embedder.sha256 == known
    assert families.start("smooth_swap", "smoke").embedder.sha256 == weights.file_sha256(old) != known
    (other_weights / f"identity_smoke-{known[:8]}.safetensors").unlink()
    with pytest.raises(ValueError, match="and no other, which is not found"):
        families.load("smooth_swap", file=other_weights / "smooth_swap_smoke.safetensors")


def test_frozen_models_are_shared_and_read_once(monkeypatch):
    for registry in (judges.ALL, generators.ALL, families.ALL):
        monkeypatch.setattr(registry, "_shared", {})
    read: Counter[str] = Counter()
    plain = released.read_safetensors

    def counted(path, shapes):
        read[path.name] += 1
        return plain(path, shapes)

    monkeypatch.setattr(released, "read_safetensors", counted)
    swap, mixer, regional = (families.load(name, "smoke") for name in ("smooth_swap", "latent_swap", "e4s"))
    masked = families.load("mask_guided", "smoke")
    assert swap.embedder is mixer.embedder is regional.embedder is judges.frozen("identity", "smoke")
    assert mixer.generator is generators.frozen("stylegan2", "smoke")
    assert regional.parser is masked.parser
    assert set(read.values()) == {1}, read


def test_frozen_models_belong_to_nobody():
    family = families.load("smooth_swap", "smoke")
    embedder = family.embedder
    assert not any(name.startswith("embedder") for name in family.state_dict())
    assert {id(one) for one in embedder.parameters()}.isdisjoint(id(one) for one in family.parameters())
    assert deepcopy(family).embedder is embedder
    moved = deepcopy(family).double()  # as a move to another device would: with a copy of its own
    assert moved.embedder is not embedder
    assert next(moved.embedder.parameters()).dtype == torch.float64
    assert next(embedder.parameters()).dtype == torch.float32
    assert family.eval().embedder is family.to("cpu").embedder is embedder
    assert family.train().embedder.training is False


def test_another_frozen_model_is_refused_and_the_right_one_is_found(other_weights, tmp_path):
    """The released weights name theirs by SHA-256: it is found behind one's own of the same name."""
    family = families.load("smooth_swap", "smoke")
    assert family.embedder.sha256 == weights.file_sha256(weights.FOLDER / "identity_smoke.safetensors")
    file = weights.FOLDER / "smooth_swap_smoke.safetensors"
    with pytest.raises(ValueError, match=r"was trained with another embedder \(SHA-256 \w+…\) than this smooth_swap"):
        weights.load(families.start("smooth_swap", "smoke"), file)


def test_a_frozen_model_that_is_gone_is_named(other_weights, tmp_path):
    taught = families.start("smooth_swap", "smoke")
    file = weights.save(taught, tmp_path / "elsewhere" / "taught.safetensors", CARD)
    assert weights.read_card(file)["frozen"]["embedder"]["file"] == "identity_smoke.safetensors"
    families.load("smooth_swap", file=file)
    (other_weights / "identity_smoke.safetensors").unlink()
    with pytest.raises(ValueError, match=r"works with the identity_smoke.safetensors of SHA-256 .* which is not found"):
        families.load("smooth_swap", file=file)


def test_released_cards_name_their_frozen_models():
    for path in weights.FOLDER.glob("*.safetensors"):
        for keyword, sha256 in weights.read_frozen(path).items():
            known = weights.read_card(path)["frozen"][keyword]
            name, _, preset = known["file"].removesuffix(".safetensors").rpartition("_")
            found = weights.find_released(name, preset, sha256)
            assert known["sha256"] == sha256 == weights.file_sha256(found), path.name


def test_a_frozen_model_may_be_replaced():
    family = families.load("e4s", "smoke")
    other = judges.build("parser", "smoke", seed=3).freeze()
    family.parser = other
    assert family.parser is other
    assert not any(name.startswith("parser") for name in family.state_dict())
    assert judges.frozen("parser", "smoke") is not other
    family.encode(drawn.faces(2, family.config.size))


def test_training_starts_without_pandas_and_the_renderer():
    code = (
        "import sys, swaplib.training.loop; names = ('pandas', 'swaplib.synthetic', 'swaplib.data', 'swaplib.photos');"
        "print([name for name in names if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
