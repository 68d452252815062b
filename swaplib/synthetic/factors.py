"""What a rendered face is made from: groups of named columns, and how they are drawn at random.

Each group is a float32 tensor (faces, columns), so exchanging a factor means exchanging one tensor. `shape` and `skin`
are the person; everything else is the shot. Each face draws from its own random stream, fixed by (seed, index), and
each group from its own part of it, so that a change in one group's sampling leaves the others as they were.

Distribution. Sex, age, skin tone, build, hair style and hair colour are drawn independently, except for `Ties`: older
people more often have grey hair; men more often have beards, short or receding hair, and no make-up. Skin tone is
uniform over its range and tied to nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F

from swaplib.faces import PORTRAIT_MARGIN
from swaplib.synthetic import head

Factors = dict[str, torch.Tensor]
IDENTITY = ("shape", "skin")
MOVING = ("pose", "expression", "light")  # what changes during a clip
_MOMENTS = 20_000_000  # number of the first face that lends a clip's moments their pose, expression and light

# ---------------------------------------------------------------------------------------------------- the columns

SKIN = (
    "tone", "undertone", "redness", "freckles", "blemishes", "shine", "age",
    "iris_hue", "iris_light", "lip_colour", "lipstick", "lipstick_hue", "eyeshadow", "eyeshadow_hue", "blush",
    "brow_thickness", "brow_density", "brow_arch", "brow_darkness", "brow_warmth",
    "beard_length", "moustache", "goatee", "cheek_beard", "stubble", "texture_seed",
)  # fmt: skip
HAIR = (
    "style", "length_top", "length_side", "length_back", "fringe", "lift", "volume", "forward", "sideways", "backward",
    "part", "parted", "curl_radius", "curl_turns", "wave", "frizz", "clump", "receding", "crown_bald", "density",
    "melanin", "redness", "grey", "shine", "seed",
)  # fmt: skip
GLASSES = ("worn", "width", "height", "roundness", "thickness", "colour", "tint")
LIGHT = ("azimuth", "elevation", "strength", "warmth", "fill", "sky_warmth", "ground", "rim", "softness", "exposure")
BACKGROUND = ("kind", "hue", "saturation", "brightness", "contrast", "angle", "hue2", "blur", "seed")
CAMERA = ("half_width", "distance", "shift_x", "shift_y", "noise", "seed")
BODY = (
    "masculine", "age", "weight", "muscle", "eye_x", "eye_y", "eye_z", "neckline", "hue", "saturation", "brightness",
    "collar", "pattern",
)  # fmt: skip
POSE = ("pitch", "yaw", "roll")

HAIR_STYLES = (
    "bald", "buzz", "crop", "swept", "side_part", "slick_back", "bob", "long", "long_wavy", "long_curly", "curly_short",
    "afro", "tied_back", "receding",
)  # fmt: skip


@cache
def columns() -> dict[str, tuple[str, ...]]:
    """Return, for each group, the names of its columns."""
    return {
        "shape": head.shape_columns(),
        "skin": SKIN,
        "hair": HAIR,
        "glasses": GLASSES,
        "expression": head.expression_columns(),
        "pose": POSE,
        "light": LIGHT,
        "background": BACKGROUND,
        "camera": CAMERA,
        "body": BODY,
    }


def column(factors: Factors, group: str, name: str) -> torch.Tensor:
    """Return one named column, (B,)."""
    return factors[group][:, columns()[group].index(name)]


# What is no quantity: kinds, with their number, and places on circles, with what goes once round.
_KINDS = {
    ("hair", "style"): len(HAIR_STYLES), ("background", "kind"): 4, ("body", "collar"): 3, ("body", "pattern"): 3
}  # fmt: skip
_CIRCLES = {
    ("background", "hue"): 1, ("background", "hue2"): 1, ("background", "angle"): 360, ("body", "hue"): 1,
    ("skin", "eyeshadow_hue"): 1,
}  # fmt: skip


def flatten_factors(factors: Factors) -> torch.Tensor:
    """Return factors as one vector for each face, (B, N), for networks that learn from them.

    Kinds (hair style, background, collar, pattern) become one number for each kind, hues and angles points on a circle.
    Seeds, which say nothing that could be learned, are left out.
    """
    parts = []
    for group, names in columns().items():
        for name, values in zip(names, factors[group].float().unbind(1), strict=True):
            if name.endswith("seed"):
                continue
            if (group, name) in _KINDS:
                parts += F.one_hot(values.long(), _KINDS[group, name]).float().unbind(1)
            elif (group, name) in _CIRCLES:
                angle = values / _CIRCLES[group, name] * 2 * math.pi
                parts += [angle.cos(), angle.sin()]
            else:
                parts.append(values)
    return torch.stack(parts, 1)


@cache
def count_factors() -> int:
    """Return how many numbers `flatten_factors` gives for a face."""
    return flatten_factors({group: torch.zeros(1, len(names)) for group, names in columns().items()}).shape[1]


@cache
def _record_type(group: str) -> np.dtype:
    return np.dtype([(name, np.float64) for name in columns()[group]])


def record(factors: Factors, group: str) -> np.void:
    """Return a group of the first face as a record whose fields are its columns, for the renderer's kernels."""
    return factors[group][:1].double().contiguous().numpy().view(_record_type(group))[0, 0]


def blank(group: str, **values: float) -> np.void:
    """Return the record of a group in which the named columns have these values and all others are 0."""
    row = np.zeros((), _record_type(group))
    for name, value in values.items():
        row[name] = value
    return row[()]


# --------------------------------------------------------------------------------------------------- the two worlds


@dataclass(frozen=True)
class World:
    """How widely the nuisance factors vary. People are equally diverse in every world.

    Angles in degrees: standard deviation and clip. Shares are probabilities.
    """

    yaw: tuple[float, float]
    pitch: tuple[float, float]
    roll: tuple[float, float]
    key_azimuth: float
    key_elevation: tuple[float, float]
    warmth: float
    fill: tuple[float, float]
    exposure: float
    styles: tuple[str, ...]
    glasses: float
    sunglasses: float
    backgrounds: tuple[int, ...]
    expressions: dict[str, float]
    framing: float


_STYLES = tuple(style for style in HAIR_STYLES if style not in ("long_curly", "curly_short", "afro"))
CALM = World(
    yaw=(8, 20), pitch=(5, 12), roll=(3, 8), key_azimuth=20, key_elevation=(15, 45), warmth=0.15, fill=(0.75, 0.95),
    exposure=0.0, styles=_STYLES, glasses=0.08, sunglasses=0.0, backgrounds=(0,),
    expressions={"neutral": 0.47, "smile": 0.27, "grin": 0.22, "sad": 0.04}, framing=0.0,
)  # fmt: skip
WILD = World(
    yaw=(17, 50), pitch=(8, 22), roll=(5, 15), key_azimuth=75, key_elevation=(-5, 65), warmth=0.5, fill=(0.5, 0.95),
    exposure=0.2, styles=HAIR_STYLES, glasses=0.12, sunglasses=0.15, backgrounds=(0, 1, 2, 3),
    expressions={
        "neutral": 0.28, "smile": 0.20, "grin": 0.18, "open": 0.08, "surprise": 0.07, "anger": 0.06, "sad": 0.04,
        "pucker": 0.03, "random": 0.06,
    },
    framing=0.09,
)  # fmt: skip
WORLDS = {"calm": CALM, "wild": WILD}


@dataclass(frozen=True)
class Ties:
    """The few dependences between sampled factors; set one to its neutral value to untie it.

    grey_with_age: 1 ties grey hair to age, 0 makes it equally likely at any age
    style_with_sex: 1 gives men short hair and women long hair more often (3 to 1), 0 makes styles independent
    make_up_with_sex, beard_with_sex: 1 keeps make-up to women and beards to men, 0 gives both to everybody
    """

    grey_with_age: float = 1.0
    style_with_sex: float = 1.0
    make_up_with_sex: float = 1.0
    beard_with_sex: float = 1.0


# ------------------------------------------------------------------------------------------------------- sampling


def sample_factors(
    count: int,
    seed: int = 0,
    start: int = 0,
    world: str | World = "calm",
    ties: Ties | None = None,
    groups: Sequence[str] | None = None,
) -> Factors:
    """Draw faces number start … start+count−1 of the series `seed`: group -> float32 (count, columns).

    groups: draw only these; their values are the same as when all are drawn, and they are drawn faster.
    """
    ties = ties or Ties()
    if isinstance(world, str):
        if world not in WORLDS:
            raise ValueError(f"unknown world {world!r}: choose one of {', '.join(WORLDS)}")
        world = WORLDS[world]
    if count < 1:
        raise ValueError(f"count must be at least 1, got {count}")
    wanted = tuple(group for group in columns() if groups is None or group in groups)
    standing = not {"camera", "body"}.isdisjoint(wanted)
    drawn = [_draw(seed, start + k, world, ties, wanted, standing) for k in range(count)]
    if standing:
        _stand_up(drawn)
    return {group: torch.from_numpy(np.array([face[group] for face in drawn], np.float32)) for group in wanted}


def _draw(seed: int, index: int, world: World, ties: Ties, wanted: Sequence[str], standing: bool) -> dict:
    """Draw one face: group -> the values of its columns; camera and body, if `standing`, as `_stand_up` takes them."""

    def stream(part: int) -> np.random.Generator:
        return np.random.default_rng([seed, index, part])

    shape = _sample_shape(stream(0))
    male, age = bool(shape[_MASCULINE] > 0.5), float(shape[_AGE])
    draws = {
        "skin": lambda: _sample_skin(stream(1), male, age, ties),
        "hair": lambda: _sample_hair(stream(2), male, age, world, ties),
        "glasses": lambda: _sample_glasses(stream(3), world),
        "expression": lambda: _sample_expression(stream(4), world),
        "pose": lambda: {name: _clipped(stream(5 + k), getattr(world, name)) for k, name in enumerate(POSE)},
        "light": lambda: _sample_light(stream(8), world),
        "background": lambda: _sample_background(stream(9), world),
    }
    face = {"shape": shape}
    for group in draws:
        if group in wanted:
            values = draws[group]()
            face[group] = [values[name] for name in columns()[group]]
    if standing:
        face |= {"body": _sample_body(stream(11)), "camera": _sample_camera(stream(10), world)}
    return face


def moving_factors(count: int, span: float, seed: int = 0, number: int = 0, world: str | World = "calm") -> Factors:
    """Draw the factors of `count` frames of a clip of face `number`: group -> (count, columns).

    Pose, expression and light pass from one drawn moment to the next in `span` frames each, eased by 3t² − 2t³; the
    first moment is the face's own. All other factors are constant.
    """
    shot = sample_factors(1, seed, number, world)
    at = torch.arange(count) / span
    before = at.long()
    drawn = sample_factors(int(before[-1]) + 1, seed, _MOMENTS + 1000 * number, world, groups=MOVING)
    share = at - before
    ease = (share * share * (3 - 2 * share))[:, None]
    factors = {group: values.repeat(count, 1) for group, values in shot.items()}
    for group in MOVING:
        path = torch.cat([shot[group], drawn[group]])
        factors[group] = torch.lerp(path[before], path[before + 1], ease)
    return factors


def _clip(value: float, low: float, high: float) -> float:
    return min(max(float(value), low), high)


def _clipped(rng: np.random.Generator, spread: tuple[float, float]) -> float:
    return _clip(rng.normal(0, spread[0]), -spread[1], spread[1])


_MASCULINE, _AGE = head.MACRO.index("masculine"), head.MACRO.index("age")
_HEAD_SHAPE_ODDS = np.array([1, 1.5, 3, 0.5, 1, 0.3, 0.5])


@cache
def _shape_scales() -> np.ndarray:
    """Return, for each column after the macro ones and before the asymmetries, how widely it varies."""
    calmer = {"ear": 0.7, "eye": 0.8, "neck": 0.4, "nose": 0.8, "mouth": 0.7, "chin": 0.7, "cheek": 0.8}
    specific = {
        "head-scale": 0.4, "head-angle": 0.3, "forehead-": 0.45, "chin-width": 0.45, "chin-bones": 0.45,
        "neck-double": 0.4, "head-fat": 0.4, "head-back": 0.4, "mouth-angles": 0.5, "eyebrows-angle": 0.6,
    }  # fmt: skip
    names = [name for name in head.shape_columns()[len(head.MACRO) :] if not name.startswith("asym")]
    return np.array([
        next((s for start, s in specific.items() if name.startswith(start)), calmer.get(name.split("-")[0], 1.0))
        for name in names
    ])  # fmt: skip


def _sample_shape(rng: np.random.Generator) -> np.ndarray:
    """Draw the shape columns, in the order macro, local changes, head shapes, asymmetries."""
    race = rng.dirichlet([0.55] * 3)
    if rng.random() < 0.6:
        race = 0.3 * race + 0.7 * np.eye(3)[rng.integers(3)]
    masculine = _clip(rng.normal(0.1 if rng.random() < 0.5 else 0.9, 0.08), 0, 1)
    age = float(rng.beta(0.9, 1.5))
    weight, muscle = _clip(rng.normal(0.47, 0.12), 0.05, 0.95), _clip(rng.normal(0.53, 0.13), 0.05, 0.95)
    local = np.clip(rng.normal(0, 0.34, len(_shape_scales())), -0.75, 0.75) * _shape_scales()
    heads = local[-len(head.HEAD_SHAPES) :]
    likely = rng.choice(len(heads), 2, replace=False, p=_HEAD_SHAPE_ODDS / _HEAD_SHAPE_ODDS.sum())
    heads[:] = 0.0
    heads[likely] = rng.uniform(0, 0.4, 2)
    asymmetries = np.zeros(len(head.shape_columns()) - len(head.MACRO) - len(local))
    uneven = rng.choice(len(asymmetries), 8, replace=False)
    asymmetries[uneven] = np.clip(rng.normal(0, 0.15, 8), -0.4, 0.4)
    return np.concatenate([(masculine, age, weight, muscle), race, local, asymmetries])


_BEARDS = ("full", "goatee", "moustache", "stubble")


def _sample_skin(rng: np.random.Generator, male: bool, age: float, ties: Ties) -> dict[str, float]:
    tone = rng.uniform(0, 1)
    dark_eyes = rng.random() < 0.7
    made_up = rng.random() < (0.45 * (not male) if ties.make_up_with_sex else 0.25)
    bearded = rng.random() < (0.45 * male if ties.beard_with_sex else 0.25)
    kind = _BEARDS[rng.choice(4, p=(0.4, 0.2, 0.12, 0.28))]
    thick = _clip(rng.normal(0.62 if male else 0.42, 0.16), 0.1, 1)
    return {
        "tone": tone,
        "undertone": rng.uniform(-1, 1),
        "redness": rng.uniform(0.2, 1),
        "freckles": rng.uniform(0.3, 1) if rng.random() < 0.14 else 0,
        "blemishes": rng.uniform(0, 1),
        "shine": rng.uniform(0.2, 0.9),
        "age": age,
        "iris_hue": rng.uniform(0, 0.12) if dark_eyes else rng.uniform(0.15, 1),
        "iris_light": rng.uniform(0.1, 0.5) if dark_eyes else rng.uniform(0.45, 1),
        "lip_colour": rng.uniform(0, 1),
        "lipstick": rng.uniform(0.4, 0.95) if made_up else 0,
        "lipstick_hue": rng.uniform(0, 1),
        "eyeshadow": rng.uniform(0.2, 0.7) if made_up and rng.random() < 0.6 else 0,
        "eyeshadow_hue": rng.uniform(0, 1),
        "blush": rng.uniform(0, 0.6) if made_up else 0,
        "brow_thickness": thick,
        "brow_density": rng.uniform(0.45, 1),
        "brow_arch": rng.normal(0.1 if male else 0.4, 0.25),
        "brow_darkness": rng.uniform(0.3, 1),
        "brow_warmth": rng.uniform(0, 1),
        "beard_length": rng.uniform(0.03, 0.16) if bearded and kind == "full" else rng.uniform(0.02, 0.07),
        "moustache": bearded and kind != "stubble",
        "goatee": bearded and kind in ("full", "goatee"),
        "cheek_beard": bearded and kind == "full",
        "stubble": rng.uniform(0.3, 0.9) if bearded and kind == "stubble" else rng.uniform(0, 0.25) if male else 0,
        "texture_seed": rng.integers(1 << 20),
    }


# length top, side, back, fringe (dm); lift, volume; forward, sideways, backward; parted; curl radius (dm), turns;
# wave, frizz, clump
_STYLE_TABLE = {
    "bald": (0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0),
    "buzz": (0.05, 0.03, 0.03, 0.05, 0.9, 0.03, 0.3, 0, 0, 0, 0, 0, 0, 0.1, 0),
    "crop": (0.42, 0.18, 0.2, 0.45, 0.55, 0.12, 1.0, 0.25, 0, 0, 0, 0, 0.1, 0.2, 0.5),
    "swept": (0.6, 0.22, 0.25, 0.7, 0.75, 0.2, 0.35, 1.0, 0.15, 0, 0, 0, 0.1, 0.15, 0.5),
    "side_part": (0.75, 0.35, 0.35, 0.75, 0.4, 0.16, 0.15, 0.2, 0.1, 1.0, 0, 0, 0.05, 0.1, 0.4),
    "slick_back": (0.85, 0.45, 0.5, 0.8, 0.3, 0.12, 0, 0.1, 1.2, 0, 0, 0, 0.05, 0.06, 0.5),
    "bob": (1.35, 1.15, 1.2, 1.2, 0.2, 0.22, 0.12, 0.1, 0.05, 1.0, 0, 0, 0.08, 0.10, 0.18),
    "long": (2.5, 2.2, 2.4, 2.3, 0.16, 0.20, 0.1, 0.1, 0.1, 1.0, 0, 0, 0.08, 0.10, 0.2),
    "long_wavy": (2.3, 2.1, 2.3, 2.1, 0.22, 0.30, 0.1, 0.15, 0.1, 1.0, 0.05, 2.5, 0.5, 0.15, 0.7),
    "long_curly": (2.2, 2.0, 2.2, 1.9, 0.55, 0.42, 0.1, 0.1, 0.1, 0.8, 0.085, 6, 0.4, 0.3, 0.85),
    "curly_short": (0.75, 0.45, 0.5, 0.7, 0.9, 0.32, 0.4, 0.2, 0, 0, 0.06, 3.5, 0.4, 0.4, 0.75),
    "afro": (0.7, 0.6, 0.62, 0.55, 1.6, 0.5, 0.1, 0, 0, 0, 0.05, 7, 0.3, 0.6, 0.35),
    "tied_back": (0.95, 0.8, 0.5, 0.95, 0.12, 0.06, 0, 0, 1.5, 0, 0, 0, 0.03, 0.05, 0.3),
    "receding": (0.35, 0.2, 0.22, 0.3, 0.5, 0.1, 0.6, 0.3, 0.2, 0, 0, 0, 0.1, 0.2, 0.4),
}
_LONG = ("bob", "long", "long_wavy", "long_curly", "tied_back")
_MALE_ONLY_BY_CHOICE = ("bald", "receding", "buzz")


# Pheomelanin and eumelanin: dark hair is commonest; blond and red at every skin tone.
_HAIR_COLOURS = {"black": 0.97, "dark": 0.82, "brown": 0.62, "light": 0.42, "blond": 0.2, "red": 0.45}


def _sample_hair(rng: np.random.Generator, male: bool, age: float, world: World, ties: Ties) -> dict[str, float]:
    odds = np.ones(len(world.styles))
    for k, style in enumerate(world.styles):
        if ties.style_with_sex:
            favoured = (style in _LONG) != male
            odds[k] = 3.0 if favoured else 1.0
            if style in _MALE_ONLY_BY_CHOICE and not male:
                odds[k] = 0.15
    style = world.styles[rng.choice(len(odds), p=odds / odds.sum())]
    numbers = np.array(_STYLE_TABLE[style]) * np.clip(rng.normal(1, 0.14, 15), 0.6, 1.45)
    top, side, back, fringe, lift, volume, forward, sideways, backward, parted, curl, turns, wave, frizz, clump = (
        numbers.tolist()
    )
    if style in ("bob", "long") and rng.random() < 0.3:  # a fringe
        fringe, forward, parted = rng.uniform(0.52, 0.66), 1.0, 0.3 * parted
    grey_odds = _clip(1.7 * age - 0.75, 0, 1) if ties.grey_with_age else 0.2
    greying = rng.random() < grey_odds
    colour = tuple(_HAIR_COLOURS)[rng.choice(6, p=(0.26, 0.2, 0.2, 0.12, 0.14, 0.08))]
    return {
        "style": HAIR_STYLES.index(style),
        "length_top": top,
        "length_side": side,
        "length_back": back,
        "fringe": fringe,
        "lift": lift,
        "volume": volume,
        "forward": forward,
        "sideways": sideways * _draw_sign(rng),
        "backward": backward,
        "part": _draw_sign(rng) * rng.uniform(0.12, 0.3) if rng.random() < 0.65 else rng.normal(0, 0.02),
        "parted": parted,
        "curl_radius": curl,
        "curl_turns": turns,
        "wave": wave,
        "frizz": frizz,
        "clump": clump,
        "receding": rng.uniform(0.55, 1) if style == "receding" else rng.uniform(0, 0.3) * (0.4 + 0.6 * male),
        "crown_bald": rng.uniform(0.4, 1) if style == "receding" and rng.random() < 0.6 else 0,
        "density": rng.uniform(0.85, 1) * (0.75 if style == "receding" else 1),
        "melanin": _clip(rng.normal(_HAIR_COLOURS[colour], 0.05), 0.05, 1),
        "redness": rng.uniform(0.75, 1) if colour == "red" else rng.uniform(0.05, 0.4),
        "grey": _clip(rng.normal(0.75, 0.25), 0.1, 1) if greying else 0,
        "shine": rng.uniform(0.4, 1),
        "seed": rng.integers(1 << 20),
    }


def _draw_sign(rng: np.random.Generator) -> int:
    return 2 * int(rng.integers(2)) - 1


def _sample_glasses(rng: np.random.Generator, world: World) -> dict[str, float]:
    worn = rng.random() < world.glasses
    dark = rng.random() < world.sunglasses
    width, height, roundness, thickness, colour = rng.uniform((-1, -1, 0, 0, 0), 1)
    return dict(zip(GLASSES, (worn, width, height, roundness, thickness, colour, worn and dark), strict=True))


_ACTIONS = {
    "neutral": {"mouthSmile": (0, 0.2), "cheekSquint": (0, 0.1), "eyeSquint": (0, 0.2)},
    "smile": {"mouthSmile": (0.35, 0.8), "cheekSquint": (0.1, 0.5), "eyeSquint": (0, 0.3), "mouthDimple": (0, 0.3)},
    "grin": {
        "mouthSmile": (0.55, 0.9), "cheekSquint": (0.2, 0.6), "eyeSquint": (0.1, 0.4), "mouthUpperUp": (0.35, 0.7),
        "mouthLowerDown": (0.15, 0.4), "jawOpen": (0.04, 0.22),
    },
    "open": {"jawOpen": (0.3, 0.75), "mouthFunnel": (0, 0.3)},
    "surprise": {"jawOpen": (0.2, 0.6), "browInnerUp": (0.4, 0.9), "browOuterUp": (0.4, 0.9), "eyeWide": (0.3, 0.8)},
    "anger": {"browDown": (0.3, 0.8), "noseSneer": (0.1, 0.5), "mouthPress": (0.1, 0.6), "eyeSquint": (0.1, 0.4)},
    "sad": {"mouthFrown": (0.25, 0.6), "browInnerUp": (0.2, 0.6)},
    "pucker": {"mouthPucker": (0.4, 0.8)},
}  # fmt: skip
EXPRESSIONS = (*_ACTIONS, "random")


def _sample_expression(rng: np.random.Generator, world: World) -> dict[str, float]:
    names = head.expression_columns()
    out = dict.fromkeys(names, 0.0)
    kinds = tuple(world.expressions)
    kind = kinds[rng.choice(len(kinds), p=tuple(world.expressions.values()))]
    wanted = _ACTIONS.get(kind, {})
    if kind == "random":
        usable = [n for n in names if not n.startswith("eyeLook") and n not in ("mouthClose", "jawForward")]
        wanted = {usable[k]: (0.1, 0.5) for k in rng.choice(len(usable), 4, replace=False)}
    for action, (low, high) in wanted.items():
        value = rng.uniform(low, high)
        for name in (action, f"{action}Left", f"{action}Right"):
            if name in out:
                out[name] = _clip(value + rng.normal(0, 0.03), 0, 1)
    blink = rng.random()
    if blink < 0.03 and kind != "surprise":
        out["eyeBlinkLeft"] = out["eyeBlinkRight"] = 0.95
    gaze_x, gaze_y = _clip(rng.normal(0, 0.22), -0.6, 0.6), _clip(rng.normal(0, 0.12), -0.35, 0.35)
    side = ("eyeLookOutLeft", "eyeLookInRight") if gaze_x > 0 else ("eyeLookInLeft", "eyeLookOutRight")
    height = ("eyeLookUpLeft", "eyeLookUpRight") if gaze_y > 0 else ("eyeLookDownLeft", "eyeLookDownRight")
    return out | dict.fromkeys(side, abs(gaze_x)) | dict.fromkeys(height, abs(gaze_y))


def _sample_light(rng: np.random.Generator, world: World) -> dict[str, float]:
    azimuth, elevation = rng.uniform(-world.key_azimuth, world.key_azimuth), rng.uniform(*world.key_elevation)
    # A photographer exposes longer for a face that is lit from the side.
    facing = math.cos(math.radians(azimuth)) * math.cos(math.radians(elevation))
    return {
        "azimuth": azimuth,
        "elevation": elevation,
        "strength": rng.uniform(0.85, 1.1),
        "warmth": rng.uniform(-world.warmth, world.warmth),
        "fill": rng.uniform(*world.fill),
        "sky_warmth": rng.uniform(-world.warmth, world.warmth) * 0.7,
        "ground": rng.uniform(0.3, 0.6),
        "rim": rng.uniform(0, 1) if world.key_azimuth > 30 else 0.25,
        "softness": rng.uniform(0.3, 1),
        "exposure": 0.6 * (0.9 - facing) + _clip(rng.normal(0, world.exposure), -0.3, 0.3),
    }


def _sample_background(rng: np.random.Generator, world: World) -> dict[str, float]:
    return {
        "kind": world.backgrounds[rng.choice(len(world.backgrounds))],
        "hue": rng.uniform(0, 1),
        "saturation": rng.beta(1.3, 4) * 0.42,
        "brightness": rng.uniform(0.2, 0.95),
        "contrast": rng.uniform(0.1, 0.5),
        "angle": rng.uniform(0, 360),
        "hue2": rng.uniform(0, 1),
        "blur": rng.uniform(0.3, 1),
        "seed": rng.integers(1 << 20),
    }


def _sample_camera(rng: np.random.Generator, world: World) -> dict[str, float]:
    """Draw a camera; `half_width` is a factor on the aligned framing until `_stand_up` turns it into decimetres."""
    return {
        "half_width": rng.uniform(1 - world.framing, 1 + world.framing),
        "distance": rng.uniform(9, 15) if world.framing else 12.0,
        "shift_x": rng.normal(0, world.framing * 0.4),
        "shift_y": rng.normal(0, world.framing * 0.4),
        "noise": rng.uniform(0.002, 0.012),
        "seed": rng.integers(1 << 20),
    }


def _sample_body(rng: np.random.Generator) -> dict[str, float]:
    return {
        "neckline": rng.uniform(0, 1),
        "hue": rng.uniform(0, 1),
        "saturation": rng.beta(1.5, 3),
        "brightness": rng.beta(1.3, 1.6),
        "collar": rng.choice(3, p=(0.45, 0.25, 0.3)),
        "pattern": rng.choice(3, p=(0.7, 0.15, 0.15)),
    }


def _stand_up(faces: list[dict]) -> None:
    """Complete the groups that depend on the person who posed: the shoulders, and the camera's framing in dm.

    Framing follows FFHQ's crop of the neutral, frontal face, widened by `PORTRAIT_MARGIN`.
    """
    shape = torch.from_numpy(np.array([face["shape"] for face in faces], np.float32))
    macro = {name: column({"shape": shape}, "shape", name) for name in ("masculine", "age", "weight", "muscle")}
    stances, builds = (head.stand(head.weights(some)) for some in (shape, shoulders(macro, shape)))
    for k, (face, stance, build) in enumerate(zip(faces, stances, builds, strict=True)):
        eyes = (stance["left_lids"][:2] + stance["right_lids"][:2]) / 2
        across = np.linalg.norm(stance["left_lids"][:2] - stance["right_lids"][:2])
        down = np.linalg.norm(stance["mouth"][:2] - eyes)
        half = PORTRAIT_MARGIN * max(2.0 * across, 1.8 * down)
        # How high the eyes stand over the base of the neck, on the shoulders that `shoulders` builds.
        height = stance["eyes"] - stance["neck"] + build["neck"]
        body = face["body"] | {name: value[k] for name, value in macro.items()}
        body |= dict(zip(("eye_x", "eye_y", "eye_z"), height, strict=True))
        camera = face["camera"]
        camera |= {
            "shift_x": camera["shift_x"] * half,
            "shift_y": camera["shift_y"] * half - 0.1 * down,
            "half_width": camera["half_width"] * half,
        }
        face["body"], face["camera"] = [body[name] for name in BODY], [camera[name] for name in CAMERA]


def shoulders(macro: dict[str, torch.Tensor], like: torch.Tensor) -> torch.Tensor:
    """Return shape columns (B, S) of a plain person of the given build, whose shoulders the picture shows."""
    shape = torch.zeros_like(like)
    for name, value in macro.items():
        shape[:, head.shape_columns().index(name)] = value
    for name in ("african", "asian", "caucasian"):
        shape[:, head.shape_columns().index(name)] = 1 / 3
    return shape


def swap_identity(source: Factors, target: Factors, groups: Sequence[str] = IDENTITY) -> Factors:
    """Return the factors of the true swap: `groups` from the source, the others from the target."""
    return {group: source[group] if group in groups else target[group] for group in columns()}
