"""StyleNeRF: the renderer's pupil, whose cameras are the renderer's; and the paper's own training."""

from __future__ import annotations

from dataclasses import replace

import drawn
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from swaplib import families, generators, latent, synthetic
from swaplib.faces import Faces
from swaplib.generators import stylenerf
from swaplib.generators.stylenerf import UNIT, Config, StyleNeRF, place_cameras, steady, turn_heads, view
from swaplib.networks.cameras import look_from
from swaplib.synthetic import head
from swaplib.training.loop import train

PLAIN = {"progress": False, "workers": 1, "precision": "fp32", "device": "cpu", "flips": False}
PAPER = replace(
    Config.smoke(), code=4, still=False, scale=1.0, unit=1.0, near=0.88, far=1.12, density_noise=1.0, pupil=False,
    base_judge=256, most_judge=8, consistency=2,
)  # fmt: skip


@pytest.fixture(scope="module")
def rendered() -> Faces:
    return synthetic.render_faces(8, seed=2, size=64, shots=4).resize(32)


@pytest.fixture
def pupil() -> StyleNeRF:
    return generators.start("stylenerf", "smoke").eval()


# ---------------------------------------------------------------------------------------------- cameras


def posed(pitch: float = 0, yaw: float = 0, roll: float = 0) -> synthetic.Factors:
    factors = synthetic.sample_factors(1, seed=4, world="wild")
    return factors | {"pose": torch.tensor([[pitch, yaw, roll]], dtype=torch.float32)}


@pytest.mark.parametrize("yaw", [-35.0, 20.0])
def test_a_head_seen_from_the_side_is_turned_to_the_other_and_lit_alike(yaw):
    factors = synthetic.sample_factors(3, seed=6, world="wild")
    turned = turn_heads(factors, yaw)
    torch.testing.assert_close(view(turned).matrices[:, :3, :3], look_from(yaw).matrices[:, :3, :3].expand(3, -1, -1))
    for one, other in zip(steady(turned).values(), steady(factors).values(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=0)
    assert torch.equal(turned["camera"], factors["camera"])
    each = turn_heads(factors, torch.tensor([0.0, yaw, 0]))
    assert torch.equal(each["light"][1], turned["light"][1])


def test_a_view_is_what_the_renderer_and_the_usual_camera_say(pupil, rendered):
    placed = place_cameras(pupil.read_view(rendered))
    assert torch.equal(placed.matrices, pupil.cameras(rendered).matrices)
    usual, front = place_cameras(pupil.usual_view(2)), pupil.look_from()
    torch.testing.assert_close(usual.matrices, front.matrices.expand(2, -1, -1), atol=1e-6, rtol=0)
    torch.testing.assert_close(usual.fields, front.fields.expand(2))
    with pytest.raises(ValueError, match="only rendered faces have factors"):
        pupil.read_view(Faces(rendered.images))


def network_points(points: torch.Tensor) -> torch.Tensor:
    """Points (N, 3) of a head at rest, in the renderer's axes and decimetres, as the network has them."""
    right, up, forward = points.unbind(1)
    return torch.stack([forward, right, up], 1)[None] / UNIT


@settings(max_examples=40)
@given(st.floats(-22, 22), st.floats(-40, 40), st.floats(-15, 15))
def test_a_turned_head_is_a_head_at_rest_seen_by_a_moved_camera(pitch, yaw, roll):
    """Within a thousandth of a pixel, in a picture of 64."""
    factors = posed(pitch, yaw, roll)
    points = torch.randn(50, 3, generator=torch.Generator().manual_seed(0)).clamp(-1.5, 1.5)
    turned = points @ head.rotation(factors["pose"])[0].T
    camera = {name: float(synthetic.column(factors, "camera", name)) for name in synthetic.columns()["camera"]}
    near = camera["distance"] / (camera["distance"] - turned[:, 2]) / camera["half_width"]  # `raster.project`
    wanted = torch.stack([
        (turned[:, 0] - camera["shift_x"]) * near * 32 + 31.5, 31.5 - (turned[:, 1] - camera["shift_y"]) * near * 32
    ], 1)  # fmt: skip
    found = view(factors).project(network_points(points), 64)[0]
    torch.testing.assert_close(found, wanted, atol=1e-3, rtol=0)


def test_the_renderers_own_landmarks_are_where_the_camera_sees_them():
    """Those of the head that turns as a whole: within 1% of the picture up to a yaw of 40 degrees."""
    factors = synthetic.sample_factors(1, seed=4)
    factors = {group: values.repeat(5, 1) for group, values in factors.items()}
    factors["expression"].zero_()
    factors["pose"][:, 1] = torch.tensor([-40.0, -20, 0, 20, 40])
    faces = synthetic.render(factors, size=128, supersample=1)
    baked, points = head.arrays(), head.vertices(head.weights(factors["shape"][:1], factors["expression"][:1]))
    points = (points - head.eye_midpoint(points))[0].numpy()
    inner = (points[baked["landmark_ids"]] * baked["landmark_weights"][..., None]).sum(-2)
    found = view(factors).project(network_points(torch.from_numpy(inner).float()), 128)
    assert (found - faces.landmarks[:, 17:]).norm(dim=-1).max() < 1.28


@pytest.mark.parametrize("angle", [-40, -10, 25])
def test_a_yaw_and_a_pitch_are_those_of_look_from(angle):
    for pose, camera in ((posed(yaw=angle), look_from(-angle)), (posed(pitch=angle), look_from(0, angle))):
        torch.testing.assert_close(view(pose).matrices[:, :3, :3], camera.matrices[:, :3, :3], atol=1e-6, rtol=0)


def test_the_head_lies_in_the_range_of_the_demo():
    """Face and ears, of whoever it is: what is nearer or farther than the range would not be shown."""
    factors = synthetic.sample_factors(20, seed=1)
    points = head.vertices(head.weights(factors["shape"], factors["expression"]))
    forward = (points - head.eye_midpoint(points)[:, None])[..., 2] / UNIT
    above = points[..., 1] - head.eye_midpoint(points)[:, None, 1] > -1.0
    assert float(forward[above].max()) < 1 - Config.demo().near
    assert float(np.quantile(forward[above], 0.01)) > 1 - Config.demo().far


def test_the_usual_camera_is_that_of_a_calm_face_from_the_front():
    factors = synthetic.sample_factors(200, seed=1)
    known = view(factors | {"pose": torch.zeros_like(factors["pose"])})
    usual = generators.build("stylenerf", Config.demo()).look_from().expand(200)
    points = network_points(torch.tensor([[0.0, 0, 0], [0.5, -0.6, 0.1]])).expand(200, -1, -1)
    away = usual.project(points, 64) - known.project(points, 64)
    assert away.mean(0).abs().max() < 0.3
    torch.testing.assert_close(usual.matrices[0, :3, :3], known.matrices[0, :3, :3])


# ---------------------------------------------------------------------------------------------- what a pupil is told


@settings(max_examples=30)
@given(st.floats(-20, 20), st.floats(-40, 40), st.floats(-15, 15))
def test_a_pupil_is_told_nothing_of_pose_and_camera(pitch, yaw, roll):
    factors = posed(pitch, yaw, roll)
    told = steady(factors)
    assert not told["pose"].any()
    assert not told["camera"].any()
    unchanged = set(factors) - {"pose", "camera", "light"}
    assert all(torch.equal(told[group], factors[group]) for group in unchanged)
    # Turned back into the renderer's axes, the light comes from where it came.
    way, given = (direction(one["light"]) for one in (told, factors))
    torch.testing.assert_close(head.rotation(factors["pose"])[0] @ way, given, atol=1e-5, rtol=0)


def direction(light: torch.Tensor) -> torch.Tensor:
    names = synthetic.columns()["light"]
    azimuth, elevation = (torch.deg2rad(light[0, names.index(name)]) for name in ("azimuth", "elevation"))
    flat = elevation.cos()
    return torch.stack([flat * azimuth.sin(), elevation.sin(), flat * azimuth.cos()])


def test_codes_of_rendered_faces_do_not_depend_on_the_camera(pupil, rendered):
    codes = pupil.read(rendered)
    assert codes.shape == (8, pupil.network.layers, 16)
    other = replace(rendered, factors=rendered.factors | {"camera": rendered.factors["camera"] + 1})
    assert torch.equal(pupil.read(other), codes)
    with pytest.raises(ValueError, match="only rendered faces have factors, and this learns from them"):
        pupil.read(Faces(rendered.images))
    with pytest.raises(ValueError, match="did not learn from factors: find codes with its encoder, or by projecting"):
        generators.start("stylenerf", PAPER).read(rendered)


# ---------------------------------------------------------------------------------------------- contract


def test_pictures_follow_codes_and_cameras(pupil, rendered):
    codes = pupil.sample(3, seed=1)
    assert codes.shape == (3, pupil.network.layers, 16)
    assert torch.equal(codes, pupil.sample(3, seed=1))
    torch.testing.assert_close(pupil.sample(2, truncation=0), pupil.network.mapping.w_avg.expand(2, codes.shape[1], 16))
    front, left = pupil(codes), pupil(codes, pupil.look_from(20.0))
    assert front.shape == (3, 3, 32, 32)
    assert front.abs().max() <= 1
    assert torch.equal(front, pupil(codes, pupil.look_from()))
    assert not torch.equal(front, left)
    assert pupil.depth(codes, look_from(20.0)).shape == (3, 1, 16, 16)
    assert pupil.preview(rendered).shape == (3, 8, 3, 32, 32)
    own = pupil(pupil.read(rendered), pupil.cameras(rendered))
    assert own.shape == rendered.images.shape


def test_a_short_training_shows_whom_the_factors_say_from_where_they_say(rendered):
    torch.manual_seed(0)
    model = generators.start("stylenerf", replace(Config.smoke(), perceptual=0))
    assert not model.mirrored
    steps = list(train(model, rendered, 80, **PLAIN, batch=8))
    assert set(steps[0].losses) == {"pupil", "consistency", "mapping"}
    assert steps[-1].losses["pupil"]["read"] < steps[0].losses["pupil"]["read"] - 0.3
    model = steps[-1].model
    shown = model(model.read(rendered), model.cameras(rendered))
    missed = torch.stack([(shown - other).square().mean((1, 2, 3)) for other in rendered.images.split(1)])
    assert missed.diagonal().mean() < 0.9 * missed.mean(), "a face's own picture is nearer than others'"


def test_silhouettes_are_what_the_labels_say(pupil, rendered):
    mask = stylenerf.head_mask(rendered, 16)
    assert mask.shape == (8, 1, 16, 16)
    assert mask[:, 0, 8, 8].eq(1).all()
    assert mask[:, 0, 0, 0].mean() < 0.5
    picture, covered = pupil.network.synthesis.cut_out(pupil.read(rendered))
    assert torch.equal(picture, pupil.paint(pupil.read(rendered)))
    assert covered.shape == mask.shape
    assert -1e-5 < covered.min() <= covered.max() <= 1
    with pytest.raises(ValueError, match="these faces have no labels, and this learns from them"):
        stylenerf.head_mask(Faces(rendered.images), 16)


def test_training_begins_with_half_the_pixels():
    half, whole = StyleNeRF.stages(Config.demo())
    assert (half.config.size, half.config.volume, whole.config) == (32, 16, Config.demo())
    assert half.share + whole.share == 1
    assert [stage.config for stage in StyleNeRF.stages(Config.paper())] == [Config.paper()]
    half, whole = (stage.config for stage in StyleNeRF.stages(Config.smoke()))
    small, large = (generators.start("stylenerf", one, seed).eval() for seed, one in enumerate((half, whole)))
    large.init_from(small)
    for name, value in small.state_dict().items():
        assert torch.equal(large.state_dict()[name.replace(".b16.", ".b32.")], value)
    codes = small.sample(2)
    pictures = torch.nn.functional.interpolate(large(codes), 16, mode="area")
    seen, other = small(codes), small(small.sample(2, seed=1))
    assert (pictures - seen).square().mean() < (pictures - other).square().mean()


def test_the_papers_losses_alternate(rendered):
    torch.manual_seed(0)
    model = generators.start("stylenerf", PAPER).train()
    phases = {phase.name: phase for phase in model.phases()}
    assert [(name, phase.every, phase.shares) for name, phase in phases.items()] == [
        ("generator", 1, None), ("path", 4, "generator"), ("discriminator", 1, None), ("smoothness", 16,
        "discriminator"),
    ]  # fmt: skip
    terms = {name: phase.losses(drawn.faces(4, 32)) for name, phase in phases.items()}
    assert {name: set(losses) for name, losses in terms.items()} == {
        "generator": {"adversarial", "consistency"}, "path": {"path"}, "discriminator": {"discriminator"},
        "smoothness": {"penalty"},
    }  # fmt: skip
    sum(terms["path"].values()).backward()
    assert model.mean.value > 0
    assert model.network.synthesis.fg_nerf.fc_in.weight.grad.isfinite().all()
    assert len(list(train(generators.start("stylenerf", PAPER), rendered, 2, **PLAIN, batch=4))) == 2


def test_the_paper_is_the_official_configuration():
    with torch.device("meta"):
        paper, small = (generators.build("stylenerf", config) for config in ("paper", Config.released(256)))
    counts = [sum(one.numel() for one in part.parameters()) for part in (paper.network, paper.discriminator)]
    assert counts == [5_481_547, 27_801_889]
    counts = [sum(one.numel() for one in part.parameters()) for part in (small.network, small.discriminator)]
    assert counts == [5_264_749, 23_052_353]
    assert paper.network.layers == 21
    assert Config.released(512) == replace(Config.paper(), size=512)


def test_a_report_measures_random_pictures_and_those_shown_again(pupil, rendered):
    found = pupil.report(drawn.Pictures(Faces.cat([rendered] * 5)))
    assert set(found) == {"frechet", "kernel", "pictures", "missed"}
    assert 0 < found["missed"] < 1
    assert found["pictures"] == 40


# ---------------------------------------------------------------------------------------------- LatentSwap


def test_latent_swap_takes_its_codes(pupil, rendered):
    config = replace(families.config("latent_swap", "smoke"), generator="stylenerf", encoder="")
    paper = replace(families.config("latent_swap", "paper"), generator="stylenerf", encoder="")
    with torch.device("meta"):
        large = families.build("latent_swap", paper)
    assert sum(one.numel() for one in large.mixer.parameters()) == 66_135_552
    assert [part.name for part in large.parts][-2:] == ["w20", "view"]
    assert list(large.consumers()) == list(large.swap_parts) == [part.name for part in large.parts][:-1]
    family = families.build("latent_swap", config, frozen={"generator": pupil.freeze()})
    assert "encoder" not in family.frozen
    found = latent.swap(family, rendered[:2], rendered[4:6])
    assert found.shape == (2, 3, 32, 32)
    codes = family.encode(rendered)
    torch.testing.assert_close(torch.stack([codes[name] for name in family.swap_parts], 1), pupil.read(rendered))
    torch.testing.assert_close(family.decode(codes), pupil(pupil.read(rendered), pupil.cameras(rendered)))
    mixed = family.mix(codes, {name: code.flip(0) for name, code in codes.items()})
    assert torch.equal(mixed["view"], codes["view"].flip(0)), "a swap is seen from where its target was"
    with torch.enable_grad():
        losses = family._losses(rendered)
        sum(losses.values()).backward()
    assert set(losses) == {"identity", "latent", "shape"}
    assert all(one.grad.isfinite().all() for one in family.mixer.parameters())
    assert stylenerf.StyleNeRF.name == family.generator.name
