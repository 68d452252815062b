"""Painting label maps: what each function paints, undo and redo bit for bit, replays, masks as files."""

from __future__ import annotations

import base64
import io
import json

import drawn
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from swaplib.faces import CELEBAMASK_HQ, LABEL_COLOURS
from swaplib.photos.reading import PhotoError
from swaplib.studio import masks
from swaplib.studio.masks import Canvas, Edit

SIZE = (24, 32)  # height and width differ, so that x and y can't be exchanged unseen
SKIN, NOSE, MOUTH, HAIR = (CELEBAMASK_HQ.index(name) for name in ("skin", "nose", "mouth", "hair"))


def plain() -> np.ndarray:
    """Skin in the middle, a nose of 4 x 3 pixels in it, hair above, background around."""
    mask = np.zeros(SIZE, np.uint8)
    mask[2:6, 4:28], mask[6:20, 6:26], mask[10:13, 14:18] = HAIR, SKIN, NOSE
    return mask


def pixels(mask: np.ndarray, region: str) -> set[tuple[int, int]]:
    """The pixels (x, y) of a region."""
    return {(int(x), int(y)) for y, x in np.argwhere(mask == CELEBAMASK_HQ.index(region))}


# ---------------------------------------------------------------------------------------------- shapes


def test_a_polygon_paints_the_pixel_centres_in_it():
    square = masks.paint(plain(), "mouth", [(2.5, 1.5), (5.5, 1.5), (5.5, 3.5), (2.5, 3.5)])
    assert pixels(square, "mouth") == {(x, y) for x in (3, 4, 5) for y in (2, 3)}
    on_centres = masks.paint(plain(), "mouth", [(3, 2), (5, 2), (5, 3), (3, 3)])
    assert np.array_equal(on_centres, square), "centres on the outline are inside"
    assert np.array_equal(square != plain(), square == MOUTH), "nothing else changed"


def test_a_polygon_that_crosses_itself_has_a_hole():
    star = [(16 + 11 * np.sin(4 * np.pi * k / 5), 12 - 11 * np.cos(4 * np.pi * k / 5)) for k in range(5)]
    painted = masks.paint(np.zeros(SIZE, np.uint8), "hair", star)
    assert painted[12, 16] == 0
    assert painted[4, 16] == HAIR


def test_shapes_are_cut_off_at_the_pictures_edge():
    everything = masks.paint(plain(), "hair", [(-99, -99), (99, -99), (99, 99), (-99, 99)])
    assert (everything == HAIR).all()
    assert np.array_equal(masks.stroke(plain(), "hair", [(-50, -50), (-40, 90)], 9), plain())
    assert pixels(masks.stroke(plain(), "mouth", [(-50, 0), (2, 0)], 1), "mouth") == {(0, 0), (1, 0), (2, 0)}


@settings(max_examples=40)
@given(st.lists(st.tuples(st.floats(-5, 36), st.floats(-5, 28)), min_size=1, max_size=5), st.floats(0.1, 12))
def test_a_stroke_is_what_lies_within_half_its_width(points, width):
    painted = masks.stroke(np.zeros(SIZE, np.uint8), "nose", points, width)
    path = np.array(points)
    ends = path[1:] if len(path) > 1 else path
    # Many points along each piece of the path: an independent measure of the distance, a little too large.
    steps = np.linspace(0, 1, 400)[:, None, None]
    along = (path[: len(ends)] + steps * (ends - path[: len(ends)])).reshape(-1, 2)
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    distance = np.sqrt((columns[..., None] - along[:, 0]) ** 2 + (rows[..., None] - along[:, 1]) ** 2).min(-1)
    assert (painted[distance <= width / 2] == NOSE).all()
    touched = {tuple(point) for point in np.floor(path + 0.5).astype(int).tolist()}
    assert all(distance[y, x] <= width / 2 + 0.1 or (x, y) in touched for x, y in pixels(painted, "nose"))
    inside = {(x, y) for x, y in touched if 0 <= x < SIZE[1] and 0 <= y < SIZE[0]}
    assert inside <= pixels(painted, "nose")


def test_the_thinnest_brush_draws_a_line_without_gaps():
    painted = masks.stroke(np.zeros(SIZE, np.uint8), "nose", [(1.4, 1.4), (29.2, 20.3)], 1)
    assert {x for x, _ in pixels(painted, "nose")} == set(range(1, 30))
    assert pixels(masks.stroke(plain(), "mouth", [(7.49, 3.5)], 0.2), "mouth") == {(7, 4)}


def test_fill_takes_one_patch():
    mask = plain()
    mask[:, 16] = NOSE  # parts the skin in two
    filled = masks.fill(mask, "mouth", (8, 8))
    assert pixels(filled, "mouth") == {(x, y) for x, y in pixels(mask, "skin") if x < 16}
    corner = np.zeros(SIZE, np.uint8)
    corner[:4, :4], corner[4:, 4:] = SKIN, SKIN
    assert (masks.fill(corner, "hair", (1, 1))[4:, 4:] == SKIN).all(), "corners don't connect"


def test_pick_names_the_region():
    assert masks.pick(plain(), (14, 10)) == "nose"
    assert masks.pick(plain(), (13.4, 10)) == "skin"
    assert masks.pick(plain(), (13.6, 10.4)) == "nose"
    with pytest.raises(ValueError, match=r"\(32, 3\) lies outside the picture, .* \(0, 0\) to \(31, 23\)"):
        masks.pick(plain(), (32, 3))


def test_masks_of_a_record_are_taken_and_left_alone():
    labels = drawn.faces(1).labels
    before = labels.clone()
    painted = masks.stroke(labels[0], "hair", [(3, 3), (20, 9)], 4)
    assert painted.dtype == np.uint8
    assert torch.equal(labels, before)
    canvas = Canvas(labels[0])
    canvas.fill("hair", (0, 0))
    assert torch.equal(labels, before)
    with pytest.raises(ValueError, match="read-only"):
        canvas.mask[0, 0] = 3


# ---------------------------------------------------------------------------------------------- whole regions


def test_growing_reaches_so_many_pixels():
    grown = masks.grow(plain(), "nose")
    nose = {(x, y) for x in range(14, 18) for y in range(10, 13)}
    assert pixels(grown, "nose") == {
        (x + dx, y + dy) for x, y in nose for dx, dy in ((0, 0), (1, 0), (-1, 0), (0, 1), (0, -1))
    }
    assert (masks.grow(plain(), "nose", 1.5)[9, 13], grown[9, 13]) == (NOSE, SKIN)
    assert np.array_equal(masks.grow(plain(), "nose", 0), plain())


def test_shrinking_gives_pixels_to_the_nearest_other_label():
    mask = plain()
    shrunk = masks.shrink(mask, "nose")
    assert pixels(shrunk, "nose") == {(15, 11), (16, 11)}
    assert (shrunk[(mask == NOSE) & (shrunk != NOSE)] == SKIN).all()
    thin = masks.shrink(mask, "hair", 2)
    assert not pixels(thin, "hair"), "four rows of hair vanish"
    assert (thin[5, 8], thin[2, 8], thin[4, 4]) == (SKIN, 0, 0)


def test_the_pictures_edge_shrinks_no_region():
    mask = np.full(SIZE, HAIR, np.uint8)
    assert np.array_equal(masks.shrink(mask, "hair", 3), mask)
    mask[:, 20:] = SKIN
    assert (masks.shrink(mask, "hair", 3)[:, :17] == HAIR).all()


def test_moving_fills_what_is_left_behind():
    mask = plain()
    moved = masks.move(mask, "nose", 5, -6)
    assert pixels(moved, "nose") == {(x + 5, y - 6) for x, y in pixels(mask, "nose")}
    assert (moved[10:13, 14:18] == SKIN).all()
    assert (moved[(moved != NOSE) & (mask != NOSE)] == mask[(moved != NOSE) & (mask != NOSE)]).all()
    assert np.array_equal(masks.move(mask, "nose", 0, 0), mask)
    gone = masks.move(mask, "nose", 99, 0)
    assert not pixels(gone, "nose")
    assert len(pixels(masks.move(mask, "hair", 0, -3), "hair")) == 3 * 24
    assert (masks.move(np.full(SIZE, HAIR, np.uint8), "hair", 2, 0)[:, :2] == 0).all()


def test_a_nudged_region_wipes_nothing_out():
    canvas = Canvas(plain())
    for _ in range(8):
        canvas.move("nose", 0, -1)
    for _ in range(8):
        canvas.move("nose", 0, 1)
    assert np.array_equal(canvas.mask, plain()), "over the hair and back"
    assert len(canvas.edits) == 1
    canvas.move("skin", 1, 0).move("nose", 1, 0)
    assert [edit.arguments["region"] for edit in canvas.edits] == ["nose", "skin", "nose"]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: masks.paint(m, "beard", [(0, 0), (1, 0), (1, 1)]), "unknown region 'beard': choose from backgro"),
        (lambda m: masks.paint(m, 19, [(0, 0), (1, 0), (1, 1)]), "unknown region 19"),
        (lambda m: masks.paint(m, "nose", [(0, 0), (1, 0)]), "at least 3 points"),
        (lambda m: masks.paint(m, "nose", [(0, 0), (1,), (1, 1)]), "at least 3 points"),
        (lambda m: masks.stroke(m, "nose", [], 3), "at least 1 points"),
        (lambda m: masks.stroke(m, "nose", [(0, float("nan"))], 3), "finite"),
        (lambda m: masks.stroke(m, "nose", [(0, 0)], 0), "more than 0 and at most 64 pixels wide"),
        (lambda m: masks.stroke(m, "nose", [(0, 0)], "wide"), "width must be a number"),
        (lambda m: masks.fill(m, "nose", (-1, 0)), "outside the picture"),
        (lambda m: masks.grow(m, "hat"), "no hat to grow: paint it first"),
        (lambda m: masks.grow(m, "nose", -1), "by must be a number of pixels from 0 up"),
        (lambda m: masks.move(m, "nose", 0.5, 1), "dx must be a whole number"),
        (lambda m: masks.move(m, "nose", 1, None), "dy must be a number"),
        (lambda m: masks.fill(m[None], "nose", (1, 1)), r"uint8 \(H, W\), got uint8 \(1, 24, 32\)"),
        (lambda m: masks.fill(m.astype(int), "nose", (1, 1)), "got int64"),
        (lambda m: masks.fill(m + 10, "nose", (1, 1)), "value 23, but there are 19 classes"),
        (lambda m: masks.put(m, "%"), "no PNG in base64"),
        (lambda m: Edit("smudge", {}), "unknown edit 'smudge'"),
        (lambda m: Edit("fill", {"region": "nose"}), "missing a required argument: 'point'"),
        (lambda m: Edit("grow", {"region": "nose", "colour": 3}), "unexpected keyword argument 'colour'"),
        (lambda m: masks.from_json("{"), "no saved list of edits"),
        (lambda m: masks.from_json("{}"), "holds no list"),
        (lambda m: masks.from_json("[3]"), "3 is no edit"),
    ],
)
def test_what_cant_be_done_is_told(call, message):
    with pytest.raises(ValueError, match=message):
        call(plain())


def test_a_failed_edit_changes_nothing():
    canvas = Canvas(plain()).move("nose", 1, 0)
    before, edits = canvas.mask, canvas.edits
    for edit in (Edit("move", {"region": "nose", "dx": 0.5, "dy": 0}), Edit("grow", {"region": "hat"})):
        with pytest.raises(ValueError, match=r"dx|no hat"):
            canvas.apply(edit)
    assert canvas.mask is before
    assert canvas.edits == edits


# ---------------------------------------------------------------------------------------------- edits

_region = st.sampled_from(CELEBAMASK_HQ)
_point = st.tuples(st.floats(-4, 36), st.floats(-4, 28))
_within = st.tuples(st.integers(0, SIZE[1] - 1), st.integers(0, SIZE[0] - 1))
_step = st.integers(-9, 9)
_masks = st.builds(
    lambda seed, cell: np.random.default_rng(seed).integers(0, 19, (24 // cell, 32 // cell), np.uint8).repeat(
        cell, 0
    ).repeat(cell, 1),
    st.integers(0, 99), st.sampled_from([1, 4, 8]),
)  # fmt: skip
_strokes = st.builds(
    lambda region, points, width: Edit("stroke", {"region": region, "points": points, "width": width}),
    _region, st.lists(_point, min_size=1, max_size=6), st.floats(0.5, 9),
)  # fmt: skip
_edits = st.one_of(
    _strokes,
    st.builds(lambda r, p: Edit("paint", {"region": r, "polygon": p}), _region, st.lists(_point, min_size=3)),
    st.builds(lambda r, p: Edit("fill", {"region": r, "point": p}), _region, _within),
    st.builds(lambda do, r, by: Edit(do, {"region": r, "by": by}), st.sampled_from(["grow", "shrink"]), _region,
              st.floats(0, 4)),
    st.builds(lambda r, x, y: Edit("move", {"region": r, "dx": x, "dy": y}), _region, _step, _step),
    st.builds(lambda mask: Edit("put", {"png": base64.b64encode(masks.to_png(mask)).decode()}), _masks),
)  # fmt: skip


def attempt(canvas: Canvas, edit: Edit) -> None:
    """Do an edit, or nothing where its region has vanished."""
    region = edit.arguments.get("region")
    if edit.do not in ("grow", "shrink", "move") or (canvas.mask == CELEBAMASK_HQ.index(region)).any():
        canvas.apply(edit)


@settings(max_examples=25)
@given(_masks, _region, st.sampled_from([0, 1, 1.5, 2, 3.2, 40]), _step, _step)
def test_whole_regions_change_by_the_nearest_pixel(mask, region, by, dx, dy):
    value = CELEBAMASK_HQ.index(region)
    mask[3, 4], mask[20, 30] = value, (value + 1) % 19
    own, places = mask == value, np.indices(SIZE).reshape(2, -1)
    squares = ((places[:, :, None] - places[:, None]) ** 2).sum(0)
    to_own = squares[:, own.ravel()].min(1).reshape(SIZE)
    assert np.array_equal(masks.grow(mask, region, by), np.where(to_own <= by**2, value, mask))
    to_others = squares[:, ~own.ravel()]
    shrunk, moved = masks.shrink(mask, region, by), masks.move(mask, region, dx, dy)
    given_up = own & (to_others.min(1).reshape(SIZE) <= by**2)
    assert np.array_equal(shrunk == value, own & ~given_up)
    assert np.array_equal(shrunk[~given_up], mask[~given_up])
    for place in np.flatnonzero(own):
        nearest = set(mask[~own][to_others[place] == to_others[place].min()].tolist())
        assert moved.flat[place] in nearest | {value}
        assert shrunk.flat[place] in nearest | {value}


@settings(max_examples=8)
@given(_masks, st.lists(_strokes, min_size=50, max_size=50))
def test_fifty_strokes_are_undone_and_redone_bit_for_bit(mask, strokes):
    canvas, seen = Canvas(mask), []
    for edit in strokes:
        seen.append(canvas.mask.tobytes())
        canvas.apply(edit)
    last = canvas.mask.tobytes()
    for before in reversed(seen):
        assert canvas.undo().mask.tobytes() == before
    assert canvas.mask.tobytes() == mask.tobytes()
    assert not canvas.can_undo
    assert canvas.undo().mask.tobytes() == mask.tobytes()
    for after in [*seen[1:], last]:
        assert canvas.redo().mask.tobytes() == after
    assert not canvas.can_redo
    assert canvas.edits == tuple(strokes)


@settings(max_examples=40)
@given(_masks, st.lists(st.one_of(_edits, st.sampled_from(["undo", "redo", "reset"])), max_size=14))
def test_saved_edits_replay_to_the_same_mask(mask, actions):
    canvas = Canvas(mask)
    for action in actions:
        attempt(canvas, action) if isinstance(action, Edit) else getattr(canvas, action)()
    again = masks.from_json(masks.to_json(canvas.edits))
    assert again == canvas.edits
    assert np.array_equal(masks.replay(mask, again), canvas.mask)
    assert np.array_equal(Canvas(mask, again).mask, canvas.mask)
    assert np.array_equal(canvas.reset().mask, mask)


def test_something_new_ends_what_could_be_redone():
    canvas = Canvas(plain()).fill("hair", (0, 0)).grow("nose").undo()
    assert canvas.can_redo
    canvas.stroke("mouth", [(3, 3)], 2)
    assert not canvas.can_redo
    assert [edit.do for edit in canvas.edits] == ["fill", "stroke"]
    assert canvas.redo().edits == canvas.edits


def test_edits_are_complete_and_plain():
    edit = Edit("grow", {"region": NOSE})
    assert edit.record == {"do": "grow", "region": "nose", "by": 1}
    points = np.array([[1.5, 2], [3, 4]])
    edit = Edit("stroke", {"region": "nose", "points": points, "width": np.float32(2)})
    assert json.loads(edit.text) == {"do": "stroke", "region": "nose", "points": [[1.5, 2], [3, 4]], "width": 2}
    assert edit == Edit.from_record(json.loads(edit.text))


def test_methods_are_the_functions():
    canvas = Canvas(plain())
    outline = [(2, 2), (9, 3), (5, 20)]
    canvas.paint("cloth", outline).stroke("hat", outline, 3).fill("neck", (30, 20)).grow("hat", 2)
    canvas.shrink("cloth").move("nose", -2, 3)
    mask = masks.fill(masks.stroke(masks.paint(plain(), "cloth", outline), "hat", outline, 3), "neck", (30, 20))
    mask = masks.move(masks.shrink(masks.grow(mask, "hat", 2), "cloth"), "nose", -2, 3)
    assert np.array_equal(canvas.mask, mask)
    assert canvas.pick((30, 20)) == "neck"
    assert np.array_equal(canvas.put(plain()).mask, plain())


# ---------------------------------------------------------------------------------------------- files


@settings(max_examples=20)
@given(_masks)
def test_png_keeps_every_label(tmp_path_factory, mask):
    path = masks.save(mask, tmp_path_factory.getbasetemp() / "mask.png")
    assert np.array_equal(masks.load(path, mask.shape), mask)
    assert np.array_equal(masks.load(path, colours=True), mask)
    with Image.open(path) as image:
        assert image.mode == "P"
        assert np.array_equal(np.asarray(image.convert("RGB")), LABEL_COLOURS[mask])
        assert "17 neck" in image.text["Description"]


def test_masks_painted_elsewhere_are_read(tmp_path):
    path = tmp_path / "elsewhere.png"
    everything = (np.arange(24 * 32) % 19).astype(np.uint8).reshape(SIZE)
    for kind in (np.uint8, np.uint16):
        Image.fromarray(everything.astype(kind)).save(path)
        assert np.array_equal(masks.load(path), everything), kind
    own = Image.fromarray(everything)
    own.putpalette(np.random.default_rng(0).integers(0, 256, 57).tolist())
    own.save(path)
    assert np.array_equal(masks.load(path), everything), "a palette of its own says nothing about the numbers"
    for mode in ("RGB", "RGBA"):
        Image.fromarray(LABEL_COLOURS[everything]).convert(mode).save(path)
        assert np.array_equal(masks.load(path, colours=True), everything)


def _write(path, image, kind="PNG", **options):
    image.save(path, kind, **options)


def _sorted_palette(path):
    image = Image.fromarray(LABEL_COLOURS[plain()]).convert("P", palette=Image.Palette.ADAPTIVE, colors=8)
    _write(path, image)


def _cut(path):
    noise = np.random.default_rng(0).integers(0, 19, SIZE, np.uint8)
    path.write_bytes(masks.to_png(noise)[:-200])


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: None, "there is no file .*edited.png: check the path"),
        (lambda path: path.mkdir(), "edited.png is a folder"),
        (lambda path: path.write_bytes(b""), r"edited.png is empty \(0 bytes\)"),
        (lambda path: path.write_text("a mask"), "edited.png is not a PNG file: save the mask as PNG"),
        (lambda path: _write(path, Image.fromarray(plain()), "JPEG"), "edited.png is no PNG but JPEG"),
        (_cut, "edited.png .*cut off or damaged"),
        (lambda path: _write(path, Image.fromarray(plain()[:, :20])), "is 20 x 24 pixels, but the picture is 32 x 24"),
        (lambda path: _write(path, Image.fromarray(LABEL_COLOURS[plain()])), r"colours \(RGB\).*load it with colours"),
        (lambda path: _write(path, Image.fromarray(plain()).convert("LA")), r"colours \(LA\), not class numbers"),
        (
            lambda path: _write(path, Image.fromarray((plain() == 1) * np.uint8(255))),
            "holds the value 255, but the classes are 0 to 18",
        ),
        (_sorted_palette, "swaplib's colours under other numbers.*load it with colours=True"),
    ],
)
def test_a_mask_that_cant_be_used_is_told_so(tmp_path, write, message):
    path = tmp_path / "edited.png"
    write(path)
    with pytest.raises(PhotoError, match=message) as caught:
        masks.load(path, SIZE)
    assert "\n" not in str(caught.value)


def test_colours_decide_where_they_are_asked(tmp_path):
    path = tmp_path / "edited.png"
    _sorted_palette(path)
    assert np.array_equal(masks.load(path, SIZE, colours=True), plain())
    picture = LABEL_COLOURS[plain()].copy()
    picture[3, 7] = [1, 2, 3]
    Image.fromarray(picture).save(path)
    with pytest.raises(PhotoError, match=r"1 pixels whose colour stands for no class, the first at \(7, 3\)"):
        masks.load(path, colours=True)


def test_masks_are_saved_as_png_only(tmp_path):
    with pytest.raises(ValueError, match=r"mask.jpg: masks are saved as PNG"):
        masks.save(plain(), tmp_path / "mask.jpg")


def test_put_takes_masks_of_the_same_size_only():
    small = base64.b64encode(masks.to_png(plain()[:5])).decode()
    with pytest.raises(PhotoError, match="the mask to be put is 32 x 5 pixels, but the picture is 32 x 24"):
        masks.put(plain(), small)
    buffer = io.BytesIO()
    Image.fromarray(LABEL_COLOURS[plain()]).save(buffer, "PNG")
    with pytest.raises(PhotoError, match="holds colours"):
        masks.put(plain(), base64.b64encode(buffer.getvalue()).decode())
