"""StyleNeRF's networks: the official layout, cameras, and what volume rendering and early sums must keep to."""

from __future__ import annotations

import json
import math

import official
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from swaplib.networks import stylenerf
from swaplib.networks.cameras import ANGLE, PITCH, YAW, Cameras, draw_cameras, grid, look_from
from swaplib.networks.stylenerf import Build, Discriminator, Generator, Seen, grown, outside, resample, volume_weights

TINY = Build(
    32, 256, 8, z=8, w=8, depth=2, volume=8, features=6, hidden=10, blocks=3, hidden_back=6, blocks_back=2, code=4,
    octaves=3, scale=0.125, unit=0.02, samples=5, samples_back=3,
)  # fmt: skip
STEERED = Build(**{**TINY.__dict__, "code": 0, "still": True})
ANGLES = st.floats(-180, 180)


@pytest.fixture(autouse=True)
def _no_gradients():
    with torch.no_grad():
        yield


@pytest.fixture(params=[TINY, STEERED], ids=["coded", "steered"])
def generator(request) -> Generator:
    torch.manual_seed(0)
    return Generator(request.param).eval()


def codes(generator: Generator, count: int = 2) -> torch.Tensor:
    return generator.plus(generator.mapping(torch.randn(count, 8, generator=torch.Generator().manual_seed(1))))


# ---------------------------------------------------------------------------------------------- official layout


@pytest.mark.parametrize(("size", "base", "layers"), [(256, 16384, 17), (1024, 32768, 21)])
def test_networks_have_the_official_layout(size, base, layers):
    name = f"stylenerf_keys_ffhq_{size}"
    with torch.device("meta"):
        networks = {"g": Generator(Build(size=size)), "d": Discriminator(size, base)}
    counts = json.loads((official.FOLDER / name / "keys.json").read_text())
    for part, network in networks.items():
        found = {key: tuple(value.shape) for key, value in network.state_dict().items()}
        wanted = {key: shape for key, shape in official.keys(name, part).items() if not key.endswith("resample_filter")}
        assert found == wanted
        assert sum(parameter.numel() for parameter in network.parameters()) == counts[part]["param_count"]
    assert networks["g"].layers == layers == len(networks["g"].synthesis.affines())


def test_every_code_steers_something(generator):
    ws = codes(generator, 1)
    whole = generator.synthesis(ws)
    for k, affine in enumerate(generator.synthesis.affines()):
        changed = ws.clone()
        changed[:, k] += 1
        assert not torch.equal(generator.synthesis(changed), whole), k
        kept, affine.weight = affine.weight, torch.nn.Parameter(affine.weight * 2)
        assert not torch.equal(generator.synthesis(ws), whole), k
        affine.weight = kept
    assert torch.equal(generator.synthesis(ws), whole)


def test_a_steered_layer_is_stylegan2s_of_one_pixel():
    from swaplib.networks.stylegan2 import Layer, ToRGB

    ours, theirs = stylenerf.Steered(6, 5, 4), Layer(6, 5, 4, 8)
    weight = torch.zeros(5, 6, 3, 3)
    weight[:, :, 1:2, 1:2] = ours.weight
    theirs.load_state_dict({**theirs.state_dict(), **ours.state_dict(), "weight": weight})
    x, w = torch.randn(2, 8, 8, 6), torch.randn(2, 4)
    maps = x.movedim(-1, 1)
    torch.testing.assert_close(ours(x, w).movedim(-1, 1), theirs(maps, w, "none"))
    colours, shown = stylenerf.Steered(6, 3, 4, active=False), ToRGB(6, 4)
    shown.load_state_dict(colours.state_dict())
    torch.testing.assert_close(colours(x, w).movedim(-1, 1), shown(maps, w))


def test_a_pixels_quarters_see_the_neighbours_beside_them():
    x = torch.zeros(1, 3, 3, 1)
    x[:, 0, 1], x[:, 1, 2] = 2, 4  # above and to the right of the middle
    quarters = stylenerf.corners(x)[0, 2:4, 2:4, 0]
    assert quarters.tolist() == [[1, 3], [0, 2]]


# ---------------------------------------------------------------------------------------------- cameras


@given(ANGLES, st.floats(-80, 80), st.floats(0.5, 2))
def test_cameras_stand_upright_and_look_at_the_origin(yaw, pitch, radius):
    cameras = look_from(yaw, pitch, radius)
    turn = cameras.matrices[0, :3, :3]
    torch.testing.assert_close(turn @ turn.T, torch.eye(3), atol=1e-5, rtol=0)
    assert float(torch.linalg.det(turn)) == pytest.approx(1, abs=1e-5)
    assert float(cameras.places.norm()) == pytest.approx(radius, rel=1e-5)
    assert float(turn[2, 0]) == 0
    assert float(turn[2, 1]) > 0
    centre = cameras.project(torch.zeros(1, 1, 3), 64)
    torch.testing.assert_close(centre, torch.full((1, 1, 2), 31.5), atol=1e-3, rtol=0)


def test_yaw_is_to_the_right_of_the_picture_and_pitch_up():
    torch.testing.assert_close(look_from(90).places, torch.tensor([[0.0, 1, 0]]), atol=1e-6, rtol=0)
    assert look_from(0, 30).places[0, 2] == pytest.approx(0.5)
    ear = torch.tensor([[[0, 0.05, 0]]])  # the person's left
    assert look_from().project(ear, 64)[0, 0, 0] > 40
    assert look_from(0, 0, 1, ANGLE).project(torch.tensor([[[0, 0, math.tan(math.radians(6))]]]), 64)[0, 0, 1] == (
        pytest.approx(-0.5, abs=1e-3)
    )


def test_a_risen_camera_looks_the_same_way():
    low, high = look_from(20.0, 10.0), look_from(20.0, 10.0, rise=0.1)
    torch.testing.assert_close(high.matrices[:, :3, :3], low.matrices[:, :3, :3])
    moved = torch.einsum("bij,bi->bj", low.matrices[:, :3, :3], high.places - low.places)
    torch.testing.assert_close(moved, torch.tensor([[0, 0.1, 0]]), atol=1e-6, rtol=0)


@given(ANGLES, st.floats(-80, 80), st.integers(1, 9))
def test_rays_meet_the_pixels_that_they_belong_to(yaw, pitch, size):
    cameras = look_from(yaw, pitch)
    points = cameras.places[:, None] + 0.9 * cameras.rays(grid(size))
    rows, columns = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    wanted = torch.stack([columns, rows], -1).flatten(0, 1)[None].float()
    torch.testing.assert_close(cameras.project(points, size), wanted, atol=1e-3, rtol=0)


def test_drawn_cameras_are_distributed_as_stated():
    cameras = draw_cameras(4000, torch.Generator().manual_seed(0))
    x, y, z = cameras.places.unbind(1)
    assert float(torch.rad2deg(torch.atan2(y, x)).std()) == pytest.approx(YAW, rel=0.05)
    assert float(torch.rad2deg(torch.asin(z)).std()) == pytest.approx(PITCH, rel=0.05)


def test_wrong_cameras_get_a_sentence(generator):
    with pytest.raises(ValueError, match="pitch must lie between -90 and 90 degrees, got 95"):
        look_from(0, 95)
    with pytest.raises(ValueError, match="3 cameras for 2 pictures: give one, or one for each picture"):
        generator.synthesis(codes(generator), look_from(torch.zeros(3)))


# ---------------------------------------------------------------------------------------------- volume rendering


@given(st.integers(1, 12), st.floats(0, 3), st.integers(0, 1 << 20))
def test_what_a_ray_sees_adds_up_to_one_with_the_background(count, strength, seed):
    random = torch.Generator().manual_seed(seed)
    densities = strength * 50 * torch.randn(3, count, generator=random)
    weights, left = volume_weights(densities, torch.rand(3, count, generator=random))
    assert (weights >= 0).all()
    assert (left >= 0).all()
    assert (weights.sum(-1) <= 1 + 1e-5).all()
    torch.testing.assert_close(weights.sum(-1) + left, torch.ones(3), atol=1e-5, rtol=0)


def test_weights_are_nerfs_formula():
    densities, distances = 5 * torch.randn(2, 6), torch.rand(2, 6)
    alpha = 1 - torch.exp(-densities.relu() * distances)
    passed = torch.cumprod(torch.cat([torch.ones(2, 1), 1 - alpha], 1), 1)
    weights, left = volume_weights(densities, distances)
    torch.testing.assert_close(weights, alpha * passed[:, :-1])
    torch.testing.assert_close(left, passed[:, -1])


@given(st.integers(3, 9), st.integers(1, 9), st.booleans(), st.integers(0, 1 << 20))
def test_second_samples_lie_where_the_weights_do(count, more, random, seed):
    torch.manual_seed(seed)
    depths = stylenerf.spread(count, torch.zeros(4), True) + 1
    assert (depths.diff(dim=-1) >= 0).all()
    weights = torch.zeros(4, count - 1)
    chosen = torch.randint(1, count - 1, (4, 1))
    weights.scatter_(1, chosen, 1)
    found = resample(depths, weights, more, random)
    middle = (depths[:, 1:] + depths[:, :-1]) / 2
    low, high = middle.gather(1, chosen - 1), middle.gather(1, chosen)
    inside = (found >= low - 1e-3) & (found <= high + 1e-3)
    if random:
        assert (~inside).sum() <= 1  # one in ten thousand or so: no weight is quite zero
    else:
        assert inside[:, 1:-1].all()  # the first quantile and the last are the ends of the range


def test_points_outside_lie_on_their_rays():
    cameras = look_from(torch.tensor([10.0, -40]), 5.0, torch.tensor([1.0, 1.2]))
    rays = cameras.rays(grid(3))
    inverse = torch.tensor([0.9, 0.5, 0.1]).expand(2, 9, 3)
    found = outside(cameras.places, rays, inverse)
    torch.testing.assert_close(found[..., 3], inverse)
    points = found[..., :3] / inverse[..., None]
    way = torch.nn.functional.normalize(points - cameras.places[:, None, None], dim=-1)
    wanted = torch.nn.functional.normalize(rays, dim=-1)[:, :, None].expand_as(way)
    torch.testing.assert_close(way, wanted, atol=1e-4, rtol=0)


def test_a_rays_weights_are_one_together(generator):
    ws = codes(generator)
    seen = generator.synthesis.march(ws, look_from().expand(2), grid(8), generator.synthesis.draw_code(2))
    total = sum(weights.sum(-1) for weights in seen.weights)
    torch.testing.assert_close(total, torch.ones_like(total), atol=1e-5, rtol=0)


@pytest.mark.parametrize("training", [False, True])
def test_early_and_late_sums_agree_where_what_follows_is_linear(generator, training):
    """Features and colours of sums of hidden layers are the sums of features and colours."""
    synthesis, ws = generator.synthesis.train(training), codes(generator)
    code = synthesis.draw_code(2)
    seen: Seen = synthesis.march(ws, look_from(20.0).expand(2), grid(8), code)
    found, wanted = synthesis._early(seen, ws), [0, 0]
    for hidden, weights, (field, own) in zip(*seen[:2], synthesis._fields(ws), strict=True):
        for k, shown in enumerate(field.show(hidden, own)):
            wanted[k] = wanted[k] + (shown * weights[..., None]).sum(2)
    for ours, sums in zip(found, wanted, strict=True):
        torch.testing.assert_close(ours, sums, atol=1e-5, rtol=1e-4)


def test_the_path_loss_is_nothing_without_an_upsampler():
    """Then a pixel is what its ray shows."""
    torch.manual_seed(0)
    generator = Generator(Build(**{**STEERED.__dict__, "size": 8})).eval()
    assert generator.synthesis.sizes == []
    ws = codes(generator)
    picture = generator.synthesis(ws, look_from(10.0))
    assert generator.synthesis.path_loss(picture, ws, look_from(10.0)) < 1e-8
    assert generator.synthesis.path_loss(picture, ws, look_from(30.0)) > 1e-4


def test_the_path_loss_teaches(generator):
    ws, synthesis = codes(generator), generator.synthesis.train()
    with torch.enable_grad():
        code = synthesis.draw_code(2)
        loss = synthesis.path_loss(synthesis(ws, None, code), ws, None, code)
        loss.backward()
    assert loss > 0
    adapter = synthesis.b16.conv0.adapter
    assert all(parameter.grad.isfinite().all() for parameter in synthesis.parameters() if parameter.grad is not None)
    assert adapter[0].weight.grad.abs().sum() > 0


# ---------------------------------------------------------------------------------------------- pictures


def test_a_whole_turn_changes_nothing_and_a_small_one_little(generator):
    ws = codes(generator)
    front = generator.synthesis(ws, look_from(0.0))
    assert front.shape == (2, 3, 32, 32)
    assert torch.equal(generator.synthesis(ws, look_from(360.0)), front)
    assert torch.equal(generator.synthesis(ws), front)
    moved = [(generator.synthesis(ws, look_from(yaw)) - front).square().mean() for yaw in (0.01, 0.1, 1.0)]
    assert moved[0] < moved[1] < moved[2]
    assert moved[0] < 1e-2 * front.var()


@settings(max_examples=10)
@given(st.floats(-60, 60))
def test_each_picture_has_its_own_camera(yaw):
    torch.manual_seed(0)
    generator = Generator(TINY).eval()
    ws = codes(generator)
    both = generator.synthesis(ws, look_from(torch.tensor([yaw, 0.0])))
    alone = torch.cat([generator.synthesis(ws[:1], look_from(yaw)), generator.synthesis(ws[1:])])
    # The last bits, which differ by batch, decide between which samples a ray's second ones lie.
    assert (both - alone).abs().mean() < 1e-3 * both.std()


def test_depths_lie_in_the_range_of_the_camera(generator):
    for radius in (0.8, 1.0, 1.3):
        depth = generator.synthesis.depth(codes(generator), look_from(15.0, 0.0, radius))
        assert depth.shape == (2, 1, 8, 8)
        low, high = (edge + radius - 1 for edge in (TINY.near, TINY.far))
        assert low - 1e-5 <= depth.min() <= depth.max() <= high + 1e-5


def test_what_lies_behind_may_stay_while_the_head_turns():
    torch.manual_seed(0)
    generator = Generator(STEERED).eval()
    generator.synthesis.fg_nerf.sigma_out.weight.zero_()
    generator.synthesis.fg_nerf.sigma_out.bias.fill_(-1)  # nobody there
    ws = codes(generator)
    torch.testing.assert_close(generator.synthesis(ws, look_from(40.0)), generator.synthesis(ws))
    moving = Generator(Build(**{**STEERED.__dict__, "still": False})).eval()
    moving.load_state_dict(generator.state_dict())
    assert (moving.synthesis(ws, look_from(40.0)) - moving.synthesis(ws)).abs().max() > 1e-3


# ---------------------------------------------------------------------------------------------- growing


def test_growing_passes_through_all_levels():
    assert [grown(alpha, 4) for alpha in (-1, 0, 0.25 - 1e-9, 1)] == [(4, 1.0), (0, 1.0), (1, pytest.approx(1)), (4, 1)]
    torch.manual_seed(0)
    generator, discriminator = Generator(TINY).eval(), Discriminator(32, 256, 8, start=8).eval()
    ws, sizes = codes(generator, 4), []
    for alpha in (0, 0.2, 0.4999, 0.5001, 0.7, 0.9999, 1):
        generator.synthesis.alpha.fill_(alpha)
        discriminator.alpha.fill_(alpha)
        picture = generator.synthesis(ws)
        sizes.append(picture.shape[-1])
        assert discriminator(picture).shape == (4, 1)
        torch.testing.assert_close(  # larger ones are made smaller first
            discriminator(torch.nn.functional.interpolate(picture, scale_factor=2, mode="nearest")),
            discriminator(picture),
        )
    assert sizes == [8, 16, 16, 32, 32, 32, 32]
    generator.synthesis.alpha.fill_(0.9999)
    nearly = generator.synthesis(ws)
    generator.synthesis.alpha.fill_(1)
    torch.testing.assert_close(nearly, generator.synthesis(ws), atol=1e-2, rtol=0)


def test_the_discriminator_sees_every_size():
    torch.manual_seed(0)
    discriminator, images = Discriminator(32, 256, 8), torch.randn(4, 3, 32, 32)
    before = discriminator(images)
    for size in (32, 16, 8, 4):
        weight = discriminator.get_submodule(f"b{size}.fromrgb").weight
        weight.mul_(2)
        after = discriminator(images)
        assert not torch.equal(after, before)
        before = after


def test_cameras_are_taken_by_rows():
    cameras = look_from(torch.tensor([0.0, 10, 20]))
    assert len(cameras) == 3
    assert len(cameras[1:]) == 2
    assert isinstance(cameras.to("cpu"), Cameras)
