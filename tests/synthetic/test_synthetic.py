"""Rendered faces: what is claimed to be known about them must be so, bit for bit where nothing random is left."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from swaplib import photos, synthetic
from swaplib.faces import CELEBA_ATTRIBUTES, CELEBAMASK_HQ, SYNTHETIC_ATTRIBUTES, Faces, from_uint8, region, to_uint8
from swaplib.synthetic import IDENTITY, Ties, columns, hair, head, mesh, raster, sample_factors
from swaplib.synthetic.factors import HAIR_STYLES, column, record
from swaplib.synthetic.version import digest_files

REFERENCES = Path(__file__).parents[1] / "fixtures/rendered"


@pytest.fixture(scope="module")
def faces():
    return synthetic.render_faces(6, seed=4, world="calm", size=96)


def same(a, b) -> bool:
    return all(torch.equal(getattr(a, name), getattr(b, name)) for name in ("images", "labels", "landmarks"))


def grown(mask, pixels: int):
    """The mask (B, H, W), widened."""
    return torch.nn.functional.max_pool2d(mask[:, None].float(), 2 * pixels + 1, 1, pixels)[:, 0] > 0


def changed(faces, group: str, name: str, value: float):
    """The same faces with one column set to a value."""
    factors = {key: values.clone() for key, values in faces.factors.items()}
    factors[group][:, columns()[group].index(name)] = value
    return synthetic.render(factors, faces.size[0])


# ------------------------------------------------------------------------------------------------- clips


def test_a_clip_begins_with_its_face_and_moves_on():
    frames = synthetic.render_clip(2, seed=4, number=3, size=64, fps=1.5)
    assert len(frames) == 3
    assert frames.identity.tolist() == [3, 3, 3]
    assert same(frames[[0]], synthetic.render_faces(1, seed=4, start=3, size=64))
    moves = {group for group, values in frames.factors.items() if not torch.equal(values[0], values[2])}
    assert moves == {"pose", "expression", "light"}
    source = synthetic.render_faces(1, seed=4, start=5, size=64)
    truth = synthetic.true_swap(source[[0, 0]], frames[[0, 2]])
    assert torch.equal(truth.factors["pose"], frames.factors["pose"][[0, 2]])
    assert torch.equal(truth.factors["skin"][0], source.factors["skin"][0])


def test_clips_move_without_jumps_inside_what_their_world_allows():
    factors = synthetic.moving_factors(100, 20, seed=1, number=2)
    for group in ("pose", "expression", "light"):
        path = factors[group]
        change = path.diff(dim=0).abs()
        # The eased way between two moments is nowhere steeper than 1.5 times the straight one.
        whole = (path[::20].diff(dim=0).abs()).max(0).values
        last = (path[80:].diff(dim=0).abs()).max(0).values * 20
        assert (change.max(0).values <= 1.55 * torch.maximum(whole, last) / 20 + 1e-6).all()
    assert factors["expression"].min() >= 0
    assert factors["pose"].abs().max() <= 20
    # Nearly still at each moment, so that the speed doesn't jump either.
    spread = factors["pose"].max(0).values - factors["pose"].min(0).values
    assert ((factors["pose"][21] - factors["pose"][19]).abs() <= 0.016 * spread + 1e-5).all()
    longer = synthetic.moving_factors(120, 20, seed=1, number=2)
    assert all(torch.equal(longer[group][:100], values) for group, values in factors.items())
    assert not torch.equal(synthetic.moving_factors(100, 20, seed=1, number=3)["pose"], factors["pose"])


@pytest.mark.parametrize("wrong", [{"seconds": 1}, {"seconds": 11}, {"fps": 0.5}, {"pace": 0}])
def test_clips_have_limits(wrong):
    with pytest.raises(ValueError, match="2 to 10 seconds"):
        synthetic.render_clip(**wrong)


# ------------------------------------------------------------------------------------------------- determinism


def test_a_face_depends_on_seed_and_index_only(faces):
    alone = synthetic.render_faces(1, seed=4, start=3, world="calm", size=96)
    assert same(alone, faces[[3]])
    assert alone.identity.tolist() == [3]
    assert not same(synthetic.render_faces(1, seed=5, start=3, world="calm", size=96), alone)


def test_processes_do_not_change_the_pictures(faces):
    assert same(synthetic.render_faces(6, seed=4, world="calm", size=96, jobs=2), faces)


def test_worlds_share_their_people():
    """Nuisance differs between the worlds, people do not."""
    calm, wild = sample_factors(5, seed=2, world="calm"), sample_factors(5, seed=2, world="wild")
    assert all(torch.equal(calm[group], wild[group]) for group in IDENTITY)
    assert not torch.equal(calm["pose"], wild["pose"])


def test_calm_is_calm():
    factors = sample_factors(200, seed=1, world="calm")
    for name, limit in (("yaw", 20), ("pitch", 12), ("roll", 8)):
        assert column(factors, "pose", name).abs().max() <= limit
    styles = {HAIR_STYLES[int(k)] for k in column(factors, "hair", "style")}
    assert not styles & {"afro", "curly_short", "long_curly"}
    assert 0.03 < column(factors, "glasses", "worn").mean() < 0.14


@pytest.mark.parametrize("size", [64, 160])
def test_shapes_and_ranges(size):
    faces = synthetic.render_faces(1, size=size, supersample=1)
    assert faces.images.shape == (1, 3, size, size)
    assert faces.images.dtype == torch.float32
    assert faces.images.abs().max() <= 1
    assert faces.images.std() > 0.1
    assert faces.labels.dtype == torch.uint8
    assert faces.landmarks.shape == (1, 68, 2)


@pytest.mark.parametrize("groups", [("shape",), ("expression", "hair"), ("body",), ("pose", "camera")])
def test_groups_alone_are_drawn_as_with_all_others(groups):
    whole, some = sample_factors(2, seed=3, world="wild"), sample_factors(2, seed=3, world="wild", groups=groups)
    assert tuple(sorted(some)) == tuple(sorted(groups))
    for group in groups:
        assert torch.equal(some[group], whole[group])


def test_bad_arguments_are_refused():
    factors = sample_factors(1)
    with pytest.raises(ValueError, match="64 to 512"):
        synthetic.render(factors, 32)
    factors["pose"][0, 0] = torch.nan
    with pytest.raises(ValueError, match="factors pose hold"):
        synthetic.render(factors, 64)
    with pytest.raises(ValueError, match="calm, wild"):
        sample_factors(1, world="stormy")
    with pytest.raises(ValueError, match="at least 1"):
        sample_factors(0)


# --------------------------------------------------------------------------------------------- what is kept on disk


@pytest.fixture
def kept(tmp_path, monkeypatch):
    monkeypatch.setenv("SWAPLIB_CACHE", str(tmp_path))
    return lambda: len(list(tmp_path.rglob("*.safetensors")))


def test_what_is_kept_is_what_is_rendered(kept):
    draw = partial(synthetic.render_faces, seed=4, world="wild", size=64, supersample=1)
    anew, first, again = draw(3, keep=False), draw(3), draw(3)
    assert kept() == 3
    assert same(anew, first)
    assert same(anew, again)
    assert torch.equal(anew.attributes.nan_to_num(-1), again.attributes.nan_to_num(-1))
    assert torch.equal(again.identity, anew.identity)
    assert again.images.is_contiguous()
    assert same(draw(4)[[1, 2]], anew[[1, 2]])  # in another company
    assert kept() == 4
    truth = synthetic.true_swap(again[[0]], again[[1]], supersample=1)
    assert kept() == 5
    assert same(truth, synthetic.true_swap(anew[[0]], anew[[1]], supersample=1))
    assert kept() == 5


def test_other_pictures_are_other_entries(kept):
    factors = sample_factors(1, seed=4)
    pictures = [synthetic.render(factors, 64), synthetic.render(factors, 72), synthetic.render(factors, 64, 1)]
    factors["pose"][0, 0] += 1e-3
    pictures.append(synthetic.render(factors, 64))
    assert kept() == 4
    assert not torch.equal(pictures[0].images, pictures[2].images)


def test_nothing_is_compiled_where_all_is_kept(kept):
    synthetic.render_faces(2, size=64)
    code = (
        "import sys; from swaplib import synthetic; synthetic.render_faces(2, size=64); print('numba' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"
    assert kept() == 2


def test_pictures_have_the_levels_of_a_file(faces):
    truth = synthetic.true_swap(faces[[0]], faces[[1]], "target")
    for images in (faces.images, truth.images):
        assert torch.equal(images, from_uint8(to_uint8(images)))


# ----------------------------------------------------------------------------------------------------- true swap


@pytest.mark.parametrize("surround", ["rendered", "target"])
def test_true_swap_with_oneself_is_the_picture_itself(faces, surround):
    assert same(synthetic.true_swap(faces, faces, surround), faces)


def test_true_swap_takes_the_person_and_leaves_the_shot(faces):
    source, target = faces[[0, 1]], faces[[2, 3]]
    swap = synthetic.true_swap(source, target)
    for group in columns():
        wanted = source if group in IDENTITY else target
        assert torch.equal(swap.factors[group], wanted.factors[group])
    assert swap.identity.tolist() == source.identity.tolist()
    eyes = [batch.landmarks[:, 36:48].mean(1) for batch in (swap, target)]
    assert (eyes[0] - eyes[1]).norm(dim=-1).max() < 3  # the eyes stay where the camera had them
    heads = (swap.labels > 0) | (target.labels > 0)
    outside = ~grown(heads, 1)  # pixels at the edge hold a share of the head
    assert outside.float().mean() > 0.1
    gap = (swap.images - target.images).abs().amax(1)
    assert (gap[outside] == 0).float().mean() > 0.995


def test_composited_true_swap_keeps_the_targets_surround(faces):
    source, target = faces[[0, 1]], faces[[2, 3]]
    swap = synthetic.true_swap(source, target, "target")
    rendered = synthetic.true_swap(source, target)
    shown = (*synthetic.FACE_REGION, "eye_glasses")
    touched = region(rendered.labels, *shown) | region(target.labels, *shown)
    far = ~grown(touched, 4)
    assert torch.equal(swap.images.permute(0, 2, 3, 1)[far], target.images.permute(0, 2, 3, 1)[far])


def test_a_swap_of_the_skin_alone_keeps_the_targets_head(faces):
    source, target = faces[[0, 1]], faces[[2, 3]]
    skin, both = synthetic.true_swap(source, target, groups=("skin",)), synthetic.true_swap(source, target)
    assert (skin.labels != target.labels).float().mean() < 0.05  # brows and beards
    assert torch.equal(skin.factors["shape"], target.factors["shape"])
    assert skin.identity is None
    assert (skin.images - target.images).abs().mean() > 0.003 < (skin.images - both.images).abs().mean()
    assert same(synthetic.true_swap(source, target, groups=()), replace(target, identity=None))
    with pytest.raises(ValueError, match="must be of shape, skin, got hair"):
        synthetic.true_swap(source, target, groups=("hair",))


def test_true_swap_needs_rendered_pairs(faces):
    with pytest.raises(ValueError, match="rendered faces"):
        synthetic.true_swap(replace(faces, factors=None), faces)
    with pytest.raises(ValueError, match="do not pair"):
        synthetic.true_swap(faces[[0]], faces)
    with pytest.raises(ValueError, match="surround"):
        synthetic.true_swap(faces, faces, "none")


# --------------------------------------------------------------------------------------------- separate factors


def test_background_and_light_move_nothing(faces):
    for group, name, value in (("background", "brightness", 0.9), ("light", "azimuth", 60.0)):
        other = changed(faces, group, name, value)
        assert torch.equal(other.labels, faces.labels)
        assert torch.equal(other.landmarks, faces.landmarks)
        assert not torch.equal(other.images, faces.images)


def test_background_leaves_the_person_alone(faces):
    other = changed(faces, "background", "brightness", 0.9)
    inside = ~grown(region(faces.labels, "background", "hair"), 1)  # one sees the background between strands
    gap = (other.images - faces.images).abs().amax(1)
    assert inside.float().mean() > 0.2
    assert (gap[inside] == 0).float().mean() > 0.998  # a gap between two strands may be narrower than a pixel


def test_skin_tone_moves_nothing_and_leaves_hair_and_surround_alone(faces):
    other = changed(faces, "skin", "tone", 0.95)
    assert torch.equal(other.labels, faces.labels)
    assert torch.equal(other.landmarks, faces.landmarks)
    away = ~region(faces.labels, "background", "cloth")
    near = grown(away, 1)
    gap = (other.images - faces.images).abs().amax(1)
    assert gap[~near].max() == 0
    skin = region(faces.labels, "skin", "nose")
    assert gap[skin].mean() > 0.1


def test_hair_leaves_the_face_where_it_is(faces):
    other = changed(faces, "hair", "melanin", 0.1)
    assert torch.equal(other.landmarks, faces.landmarks)
    assert torch.equal(other.labels, faces.labels)
    bald = changed(faces, "hair", "style", HAIR_STYLES.index("bald"))
    assert torch.equal(bald.landmarks, faces.landmarks)
    assert not region(bald.labels, "hair").any()
    free = ~region(faces.labels, "hair")
    assert (bald.labels[free] == faces.labels[free]).float().mean() > 0.995


def test_glasses_leave_landmarks_and_the_lower_face_alone(faces):
    without, worn = changed(faces, "glasses", "worn", 0.0), changed(faces, "glasses", "worn", 1.0)
    assert torch.equal(without.landmarks, worn.landmarks)
    assert not region(without.labels, "eye_glasses").any()
    assert region(worn.labels, "eye_glasses").flatten(1).any(1).all()
    for k in range(len(faces)):
        below = int(faces.landmarks[k, 48:68, 1].min())
        # Some processors round the last digit by where a number lies in a vector.
        assert (without.images[k, :, below:] - worn.images[k, :, below:]).abs().max() < 1e-6


def test_expression_opens_the_mouth_and_keeps_identity_columns(faces):
    closed, opened = changed(faces, "expression", "jawOpen", 0.0), changed(faces, "expression", "jawOpen", 0.7)
    gap = [(f.landmarks[:, 66] - f.landmarks[:, 62]).norm(dim=-1) for f in (closed, opened)]
    assert (gap[1] > gap[0] + 3).all()
    brows = [f.landmarks[:, 17:31] for f in (closed, opened)]
    assert (brows[0] - brows[1]).norm(dim=-1).max() < 0.75


def test_yaw_turns_the_head_to_the_persons_left():
    faces = synthetic.render_faces(2, seed=8, size=96, supersample=1)
    left, right = changed(faces, "pose", "yaw", 25.0), changed(faces, "pose", "yaw", -25.0)
    middle = [f.landmarks[:, 30, 0] - f.landmarks[:, [0, 16], 0].mean(1) for f in (left, right)]
    assert (middle[0] > 5).all()
    assert (middle[1] < -5).all()


# ------------------------------------------------------------------------------------------------------- the truth


def test_labels_and_landmarks_agree(faces):
    for k in range(len(faces)):
        for name, part in (("right_eye", slice(36, 42)), ("left_eye", slice(42, 48)), ("nose", slice(27, 36))):
            rows, cols = region(faces.labels[k], name).nonzero(as_tuple=True)
            if len(rows) < 4:
                continue  # closed, or behind sunglasses
            centre = torch.stack([cols.float().mean(), rows.float().mean()])
            assert (centre - faces.landmarks[k, part].mean(0)).norm() < 6
        rows, cols = region(faces.labels[k], "left_eye").nonzero(as_tuple=True)
        others = region(faces.labels[k], "right_eye").nonzero(as_tuple=True)[1]
        if len(cols) and len(others):
            assert cols.float().mean() > others.float().mean()  # the person's left is on the right of the picture


def test_jaw_points_lie_on_the_visible_contour():
    """Just outside the far cheek's points there is no skin any more."""
    factors = sample_factors(3, seed=21)
    factors["pose"][:, columns()["pose"].index("yaw")] = 35.0
    for name in ("moustache", "goatee", "cheek_beard", "stubble"):  # a beard is skin, and hangs over the contour
        factors["skin"][:, columns()["skin"].index(name)] = 0.0
    faces = synthetic.render(factors, 128)
    middle = faces.landmarks[:, 27:36].mean(1)
    for k in range(len(faces)):
        for point in faces.landmarks[k, 12:16]:
            out = point + 5 * torch.nn.functional.normalize(point - middle[k], dim=0)
            x, y = out.round().long().clamp(0, 127).tolist()
            assert CELEBAMASK_HQ[int(faces.labels[k, y, x])] not in ("skin", "nose", "mouth")


def test_attributes_follow_the_factors():
    factors = sample_factors(300, seed=0, world="wild")
    values = synthetic.attributes(factors)
    assert values.shape == (300, 40)
    known = [CELEBA_ATTRIBUTES.index(name) for name in SYNTHETIC_ATTRIBUTES]
    unknown = sorted(set(range(40)) - set(known))
    assert set(values[:, known].unique().tolist()) == {0.0, 1.0}
    assert values[:, unknown].isnan().all()
    named = {name: values[:, k] for k, name in enumerate(CELEBA_ATTRIBUTES)}
    assert torch.equal(named["Eyeglasses"], column(factors, "glasses", "worn"))
    colours = sum(named[f"{c}_Hair"] for c in ("Black", "Blond", "Brown", "Gray"))
    assert colours.max() <= 1
    assert (named["Bald"] * colours).max() == 0
    for name in ("Male", "Smiling", "Young", "Black_Hair", "No_Beard", "Mouth_Slightly_Open", "Eyeglasses"):
        assert 0.08 < named[name].mean() < 0.92, name


def test_factors_are_tied_only_where_the_options_say():
    def correlation(factors, a, b):
        return float(np.corrcoef(column(factors, *a), column(factors, *b))[0, 1])

    tied = sample_factors(500, seed=3, world="wild")
    untied = sample_factors(500, seed=3, world="wild", ties=Ties(0, 0, 0, 0))
    age, grey = ("shape", "age"), ("hair", "grey")
    assert correlation(tied, age, grey) > 0.4
    assert abs(correlation(untied, age, grey)) < 0.12
    sex, beard = ("shape", "masculine"), ("skin", "moustache")
    assert correlation(tied, sex, beard) > 0.25
    assert abs(correlation(untied, sex, beard)) < 0.12
    for other in (age, sex, ("hair", "melanin"), ("hair", "style"), ("shape", "african"), ("glasses", "worn")):
        assert abs(correlation(tied, ("skin", "tone"), other)) < 0.13


# ------------------------------------------------------------------------------------------------ the same pictures


def test_pictures_are_the_same_as_ever():
    """To one grey level those of version 2.0: whoever wants others raises RENDERER and makes new references."""
    pictures, labels = (np.asarray(Image.open(REFERENCES / f"{name}.png")) for name in ("pictures", "labels"))
    faces = Faces.cat([synthetic.render_faces(1, seed=0, start=k, world="wild", size=72) for k in (3, 83, 260, 297)])
    gap = np.abs(np.hstack(to_uint8(faces.images)).astype(int) - pictures)
    assert (gap <= 1).mean() > 0.999
    assert (np.hstack(faces.labels.numpy()) == labels).mean() > 0.999
    assert np.abs(faces.landmarks.numpy() - np.load(REFERENCES / "landmarks.npy")).max() < 0.01


def test_pictures_come_from_the_processor_whatever_the_number_of_threads():
    before = torch.get_num_threads()
    drawn = []
    for count in (1, 2):
        torch.set_num_threads(count)
        drawn.append(synthetic.render(sample_factors(2, seed=6, world="wild"), 64))
    torch.set_num_threads(before)
    assert same(*drawn)


def test_nothing_is_compiled_before_something_is_rendered():
    code = "import sys; from swaplib import synthetic; synthetic.sample_factors(1); print('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"


def test_kernels_are_compiled_again_when_any_source_changes():
    """Numba looks for changes in a kernel's own file alone: the name of what it keeps tells the state of all files."""
    assert raster.rasterize.py_func.__qualname__ == f"rasterize_{digest_files()}"


# --------------------------------------------------------------------------------------------------- the rasteriser


def rasterize(points, triangles, size: int) -> np.ndarray:
    """The number of the nearest triangle at each sample."""
    ids, nearest = np.full((size, size), -1, np.int32), np.zeros((size, size), np.float32)
    raster.rasterize(np.asarray(points, np.float32), np.asarray(triangles, np.int32), ids, nearest)
    return ids


def rasterize_plainly(points, triangles, size: int) -> np.ndarray:
    """The same by trying every triangle at every sample."""
    y, x = np.indices((size, size)).astype(np.float32)
    ids, nearest = np.full((size, size), -1, np.int32), np.zeros((size, size), np.float32)
    for k, ((ax, ay, az), (bx, by, bz), (cx, cy, cz)) in enumerate(np.asarray(points, np.float32)[triangles]):
        inverse = np.float32(1) / ((bx - ax) * (cy - ay) - (by - ay) * (cx - ax))
        u = ((x - ax) * (cy - ay) - (y - ay) * (cx - ax)) * inverse
        v = ((bx - ax) * (y - ay) - (by - ay) * (x - ax)) * inverse
        w = 1 - u - v
        depth = w * az + u * bz + v * cz
        seen = (np.minimum(np.minimum(u, v), w) >= np.float32(-raster.SLACK)) & (depth > nearest)
        ids[seen], nearest[seen] = k, depth[seen]
    return ids


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 60))
def test_rasteriser_skips_no_sample(seed, count):
    rng = np.random.default_rng(seed)
    points = rng.random((3 * count, 3)) * (40, 40, 1) - (4, 4, -0.1)
    triangles = np.arange(3 * count).reshape(-1, 3)
    assert np.array_equal(rasterize(points, triangles, 32), rasterize_plainly(points, triangles, 32))


def test_rasteriser_finds_the_nearest_triangle():
    square = [[0, 0], [7, 0], [0, 7], [7, 7]]
    points = [[*xy, 1.0] for xy in square] + [[*xy, 2.0] for xy in ([2, 2], [5, 2], [2, 5])]
    ids = rasterize(points, [[0, 1, 2], [1, 3, 2], [4, 5, 6]], 9)
    assert ids[3, 3] == 2  # in front
    assert ids[0, 0] == 0
    assert ids[6, 6] == 1
    assert ids[8, 8] == -1


@pytest.mark.parametrize("number", [0, 3])
def test_ribbons_are_the_triangles_beside_their_strands(number):
    """Also where hair lies behind hair: what is skipped as hidden would have been."""
    factors = sample_factors(1, seed=4, start=number, world="wild")
    camera, size = record(factors, "camera"), 128
    body = mesh.pose(factors, *(weights[0] for weights in mesh.weigh(factors)))
    strands = hair.grow(factors, body)[hair.SCALP]
    ids, nearest = np.full((size, size), -1, np.int32), np.zeros((size, size), np.float32)
    raster.rasterize_ribbons(camera, strands, 0, ids, nearest)

    points = torch.from_numpy(strands.points).double()
    along = torch.diff(points, dim=1, append=2 * points[:, -1:] - points[:, -2:-1])
    eye = torch.tensor([float(camera[name]) for name in ("shift_x", "shift_y", "distance")])
    across = torch.nn.functional.normalize(torch.linalg.cross(along, eye - points), dim=-1)
    across = across * torch.from_numpy(strands.width)[..., None] / 2
    corners = torch.stack([points - across, points + across], 2).float().flatten(0, 2).numpy()
    screen = np.empty_like(corners)
    raster.project_points(camera, corners, size, screen)
    count, length = strands.width.shape
    first = (np.arange(count)[:, None] * length + np.arange(length - 1)).reshape(-1, 1) * 2
    triangles = (first[:, None] + np.array([(0, 1, 2), (1, 3, 2)])).reshape(-1, 3)
    numbers = np.stack([first, first + 1], 1).ravel()
    wanted = rasterize(screen, triangles, size)
    wanted = np.where(wanted >= 0, numbers[wanted], -1)
    assert (wanted >= 0).mean() > 0.05
    assert (ids == wanted).mean() > 0.999


# -------------------------------------------------------------------------------------------------------- the head


def test_macro_weights_interpolate():
    names = head.shape_columns()
    shape = torch.zeros(1, len(names))
    for name, value in {"masculine": 0.3, "age": 0.6, "weight": 0.8, "muscle": 0.2, "african": 1.0}.items():
        shape[0, names.index(name)] = value
    weights = head.weights(shape)[0]
    universal = [k for k, name in enumerate(head.shape_names()) if name.startswith("universal")]
    # Average build at average weight is the base mesh itself and has no shape: its share, 0.4 x 0.4, is left out.
    assert weights[universal].sum() == pytest.approx(1 - 0.4 * 0.4, abs=1e-5)
    strongest = head.shape_names()[universal[int(weights[universal].argmax())]]
    assert strongest == "universal-female-old-minmuscle-maxweight"
    race = [k for k, name in enumerate(head.shape_names()) if name.startswith("african")]
    assert weights[race].sum() == pytest.approx(1, abs=1e-5)


def test_posed_mesh_is_the_head_turned():
    """The kernel's sparse sums against the dense ones in torch."""
    factors = sample_factors(1, seed=9, world="wild")
    body = mesh.pose(factors, *(weights[0] for weights in mesh.weigh(factors)))
    still = head.vertices(head.weights(factors["shape"], factors["expression"]))
    turned = ((still - head.eye_midpoint(still)) @ head.rotation(factors["pose"]).transpose(1, 2))[0]
    above = head.tensors()["vertices"][:, 1] > 6.4
    assert (torch.from_numpy(body.points)[above] - turned[above]).abs().max() < 1e-5
    normals = head.normals(torch.from_numpy(body.points)[None], head.tensors()["triangles"])[0]
    assert (torch.from_numpy(body.normals) - normals).abs().max() < 1e-3


def test_stance_is_measured_on_the_head():
    weights = head.weights(sample_factors(1, seed=9)["shape"])
    points, stance = head.vertices(weights), head.stand(weights)[0]
    eyes = head.eye_midpoint(points)
    assert np.abs(stance["eyes"] - eyes[0].numpy()).max() < 1e-5
    marks = head.landmark_points((points - eyes)[0].numpy(), lambda places: places[:, :2])
    for name, part in (("right_lids", slice(36, 42)), ("left_lids", slice(42, 48)), ("mouth", [48, 54])):
        assert np.abs(stance[name][:2] - marks[part].mean(0)).max() < 1e-5


def test_head_is_small_and_complete():
    assert len(head.shape_names()) > 400
    assert len(head.expression_columns()) == 51
    from importlib.resources import files

    assert (files("swaplib.synthetic") / "head.npz").stat().st_size < 1_300_000


# ------------------------------------------------------------------------------------------- an independent judge


def test_dlib_finds_the_faces_where_they_are():
    """dlib's points are a check of ours from outside (median within 6%)."""
    faces = synthetic.render_faces(12, seed=31, world="calm", size=192)
    errors = []
    for picture, known in zip(to_uint8(faces.images), faces.landmarks.numpy(), strict=True):
        found = photos.detect(picture)
        if found:
            apart = np.linalg.norm(known[36] - known[45])
            errors.append(np.linalg.norm(found[0].landmarks - known, axis=1).mean() / apart)
    assert len(errors) >= 11
    assert np.median(errors) < 0.06


def test_dlib_takes_a_true_swap_for_its_source():
    source = synthetic.render_faces(8, seed=41, world="calm", size=160)
    target = synthetic.render_faces(8, seed=41, start=8, world="calm", size=160)
    codes = [photos.describe(faces) for faces in (synthetic.true_swap(source, target), source, target)]
    to_source, to_target = (((codes[0] - other) ** 2).sum(-1) for other in codes[1:])
    assert (to_source < to_target).float().mean() >= 7 / 8


def test_factors_flatten_to_numbers_without_seeds():
    factors = synthetic.sample_factors(16, seed=1, world="wild")
    vectors = synthetic.flatten_factors(factors)
    assert vectors.shape == (16, synthetic.count_factors())
    seeds = sum(name.endswith("seed") for names in synthetic.columns().values() for name in names)
    columns = sum(len(names) for names in synthetic.columns().values())
    assert vectors.shape[1] == columns - seeds + (14 - 1) + (4 - 1) + 2 * (3 - 1) + 5
    other = {group: values.clone() for group, values in factors.items()}
    other["hair"][:, synthetic.columns()["hair"].index("seed")] += 1000
    assert torch.equal(synthetic.flatten_factors(other), vectors)
    hue = synthetic.columns()["background"].index("hue")
    for value in (0.0, 1.0):
        other["background"][:, hue] = value
        turned = synthetic.flatten_factors(other)
        assert (turned != vectors).any()
    other["background"][:, hue] = 0.0
    torch.testing.assert_close(synthetic.flatten_factors(other), turned, atol=1e-5, rtol=0)  # once round the circle
