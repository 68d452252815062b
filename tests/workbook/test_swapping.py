"""swapping.py: systems are put together from the inside out; swaps of files leave the caller's random numbers alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.data import astronaut

from swaplib import families, judges, latent, weights
from swaplib.workbook import swapping


def test_a_system_is_driven_first_and_stitched_last():
    system = swapping.load_system("landmarks", drive="landmarks", stitch=True)
    assert isinstance(system, latent.Stitched)
    assert isinstance(system.family, latent.Driven)
    assert system.family.reenactor.name == "landmarks"
    for drive in (None, "identity"):
        assert type(swapping.load_system("landmarks", drive=drive)) is families.kind("landmarks")
    with pytest.raises(ValueError, match="unknown reenactor 'strings'"):
        swapping.load_system("landmarks", drive="strings")


def test_regions_of_photographs_are_found_by_the_parser_that_knows_them(tmp_path):
    """Beside the demo's families; another preset's parser is of its own size."""
    with weights.searching(tmp_path):
        small = judges.load("parser", "smoke")
        weights.save(small, tmp_path / "parser_photo.safetensors", weights.Card("d", 1, 1, 1.0, "h", "c", "l"))
        found = {preset: swapping.load_system("mask_guided", preset).parser for preset in ("demo", "smoke")}
    assert torch.equal(found["demo"].last.weight, small.last.weight)
    assert found["smoke"] is families.load("mask_guided", "smoke").parser


def test_a_folder_of_photographs_is_swapped_without_a_trace_in_random_numbers(tmp_path):
    photo = astronaut()[:300, 60:360]
    folder, out = tmp_path / "photos", tmp_path / "out"
    folder.mkdir()
    for name in ("a.jpg", "a.bmp"):
        Image.fromarray(photo).save(folder / name)
    state = torch.get_rng_state()
    report = swapping.swap_folder(families.build("landmarks"), photo[..., ::-1], folder, out)
    assert torch.equal(torch.get_rng_state(), state)
    assert report == (out, 2, 0, 0)
    assert report.tell().startswith("2 of 2 swapped into ")
    assert sorted(path.name for path in out.iterdir()) == ["a.jpg", "a.png"]
    assert np.asarray(Image.open(out / "a.png")).shape == photo.shape
