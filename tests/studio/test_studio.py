"""The studio without a browser: pure rendering, and controls that write the state."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import threading
import time
from dataclasses import dataclass, replace
from datetime import datetime, timezone

import ipywidgets as widgets
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from skimage import data

from swaplib import families, latent, studio, synthetic
from swaplib.faces import from_uint8, to_uint8
from swaplib.families import Family, Part
from swaplib.latent import layers
from swaplib.photos import PhotoError
from swaplib.studio import Pick, State, explanation
from swaplib.studio.pace import Pace

every = pytest.mark.parametrize("name", families.NAMES)
FIRST, SECOND = Pick(number=0), Pick(number=1)


@dataclass(frozen=True)
class _Config:
    size: int = 32


class _Generative(Family):
    """A family with parts of three geometries that can draw random codes: what learned families will be like."""

    name = "generative"
    Config = _Config
    swap_parts = ("tint",)
    parts = (Part("tint", (3,)), Part("turn", (2,), "sphere"), Part("base", (3, 32, 32), "image"))

    def encode(self, faces):
        flat = faces.images.flatten(2)
        return {"tint": flat.mean(-1), "turn": torch.nn.functional.normalize(flat.std(-1)[:, :2], dim=-1),
                "base": faces.images}  # fmt: skip

    def decode(self, codes):
        shift = codes["tint"] + codes["turn"].sum(-1, keepdim=True) / 4
        return (codes["base"] / 2 + shift[..., None, None] / 2).clamp(-1, 1)

    def sample(self, count, seed=0):
        draw = torch.Generator().manual_seed(seed)
        turn = torch.nn.functional.normalize(torch.randn(count, 2, generator=draw), dim=-1)
        return {"tint": torch.rand(count, 3, generator=draw) * 2 - 1, "turn": turn,
                "base": torch.zeros(count, 3, 32, 32)}  # fmt: skip


@pytest.fixture
def app(tmp_path) -> studio.Studio:
    return studio.Studio(families.load("landmarks", "smoke"), folder=tmp_path)


@pytest.fixture
def generative(tmp_path) -> studio.Studio:
    warm = {"warmer": {"tint": torch.tensor([0.3, 0.0, -0.3])}}
    return studio.Studio(_Generative(_Config()), directions=warm, folder=tmp_path)


@pytest.fixture(scope="module")
def astronaut() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(data.astronaut()).save(buffer, "PNG")
    return buffer.getvalue()


def shown(app: studio.Studio, name: str = "picture") -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(app.images[name].value)))


def walk(widget: widgets.Widget):
    yield widget
    for child in getattr(widget, "children", ()):
        yield from walk(child)


# ---------------------------------------------------------------------------------------------- the state

_numbers, _names = st.integers(0, 2**63 - 1), st.text(st.characters(exclude_characters="\0"))
_picks = st.builds(Pick, st.sampled_from(list(studio.KINDS)), _numbers, _numbers,
                   st.sampled_from(list(synthetic.WORLDS)), _names, _names, _numbers)  # fmt: skip
_unit = st.floats(0, 1)


@given(st.builds(State, _picks, _picks, st.dictionaries(st.text(), _unit), st.dictionaries(st.text(), st.floats(-9, 9)),
                 st.dictionaries(st.text(), _numbers), _unit))  # fmt: skip
def test_a_state_survives_json(state):
    assert State.from_json(state.to_json()) == state


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "3", "{}", '{"source": {}, "target": {"colour": 1}}', '{"source": 1, "target": 2}']
)
def test_what_is_no_state_is_told_so(text):
    with pytest.raises(ValueError, match="no saved state"):
        State.from_json(text)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"along": 1.5}, "along must lie between 0 and 1"),
        ({"amounts": {"texture": -0.1}}, "amount of texture"),
        ({"amounts": {"texture": "much"}}, "the amount of texture must be a finite number, got 'much'"),
        ({"strengths": {"smile": True}}, "the strength of smile must be a finite number"),
        ({"random": {"texture": 0.5}}, "the seed of texture must be a whole number"),
        ({"source": {"number": -1}}, "count from 0"),
        ({"source": {"number": 0.5}}, "count from 0"),
        ({"target": {"kind": "painted"}}, "unknown kind of face 'painted'"),
        ({"target": {"world": "moon"}}, "unknown world 'moon'"),
    ],
)
def test_impossible_states_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        State.from_json(json.dumps(json.loads(State().to_json()) | change))


# ---------------------------------------------------------------------------------------------- the renderer


@every
def test_ends_of_the_sliders_are_the_familys_own_answers(name):
    family = families.start(name, "smoke").eval()
    renderer = studio.Renderer(family)
    source, target = (renderer.faces(pick) for pick in (FIRST, SECOND))
    plain, nothing = studio.plain_swap(family), {}
    everything = dict.fromkeys(plain, 1.0)
    swapped, kept, taken = (
        to_uint8(latent.swap(family, source, target, amounts)[0]) for amounts in (None, nothing, everything)
    )
    state = State(FIRST, SECOND, plain)
    assert np.array_equal(renderer.render(state), swapped)
    assert np.array_equal(renderer.render(State(FIRST, SECOND)), kept)
    assert np.array_equal(renderer.render(replace(state, along=0.0)), kept)
    assert np.array_equal(renderer.render(State(FIRST, SECOND, everything)), taken)


def test_a_session_keeps_uploads_within_bounds(astronaut, monkeypatch):
    monkeypatch.setattr(studio.renderer, "UPLOADED_BYTES", 5 * len(astronaut) // 2)
    renderer = studio.Renderer(families.load("landmarks"), 64)
    with Image.open(io.BytesIO(astronaut)) as image:
        picks = [renderer.upload(f"{k}.png", renumber(image, k)) for k in range(3)]
    assert renderer.face(picks[2]).shape == (64, 64, 3)
    with pytest.raises(ValueError, match=r"0\.png is not in this session"):
        renderer.face(picks[0])
    with pytest.raises(ValueError, match=r"large\.png is larger than \d+ MB: save a smaller copy"):
        renderer.upload("large.png", bytes(3 * len(astronaut)))


def renumber(image: Image.Image, k: int) -> bytes:
    """Return the picture as a PNG file that differs from others in one pixel."""
    other, file = image.copy(), io.BytesIO()
    other.putpixel((0, 0), (k, 0, 0))
    other.save(file, "PNG")
    return file.getvalue()


@every
def test_rendering_is_pure_and_encodes_once(name, monkeypatch):
    family = families.start(name, "smoke").eval()
    calls = []
    encode = family.encode
    monkeypatch.setattr(family, "encode", lambda faces: calls.append(1) or encode(faces))
    renderer = studio.Renderer(family)
    state = State(FIRST, SECOND, dict.fromkeys(studio.plain_swap(family), 0.4))
    first = renderer.render(state)
    renderer.render(replace(state, amounts={}))
    assert np.array_equal(renderer.render(state), first)
    assert len(calls) == 2
    assert first.dtype == np.uint8
    assert first.shape == (32, 32, 3)
    assert np.array_equal(studio.Renderer(families.start(name, "smoke").eval()).render(state), first)


def test_the_strip_goes_from_target_to_picture_through_the_middle():
    family = families.load("landmarks", "smoke")
    renderer = studio.Renderer(family)
    state = State(FIRST, SECOND, dict.fromkeys(studio.plain_swap(family), 1.0), along=0.3)
    strip = renderer.strip(state, steps=5)
    assert len(strip) == 5
    assert np.array_equal(strip[0], renderer.render(State(FIRST, SECOND)))
    assert np.array_equal(strip[-1], renderer.render(replace(state, along=1.0)))
    half = State(FIRST, SECOND, dict.fromkeys(studio.plain_swap(family), 0.5))
    assert np.array_equal(strip[2], renderer.render(half))


def test_the_true_swap_is_shown_for_rendered_faces_only(astronaut):
    renderer = studio.Renderer(families.load("target", "smoke"))
    pair = synthetic.render_faces(2, size=64)  # 64 pixels are the least that faces are rendered at
    truth = synthetic.true_swap(pair[0], pair[1]).resize(32)
    assert np.array_equal(renderer.true_swap(State(FIRST, SECOND)), to_uint8(truth.images[0]))
    assert renderer.true_swap(State(FIRST, renderer.upload("a.png", astronaut))) is None


def test_directions_and_random_parts_reach_the_picture(generative):
    renderer, state = generative.renderer, generative.state
    plain = renderer.render(state).astype(float)
    warmer = renderer.render(replace(state, strengths={"warmer": 1.0})).astype(float)
    assert (warmer - plain)[..., 0].mean() > 10
    assert (warmer - plain)[..., 2].mean() < -10
    assert np.abs((warmer - plain)[..., 1]).max() == 0
    drawn = renderer.codes(replace(state, random={"tint": 7}))
    assert torch.equal(drawn["tint"], generative.family.sample(1, 7)["tint"])
    assert torch.equal(drawn["base"], renderer.codes(state)["base"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"amounts": {"nose": 1.0}}, "no part 'nose'"),
        ({"random": {"nose": 1}}, "no part 'nose'"),
        ({"random": {"texture": 1}}, "not generative"),
        ({"strengths": {"older": 1.0}}, "no direction 'older': there are none"),
        ({"source": Pick("file", path="nowhere.jpg")}, "there is no file nowhere.jpg"),
        ({"source": Pick("file")}, "no photograph named"),
        ({"source": Pick("upload", path="me.jpg", sha256="0")}, "me.jpg is not in this session"),
    ],
)
def test_what_cant_be_rendered_is_told(change, message):
    renderer = studio.Renderer(families.load("landmarks", "smoke"))
    with pytest.raises(ValueError, match=message):
        renderer.render(replace(State(FIRST, SECOND), **change))


def test_sizes():
    assert studio.Renderer(families.load("landmarks", "smoke"), size=48).render(State()).shape == (48, 48, 3)
    with pytest.raises(ValueError, match="32 pixels only, not of 48"):
        studio.Renderer(_Generative(_Config()), size=48)


def test_a_photograph_replaced_on_disk_is_read_again(tmp_path, astronaut):
    path = tmp_path / "photo.png"
    path.write_bytes(astronaut)
    renderer = studio.Renderer(families.load("landmarks", "smoke"), size=64)
    state = State(FIRST, Pick("file", path=str(path)))
    before = renderer.render(state)
    Image.open(path).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(path)
    after = renderer.render(state)
    assert np.abs(after[:, ::-1].astype(float) - before).mean() < 12 < np.abs(after.astype(float) - before).mean()


# ---------------------------------------------------------------------------------------------- the controls


@every
def test_opens_with_a_plain_swap_and_every_part_has_a_slider(name, tmp_path):
    family = families.start(name, "smoke").eval()
    app = studio.Studio(family, folder=tmp_path)
    assert app.last_error is None
    assert list(app.sliders) == [part.name for part in family.parts]
    assert {name for name, slider in app.sliders.items() if slider.value == 1} == set(family.swap_parts)
    assert all(len(image.value) > 200 for image in app.images.values())


@every
def test_moving_a_slider_draws_the_renderers_picture(name, tmp_path):
    app = studio.Studio(families.start(name, "smoke").eval(), folder=tmp_path)
    before = app.images["picture"].value, app.images["path"].value
    for part, slider in app.sliders.items():
        slider.value = 0.75
        assert app.last_error is None
        assert app.state.amounts[part] == 0.75
        wanted = app.renderer.render(app.state)
        small = np.asarray(Image.fromarray(shown(app)).resize(wanted.shape[:2], Image.Resampling.BOX), float)
        assert np.abs(small - wanted).mean() < 8
    # An untrained network may show no difference; a family that works on pixels does.
    if not list(app.family.parameters()):
        assert app.images["picture"].value != before[0]
        assert app.images["path"].value != before[1]


def test_every_control_has_a_label_and_every_slider_a_reset(generative, app):
    for one in (generative, app):
        controls = [w for w in walk(one.box) if isinstance(w, (widgets.ValueWidget, widgets.Button))]
        controls = [w for w in controls if not isinstance(w, (widgets.Image, widgets.HTML))]
        assert len(controls) > 20
        for control in controls:
            assert control.description.strip(), control
            assert control.tabbable is not False
        resets = {w.tooltip for w in controls if isinstance(w, widgets.Button) and w.tooltip.startswith("reset ")}
        for name in (*one.sliders, *one.edits, "all together", "source: as", "target: as"):
            assert any(tip.startswith(f"reset {name}") for tip in resets), name


def test_sliders_stand_in_groups_that_fold(generative, tmp_path):
    rsgan = studio.Studio(families.load("rsgan", "smoke"), folder=tmp_path)
    groups = {fold.name: (len(fold.rows.children), fold.folded) for fold in rsgan.folds}
    assert groups["parts: 0 the target's, 1 the source's"] == (4, False)
    assert {name: what for name, what in groups.items() if name.startswith("edits")} == {
        "edits of face": (sum(name.startswith("face: ") for name in rsgan.edits), True),
        "edits of hair": (sum(name.startswith("hair: ") for name in rsgan.edits), True),
    }
    assert rsgan.edits["hair: Gray Hair"].description == "Gray Hair"
    assert rsgan.edits["hair: Gray Hair"].tooltip == "hair: Gray Hair"
    fold = next(fold for fold in generative.folds if fold.name == "edits")
    assert not fold.folded
    press(generative, "open or close edits")
    assert fold.folded
    assert fold.rows.layout.display == "none"
    assert fold.head.description == "▸ edits"
    press(generative, "open or close edits")
    assert fold.rows.layout.display != "none"


def test_every_picture_has_an_alt_text_that_follows(app):
    assert set(app.page.told) == {name.replace(" ", "-") for name in app.images}
    assert app.page.told["source"] == "source, rendered face 0 of series 0, world calm"
    app.sliders["texture"].value = 0.25
    assert "texture 0.25" in app.page.told["picture"]
    assert app.page.told["picture"].startswith("synthetic picture: landmarks takes from the source")
    app.choosers["target"].number.value = 8
    assert app.page.told["target"] == "target, rendered face 8 of series 0, world calm"


def press(app: studio.Studio, start: str) -> None:
    """Click the button whose text or tooltip starts so."""
    found = [w for w in walk(app.box) if isinstance(w, widgets.Button)
             and start in (w.description, (w.tooltip or "")[: len(start)])]  # fmt: skip
    assert len(found) == 1, start
    found[0].click()
    assert app.last_error is None, app.last_error


def test_buttons(app):
    opened = app.state
    press(app, "all from source")
    assert set(app.state.amounts.values()) == {1.0}
    app.along.value = 0.5
    press(app, "reset all together")
    assert app.state.along == 1
    press(app, "reset shape")
    assert app.state.amounts["shape"] == 0
    press(app, "plain swap")
    assert app.state == opened
    app.choosers["source"].number.value = 5
    assert app.state.source.number == 5
    press(app, "random target")
    assert app.state.target.rendered
    assert app.state.target != opened.target
    assert app.choosers["target"].number.value == app.state.target.number
    press(app, "reset source")
    assert app.state.source == opened.source
    press(app, "reset everything")
    assert app.state == opened
    assert app.choosers["target"].number.value == 1


def test_pairs_are_drawn_and_roles_swapped(app):
    first = app.state
    press(app, "swap roles")
    assert (app.state.source, app.state.target) == (first.target, first.source)
    assert app.state.amounts == first.amounts
    press(app, "random pair")
    assert app.state.source.rendered
    assert len({app.state.source, app.state.target, first.source, first.target}) == 4


def test_undo_and_redo_go_through_states(app):
    states = [app.state]
    press_undo, press_redo = (next(w for w in walk(app.box) if getattr(w, "tooltip", "") == name)
                              for name in ("undo", "redo"))  # fmt: skip
    assert press_undo.disabled
    assert press_redo.disabled
    app.sliders["texture"].value = 0.25
    states.append(app.state)
    press(app, "swap roles")
    states.append(app.state)
    app.along.value = 0.5
    states.append(app.state)
    for state in states[-2::-1]:
        press(app, "undo")
        assert app.state == state
        assert app.sliders["texture"].value == state.amounts["texture"]
    assert press_undo.disabled
    app.undo()
    assert app.state == states[0], "there is nothing before"
    for state in states[1:]:
        press(app, "redo")
        assert app.state == state
    assert press_redo.disabled
    press(app, "undo")
    app.sliders["shape"].value = 0.5
    assert press_redo.disabled, "what was undone is gone once something else is done"


def test_a_drag_is_one_step(app):
    first = app.state

    async def drag():
        for value in (0.9, 0.6, 0.3):
            app.sliders["texture"].value = value
        await asyncio.sleep(0.5)
        app.undo()
        assert app.state == first
        app.sliders["shape"].value = 0.4
        app.undo()  # before the slider has come to rest
        await asyncio.sleep(0.5)

    asyncio.run(drag())
    assert app.state == first
    app.redo()
    assert app.state.amounts["shape"] == 0.4


def test_events_of_two_threads_come_one_after_the_other(app, monkeypatch):
    drawing, overlaps, render = [], [], app.renderer.render

    def drawn(*given, **named):
        overlaps.append(len(drawing))
        drawing.append(1)
        time.sleep(0.002)
        try:
            return render(*given, **named)
        finally:
            drawing.pop()

    async def drag():
        for value in (0.9, 0.6, 0.3, 0.8):
            app.sliders["texture"].value = value
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.5)

    async def choose():
        for number in (5, 6, 7, 8):
            app.choosers["source"].number.value = number
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.5)

    monkeypatch.setattr(app.renderer, "render", drawn)
    both = [threading.Thread(target=asyncio.run, args=(events(),)) for events in (drag, choose)]
    for one in both:
        one.start()
    for one in both:
        one.join()
    assert len(overlaps) >= 8
    assert not any(overlaps)
    assert app.state.source.number == 8
    assert app.state.amounts["texture"] == 0.8


def test_a_late_action_of_one_thread_doesnt_undo_what_another_asked_for(app):
    """The path draws on by `_later`, while a slider moves in another thread and asks for what follows a move."""
    begun, called = threading.Event(), []

    def draw_on():
        called.append("path")
        begun.set()
        time.sleep(0.05)  # meanwhile the other thread asks
        app._later(lambda: called.append("path again"), 0.05)

    async def path():
        app._later(draw_on, 0)
        await asyncio.sleep(0.3)

    async def move():
        begun.wait()
        app._later(lambda: called.append("settled"), 0.05)
        await asyncio.sleep(0.2)

    drawing = threading.Thread(target=asyncio.run, args=(path(),))
    drawing.start()
    asyncio.run(move())
    drawing.join()
    assert called == ["path", "settled"]


def test_another_family_shows_the_same_faces(app, astronaut):
    app.upload("target", "a.png", astronaut)
    app.sliders["shape"].value = 0.5
    before, screen = app.state, app.images["picture"]
    app.which.value = "rsgan, smoke"
    assert app.last_error is None, app.last_error
    assert app.family.name == "rsgan"
    assert (app.state.source, app.state.target) == (before.source, before.target)
    assert app.state.amounts == studio.plain_swap(app.family)
    assert list(app.sliders) == [part.name for part in app.family.parts]
    assert app.images["picture"] is not screen
    assert set(app.sliders.values()) | set(app.edits.values()) <= set(walk(app.box))
    app.sliders["hair"].value = 1
    wanted = np.asarray(Image.fromarray(app.renderer.render(app.state)).resize((256, 256), Image.Resampling.BICUBIC))
    assert np.abs(shown(app).astype(float) - wanted).mean() < 3
    press(app, "undo")
    press(app, "undo")
    assert app.family.name == "landmarks"
    assert app.state == before
    assert app.which.value == "landmarks, as opened"
    assert app.images["picture"] is screen
    assert set(app.sliders.values()) <= set(walk(app.box))
    press(app, "redo")
    assert app.family.name == "rsgan"
    press(app, "reset everything")
    assert app.state == State(FIRST, SECOND, studio.plain_swap(app.family), dict.fromkeys(app.edits, 0.0))


def test_all_released_families_are_offered(app):
    offered = studio.bench.list_released()
    assert {name for name, preset in offered.values() if preset == "demo"} == set(families.ready("demo"))
    assert {"rsgan, demo", "e4s, demo", "rsgan, smoke"} <= set(offered)
    assert list(app.which.options) == ["landmarks, as opened", *offered]


def test_a_family_that_cant_be_shown_changes_nothing(app, monkeypatch):
    before = app.state
    monkeypatch.setattr(families, "load", lambda *given: (_ for _ in ()).throw(OSError("the weights are damaged")))
    app.which.value = "rsgan, smoke"
    assert "the weights are damaged" in app.status.value
    assert app.state == before
    assert app.family.name == "landmarks"
    assert app.which.value == "landmarks, as opened"
    app.choose_family("nobody")
    assert "no family &#x27;nobody&#x27;" in app.status.value or "no family 'nobody'" in app.status.value


def test_a_part_is_explained_by_its_row_of_the_heat_map(app, monkeypatch):
    rows = {"identity": [0.9, 0.1], "pose": [0.0, 1.0], "hair colour": [float("nan"), 0.5]}
    asked = []
    table = pd.DataFrame(rows, index=["texture", "shape"])
    monkeypatch.setattr(studio.app, "measure_shares", lambda family: asked.append(family) or table)
    press(app, "what texture changes")
    assert "texture alone, in percent of what all parts change together: identity 90 % · pose 0 %" in app.status.value
    press(app, "what shape changes")
    assert "pose 100 % · hair colour 50 % · identity 10 %" in app.status.value
    assert asked == [app.family], "measured once"
    app.explain("mouth")
    assert "nothing was measured of" in app.status.value


def test_shares_are_the_heat_maps(app):
    shares = explanation.measure_shares(app.family, layers.NOBODY)
    assert list(shares.index) == [part.name for part in app.family.parts]
    pair = synthetic.render_faces(2 * explanation.PAIRS, seed=explanation.SEED, size=64).resize(32)
    changes = [
        (app.family.swap(pair[: explanation.PAIRS], pair[explanation.PAIRS :], amounts)
         - app.family.swap(pair[: explanation.PAIRS], pair[explanation.PAIRS :], {})).abs().mean()
        for amounts in ({"texture": 1.0}, dict.fromkeys(shares.index, 1.0))
    ]  # fmt: skip
    assert shares.loc["texture", "pixels"] == pytest.approx((changes[0] / changes[1]).item(), rel=1e-3)


def test_random_parts_are_offered_by_generative_families_only(app, generative):
    assert not [w for w in walk(app.box) if (getattr(w, "tooltip", "") or "").startswith("a random")]
    before = generative.images["picture"].value
    press(generative, "a random turn")
    assert generative.state.amounts["turn"] == 1
    assert "turn" in generative.state.random
    assert generative.sliders["turn"].description == "turn (random)"
    assert generative.images["picture"].value != before
    press(generative, "reset turn")
    assert generative.state.random == {}
    assert generative.images["picture"].value == before
    generative.edits["warmer"].value = 2
    assert generative.state.strengths == {"warmer": 2}
    press(generative, "reset warmer")
    assert generative.images["picture"].value == before


def test_errors_are_told_kept_and_cleared(app):
    picture = app.images["picture"].value
    app.choosers["source"].kind.value = "file"
    assert app.state.source == FIRST, "nothing is named yet"
    app.choosers["source"].path.value = "no<where>.jpg"
    assert isinstance(app.last_error, PhotoError)
    assert "there is no file no&lt;where&gt;.jpg" in app.status.value
    assert app.images["picture"].value == picture
    app.choosers["source"].kind.value = "rendered"
    assert app.last_error is None
    assert "ms a frame" in app.status.value


@pytest.mark.parametrize(
    "change", [{"source": Pick("file", path="nowhere.jpg")}, {"amounts": {"nose": 1.0}}, {"random": {"texture": 1}}]
)
def test_a_state_that_cant_be_drawn_changes_nothing(app, change):
    before, picture = app.state, app.images["picture"].value
    app.state = replace(before, **change)
    assert isinstance(app.last_error, ValueError)
    assert str(app.last_error).split("'")[0] in app.status.value
    assert app.state == before
    assert app.images["picture"].value == picture
    app.sliders["texture"].value = 0.5
    assert app.last_error is None
    app.undo()
    assert app.state == before
    assert app._undo.disabled


def test_a_path_that_cant_be_read_stays_to_be_corrected(app, tmp_path, astronaut):
    chooser, before = app.choosers["source"], app.state
    chooser.kind.value = "file"
    chooser.path.value = str(tmp_path / "me.png")
    assert "there is no file" in app.status.value
    assert app.state == before
    assert chooser.kind.value == "file"
    assert chooser.path.value == str(tmp_path / "me.png")
    app.which.value = "rsgan, smoke"
    assert app.last_error is None, "another family shows the faces that can be drawn"
    assert studio.strip(app.family, "face", app.state)
    assert chooser.path.value == str(tmp_path / "me.png")
    (tmp_path / "me.png").write_bytes(astronaut)
    chooser.path.value = str(tmp_path / "me.png") + " "
    assert app.last_error is None
    assert app.state.source == Pick("file", path=str(tmp_path / "me.png"))


def test_what_is_gone_since_cant_be_undone(app, tmp_path, astronaut):
    photo = tmp_path / "me.png"
    photo.write_bytes(astronaut)
    app.state = replace(app.state, target=Pick("file", path=str(photo)))
    press(app, "reset target")
    before = app.state
    photo.unlink()
    app.undo()
    assert "there is no file" in app.status.value
    assert app.state == before
    assert not app._undo.disabled
    photo.write_bytes(astronaut)
    press(app, "undo")
    assert app.state.target.path == str(photo)


def test_a_studio_opened_with_a_state_that_cant_be_drawn_shows_a_plain_swap(tmp_path):
    app = studio.Studio(families.load("landmarks", "smoke"), State(Pick("file", path="nowhere.jpg")), folder=tmp_path)
    assert isinstance(app.last_error, PhotoError)
    assert "there is no file nowhere.jpg" in app.status.value
    assert app.state == State(FIRST, SECOND, studio.plain_swap(app.family))
    app.sliders["texture"].value = 0.5
    press(app, "reset everything")
    assert app.state.source == FIRST


def test_an_error_of_the_family_is_told(app, monkeypatch):
    monkeypatch.setattr(app.family, "decode", lambda codes: 1 / 0)
    app.sliders["texture"].value = 0.2
    assert isinstance(app.last_error, ZeroDivisionError)
    assert "division by zero" in app.status.value
    assert app.state.amounts["texture"] == 0.2
    monkeypatch.undo()
    app.sliders["texture"].value = 0.3
    assert app.last_error is None


def test_a_half_made_choice_survives_a_slider(app):
    app.choosers["source"].kind.value = "upload"
    app.sliders["texture"].value = 0.5
    assert app.choosers["source"].kind.value == "upload"
    assert app.choosers["source"].file.layout.display == ""
    assert app.choosers["source"].number.layout.display == "none"
    assert app.choosers["target"].number.layout.display == ""


def test_uploads(app, astronaut):
    turned, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6  # lies on its side: to be turned by a quarter
    with Image.open(io.BytesIO(astronaut)) as image:
        image.transpose(Image.Transpose.ROTATE_90).save(turned, "JPEG", exif=exif)
    astronaut = turned.getvalue()
    chooser = app.choosers["target"]
    file = {"name": "a.png", "type": "image/png", "size": len(astronaut), "content": memoryview(astronaut),
            "last_modified": datetime.now(timezone.utc)}  # fmt: skip
    chooser.kind.value = "upload"
    chooser.file.value = (file,)
    assert app.last_error is None
    assert app.state.target.kind == "upload"
    assert app.state.target.path == "a.png"
    assert app.images["true swap"].layout.visibility == "hidden"
    assert "no true&nbsp;swap" in app.captions["true swap"].value
    assert "target: turned upright" in app.status.value
    kept = app.state
    chooser.file.value = (file | {"name": "b.png", "content": memoryview(b"no picture"), "size": 10},)
    assert "b.png can't be read" in app.status.value
    assert app.state == kept
    blank = io.BytesIO()
    Image.new("RGB", (64, 64)).save(blank, "PNG")
    app.upload("target", "c.png", blank.getvalue())
    assert "no face found" in app.status.value
    assert app.state == kept


def test_saving_and_restoring(app, tmp_path):
    app.sliders["shape"].value = 0.6
    saved = app.state
    press(app, "save state")
    press(app, "save state")
    assert {path.name for path in tmp_path.glob("*.json")} == {"studio.json", "studio-2.json"}
    press(app, "reset everything")
    assert app.state != saved
    app.saved.value = "studio"
    press(app, "restore")
    assert app.state == saved
    assert app.sliders["shape"].value == 0.6
    (tmp_path / "studio.json").write_text(replace(saved, amounts={"nose": 1.0}).to_json())
    app._restore()
    assert "no part 'nose'" in app.status.value
    assert app.state == saved


def test_saved_pictures_say_what_they_are(app, tmp_path, astronaut):
    photo = tmp_path / "private" / "me.png"
    photo.parent.mkdir()
    photo.write_bytes(astronaut)
    app.state = replace(app.state, target=Pick("file", path=str(photo)))
    assert app.last_error is None
    app.name.value = "../mine"
    press(app, "save picture")
    with Image.open(tmp_path / "mine.png") as image:
        image.load()
        assert np.array_equal(np.asarray(image), app.renderer.render(app.state))
        assert "compositeSynthetic" in image.text["XML:com.adobe.xmp"]
        assert image.text["Description"].startswith("Synthetic picture")
        assert "landmarks" in image.text["Description"]
        assert "me.png" in image.text["Description"]
        assert "private" not in image.text["Description"], "no path of this machine"


def test_digital_source(app, generative):
    assert app.renderer.digital_source(State()) == "rendered"
    trained = _Generative(_Config())
    trained.weight = torch.nn.Parameter(torch.zeros(1))
    assert studio.Renderer(trained).digital_source(State()) == "generated"


# ---------------------------------------------------------------------------------------------- the pace


def slow(family: Family, monkeypatch, seconds: float) -> Family:
    """A family whose frames seem to take so long at 64 pixels, and less in proportion to the pixels."""
    monkeypatch.setattr(
        studio.Renderer, "seconds",
        lambda self, state, frames=5, size=None: seconds * ((size or self.size) / 64) ** 2,
    )  # fmt: skip
    return family


def test_slow_families_are_drawn_small_while_a_slider_moves(monkeypatch, tmp_path):
    family = slow(families.load("landmarks", "smoke"), monkeypatch, 0.3)
    app = studio.Studio(family, size=64, folder=tmp_path)
    assert app.pace == "preview"
    assert app.sliders["texture"].continuous_update
    sizes = []
    render = app.renderer.render
    app.renderer.render = lambda state, size=None: sizes.append(size) or render(state, size)

    async def drag():
        for value in (0.2, 0.4, 0.6):
            app.sliders["texture"].value = value
        assert sizes == [32, 32, 32]
        await asyncio.sleep(0.6)

    asyncio.run(drag())
    assert sizes[3] is None, "the full size when the slider rests"
    assert app.last_error is None
    assert "small while" in app.status.value


def test_where_no_small_picture_exists_slow_families_wait_for_release(monkeypatch, tmp_path):
    app = studio.Studio(slow(_Generative(_Config()), monkeypatch, 0.9), folder=tmp_path)
    assert app.pace == "release"
    assert not app.sliders["tint"].continuous_update
    assert not app.along.continuous_update


def test_the_pace_follows_what_frames_take(tmp_path):
    app = studio.Studio(families.load("landmarks", "smoke"), size=64, folder=tmp_path)
    assert (app.pace, app.pacing.edge) == ("smooth", 64)
    for _ in range(5):  # another program takes the processor
        app.pacing.note(64, 0.15)
    assert (app.pace, app.pacing.edge) == ("preview", 32)
    app._settle()
    assert "150 ms a frame, small while a slider moves" in app.status.value
    for _ in range(5):
        app.pacing.note(64, 0.01)
    assert app.pace == "smooth"


def test_a_pace_goes_down_as_far_as_needed_and_back_with_a_margin():
    asked = []
    pace = Pace(64, 0.3, [32, 16], lambda edge: asked.append(edge) or 0.3 * (edge / 64) ** 2)
    assert (pace.name, pace.edge, pace.seconds) == ("preview", 32, 0.3)
    for _ in range(5):
        pace.note(32, 0.2)
    assert (pace.name, pace.edge) == ("preview", 16)
    assert asked == [32, 16]
    for _ in range(5):
        pace.note(16, 0.2)
    for _ in range(5):
        pace.note(64, 2.0)
    assert (pace.name, pace.edge) == ("release", 64)
    for seconds, name in ((0.09, "preview"), (0.07, "smooth"), (0.09, "smooth"), (0.11, "preview")):
        for _ in range(5):
            pace.note(64, seconds)
        assert pace.name == name, seconds
    assert asked == [32, 16], "measured once"
    assert Pace(64, 0.3).name == "release"


def test_one_slow_frame_changes_nothing():
    pace = Pace(64, 0.05, [32], lambda edge: 0.01)
    pace.note(64, 3.0)
    pace.note(64, 3.0)
    assert (pace.name, pace.seconds) == ("smooth", 0.05)


def test_encoding_another_face_is_no_part_of_the_pace(app, monkeypatch):
    encode, taken = app.family.encode, []
    monkeypatch.setattr(app.family, "encode", lambda faces: (time.sleep(0.2), encode(faces))[1])
    monkeypatch.setattr(app.pacing, "note", lambda edge, seconds: taken.append(seconds))
    app.choosers["source"].number.value = 40
    assert taken
    assert max(taken) < 0.2


# ---------------------------------------------------------------------------------------------- without a kernel


class Displayed:
    """Stands for IPython's display: keeps what is shown, and what replaces it."""

    def __init__(self):
        self.shown, self.updates = [], []

    def __call__(self, bundle, raw, display_id=False):
        self.shown.append(bundle)
        return self if display_id else None

    def update(self, bundle, raw):
        self.updates.append(bundle)


@pytest.fixture
def displayed(monkeypatch) -> Displayed:
    monkeypatch.setattr(studio.controls, "display", displayed := Displayed())
    return displayed


def test_a_run_without_browser_leaves_a_picture(app, displayed):
    app._ipython_display_()
    bundle, view = displayed.shown
    assert set(view) == {"application/vnd.jupyter.widget-view+json"}
    assert bundle["text/plain"] == "Studio(landmarks)"
    assert bundle["image/jpeg"] in bundle["text/html"]
    assert 'alt="synthetic picture: Studio of landmarks' in bundle["text/html"]
    with Image.open(io.BytesIO(base64.b64decode(bundle["image/jpeg"]))) as image:
        assert image.format == "JPEG"
        sheet = from_uint8(np.array(image))
    source = from_uint8(app.renderer.face(FIRST))
    corner = torch.nn.functional.interpolate(sheet[None, :, 20:212, :192], source.shape[-2:], mode="area")[0]
    assert (corner - source).abs().mean() < 0.06
    app._state = replace(app.state, amounts={"nose": 1.0})
    assert "image/jpeg" not in app._still_bundle()
    assert "no part 'nose'" in app.status.value


def test_the_still_picture_follows_where_a_browser_shows_the_app(app, displayed):
    app._ipython_display_()
    app.sliders["texture"].value = 0.25
    assert displayed.updates == [], "a run without a browser keeps what the cell showed"
    app.page._received(app.page, {"do": "begin"}, [])
    app.sliders["texture"].value = 0.75
    assert displayed.updates[-1] == app._still_bundle()
    assert displayed.updates[-1]["image/jpeg"] != displayed.shown[0]["image/jpeg"]
    assert app.last_error is None


def test_a_familys_own_directions_become_sliders(tmp_path):
    family = families.load("rsgan", "smoke")
    app = studio.Studio(family, folder=tmp_path)
    assert {"face: Smiling", "hair: Gray Hair"} <= set(app.edits)
    before = app.renderer.codes(app.state)
    app.edits["hair: Gray Hair"].value = 2.0
    after = app.renderer.codes(app.state)
    assert torch.equal(before["face"], after["face"])
    assert not torch.equal(before["hair"], after["hair"])
    assert studio.Renderer(family, directions={}).directions == {}
