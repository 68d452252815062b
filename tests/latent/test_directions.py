"""Directions in codes: planted ones are found, closed forms hold, and edits go where they say."""

from __future__ import annotations

from dataclasses import dataclass, replace

import drawn
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from sklearn.decomposition import PCA
from torch import nn

from swaplib import families, latent, studio, synthetic
from swaplib.faces import Faces
from swaplib.families import Family, Part
from swaplib.latent import directions
from swaplib.studio import Pick, State


@dataclass(frozen=True)
class _Size:
    size: int = 32


class _Linear(Family):
    """Two vectors, read by two linear layers and one, whose sums colour the picture; and a picture."""

    name = "linear"
    Config = _Size
    swap_parts = ("who",)
    parts = (Part("who", (8,)), Part("how", (2, 3)), Part("base", (3, 32, 32), "image"))

    def __init__(self, seed: int = 0):
        super().__init__(_Size())
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.who, self.more, self.how = nn.Linear(8, 3), nn.Linear(8, 5), nn.Linear(6, 3)
            self.unused = nn.Linear(2, 2)

    def encode(self, faces):
        flat = F.adaptive_avg_pool2d(faces.images, 2).flatten(1)
        return {"who": flat[:, :8], "how": flat[:, 6:].unflatten(1, (2, 3)), "base": faces.images}

    def decode(self, codes):
        shade = self.who(codes["who"]) + self.more(codes["who"])[:, :3] + self.how(codes["how"].flatten(1))
        return (codes["base"] / 2 + shade[..., None, None] / 4).clamp(-1, 1)

    def sample(self, count, seed=0):
        draw = torch.Generator().manual_seed(seed)
        codes = {part.name: torch.randn(count, *part.shape, generator=draw) for part in self.parts[:2]}
        return codes | {"base": torch.zeros(count, 3, 32, 32)}

    def consumers(self):
        return {"who": [self.who.weight.detach(), self.more.weight.detach()], "how": [self.how.weight.detach()]}


LINEAR = _Linear()
CODES = LINEAR.sample(1500, 1)
PLANTED = F.normalize(torch.arange(-3.0, 5.0), dim=0)


def cosine(one: torch.Tensor, other: torch.Tensor) -> float:
    return float(F.cosine_similarity(one.flatten().double(), other.flatten().double(), dim=0))


def found(codes=CODES, scores=None, name="planted", **options) -> directions.Direction:
    scores = codes["who"] @ PLANTED if scores is None else scores
    return directions.interfacegan(LINEAR, codes, scores, name, **options)


# ---------------------------------------------------------------------------------------------- InterFaceGAN


def test_a_planted_direction_is_found():
    one = found(parts=["who"], share=0.05)
    assert cosine(one.codes["who"], PLANTED) > 0.9
    assert one.codes["who"].norm() == pytest.approx(1, abs=1e-6)
    assert one.quality > 0.95
    assert "46 other codes" in one.found  # 75 at each end, of which 52 to learn from
    assert one.scale == pytest.approx(float((CODES["who"] @ one.codes["who"]).std()), rel=1e-5)


def test_without_parts_all_vectors_are_searched():
    one = found(share=0.1)
    assert list(one.codes) == ["who", "how"]
    assert one.codes["how"].shape == (2, 3)
    assert cosine(one.codes["who"], PLANTED) > 0.9
    assert torch.cat([way.flatten() for way in one.codes.values()]).norm() == pytest.approx(1, abs=1e-6)
    assert one.codes["how"].norm() < 0.3


def test_scores_that_are_labels_or_unknown():
    has = (CODES["who"] @ PLANTED > 0.5).float()
    has[::3] = torch.nan
    one = found(scores=has, parts=["who"], share=0.2)
    assert cosine(one.codes["who"], PLANTED) > 0.9
    assert 0.9 < one.quality <= 1
    with pytest.raises(ValueError, match=r"a share of 0.4 ends at the same score above and below, 0"):
        found(scores=has, parts=["who"], share=0.4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"share": 0.001}, "is 1 at each end, 0 to learn from and 1 to test by: give more codes or a larger share"),
        ({"split": 1.0}, "30 to learn from and 0 to test by"),
        ({"scores": torch.zeros(7)}, "7 scores for 1500 codes"),
        ({"parts": ["base"]}, "linear has no part 'base' of vectors: there are who, how"),
        ({"parts": ["nose"]}, "no part 'nose'"),
    ],
)
def test_what_cant_be_searched_is_told(options, message):
    with pytest.raises(ValueError, match=message):
        found(**options)


def test_the_distance_is_zero_on_the_boundary_and_codes_are_moved_to_a_distance():
    shifted = CODES | {"who": CODES["who"] + 3 * PLANTED}  # the boundary does not go through the origin
    one = found(shifted, shifted["who"] @ PLANTED, parts=["who"], share=0.1)
    assert one.distance(shifted).mean().abs() < 0.3
    assert (shifted["who"] @ one.codes["who"]).mean() > 2
    moved = directions.move_to(LINEAR, shifted, one, 2.0)
    torch.testing.assert_close(one.distance(moved), torch.full((1500,), 2.0), atol=1e-4, rtol=0)
    by = latent.edit(LINEAR, shifted, one.codes, 2.0)
    torch.testing.assert_close(one.distance(by), one.distance(shifted) + 2, atol=1e-4, rtol=0)
    assert torch.equal(moved["how"], shifted["how"])


def test_conditional_directions_are_orthogonal_to_the_others():
    mixed = CODES["who"] @ PLANTED + CODES["how"][:, 0, 0]
    first = found(scores=mixed, share=0.1)
    others = [found(scores=CODES["how"][:, 0, k], name=f"other {k}", share=0.1) for k in range(2)]
    one = directions.conditional(LINEAR, CODES, first, *others)
    flat = lambda way: torch.cat([way.codes["who"].flatten(), way.codes["how"].flatten()])  # noqa: E731
    assert flat(one).norm() == pytest.approx(1, abs=1e-6)
    for other in others:
        assert abs(cosine(flat(one), flat(other))) < 1e-5
    assert cosine(flat(one), flat(first)) > 0.5
    assert cosine(one.codes["who"], PLANTED) > 0.9
    assert one.name == "planted without other 0, other 1"
    assert one.distance(CODES).mean().abs() < 1e-4
    assert one.distance(CODES).std() == pytest.approx(one.scale, rel=1e-4)
    with pytest.raises(ValueError, match="planted lies within planted: nothing of it is left"):
        directions.conditional(LINEAR, CODES, first, first)
    with pytest.raises(ValueError, match="name one or more"):
        directions.conditional(LINEAR, CODES, first)


def test_directions_of_other_parts_are_orthogonal_already():
    first, other = (
        found(parts=["who"], share=0.1),
        found(name="how", parts=["how"], share=0.1, scores=CODES["how"][:, 1, 1]),
    )
    one = directions.conditional(LINEAR, CODES, first, other)
    torch.testing.assert_close(one.codes["who"], first.codes["who"])
    assert one.codes["how"].abs().max() < 1e-6


# ---------------------------------------------------------------------------------------------- GANSpace


@pytest.mark.parametrize(("parts", "count"), [(["who"], 8), (["how"], 4), (None, 14)])
def test_components_of_codes_are_scikit_learns(parts, count):
    stretched = {"who": CODES["who"] * torch.arange(1.0, 9.0), "how": CODES["how"] * torch.tensor([1.5, 2.5, 9.5])}
    used = {name: stretched[name] for name in parts or stretched}
    matrix = torch.cat([code.flatten(1) for code in used.values()], 1).double().numpy()
    wanted = PCA(count, svd_solver="full").fit(matrix)
    mine = directions.ganspace(LINEAR, stretched | {"base": CODES["base"]}, parts, count)
    assert len(mine) == count
    for one, component, variance, share in zip(mine, wanted.components_, wanted.explained_variance_,
                                               wanted.explained_variance_ratio_, strict=True):  # fmt: skip
        vector = torch.cat([way.flatten() for way in one.codes.values()])
        assert abs(cosine(vector, torch.from_numpy(component))) == pytest.approx(1, abs=1e-6)
        assert one.scale == pytest.approx(variance**0.5, rel=1e-6)
        assert one.quality == pytest.approx(share, rel=1e-6)
        assert vector[vector.abs().argmax()] > 0
    # More than there can be: what has no variance is no component.
    few = directions.ganspace(LINEAR, {name: code[:4] for name, code in stretched.items()}, ["who"], 10)
    assert len(few) == 3


def test_components_of_features_are_brought_back_to_codes():
    """A feature a linear layer makes: the regression gives codes whose images are the components, by least squares."""
    count, codes = 3, {name: code[:400] for name, code in CODES.items()}
    mine = directions.ganspace(LINEAR, codes, ["who"], count, module="who", batch=64)
    features = LINEAR.who(codes["who"]).detach().double().numpy()
    wanted = PCA(count).fit(features)
    coordinates = wanted.transform(features)
    centred = (codes["who"] - codes["who"].mean(0)).double().numpy()
    basis, *_ = np.linalg.lstsq(coordinates, centred, rcond=None)
    for one, vector, share in zip(mine, basis, wanted.explained_variance_ratio_, strict=True):
        assert abs(cosine(one.codes["who"], torch.from_numpy(vector))) == pytest.approx(1, abs=1e-5)
        assert one.quality == pytest.approx(share, rel=1e-4)
    assert not LINEAR.who._forward_hooks


@torch.no_grad()
def test_a_component_of_a_generators_features_moves_them_more_than_other_directions():
    family = families.build("latent_swap", "smoke").eval()
    module, codes = "generator.network.synthesis.b8.conv1", family.sample(80, 0)
    one, *_ = directions.ganspace(family, codes, count=1, module=module)
    assert list(one.codes) == [part.name for part in family.parts]
    features = directions._features(family, codes, module, 64)
    component = torch.from_numpy(PCA(1).fit(features.numpy()).components_[0]).double()

    def moved(way: directions.Direction) -> float:
        """By how much a step of one deviation changes the features along their component."""
        edited = latent.edit(family, codes, way.codes, way.scale)
        return abs(float(((directions._features(family, edited, module, 64) - features) @ component).mean()))

    # Every direction of W, as the components of the first layer's codes span it, taken to all layers alike.
    others = [way.on(list(codes)) for way in directions.ganspace(family, codes, ["w00"], 8)]
    assert moved(one) > max(map(moved, others))
    assert moved(one) > 3 * np.mean([moved(way) for way in others])


def test_unknown_and_unused_modules_are_told():
    with pytest.raises(ValueError, match="no module 'b8': "):
        directions.ganspace(LINEAR, CODES, module="b8")
    with pytest.raises(ValueError, match="decoding does not use unused of linear"):
        directions.ganspace(LINEAR, CODES, module="unused")
    assert not LINEAR.unused._forward_hooks


# ---------------------------------------------------------------------------------------------- SeFa


def rows(weights) -> torch.Tensor:
    """A, whose rows have unit length."""
    return torch.cat([weight.flatten(1) / weight.norm(dim=1, keepdim=True) for weight in weights])


@given(seed=st.integers(0, 10**6))
def test_no_unit_vector_changes_more_than_the_first_direction(seed):
    family = _Linear(seed % 7)
    first, *_, last = directions.sefa(family, ["who"], count=8)
    a = rows(family.consumers()["who"])
    most, least = (float((a @ one.codes["who"]).norm()) for one in (first, last))
    vectors = F.normalize(torch.randn(64, 8, generator=torch.Generator().manual_seed(seed)), dim=1)
    changes = (a @ vectors.T).norm(dim=0)
    assert changes.max() <= most + 1e-5
    assert changes.min() >= least - 1e-5


def test_they_are_the_eigenvectors():
    mine = directions.sefa(LINEAR, ["who"], count=8, codes=CODES)
    a = rows(LINEAR.consumers()["who"]).double()
    values = np.linalg.eigvalsh((a.T @ a).numpy())[::-1]
    for one, value in zip(mine, values, strict=True):
        vector = one.codes["who"].double()
        torch.testing.assert_close(a.T @ a @ vector, value * vector, atol=1e-5, rtol=0)
        assert one.quality == pytest.approx(value / len(a), rel=1e-5)
        assert one.scale == pytest.approx(1, abs=0.05)
    together = torch.stack([one.codes["who"] for one in mine])
    torch.testing.assert_close(together @ together.T, torch.eye(8), atol=1e-5, rtol=0)


def test_layers_share_a_direction():
    family = families.build("latent_swap", "smoke").eval()
    some = ["w01", "w02", "w03"]
    one, *_ = directions.sefa(family, some, codes=family.sample(50))
    assert list(one.codes) == some
    assert torch.equal(one.codes["w01"], one.codes["w03"])
    assert torch.cat(list(one.codes.values())).norm() == pytest.approx(1, abs=1e-5)
    affine = family.generator.network.synthesis.get_submodule("b8.conv0").affine.weight
    torch.testing.assert_close(family.consumers()["w01"][0], affine)
    last = family.generator.network.synthesis.get_submodule("b32.torgb").affine.weight
    torch.testing.assert_close(family.consumers()["w07"][0], last)


def _reads(family: Family, codes) -> dict[str, bool]:
    """Part -> whether moving it within the null space of what its consumers read leaves the picture alone."""
    shown, same = family.decode(codes), {}
    for name, weights in family.consumers().items():
        a = torch.cat(weights).double()
        _, sizes, vectors = torch.linalg.svd(a, full_matrices=True)
        null = vectors[int((sizes > 1e-6 * sizes[0]).sum()) :]
        if len(null):
            moved = family.decode(codes | {name: codes[name] + 3 * null[0].float()})
            same[name] = torch.allclose(moved, shown, atol=1e-5)
        away = family.decode(codes | {name: codes[name] + 3 * vectors[0].float()})
        assert not torch.allclose(away, shown, atol=1e-6), name
    return same


@torch.no_grad()
@pytest.mark.parametrize("space", ["w+", "w", "z"])
def test_latent_swaps_consumers_are_all_that_read_a_code(space):
    family = families.build("latent_swap", replace(families.config("latent_swap", "smoke"), space=space)).eval()
    read = family.consumers()
    assert list(read) == [part.name for part in family.parts]
    assert all(weight.shape[1] == 16 and not weight.requires_grad for weights in read.values() for weight in weights)
    assert [len(weights) for weights in read.values()] == {"w+": [1] * 8, "w": [8], "z": [1]}[space]
    # The last code is read by the last ToRGB alone, which here has eight inputs of its sixteen dimensions.
    if space == "w+":
        assert _reads(family, family.sample(2))["w07"]


@torch.no_grad()
@pytest.mark.parametrize("lstm", [False, True])
def test_rsgans_consumers_are_all_that_read_a_code(lstm):
    # Of 16 and 8 dimensions, into a first layer narrower than both: so something is left that it doesn't read.
    family = families.build("rsgan", replace(families.config("rsgan", "smoke"), lstm=lstm, z_x=600, z_c=520)).eval()
    codes = family.sample(2)
    read = family.consumers()
    assert {name: weights[0].shape[1] for name, weights in read.items()} == {
        part.name: part.shape[0] for part in family.parts
    }
    if not lstm:
        assert _reads(family, codes) == dict.fromkeys(read, True)
    else:
        assert torch.equal(read["face"][0], read["hair"][0])


@torch.no_grad()
def test_smooth_swaps_consumers_read_its_identity():
    family = families.build("smooth_swap", "smoke").eval()
    (weight,) = family.consumers()["identity"]
    vectors = torch.linalg.svd(weight)[2]
    one = vectors[:1]
    torch.testing.assert_close(family.projection(one) - family.projection(0 * one), one @ weight.T)
    first, *_ = directions.sefa(family)
    assert cosine(first.codes["identity"], rows([weight]).T @ rows([weight]) @ first.codes["identity"]) > 0.9999


def test_families_without_such_weights_are_told_what_to_use():
    with pytest.raises(ValueError, match=r"landmarks does not tell which weights read its parts .* use ganspace"):
        directions.sefa(families.load("landmarks", "smoke"))
    with pytest.raises(ValueError, match="does not tell which weights read 'appearance'"):
        directions.sefa(families.build("smooth_swap", "smoke"), ["appearance"])
    with pytest.raises(ValueError, match="who, how have different dimensions"):
        directions.sefa(LINEAR)
    stitched = latent.Stitched(families.build("rsgan", "smoke"))
    assert directions.sefa(stitched, ["face"])[0].codes["face"].shape == (16,)


# ---------------------------------------------------------------------------------------------- codes and sliders


def test_codes_are_sampled_or_encoded():
    faces = drawn.faces(7, 48)
    sampled = directions.collect(LINEAR, count=5, seed=3)
    assert torch.equal(sampled["who"], LINEAR.sample(5, 3)["who"])
    encoded = directions.collect(LINEAR, faces, batch=3)
    torch.testing.assert_close(encoded["who"], LINEAR.encode(faces.resize(32))["who"])
    with pytest.raises(ValueError, match="not generative: give it faces"):
        directions.collect(families.load("landmarks", "smoke"))


def test_what_is_known_of_faces_has_names():
    faces = synthetic.render_faces(3, 1, world="calm", size=64)
    torch.testing.assert_close(directions.find_known_scores(faces, "pose.yaw"), faces.factors["pose"][:, 1])
    assert torch.equal(directions.find_known_scores(faces, "Smiling"), faces.attributes[:, 31])
    with pytest.raises(ValueError, match="nothing is called 'Happy': choose from 5_o_Clock_Shadow"):
        directions.find_known_scores(faces, "Happy")
    with pytest.raises(ValueError, match="nod': choose from pitch, yaw, roll"):
        directions.find_known_scores(faces, "pose.nod")
    with pytest.raises(ValueError, match="good': choose from shape, skin"):
        directions.find_known_scores(faces, "mood.good")
    with pytest.raises(ValueError, match="these faces have no factors: take rendered"):
        directions.find_known_scores(Faces(faces.images), "pose.yaw")


def test_a_module_whose_output_is_worked_on_in_place_is_seen_as_it_was():
    family = _Linear()
    family.decode = lambda codes: family.who(codes["who"]).zero_()
    features = directions._features(family, {name: code[:5] for name, code in CODES.items()}, "who", 4)
    torch.testing.assert_close(features.float(), family.who(CODES["who"][:5]).detach())


def test_equal_scores_are_chosen_among_at_random():
    """Codes sorted by what they show: of equal scores, the first ones would be another boundary."""
    scores = torch.cat([torch.zeros(1000), torch.ones(500)])
    order = CODES["how"][:, 0, 0].argsort()
    codes = {name: code[order] for name, code in CODES.items()}
    high, low = directions._ends(scores, 0.1, np.random.default_rng(0))
    assert scores[high].all()
    assert not scores[low].any()
    assert low.max() > 700  # from all over the thousand
    assert low.min() < 300
    with pytest.raises(ValueError, match="same score above and below"):
        directions.interfacegan(LINEAR, codes, torch.ones(1500), "same", share=0.1)


def test_infinite_scores_are_left_out():
    scores = CODES["who"][:, 0].clone()
    scores[::7] = torch.inf
    torch.testing.assert_close(
        directions.interfacegan(LINEAR, CODES, scores, "one", ["who"], share=0.1).codes,
        directions.interfacegan(LINEAR, CODES, scores.masked_fill(scores.isinf(), torch.nan), "one", "who", 0.1).codes,
    )


def test_pictures_are_scored_in_batches():
    codes = LINEAR.sample(10, 1)
    scores = directions.score_codes(LINEAR, codes, lambda images: images.mean((1, 2, 3)), batch=4)
    torch.testing.assert_close(scores, LINEAR.decode(codes).mean((1, 2, 3)).detach())


def test_a_direction_of_w_goes_to_chosen_layers():
    """Whose codes are copies of w: it takes them as far as it takes w."""
    family = families.build("latent_swap", replace(families.config("latent_swap", "smoke"), truncation=1.0)).eval()
    codes = family.sample(200)
    one = directions.ganspace(family, codes, ["w00"], 1)[0]
    some = ["w04", "w05", "w06"]
    spread = one.on(some)
    assert list(spread.codes) == some
    torch.testing.assert_close(spread.scale * spread.codes["w05"], one.scale * one.codes["w00"])
    torch.testing.assert_close(
        spread.distance(codes) / spread.scale, one.distance(codes) / one.scale, atol=1e-3, rtol=0
    )
    with pytest.raises(ValueError, match="only one part's goes to others"):
        spread.on(["w00"])


def test_sliders_count_in_standard_deviations():
    one = found({"who": 5 * CODES["who"], "how": CODES["how"]}, parts=["who"], share=0.1)
    renderer = studio.Renderer(LINEAR, directions=directions.make_sliders([one]))
    state = State(Pick(number=0), Pick(number=1), {"who": 1.0}, {"planted": -2.0})
    edited, plain = renderer.codes(state), renderer.codes(replace(state, strengths={}))
    torch.testing.assert_close(edited["who"], plain["who"] - 2 * one.scale * one.codes["who"])
    assert one.scale == pytest.approx(5, rel=0.1)
    assert not np.array_equal(renderer.render(state), renderer.render(replace(state, strengths={})))
    assert np.array_equal(renderer.render(state), renderer.render(state))


def test_found_directions_become_sliders_beside_the_familys_own(tmp_path):
    family = families.load("rsgan", "smoke")
    mine = directions.sefa(family, ["face"], 2, family.sample(100)) + directions.ganspace(
        family, family.sample(100), ["hair"], 1
    )
    app = studio.Studio(family, directions=family.directions() | directions.make_sliders(mine), folder=tmp_path)
    assert {"face: Smiling", "face SeFa 1", "face SeFa 2", "hair PC 1"} <= set(app.edits)
    before = app.renderer.codes(app.state)
    app.edits["face SeFa 2"].value = 1.5
    assert app.last_error is None
    after = app.renderer.codes(app.state)
    torch.testing.assert_close(
        after["face"] - before["face"], 1.5 * mine[1].scale * mine[1].codes["face"][None], atol=1e-5, rtol=0
    )
    assert torch.equal(after["hair"], before["hair"])
