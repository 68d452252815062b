"""Photographs in the studio: what was taken of them, which of their faces, and the whole photograph with a swap."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from skimage import data

from swaplib import families, latent, photos, studio
from swaplib.photos import PhotoError
from swaplib.studio import Pick, State

FIRST = Pick(number=0)
SEEN = Image.fromarray(data.astronaut())


def write(picture: np.ndarray | Image.Image) -> bytes:
    file = io.BytesIO()
    (picture if isinstance(picture, Image.Image) else Image.fromarray(picture)).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def two() -> np.ndarray:
    """A photograph of two faces: on the left a large one, on the right a smaller one, mirrored."""
    large = np.asarray(SEEN.crop((80, 0, 380, 300)))
    small = cv2.resize(large[:, ::-1], (210, 210), interpolation=cv2.INTER_AREA)
    return np.hstack([large, np.pad(small, ((90, 0), (0, 0), (0, 0)), mode="edge")])


@pytest.fixture(scope="module")
def file(two, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("private") / "two.png"
    path.write_bytes(write(two))
    return path


@pytest.fixture(scope="module")
def renderer() -> studio.Renderer:
    return studio.Renderer(families.load("landmarks", "smoke"), 64)


@pytest.fixture
def app(tmp_path) -> studio.Studio:
    return studio.Studio(families.load("landmarks", "smoke"), size=64, folder=tmp_path)


def test_the_crop_is_where_the_face_was_taken(renderer, file, two):
    square = np.array([[-0.5, -0.5], [63.5, -0.5], [63.5, 63.5], [-0.5, 63.5]])
    for k, face in enumerate(photos.detect(two)):
        crop = renderer.crop(Pick("file", path=str(file), face=k))
        assert (crop.shape, crop.faces) == (two.shape[:2], 2)
        assert max(crop.picture.shape) == studio.renderer.THUMBNAIL
        corners = photos.move(square, np.linalg.inv(photos.alignment(face.landmarks, "portrait", 64)))
        low, high = np.minimum(corners.min(0), -0.5), np.maximum(corners.max(0), np.array(two.shape[1::-1]) - 0.5)
        scale = (studio.renderer.THUMBNAIL - 4) / (high - low).max()
        for middle in (corners + np.roll(corners, 1, 0)) / 2:
            x, y = np.rint((middle - low) * scale + 2).astype(int)
            around = crop.picture[max(y - 3, 0) : y + 4, max(x - 3, 0) : x + 4].astype(int).sum(-1)
            assert around[2:-2, 2:-2].max() == 3 * 255, "a white line"
            assert around.min() == 0, "on a black one"
        left, top = np.rint(2 - low * scale).astype(int)
        small = cv2.resize(two, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        shown = crop.picture[top : top + len(small), left : left + small.shape[1]].astype(float)
        assert np.median(np.abs(shown - small[: len(shown), : shown.shape[1]])) <= 1
    assert renderer.crop(FIRST) is None


def test_each_face_of_a_photograph_can_be_picked(renderer, file, two):
    for k in (0, 1):
        pick = Pick("file", path=str(file), face=k)
        wanted = photos.prepare(two, "portrait", 64, face=k)
        assert np.array_equal(renderer.faces(pick).images, wanted.faces.images)
        told = ("the largest", "number 1")[k]
        assert renderer.note(pick).startswith(f"2 faces found, {told} was taken")
    with pytest.raises(PhotoError, match="no face number 2: 2 found, numbered from 0"):
        renderer.face(Pick("file", path=str(file), face=2))


def test_which_face_is_part_of_the_state():
    state = State(FIRST, Pick("file", path="a.png", face=1))
    assert State.from_json(state.to_json()) == state
    assert '"face"' not in State().to_json(), "states without photographs are as they were"
    with pytest.raises(ValueError, match="count from 0, got face -1"):
        Pick("file", face=-1)


def test_the_controls_show_the_crop_and_choose_the_face(app, file, two):
    chooser = app.choosers["target"]
    hidden = [chooser.photograph, chooser.named, chooser.face]
    assert {one.layout.display for one in hidden} == {"none"}
    app.upload("target", "folder/two.png", write(two))
    assert app.last_error is None
    assert {one.layout.display for one in hidden} == {""}
    assert "two.png, 510 × 300 pixels" in chooser.named.value
    assert [text for text, _ in chooser.face.options] == ["0, the largest", "1"]
    assert app.page.told["target-photograph"] == ("target's photograph two.png, with an outline around face 0 of 2")
    first = app.state
    chooser.face.value = 1
    assert app.state == replace(first, target=replace(first.target, face=1))
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(chooser.photograph.value))).shape[:2],
                          app.renderer.crop(app.state.target).picture.shape[:2])  # fmt: skip
    assert "outline around face 1 of 2" in app.page.told["target-photograph"]
    assert "number 1 was taken" in app.status.value
    app.undo()
    assert app.state == first
    assert chooser.face.value == 0
    app.upload("target", "one.png", write(SEEN))
    assert chooser.face.layout.display == "none", "there is nothing to choose"
    chooser.kind.value = "rendered"
    assert {one.layout.display for one in hidden} == {"none"}
    assert "target-photograph" not in app.page.told


def test_another_path_begins_with_the_largest_face(app, file, tmp_path):
    chooser = app.choosers["source"]
    chooser.kind.value = "file"
    chooser.path.value = str(file)
    chooser.face.value = 1
    assert app.state.source == Pick("file", path=str(file), face=1)
    (tmp_path / "one.png").write_bytes(write(SEEN))
    chooser.path.value = str(tmp_path / "one.png")
    assert app.last_error is None
    assert app.state.source == Pick("file", path=str(tmp_path / "one.png"))


def test_a_face_that_is_gone_is_told(app, file, two, tmp_path):
    path = tmp_path / "two.png"
    path.write_bytes(write(two))
    chooser = app.choosers["source"]
    chooser.kind.value = "file"
    chooser.path.value = str(path)
    before = app.state
    path.write_bytes(write(SEEN))
    chooser.face.value = 1
    assert "there is no face number 1: 1 found" in app.status.value
    assert app.state == before


@pytest.mark.parametrize("name", ["landmarks", "e4s"])
def test_the_photograph_is_the_target_with_the_swap_in_its_place(name, file, two, tmp_path):
    family = families.load(name, "smoke")
    app = studio.Studio(family, folder=tmp_path)
    app.state = State(Pick("file", path=str(file)), Pick("file", path=str(file), face=1), studio.plain_swap(family))
    assert app.last_error is None
    found = app.renderer.photograph(app.state)
    wanted, _ = latent.swap_photographs(family, file, file, source_face=0, target_face=1)
    assert np.array_equal(found, wanted)
    assert np.array_equal(found[:, :300], two[:, :300]), "the other face is left alone"
    assert not np.array_equal(found, two)
    clear = Image.fromarray(two).convert("RGBA")
    clear.putpixel((0, 0), (9, 9, 9, 0))
    app.upload("target", "clear.png", write(clear))
    assert app.renderer.photograph(app.state)[0, 0, 3] == 0


def test_a_saved_photograph_says_what_it_is(app, file, two, tmp_path):
    app._save(app.save_photograph)
    assert "the target is no photograph: choose one as the target first" in app.status.value
    app.state = replace(app.state, target=Pick("file", path=str(file), face=1))
    app.name.value = "../mine"
    app._save(app.save_photograph)
    assert app.last_error is None
    with Image.open(tmp_path / "mine-photograph.png") as image:
        image.load()
        assert image.size == (510, 300)
        assert np.array_equal(np.asarray(image), app.renderer.photograph(app.state))
        assert "compositeSynthetic" in image.text["XML:com.adobe.xmp"]
        told = image.text["Description"]
    assert told.startswith("Synthetic picture")
    assert '"path": "two.png"' in told
    assert "private" not in told, "no path of this machine"


def test_pictures_that_are_dropped_or_pasted_are_uploads(app, monkeypatch):
    content = write(SEEN)
    message = {"do": "take", "role": "source", "name": "image.png", "size": len(content)}
    app.page._received(app.page, message, [content])
    assert app.last_error is None
    assert (app.state.source.kind, app.state.source.path) == ("upload", "image.png")
    kept = app.state
    app.page._received(app.page, message | {"size": app.page.most + 1}, [])
    assert "image.png is larger than 128 MB: save a smaller copy and upload that" in app.status.value
    app.page._received(app.page, message | {"name": "text.txt"}, [b"words"])
    assert "text.txt can't be read as a picture" in app.status.value
    assert app.state == kept
    assert not app.page.opened


def test_the_painter_takes_its_faces_the_same_way(two, tmp_path):
    app = studio.Painter(0, families.load("mask_guided", "smoke"), folder=tmp_path)
    app.page._received(app.page, {"do": "take", "role": "face", "name": "two.png", "size": 1}, [write(two)])
    assert app.last_error is None
    assert app.choosers["face"].face.layout.display == ""
    app.choosers["face"].face.value = 1
    assert app.last_error is None
    assert app.state.face.face == 1
    assert "face 1 of 2" in app.page.told["face-photograph"]
    assert '"face": 1' in app.renderer.story(app.state)
