"""Layers in groups, and which part of a code carries what."""

from __future__ import annotations

from dataclasses import dataclass

import drawn
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from swaplib import families, figures, judges, latent, studio
from swaplib.faces import CELEBAMASK_HQ
from swaplib.families import Family, Part
from swaplib.judges import Judges
from swaplib.latent import layers
from swaplib.studio import Pick, State

# LatentSwap, Fig. 10, at 1024 pixels: first layer of each group and the one after its last.
NOMINAL = {"coarse": (0, 4), "middle": (4, 8), "fine1": (8, 12), "fine2": (12, 18)}
CONSUMED = {"coarse": (0, 3), "middle": (3, 7), "fine1": (7, 11), "fine2": (11, 18)}


@dataclass(frozen=True)
class _Size:
    size: int = 32


class _Layered(Family):
    """So many layers, and a mask beside them."""

    name = "layered"
    Config = _Size
    swap_parts = ()

    def __init__(self, count: int, others: tuple[str, ...] = ()):
        super().__init__(_Size())
        self.parts = tuple(Part(name, (4,)) for name in (*(f"w{k:02}" for k in range(count)), *others))


class _Painted(Family):
    """Three parts: one paints the whole picture, one a quarter of it, one nothing."""

    name = "painted"
    Config = _Size
    swap_parts = ("all", "corner", "nothing")
    parts = (Part("all", (3,)), Part("corner", (3,)), Part("nothing", (5,)))

    def decode(self, codes):
        picture = codes["all"][..., None, None].expand(-1, -1, 32, 32).clone()
        picture[..., :16, :16] += codes["corner"][..., None, None]
        return picture


class _Striped:
    """A parser that sees rows of skin and of hair in turn, and no hair in a dark picture."""

    def parse(self, images):
        labels = torch.full((len(images), 32, 32), CELEBAMASK_HQ.index("skin"), dtype=torch.uint8)
        labels[(images.mean((1, 2, 3)) > -0.9).cpu(), ::2] = CELEBAMASK_HQ.index("hair")
        return labels


PAINTED = _Painted(_Size())


def painted(count: int, seed: int):
    draw = torch.Generator().manual_seed(seed)
    return {part.name: torch.rand(count, *part.shape, generator=draw) for part in PAINTED.parts}


@pytest.fixture(scope="module")
def small_judges() -> Judges:
    smooth, margin, shape = (judges.build(name, "smoke").freeze() for name in ("identity", "identity_margin", "shape"))
    return Judges({"smooth": smooth, "margin": margin}, _Striped(), shape)


@pytest.fixture(scope="module")
def mixers() -> Family:
    return families.build("latent_swap", "smoke").eval()


# ---------------------------------------------------------------------------------------------- groups


@pytest.mark.parametrize(("convention", "wanted"), [("nominal", NOMINAL), ("consumed", CONSUMED)])
def test_the_papers_18_layers_fall_into_its_groups(convention, wanted):
    found = layers.group_parts(_Layered(18), convention)
    assert found == {name: tuple(f"w{k:02}" for k in range(*ends)) for name, ends in wanted.items()}


@pytest.mark.parametrize(
    ("count", "convention", "sizes"),
    [
        (8, "nominal", [4, 4]), (8, "consumed", [3, 5]), (10, "nominal", [4, 4, 2]), (10, "consumed", [3, 4, 3]),
        (12, "consumed", [3, 4, 5]), (14, "nominal", [4, 4, 4, 2]), (21, "nominal", [4, 4, 4, 9]),
    ],
)  # fmt: skip
def test_smaller_generators_have_fewer_groups(count, convention, sizes):
    found = layers.group_parts(_Layered(count), convention)
    assert list(found) == list(layers.NAMES[: len(sizes)])
    assert [len(parts) for parts in found.values()] == sizes


def test_groups_say_what_the_generator_does(mixers):
    """By the consumed convention a group's codes change the maps of its sizes, and no coarser ones."""
    network = mixers.generator.network.synthesis
    seen, hooks = {}, []
    for size in network.sizes:
        keep = lambda _, given, output, size=size: seen.__setitem__(size, output.clone())  # noqa: E731
        hooks.append(network.get_submodule(f"b{size}.conv1").register_forward_hook(keep))
    codes = mixers.sample(2, 0)
    try:
        for name, first in (("coarse", 4), ("middle", 16)):
            mixers.decode(codes)
            before = dict(seen)
            some = layers.group_parts(mixers, "consumed")[name]
            mixers.decode({part: code + (part in some) for part, code in codes.items()})
            assert [size for size in network.sizes if not torch.equal(seen[size], before[size])] == [
                size for size in network.sizes if size >= first
            ]
    finally:
        for hook in hooks:
            hook.remove()


@given(count=st.integers(1, 40), convention=st.sampled_from(["nominal", "consumed", "each"]), others=st.booleans())
def test_groups_partition_the_parts(count, convention, others):
    family = _Layered(count, ("mask", "hair") if others else ())
    found = layers.group_parts(family, convention)
    assert [part for parts in found.values() for part in parts] == [part.name for part in family.parts]
    if others:
        assert found["mask"] == ("mask",)
    if convention == "each":
        assert all(parts == (name,) for name, parts in found.items())


def test_parts_that_are_no_layers_are_groups_by_themselves():
    assert layers.group_parts(families.build("rsgan", "smoke")) == {
        name: (name,) for name in ("face", "face_attributes", "hair", "hair_attributes")
    }
    with pytest.raises(ValueError, match="unknown convention 'fine': choose one of nominal, consumed, each"):
        layers.group_parts(PAINTED, "fine")


@pytest.mark.parametrize("convention", ["nominal", "consumed", "each"])
def test_all_groups_are_a_full_swap_and_none_is_the_target(mixers, convention):
    source, target = mixers.sample(2, 1), mixers.sample(2, 2)
    by = layers.group_parts(mixers, convention)
    with torch.no_grad():
        every = mixers.decode(mixers.mix(source, target, layers.choose_amounts(by, list(by))))
        assert torch.equal(every, mixers.decode(mixers.mix(source, target)))
        none = mixers.decode(mixers.mix(source, target, layers.choose_amounts(by, [])))
        assert torch.equal(none, mixers.decode(target))
    half = layers.choose_amounts(by, {"w02" if convention == "each" else "coarse": 0.5})
    assert set(half.values()) == {0.5}
    assert "w02" in half
    with pytest.raises(ValueError, match="no group 'nose': there are"):
        layers.choose_amounts(by, ["nose"])


# ---------------------------------------------------------------------------------------------- influence


def test_a_part_that_carries_nothing_and_one_that_carries_everything(small_judges):
    still = {"corner": torch.zeros(6, 3)}
    table = layers.measure_influence(
        PAINTED, painted(6, 1) | still, painted(6, 2) | still, batch=4, judges=small_judges
    )
    assert set(table["reading"]) == set(layers.READINGS)
    assert (table["pairs"] == 6).all()
    shares = table.pivot(index=["group", "swapped"], columns="reading", values="share")
    for key in (("all", "alone"), ("nothing", "all but"), ("corner", "all but")):
        np.testing.assert_allclose(shares.loc[key], 1, atol=1e-5)
    for key in (("all", "all but"), ("nothing", "alone"), ("corner", "alone")):
        # The angle of two equal poses is only known to a few hundredths of a degree.
        np.testing.assert_allclose(shares.loc[key].drop("pose"), 0, atol=1e-5)
    assert table.loc[table["share"] > 0.999, "error"].max() < 1e-4


def test_shares_are_ratios_of_mean_changes_of_the_pixels():
    source, target = painted(9, 1), painted(9, 2)
    table = layers.measure_influence(
        PAINTED, source, target, {"both": ("all", "nothing"), "corner": ("corner",)}, batch=4, judges=layers.NOBODY
    )
    assert list(table["reading"].unique()) == ["pixels"]
    corner = table[(table["group"] == "corner") & (table["swapped"] == "alone")].iloc[0]
    moved = (source["corner"] - target["corner"]).abs().mean(1) / 2 / 4
    full = (PAINTED.decode(source) - PAINTED.decode(target)).abs().mean((1, 2, 3)) / 2
    assert corner["change"] == pytest.approx(float(moved.mean()), rel=1e-5)
    assert corner["share"] == pytest.approx(float(moved.mean() / full.mean()), rel=1e-5)
    drawn_again = np.random.default_rng(0).integers(0, 9, (4000, 9))
    bootstrap = (moved[drawn_again].mean(1) / full[drawn_again].mean(1)).std()
    assert corner["error"] == pytest.approx(float(bootstrap), rel=0.2)
    other = table[(table["group"] == "both") & (table["swapped"] == "all but")].iloc[0]
    assert other["share"] == corner["share"]


def test_changes_are_known_pair_by_pair():
    source, target = painted(9, 1), painted(9, 2)
    changes = layers.measure_changes(PAINTED, source, target, batch=4, judges=layers.NOBODY)
    moved = (source["corner"] - target["corner"]).abs().mean(1) / 2 / 4
    torch.testing.assert_close(changes["corner", "alone"]["pixels"], moved)
    assert ("", "all") in changes
    table = layers.measure_influence(PAINTED, source, target, batch=4, judges=layers.NOBODY)
    pd.testing.assert_frame_equal(layers.tabulate_changes(changes), table)


def test_influence_takes_faces_of_any_size_and_tells_what_is_wrong(mixers):
    faces = drawn.faces(4, 48)
    table = layers.measure_influence(mixers, faces[:1], faces[1:2], judges=layers.NOBODY)
    assert list(table["group"].unique()) == ["coarse", "middle"]
    assert table["error"].isna().all()
    assert (table["full"] > 0).all()
    with pytest.raises(ValueError, match="1 sources but 3 targets"):
        layers.measure_influence(mixers, faces[:1], faces[1:])


def test_each_channel_moves_the_picture_by_its_deviation():
    codes = painted(50, 3)
    table = layers.measure_channels(PAINTED, codes, "all", k=2)
    assert list(table["channel"]) == [0, 1, 2]
    # A third of the picture's numbers moves by two deviations, and the pixels' range is 2.
    np.testing.assert_allclose(table["change"], codes["all"].std(0) / 3, rtol=1e-4)
    np.testing.assert_allclose(table["error"], 0, atol=1e-6)
    corner = layers.measure_channels(PAINTED, codes, "corner", k=2)
    np.testing.assert_allclose(corner["change"], codes["corner"].std(0) / 12, rtol=1e-4)
    assert (layers.measure_channels(PAINTED, codes, "nothing")["change"] == 0).all()
    with pytest.raises(ValueError, match="no part 'nose': its parts are all, corner, nothing"):
        layers.measure_channels(PAINTED, codes, "nose")
    with pytest.raises(ValueError, match="1 code: a standard deviation needs two"):
        layers.measure_channels(PAINTED, painted(1, 0), "all")


def test_judges_read_channels_too(small_judges):
    table = layers.measure_channels(PAINTED, painted(5, 3), "corner", pictures=3, judges=small_judges)
    assert len(table) == 3 * len(layers.READINGS)
    # Two poses that are nearly the same have an angle of 0 in float32.
    assert (table.loc[table["reading"] != "pose", "change"] > 0).all()
    units = dict(zip(table["reading"], table["unit"], strict=True))
    assert units == {name: unit for name, (_, unit) in layers.READINGS.items()}


def test_embedders_that_are_handed_in_read_too(small_judges):
    class Brightness:
        def embed(self, faces):
            return faces.images.mean((1, 2, 3))[:, None]

    chosen = Judges({**small_judges.embedders, "mine": Brightness()})
    table = layers.measure_influence(PAINTED, painted(5, 1), painted(5, 2), judges=chosen)
    assert list(table["reading"].unique()) == ["smooth", "margin", "mine", "pixels"]
    assert (table.loc[table["reading"] == "mine", "unit"] == "distance of vectors").all()
    assert "identity, mine" in layers.make_heat_table(table)[0]


def test_colours_are_means_over_skin_and_hair_in_lab(small_judges):
    red, black = (torch.tensor(rgb).reshape(1, 3, 1, 1).expand(1, 3, 32, 32) for rgb in ((1.0, -1, -1), (-1.0, -1, -1)))
    seen = small_judges.colours(torch.cat([red, black]))
    torch.testing.assert_close(seen["hair"][0], torch.tensor([53.24, 80.09, 67.20]), atol=0.05, rtol=0)  # sRGB's red
    torch.testing.assert_close(seen["skin"][1], torch.zeros(3), atol=1e-3, rtol=0)
    assert seen["hair"][1].isnan().all()
    apart = small_judges.differences(seen, {name: colour.flip(0) for name, colour in seen.items()})
    assert apart["skin"][0] == pytest.approx(np.linalg.norm([53.24, 80.09, 67.20]), abs=0.1)


def test_pairs_without_hair_do_not_count_for_hair(small_judges):
    dark = {"all": torch.full((1, 3), -1.0), "corner": torch.zeros(1, 3), "nothing": torch.zeros(1, 5)}
    others = painted(5, 1) | {"corner": torch.zeros(5, 3)}
    source = {name: torch.cat([dark[name], others[name]]) for name in dark}
    target = painted(6, 2) | {"corner": torch.zeros(6, 3)}
    table = layers.measure_influence(PAINTED, source, target, judges=small_judges)
    pairs = table[(table["group"] == "all") & (table["swapped"] == "alone")].set_index("reading")["pairs"]
    assert pairs["hair"] == 5
    assert pairs["skin"] == pairs["pixels"] == 6
    assert table.loc[table["reading"] == "hair", "share"].notna().all()


def test_the_heat_map_shows_shares_with_their_errors():
    table = layers.measure_influence(PAINTED, painted(5, 1), painted(5, 2), judges=layers.NOBODY)
    shares, errors = layers.make_heat_table(table)
    assert list(shares.index) == list(errors.index) == ["all", "corner", "nothing"]
    assert list(shares.columns) == ["pixels"]
    figure = figures.heat_map(shares, errors, "Which part carries what", "share of the full exchange's change")
    ax, bar = figure.axes
    assert ax.get_title() == "Which part carries what"
    assert " ".join(bar.get_ylabel().split()) == "share of the full exchange's change"
    assert [label.get_text() for label in ax.get_yticklabels()] == ["all", "corner", "nothing"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("reading", "group")
    texts = [text.get_text() for text in ax.texts]
    assert texts[1] == f"{shares.iloc[1, 0]:.2f}±{errors.iloc[1, 0]:.2f}"
    assert not ax.images  # so that it is saved as PDF, too
    plt.close(figure)


def test_a_wide_heat_map_leaves_numbers_out_and_missing_ones_are_dashes():
    wide = figures.heat_map(pd.DataFrame(np.ones((2, 64))), cell=0.05)
    assert not wide.axes[0].texts
    assert len(wide.axes[0].get_xticks()) == 8
    holes = figures.heat_map(pd.DataFrame({"a": [np.nan, 0.5]}))
    assert [text.get_text() for text in holes.axes[0].texts] == ["–", "0.50"]
    with pytest.raises(ValueError, match="the table is empty"):
        figures.heat_map(pd.DataFrame())
    with pytest.raises(ValueError, match="give one for each"):
        figures.heat_map(pd.DataFrame({"a": [1.0]}), pd.DataFrame({"a": [1.0, 2.0]}))
    plt.close("all")


# ---------------------------------------------------------------------------------------------- the studio


def test_group_sliders_move_their_layers_together(mixers, tmp_path):
    app = studio.Studio(mixers, folder=tmp_path)
    by = layers.group_parts(mixers)
    assert list(app.groups) == list(by)
    assert {slider.value for slider in app.groups.values()} == {1.0}
    app.groups["coarse"].value = 0.25
    assert app.last_error is None
    assert app.state.amounts == layers.choose_amounts(by, {"coarse": 0.25, "middle": 1.0})
    assert app.sliders["w02"].value == 0.25
    wanted = app.renderer.render(
        State(Pick(number=0), Pick(number=1), layers.choose_amounts(by, {"coarse": 0.25, "middle": 1}))
    )
    assert np.array_equal(app.renderer.render(app.state), wanted)
    app.sliders["w00"].value = 0.45
    assert app.groups["coarse"].value == pytest.approx(0.3)
    next(one for one in walk(app.box) if getattr(one, "tooltip", "") == "reset coarse").click()
    assert {app.state.amounts[part] for part in by["coarse"]} == {1.0}


def walk(widget):
    yield widget
    for child in getattr(widget, "children", ()):
        yield from walk(child)


def test_families_without_layers_have_no_group_sliders(tmp_path):
    assert studio.Studio(families.load("landmarks", "smoke"), folder=tmp_path).groups == {}


def test_rendering_by_groups_is_the_swap_by_groups(mixers):
    renderer = studio.Renderer(mixers)
    first, second = Pick(number=0), Pick(number=1)
    amounts = layers.choose_amounts(layers.group_parts(mixers), ["coarse"])
    found = renderer.render(State(first, second, amounts))
    swapped = latent.swap(mixers, renderer.faces(first), renderer.faces(second), amounts)
    assert np.abs(found.astype(float) - ((swapped[0].permute(1, 2, 0).numpy() + 1) * 127.5)).max() <= 0.51
    assert np.array_equal(renderer.render(State(first, second)), renderer.render(State(second, second)))
