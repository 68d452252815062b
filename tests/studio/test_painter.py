"""The painter without a browser: pure rendering, references, the board's messages, the methods, saving."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import os
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path

import ipywidgets as widgets
import numpy as np
import pytest
import regional
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from skimage import data

from swaplib import families, studio, synthetic
from swaplib.faces import CELEBAMASK_HQ, E4S, to_uint8
from swaplib.families import Part
from swaplib.photos import PhotoError
from swaplib.studio import Painter, Painting, Pick, Reference, masks
from swaplib.studio.masks import Edit
from swaplib.studio.painted import mask_part, texture_part
from swaplib.studio.painter import runs

FIRST, SECOND = Pick(number=0), Pick(number=1)
FOLDER = Path(studio.__file__).parent
TRIANGLE = [(8, 8), (30, 10), (12, 30)]
HAT = Edit("paint", {"region": "hat", "polygon": TRIANGLE})
STROKE = {"do": "stroke", "region": "nose", "points": [[20, 20], [40, 44.5]], "width": 6}


@pytest.fixture(scope="module")
def family() -> regional.Regional:
    return regional.Regional()


@pytest.fixture(scope="module")
def renderer(family) -> studio.PaintRenderer:
    return studio.PaintRenderer(family)


@pytest.fixture
def app(family, tmp_path) -> Painter:
    return Painter(0, family, folder=tmp_path)


def shown(app: Painter) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(app.images["picture"].value)))


def say(app: Painter, **content) -> None:
    """A message as the board sends it."""
    app.board._handle_custom_msg(content, [])


def walk(widget: widgets.Widget):
    yield widget
    for child in getattr(widget, "children", ()):
        yield from walk(child)


# ---------------------------------------------------------------------------------------------- the state

_picks = st.builds(Pick, st.just("rendered"), st.integers(0, 9), st.integers(0, 99))
_edits = st.sampled_from([HAT, Edit.from_record(STROKE), Edit("grow", {"region": "nose"})])


@settings(max_examples=30)
@given(st.builds(Painting, _picks, st.lists(_edits).map(tuple),
                 st.dictionaries(st.sampled_from(E4S), st.builds(Reference, _picks, st.floats(0, 1)))))  # fmt: skip
def test_a_painting_survives_json(painted):
    assert Painting.from_json(painted.to_json()) == painted


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no saved painting"),
        ("[]", "no saved painting"),
        ("{}", "no saved painting"),
        ('{"face": {}, "edits": 3, "references": {}}', "no saved painting"),
        ('{"face": {}, "edits": [], "references": {}, "colour": 1}', "no saved painting"),
        ('{"face": {}, "edits": [], "references": {"hair": {"face": {}, "strength": 2}}}', "between 0 and 1, got 2"),
        ('{"face": {}, "edits": [{"do": "smudge"}], "references": {}}', "unknown edit 'smudge'"),
        ('{"face": {"kind": "drawn"}, "edits": [], "references": {}}', "unknown kind of face"),
    ],
)
def test_what_is_no_painting_is_told_so(text, message):
    with pytest.raises(ValueError, match=message):
        Painting.from_json(text)


# ---------------------------------------------------------------------------------------------- the renderer


def test_the_mask_is_found_by_its_geometry(family):
    assert mask_part(family) == Part("mask", (64, 64), "labels", "e4s")
    with pytest.raises(ValueError, match="landmarks keeps no mask among its parts"):
        studio.PaintRenderer(families.load("landmarks", "smoke"))


def test_regions_find_their_part(family):
    found = {region: texture_part(family, region) for region in CELEBAMASK_HQ}
    assert (found["nose"], found["upper_lip"], found["left_brow"], found["neck"]) == ("nose", "lip", "eyebrows", "neck")
    assert found["hat"] == "background", "E4S has no hats: they are background there"
    family = families.load("landmarks", "smoke")
    assert texture_part(family, "nose") is None
    with pytest.raises(ValueError, match="unknown region 'eye'"):
        texture_part(family, "eye")


def test_a_region_finds_its_part_also_where_left_is_the_pictures():
    found = {region: texture_part(families.load("mask_guided", "smoke"), region) for region in CELEBAMASK_HQ}
    assert (found["left_eye"], found["right_eye"]) == ("right_eye", "left_eye"), "its parts are named after the picture"
    assert (found["left_brow"], found["nose"], found["lower_lip"]) == ("skin", "skin", "mouth")
    assert (found["hair"], found["cloth"]) == ("hair", "background")
    local, whole = (families.start("mask_guided", config) for config in (
        families.config("mask_guided", "smoke"), families.config("mask_guided", "smoke").setting(1)))  # fmt: skip
    assert {texture_part(whole, part) for part in ("nose", "hair", "left_eye")} == {"face"}
    covered = [region for part in local.parts for region in part.regions]
    assert sorted(covered) == sorted(CELEBAMASK_HQ), "each region has one part"


def test_only_what_was_painted_changes(renderer):
    before, after = (renderer.render(Painting(FIRST, edits)) for edits in ((), (HAT,)))
    mask = renderer.mask(Painting(FIRST, (HAT,)))
    changed = mask != renderer.first_mask(FIRST)
    assert changed.any()
    assert np.array_equal(before[~changed], after[~changed])
    assert np.array_equal(mask, HAT.apply(renderer.first_mask(FIRST)))
    background = renderer.faces.encode(FIRST)["background"][0]
    assert np.array_equal(after[20, 14], to_uint8(background[:, None, None])[0, 0])


def test_rendering_is_pure_and_encodes_once(family, monkeypatch):
    calls = []
    encode = family.encode
    monkeypatch.setattr(family, "encode", lambda faces: calls.append(1) or encode(faces), raising=False)
    one, other = studio.PaintRenderer(family), studio.PaintRenderer(family)
    edits = (HAT, Edit.from_record(STROKE), Edit("move", {"region": "nose", "dx": 4, "dy": -3}))
    step_by_step = [one.render(Painting(FIRST, edits[:k])) for k in range(4)]
    assert len(calls) == 1
    for k in (3, 1, 0, 2):
        assert np.array_equal(one.render(Painting(FIRST, edits[:k])), step_by_step[k])
        assert np.array_equal(studio.PaintRenderer(family).render(Painting(FIRST, edits[:k])), step_by_step[k])
    assert np.array_equal(other.mask(Painting(FIRST, edits)), masks.replay(one.first_mask(FIRST), edits))
    assert not np.array_equal(one.render(Painting(SECOND, edits)), step_by_step[3])


def test_a_reference_lends_its_texture_and_no_shape(family, renderer):
    ours, theirs = (renderer.faces.encode(pick)["hair"][0] for pick in (FIRST, SECOND))
    hair = renderer.first_mask(FIRST) == CELEBAMASK_HQ.index("hair")
    before = renderer.render(Painting(FIRST))
    for strength in (0.0, 0.5, 1.0):
        picture = renderer.render(Painting(FIRST, (), {"hair": Reference(SECOND, strength)}))
        wanted = to_uint8(torch.lerp(ours, theirs, strength)[:, None, None])[0, 0]
        assert (picture[hair] == wanted).all()
        assert np.array_equal(picture[~hair], before[~hair])
    with pytest.raises(ValueError, match="no part 'mask' to take from a reference: there are background, lip"):
        renderer.render(Painting(FIRST, (), {"mask": Reference(SECOND)}))


# ---------------------------------------------------------------------------------------------- the methods


def test_methods_change_mask_and_picture(app):
    before, picture = app.mask, app.images["picture"].value
    assert app.paint("hat", TRIANGLE).stroke("nose", [(20, 20)], 8).grow("nose") is app
    assert [edit.do for edit in app.edits] == ["paint", "stroke", "grow"]
    assert app.state.edits == app.edits
    assert np.array_equal(app.mask, masks.replay(before, app.edits))
    assert app.images["picture"].value != picture
    assert np.abs(shown(app)[::6, ::6].astype(float)[1:-1, 1:-1] - app.picture()[1:-1, 1:-1]).mean() < 12
    assert app.last_error is None
    assert "3 edits of the mask" in app.status.value
    last = app.mask
    app.undo().undo()
    assert np.array_equal(app.mask, HAT.apply(before))
    assert "1 edit of the mask" in app.status.value
    assert np.array_equal(app.redo().redo().mask, last)
    assert np.array_equal(app.reset().mask, before)
    assert app.images["picture"].value == picture
    app.fill("hair", (1, 1)).move("nose", 1, 1).shrink("nose").put(before)
    assert np.array_equal(app.mask, before)
    assert app.pick((1, 1)) == CELEBAMASK_HQ[before[1, 1]] == app.board.region


def test_what_a_method_cant_do_it_says_and_nothing_changes(app):
    app.grow("nose")
    mask, state = app.mask, app.state
    with pytest.raises(ValueError, match="unknown region 'beard'"):
        app.paint("beard", TRIANGLE)
    with pytest.raises(ValueError, match="unknown region 'mask'"):
        app.reference("mask", 3)
    with pytest.raises(PhotoError, match=r"there is no file nowhere\.jpg"):
        app.reference("hair", "nowhere.jpg")
    with pytest.raises(ValueError, match="between 0 and 1"):
        app.reference("hair", 3, 1.5)
    with pytest.raises(PhotoError, match=r"there is no file nowhere\.jpg"):
        app.state = replace(state, face=Pick("file", path="nowhere.jpg"))
    with pytest.raises(PhotoError, match=r"there is no file nowhere\.jpg"):
        app.state = replace(state, references={"hair": Reference(Pick("file", path="nowhere.jpg"))})
    assert app.mask is mask
    assert app.state == state


def test_a_region_without_a_part_takes_no_reference(app, monkeypatch):
    monkeypatch.setattr(app.family, "parts", app.family.parts[:2] + app.family.parts[-1:])
    monkeypatch.setattr(app.renderer, "textures", ["background", "lip"])
    with pytest.raises(ValueError, match="regional has no part for nose: its parts are background, lip"):
        app.reference("nose", 3)
    assert app.reference("upper_lip", 3).state.references == {"lip": Reference(Pick(number=3))}


def test_references(app):
    before = app.images["picture"].value
    app.reference("upper_lip", 3, 0.25).reference("hair", SECOND)
    assert app.state.references == {"lip": Reference(Pick(number=3), 0.25), "hair": Reference(SECOND, 1.0)}
    assert "lip 25 %, hair 100 %" in app.told.value
    assert app.images["picture"].value != before
    assert app.strength.value == 1
    app.board.region = "lower_lip"
    assert app.strength.value == 0.25
    assert app.choosers["reference"].number.value == 3
    assert app.images["reference"].layout.visibility == "visible"
    app.reference("lip", None)
    assert list(app.state.references) == ["hair"]
    assert app.images["reference"].layout.visibility == "hidden"
    app.strength.value = 0.5
    assert app.state.references["lip"].strength == 0.5
    app.choosers["reference"].number.value = 9
    assert app.state.references["lip"] == Reference(Pick(number=9), 0.5)
    app.strength.value = 0
    assert list(app.state.references) == ["hair"]
    assert app.last_error is None


def test_faces_of_a_record_can_be_painted(family, tmp_path):
    faces = synthetic.render_faces(2, size=64)
    given = Painter(faces[1], family, folder=tmp_path)
    assert np.array_equal(given.mask, faces.labels[1].numpy())
    assert np.array_equal(given.picture(), Painter(1, family).picture())
    given.reference("hair", faces[0])
    assert np.array_equal(given.picture(), Painter(1, family).reference("hair", 0).picture())
    with pytest.raises(ValueError, match="2 faces given: give one"):
        Painter(faces, family)
    with pytest.raises(PhotoError, match="the given face is not in this session"):
        Painter(0, family).state = given.state


# ---------------------------------------------------------------------------------------------- the board


def decoded(board) -> np.ndarray:
    sent = np.frombuffer(board.mask, "<u4")
    return np.repeat((sent & 255).astype(np.uint8), sent >> 8).reshape(board.shape)


@settings(max_examples=20)
@given(st.integers(0, 99), st.integers(1, 9))
def test_masks_are_sent_as_runs(seed, cell):
    mask = np.random.default_rng(seed).integers(0, 19, (7, 5), np.uint8).repeat(cell, 1)
    sent = np.frombuffer(runs(mask), "<u4")
    assert np.array_equal(np.repeat((sent & 255).astype(np.uint8), sent >> 8), mask.ravel())
    assert len(sent) <= 35


def test_a_stroke_of_the_board_reaches_mask_and_picture(app):
    before, picture = app.mask, app.images["picture"].value
    assert np.array_equal(decoded(app.board), before)
    assert not app.board.can_undo
    say(app, edit=STROKE, id=1)
    assert app.last_error is None
    assert np.array_equal(app.mask, masks.stroke(before, "nose", STROKE["points"], 6))
    assert np.array_equal(decoded(app.board), app.mask)
    assert app.board.seen == 1
    assert app.board.can_undo
    assert app.images["picture"].value != picture
    say(app, do="undo", id=2)
    assert np.array_equal(decoded(app.board), before)
    assert (app.board.can_undo, app.board.can_redo, app.board.seen) == (False, True, 2)
    assert app.images["picture"].value == picture
    say(app, do="redo", id=3)
    say(app, edit={"do": "move", "region": "nose", "dx": 1, "dy": 0}, id=4)
    say(app, do="reset", id=5)
    assert np.array_equal(app.mask, before)
    assert app.state.edits == ()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"edit": {"do": "grow", "region": "hat", "by": 1}}, "no hat to grow"),
        ({"edit": {"do": "stroke", "region": "nose"}}, "missing a required argument"),
        ({"edit": STROKE | {"width": float("inf")}}, "width must be a number"),
        ({"edit": 3}, "3 is no edit"),
        ({"do": "_repr_mimebundle_"}, "which is no edit"),
    ],
)
def test_a_bad_message_is_answered_and_told(app, content, message):
    mask = app.mask
    say(app, id=7, **content)
    assert message in str(app.last_error)
    assert "swaplib-wrong" in app.status.value
    assert app.mask is mask
    assert app.board.seen == 7, "the board takes back what it drew"
    say(app, edit=STROKE, id=8)
    assert app.last_error is None


@pytest.mark.parametrize(
    "content", [{"do": "undo", "id": "x"}, {"do": "undo", "id": -1}, {"do": "undo", "id": True}, [], "undo", None]
)
def test_a_message_without_a_number_keeps_the_boards_own(app, content):
    say(app, do="reset", id=5)
    app._received(app.board, content, [])
    assert app.board.seen == 5


def test_an_error_of_the_family_is_told(app, monkeypatch):
    monkeypatch.setattr(app.family, "decode", lambda codes: 1 / 0, raising=False)
    say(app, edit=STROKE, id=1)
    assert isinstance(app.last_error, ZeroDivisionError)
    assert "division by zero" in app.status.value
    assert len(app.edits) == 1, "the mask is painted all the same"
    monkeypatch.undo()
    say(app, do="undo", id=2)
    assert app.last_error is None


def test_a_slow_family_draws_once_after_several_strokes(app):
    for _ in range(5):
        app.pacing.note(app.pacing.size, 5.0)
    drawn = []
    render = app.renderer.render
    app.renderer.render = lambda state: drawn.append(len(state.edits)) or render(state)

    async def paint():
        for k in range(3):
            say(app, edit=STROKE, id=k)
            assert "drawing" in app.status.value
        assert drawn == []
        await asyncio.sleep(0.6)

    asyncio.run(paint())
    assert drawn == [3]
    assert "3 edits" in app.status.value


def test_the_board_ships_whole_and_asks_no_network():
    for text in ((FOLDER / name).read_text() for name in ("painter.js", "painter.css")):
        assert not any(word in text for word in ("http", "fetch(", "@import", "import(", "url("))
    patterns = (FOLDER.parent.parent / "pyproject.toml").read_text().split("package-data]")[1].split("\n")[1]
    for name in ("studio/painter.js", "studio/painter.css"):
        assert any(fnmatch(name, pattern) for pattern in patterns.split('"')), name


# ---------------------------------------------------------------------------------------------- the controls


def press(app: Painter, start: str) -> None:
    """Click the button whose text or tooltip starts so."""
    found = [w for w in walk(app.box) if isinstance(w, widgets.Button)
             and start in (w.description, (w.tooltip or "")[: len(start)])]  # fmt: skip
    assert len(found) == 1, start
    found[0].click()


def test_every_control_has_a_label(app):
    controls = [w for w in walk(app.box) if isinstance(w, (widgets.ValueWidget, widgets.Button))]
    controls = [w for w in controls if not isinstance(w, (widgets.Image, widgets.HTML))]
    assert len(controls) > 20
    for control in controls:
        assert control.description.strip(), control
        assert control.tabbable is not False


def test_another_face_brings_its_own_mask(app):
    app.grow("nose")
    app.reference("hair", 5)
    app.choosers["face"].number.value = 4
    assert app.last_error is None
    assert app.state.face == Pick(number=4)
    assert app.edits == ()
    assert list(app.state.references) == ["hair"]
    assert np.array_equal(decoded(app.board), app.renderer.first_mask(Pick(number=4)))
    press(app, "reset everything")
    assert app.state == Painting(FIRST)


def test_a_photograph_that_the_family_cant_take_is_told(app):
    buffer = io.BytesIO()
    Image.fromarray(data.astronaut()).save(buffer, "PNG")
    kept = app.state
    for role in ("face", "reference"):
        app._uploaded(role, "a.png", buffer.getvalue())
        assert "regional needs faces.labels" in app.status.value
        assert app.state == kept
    app._uploaded("face", "b.png", b"nothing")
    assert "b.png can't be read" in app.status.value


# ---------------------------------------------------------------------------------------------- saving


def test_saving_and_restoring(app, tmp_path):
    app.paint("hat", TRIANGLE).reference("hair", 3, 0.5)
    saved, mask = app.state, app.mask
    press(app, "save state")
    press(app, "reset everything")
    assert app.state == Painting(FIRST)
    app.saved.value = "painting"
    press(app, "restore")
    assert app.last_error is None
    assert app.state == saved
    assert np.array_equal(app.mask, mask)
    assert np.array_equal(decoded(app.board), mask)
    bad = json.loads(saved.to_json()) | {"references": {"mask": {"face": {}, "strength": 1}}}
    (tmp_path / "painting.json").write_text(json.dumps(bad))
    press(app, "restore")
    assert "no part 'mask'" in app.status.value
    assert app.state == saved


def test_saved_pictures_say_what_they_are(app, tmp_path):
    app.paint("hat", TRIANGLE).reference("hair", 3, 0.5)
    app.name.value = "../mine"
    press(app, "save picture")
    with Image.open(tmp_path / "mine.png") as image:
        image.load()
        assert np.array_equal(np.asarray(image), app.picture())
        assert "algorithmicMedia" in image.text["XML:com.adobe.xmp"]
        text = image.text["Description"]
    assert text.startswith("Synthetic picture")
    told = json.loads(text[text.index("{") :])
    assert told["regions"] == ["hat"]
    assert told["face"]["number"] == 0
    assert told["references"]["hair"][1] == 0.5


def test_masks_go_out_and_come_back(app, tmp_path):
    first = app.mask
    app.paint("hat", TRIANGLE)
    painted = app.mask
    press(app, "save mask")
    path = tmp_path / "painting-mask.png"
    assert np.array_equal(masks.load(path), painted)
    app.reset()
    app.mask_file.value = str(path)
    press(app, "load mask")
    assert app.last_error is None
    assert np.array_equal(app.mask, painted)
    os.remove(path)
    assert np.array_equal(masks.replay(first, Painting.from_json(app.state.to_json()).edits), painted)
    press(app, "load mask")
    assert "there is no file" in app.status.value
    masks.save(painted[:8], path)
    press(app, "load mask")
    assert "painting-mask.png is 64 x 8 pixels, but the picture is 64 x 64" in app.status.value
    assert np.array_equal(app.mask, painted)


def test_a_run_without_browser_leaves_a_picture(app):
    app.paint("hat", TRIANGLE).reference("hair", 3)
    bundle = app._still_bundle()
    assert bundle["image/jpeg"] in bundle["text/html"]
    assert bundle["text/plain"] == "Painter(regional)"
    sheet = np.asarray(Image.open(io.BytesIO(base64.b64decode(bundle["image/jpeg"]))))
    assert sheet.shape == (2 * 196, 5 * 180 - 4, 3)
    # The last picture of the first row is the result.
    wanted = np.asarray(Image.fromarray(app.picture()).resize((176, 176), Image.Resampling.BICUBIC), float)
    assert np.abs(sheet[20:196, 4 * 180 :] - wanted).mean() < 6
