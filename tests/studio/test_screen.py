"""The studio's screen without a browser: what is drawn ahead, and under which keys."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from swaplib import families, studio
from swaplib.studio import Pick, State
from swaplib.studio.screen import Screen, list_nearest, make_key


class Page:
    """A browser's side of a screen: it asks as frames.js does, and keeps what it gets."""

    def __init__(self, screen: Screen):
        self.screen, self.frames, self.answers = screen, {}, []
        screen.send = self.receive
        screen._received(screen, {"do": "begin"}, [])

    def receive(self, content, buffers=()):
        self.answers.append(content)
        if "key" in content:
            self.frames[content["key"]] = buffers[0]

    def ask(self, times: int = 1) -> int:
        """Ask for frames; return how many came."""
        before = len(self.frames)
        for _ in range(times):
            self.screen._received(self.screen, {"do": "more"}, [])
        return len(self.frames) - before


@pytest.fixture
def app(tmp_path) -> studio.Studio:
    return studio.Studio(families.load("landmarks", "smoke"), folder=tmp_path)


@pytest.fixture
def screen(app) -> Screen:
    return app.images["picture"]


def test_positions_beside_a_slider():
    assert list_nearest(0.5, 0, 1, 0.25, 9) == [0.25, 0.75, 0.0, 1.0]
    assert list_nearest(1.0, 0, 1, 0.01, 2) == [0.99, 0.98]
    assert set(list_nearest(0.1 + 0.2, 0, 1, 0.1, 2)) == {0.2, 0.4}
    assert list_nearest(-2.996, -3, 3, 0.01, 2) == [-3.0, -2.99]


def test_keys_tell_positions_apart_by_the_browsers_own_arithmetic():
    assert make_key("a", [0.1 + 0.2, 1, -0.5]).split(" ")[1:] == ["300000", "1000000", "-500000"]
    assert make_key("a", [0.0078125e-3]).split(" ")[1] == "8"
    assert make_key("a", [0.5]) != make_key("b", [0.5])


def test_nothing_is_drawn_ahead_where_nobody_looks(app, screen, monkeypatch):
    drawn = []
    render = app.renderer.render
    monkeypatch.setattr(app.renderer, "render", lambda *given: drawn.append(given) or render(*given))
    app.sliders["texture"].value = 0.5
    assert len(drawn) == 1 + studio.app.PATH


def test_frames_beside_a_resting_slider_are_sent_one_by_one(app, screen):
    page = Page(screen)
    assert page.ask() == 0, "no slider was moved yet"
    assert page.answers[-1] == {}
    app.sliders["texture"].value = 0.5
    assert {"offer": True} in page.answers
    assert page.ask(4) == 4
    for value in (0.49, 0.51, 0.48, 0.52):
        state = replace(app.state, amounts=app.state.amounts | {"texture": value})
        assert page.frames[app.bench.key(state)] == app.bench.frame(state)
    assert page.ask(200) == 95, "the whole slider, but for where it stood at first"
    assert page.answers[-1] == {}
    app.sliders["texture"].value = 0.51
    assert page.ask(5) == 0, "the page holds them all"
    assert app.last_error is None


def test_another_control_needs_frames_of_its_own(app, screen):
    page = Page(screen)
    app.sliders["texture"].value = 0.5
    page.ask(4)
    kept = set(page.frames)
    app.sliders["shape"].value = 0.3
    app.sliders["texture"].value = 0.51
    page.ask(4)
    assert not kept & {
        app.bench.key(replace(app.state, amounts=app.state.amounts | {"texture": v})) for v in (0.5, 0.52)
    }
    assert len(page.frames) == 8


def test_a_new_page_gets_everything_again(app, screen):
    page = Page(screen)
    app.sliders["texture"].value = 0.5
    assert page.ask(3) == 3
    assert Page(screen).ask(3) == 3


def test_what_moves_is_drawn_first(app, screen):
    """While a slider moves, questions for frames ahead are answered at once, with nothing."""
    page = Page(screen)

    async def drag():
        app.sliders["texture"].value = 0.5
        await asyncio.sleep(0.6)
        before = page.ask(2)
        app.sliders["texture"].value = 0.7
        during = page.ask(2)
        await asyncio.sleep(0.6)
        return before, during, page.ask(2)

    assert asyncio.run(drag()) == (2, 0, 2)
    assert app.last_error is None


def test_slow_studios_draw_nothing_ahead(app, screen):
    page = Page(screen)
    for _ in range(5):
        app.pacing.note(app.renderer.size, 0.9)
    app.sliders["texture"].value = 0.5
    assert page.ask(3) == 0


def test_a_frame_that_cant_be_drawn_ahead_ends_it(app, screen, monkeypatch):
    page = Page(screen)
    app.sliders["texture"].value = 0.5
    monkeypatch.setattr(app.renderer, "render", lambda *given: 1 / 0)
    assert page.ask(3) == 0
    assert page.answers[-1] == {}


def test_a_key_says_all_that_a_frame_depends_on(app, tmp_path):
    state, photo = app.state, tmp_path / "photo.png"
    changes = [
        {},
        {"amounts": {"texture": 0.5}},
        {"along": 0.5},
        {"source": Pick(number=3)},
        {"target": Pick(number=3)},
        {"random": {"texture": 1}},
        {"target": Pick("file", path=str(photo))},
    ]
    keys = [app.bench.key(replace(state, **change)) for change in changes]
    photo.write_bytes(b"another")
    keys.append(app.bench.key(replace(state, **changes[-1])))
    assert len(set(keys)) == len(keys)
    assert app.bench.key(replace(state, amounts={})) == app.bench.key(
        replace(state, amounts=dict.fromkeys(app.sliders, 0.0))
    )


def test_strengths_beyond_their_sliders_have_keys_of_their_own(tmp_path):
    app = studio.Studio(families.load("rsgan", "smoke"), folder=tmp_path)
    name = next(iter(app.edits))
    at = {value: app.bench.key(State(strengths={name: value})) for value in (2.0, 3.0, 4.0, 5.0)}
    assert len(set(at.values())) == 4
    assert at[3.0].split(" ")[1:] == at[4.0].split(" ")[1:], "the slider stands at its end"
    assert at[2.0].split(" ")[0] == at[3.0].split(" ")[0]


def test_memory_is_bounded(app, screen):
    page = Page(screen)
    screen.room = 10
    for k in range(5):
        app.sliders["shape"].value = k / 10
        app.sliders["texture"].value = k / 10 + 0.05
        page.ask(20)
        assert len(screen._sent) <= 10
