"""The sets of pairs, and what is measured of skin, light, gaze, sharpness and retrieval."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from swaplib import metrics, synthetic
from swaplib.faces import region
from swaplib.metrics import details, pairs, retrieval
from swaplib.synthetic import column

SIZE = 64


@pytest.fixture(scope="module")
def drawn():
    return {name: metrics.draw_pairs(name, range(8), SIZE) for name in metrics.SETS if name != "clips"}


# ----------------------------------------------------------------------------------------------------------- sets


@pytest.mark.parametrize("name", [name for name in metrics.SETS if name != "clips"])
def test_pairs_are_the_same_in_any_company(name, drawn):
    alone = metrics.draw_pairs(name, [5], SIZE)
    for role in ("source", "target", "truth", "moved"):
        assert torch.equal(getattr(alone, role).images, getattr(drawn[name], role).images[[5]]), role
    assert alone.facts == drawn[name].facts[5:6]


def test_calm_and_wild_are_neighbours_in_the_series(drawn):
    for world in ("calm", "wild"):
        faces = synthetic.render_faces(4, 0, metrics.HELD_OUT, world, SIZE)
        assert torch.equal(drawn[world].source.images[:2], faces.images[::2])
        assert torch.equal(drawn[world].target.images[:2], faces.images[1::2])
        truth = synthetic.true_swap(faces[[0, 2]], faces[[1, 3]])
        assert torch.equal(drawn[world].truth.images[:2], truth.images)


def test_the_other_truth_brings_the_sources_shot(drawn):
    calm = drawn["calm"]
    for group in synthetic.MOVING:
        assert torch.equal(calm.moved.factors[group], calm.source.factors[group])
        assert torch.equal(calm.truth.factors[group], calm.target.factors[group])
    assert torch.equal(calm.moved.factors["hair"], calm.target.factors["hair"])
    with pytest.raises(ValueError, match="moved must be of pose, expression, light"):
        synthetic.true_swap(calm.source, calm.target, moved=["hair"])


def test_rules_accept_what_their_titles_say(drawn):
    other = drawn["cross_ethnicity"]
    assert (
        (column(other.source.factors, "skin", "tone") - column(other.target.factors, "skin", "tone")).abs() > 0.35
    ).all()
    alike = drawn["alike"]
    for group, name in (("shape", "masculine"), ("glasses", "worn")):
        same = (column(alike.source.factors, group, name) > 0.5) == (column(alike.target.factors, group, name) > 0.5)
        assert same.all()
    assert len({fact["source"] for fact in drawn["cross_attribute"].facts}) == 8


def test_covers_lie_alike_over_target_and_truth(drawn):
    plain, covered = drawn["calm"], drawn["occluded"]
    kinds = [fact["cover"] for fact in covered.facts]
    assert kinds == ["glasses", "hair", "hand", "bar"] * 2
    for row, kind in enumerate(kinds):
        if kind in ("hand", "bar"):
            over = (covered.target.images[row] != plain.target.images[row]).any(0)
            inside = over & (covered.target.labels[row] == 0) & (plain.target.labels[row] != 0)
            assert 0.01 < inside.float().mean() < 0.4
            gap = (covered.target.images[row] - covered.truth.images[row])[:, inside].abs()
            assert gap.mean() < 0.05  # at its rim a cover lets a little of both shine through
            assert (gap.amax(0) == 0).float().mean() > 0.5
    worn = column(covered.target.factors, "glasses", "worn")
    assert (worn[[0, 4]] == 1).all()
    lenses = region(covered.truth.labels[[0, 4]], "eye_glasses").float().mean((1, 2))
    assert (lenses > 0.01).all()


def test_heads_turn_and_eyes_look_as_told(drawn):
    yaw = column(drawn["turned"].target.factors, "pose", "yaw").abs()
    for row, fact in enumerate(drawn["turned"].facts):
        low, high = (float(text) for text in fact["yaw"].rstrip("°").split("–"))
        assert low <= yaw[row] <= high
    gaze = metrics.details.known_gaze(drawn["gaze"].target.factors)
    assert (gaze[:, 0].abs() >= 7).all()
    assert torch.equal(drawn["gaze"].truth.factors["expression"], drawn["gaze"].target.factors["expression"])


def test_one_person_in_two_shots_is_left_as_it_is(drawn):
    same = drawn["same_person"]
    assert torch.equal(same.source.factors["shape"], same.target.factors["shape"])
    assert not torch.equal(same.source.factors["pose"], same.target.factors["pose"])
    assert torch.equal(same.truth.images, same.target.images)
    assert torch.equal(same.source.identity, same.target.identity)


def test_frames_of_a_clip_share_their_people():
    clip = metrics.draw_pairs("clips", [24, 25, 47, 48], SIZE)
    assert torch.equal(clip.source.images[0], clip.source.images[2])
    assert not torch.equal(clip.source.images[0], clip.source.images[3])
    assert torch.equal(clip.target.factors["skin"][0], clip.target.factors["skin"][2])
    assert (clip.target.factors["pose"][0] - clip.target.factors["pose"][1]).abs().max() < 3
    assert [metrics.SETS["clips"].name_pair(number) for number in (24, 47)] == ["001_000", "001_023"]
    assert torch.equal(clip.target.images[[0]], synthetic.render_faces(1, 0, metrics.HELD_OUT + 3, "calm", SIZE).images)


def test_unknown_sets_are_refused():
    with pytest.raises(ValueError, match="unknown set 'mild': choose one of calm, wild, alike"):
        metrics.draw_pairs("mild", [0])
    with pytest.raises(ValueError, match="unknown set"):
        pairs.find_set("")


# -------------------------------------------------------------------------------------------------------- details


@pytest.fixture(scope="module")
def truth():
    return synthetic.render_faces(6, 0, 40_000_000, size=128)


def test_the_truth_itself_has_no_error(truth):
    scores = details.score_details(truth.images, truth)
    assert scores["skin"].max() < 1e-3
    assert scores["light"].max() < 1e-3
    torch.testing.assert_close(scores["sharpness"], torch.ones(6))
    assert scores["gaze"].mean() < 5


def test_each_measure_sees_its_own_damage(truth):
    line = torch.linspace(-0.3, 0.3, 128)
    damaged = {
        "skin": (truth.images + torch.tensor([0.25, 0.0, -0.1])[:, None, None]).clamp(-1, 1),
        "light": (truth.images + line).clamp(-1, 1),
        "sharpness": torch.nn.AvgPool2d(5, 1, 2)(truth.images),
    }
    found = {name: details.score_details(images, truth) for name, images in damaged.items()}
    assert found["skin"]["skin"].min() > 4
    assert found["light"]["light"].min() > 10
    assert found["light"]["light"].mean() > 3 * found["skin"]["light"].mean()
    assert found["sharpness"]["sharpness"].max() < 0.75
    assert found["light"]["skin"].mean() < found["skin"]["skin"].mean()


def test_light_is_the_gradient_of_a_plane():
    rows, columns = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
    lab = torch.stack([50 + 0.5 * columns - 0.25 * rows] * 3)[None]
    mask = torch.zeros(1, 32, 32, dtype=torch.bool)
    mask[:, 8:20, 5:30] = True
    torch.testing.assert_close(details.fit_light(lab, mask), torch.tensor([[16.0, -8.0]]), atol=1e-3, rtol=0)
    assert details.fit_light(lab, torch.zeros_like(mask)).isnan().all()


def test_gaze_is_set_and_read_from_factors_and_seen_in_pictures():
    factors = synthetic.sample_factors(24, 3, 50_000_000)
    left, up = torch.linspace(-11, 11, 24), torch.zeros(24)
    details.set_gaze(factors, left, up)
    torch.testing.assert_close(details.known_gaze(factors), torch.stack([left, up], 1), atol=1e-4, rtol=0)
    faces = synthetic.render(factors, 128)
    found = details.estimate_gaze(faces.images, faces)[:, 0]
    assert torch.corrcoef(torch.stack([left, found]))[0, 1] > 0.85


# ------------------------------------------------------------------------------------------------------- retrieval


def test_places_count_who_is_nearer():
    gallery = torch.tensor([[0.0, 0.0], [1.0, 0.0], [2.0, 0.0], [9.0, 9.0]])
    shown = torch.tensor([[0.1, 0.0], [5.0, 0.0], [torch.nan, 0.0]])
    own = torch.tensor([[0.15, 0.0], [0.0, 0.0], [0.0, 0.0]])
    np.testing.assert_array_equal(retrieval.rank(shown, own, gallery), [1, 3, np.nan])


def test_people_are_looked_for_in_another_shot():
    faces = synthetic.render_faces(2, 0, metrics.HELD_OUT, size=64)
    again = retrieval.render_again(faces.factors, [0, 1], 64)
    assert torch.equal(again.factors["skin"], faces.factors["skin"])
    assert not torch.equal(again.factors["pose"], faces.factors["pose"])
    gallery = retrieval.load_gallery(lambda faces: faces.images.mean((2, 3)), None, 64, people=5)
    assert gallery.shape == (4, 3)
