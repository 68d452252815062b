"""Strips: sliders whose frames lie in the page."""

from __future__ import annotations

import base64
import io
import json
import re
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from PIL import Image

from swaplib import families, studio
from swaplib.families import Family, Part
from swaplib.studio import Pick, State, Strip

PAIR = State(Pick(number=0), Pick(number=1))


@dataclass(frozen=True)
class _Config:
    size: int = 32


class _Layered(Family):
    """A family with layers, which `layers.group_parts` puts into groups."""

    name = "layered"
    Config = _Config
    swap_parts = ("w00", "w01", "w02", "w03")
    parts = tuple(Part(f"w{k:02}", (3,)) for k in range(6))

    def encode(self, faces):
        return {part.name: faces.images.mean((2, 3)) for part in self.parts}

    def decode(self, codes):
        return sum(codes.values())[..., None, None].expand(-1, 3, 32, 32) / len(codes)


@pytest.fixture(scope="module")
def family() -> Family:
    return families.load("landmarks", "smoke")


def pictures(strip: Strip) -> list[list[np.ndarray]]:
    """The frames that lie in the page, row by row."""
    data = json.loads(re.search(r'<script type="application/json">(.*?)</script>', strip.html)[1])
    rows = [[data["type"] + frame for frame in row] for row in data["frames"]]
    figures = re.findall(r'<figure class="moving">(.*?)</figure>', strip.html)
    for row, figure in zip(rows, figures, strict=True):
        for address, at in re.findall(r'src="(.*?)" data-at="(\d+)"', figure):
            row[int(at)] = address
    files = [[io.BytesIO(base64.b64decode(address.split(",")[1])) for address in row] for row in rows]
    return [[np.asarray(Image.open(file).convert("RGB"), float) for file in row] for row in files]


def test_a_strip_holds_what_the_renderer_draws(family):
    strip = studio.strip(family, ["texture", "shape"], PAIR, steps=5)
    renderer = studio.Renderer(family)
    assert list(strip.frames) == ["texture", "shape"]
    assert strip.values == ["0.00", "0.25", "0.50", "0.75", "1.00"]
    for row, part in zip(pictures(strip), strip.frames, strict=True):
        for k, frame in enumerate(row):
            wanted = renderer.render(State(PAIR.source, PAIR.target, {part: k / 4}))
            assert np.abs(frame - wanted).mean() < 6, (part, k)
    assert list(strip.still) == ["source", "target"]
    assert np.array_equal(strip.still["source"], renderer.face(PAIR.source))


def test_the_page_needs_nothing_else_and_may_stand_twice_in_another(family):
    strip = studio.strip(family, "texture", PAIR, steps=3)
    words = re.sub(r"[A-Za-z0-9+/=]{40,}", "", strip.html)  # without the pictures
    assert not re.search(r"https?:|//\w|\burl\(|@import|\bimport\b|\bfetch\b|\bid=", words)
    assert all(address.startswith("data:image/") for address in re.findall(r'\bsrc="(.*?)"', strip.html))
    assert re.search(r'<label[^>]*>[\w ]+<input type="range"', strip.html)
    assert strip._repr_html_() == strip.html
    assert studio.strip(family, "texture", PAIR, steps=3).html == strip.html, "the same pictures, the same page"


def test_every_picture_is_called_synthetic(family):
    page = studio.strip(family, "texture", PAIR, steps=3).html
    named = re.findall(r'<img[^>]* (?:alt|data-name)="(.*?)"', page)
    assert len(named) == page.count("<img") == 6
    assert all(name.startswith("synthetic picture: ") for name in named)
    assert "Synthetic pictures, made with swaplib" in page


def test_names_are_escaped():
    grey = [np.full((32, 32, 3), level, np.uint8) for level in (0, 255)]
    page = Strip({'<b> & "x"': grey}, ["</script>", "1"], "<i>").html
    assert "<b>" not in page
    assert "<i>" not in page
    assert page.count("</script>") == 2


def test_a_small_page_has_worse_frames_then_smaller_ones_then_none():
    rng = np.random.default_rng(0)
    frames = {"noise": list(rng.integers(0, 256, (11, 128, 128, 3), dtype=np.uint8))}
    values = [str(k) for k in range(11)]
    sizes = []
    for kilobytes in (400, 200, 100, 40):
        strip = Strip(frames, values, "noise", kilobytes=kilobytes)
        assert len(strip.html.encode()) <= 1000 * kilobytes
        sizes.append(pictures(strip)[0][0].shape[0])
    assert sizes[0] == 128
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] < 128
    with pytest.raises(ValueError, match="11 frames don't fit into 5 kB: allow more"):
        Strip(frames, values, "noise", kilobytes=5).html  # noqa: B018
    with pytest.raises(ValueError, match="at most 400"):
        Strip(frames, values, "noise", kilobytes=500)


def test_groups_of_layers_move_together():
    family = _Layered(_Config())
    strip = studio.strip(family, ["coarse", "w00"], PAIR, steps=3)
    renderer = studio.Renderer(family)
    together = State(PAIR.source, PAIR.target, dict.fromkeys(renderer.groups["coarse"], 1.0))
    assert np.array_equal(strip.frames["coarse"][-1], renderer.render(together))
    assert np.array_equal(strip.frames["w00"][-1], renderer.render(State(PAIR.source, PAIR.target, {"w00": 1.0})))


def test_directions_go_to_both_sides():
    family = _Layered(_Config())
    red = {"redder": {"w00": torch.tensor([3.0, 0.0, 0.0])}}
    strip = studio.strip(family, "redder", PAIR, directions=red, reach=0.5, steps=3)
    assert strip.values == ["-0.5", "+0.0", "+0.5"]
    assert strip.start == 1
    low, middle, high = (frame.mean((0, 1)) for frame in strip.frames["redder"])
    assert low[0] < middle[0] < high[0]
    assert low[1] == middle[1] == high[1]
    with pytest.raises(ValueError, match="one strip of parts, one of directions"):
        studio.strip(family, ["redder", "w00"], PAIR, directions=red)


def test_several_families_stand_side_by_side(family):
    target = families.load("target", "smoke")
    strip = studio.strip([family, target], state=PAIR, steps=3)
    assert list(strip.frames) == ["landmarks", "target"]
    swap = studio.Renderer(family).render(State(PAIR.source, PAIR.target, studio.plain_swap(family)))
    assert np.array_equal(strip.frames["landmarks"][-1], swap)
    both = studio.strip([family, family], "texture", PAIR, steps=2)
    assert list(both.frames) == ["landmarks: texture"]


def test_what_a_family_does_not_have_is_told(family):
    with pytest.raises(ValueError, match="landmarks has no slider 'nose': there are texture, mouth, shape, surround"):
        studio.strip(family, "nose")
    with pytest.raises(ValueError, match="two values"):
        studio.strip(family, "texture", steps=1)


@pytest.mark.parametrize("name", families.NAMES)
def test_every_family_has_a_strip(name):
    family = families.start(name, "smoke").eval()
    strip = studio.strip(family, steps=3)
    assert list(strip.frames) == [name]
    assert len(strip.html) < 60_000
    assert name in repr(strip)
