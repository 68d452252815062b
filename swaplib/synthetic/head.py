"""The parametric head: blend shapes, expression, pose and the 68 landmarks.

The file head.npz is baked by `swaplib.synthetic.baking` from CC0 assets. Units: decimetres; x to the person's left,
y up, z forward. Functions of tensors are batched and run on the device of their arguments; the renderer takes its
constants from here, too, and has kernels for single faces in `mesh`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib.resources import files
from itertools import pairwise

import numpy as np
import torch

MATERIALS = ("skin", "eye_socket", "mouth_cavity", "left_eye", "right_eye", "upper_teeth", "lower_teeth", "tongue")
MASKS = ("lips", "ears", "jaw", "occlusion")  # painted per vertex, 0…1

_OPPOSITES = {
    "incr": "decr", "up": "down", "out": "in", "forward": "backward", "convex": "concave", "uncompress": "compress",
}  # fmt: skip
MACRO = ("masculine", "age", "weight", "muscle", "african", "asian", "caucasian")
HEAD_SHAPES = ("diamond", "invertedtriangular", "oval", "rectangular", "round", "square", "triangular")
# The base mesh's teeth poke through narrow lips and hide behind open ones, its tongue hides the teeth, and its eyeballs
# poke through the rims of the lids: the rows of teeth are narrower, and all of them stand lower or farther back (dm).
_TEETH_WIDTH = 0.86
_SHIFTS = {
    "upper_teeth": (0.0, -0.045, -0.045), "lower_teeth": (0.0, -0.02, -0.05), "tongue": (0.0, -0.10, -0.12),
    "left_eye": (0.0, 0.0, -0.012), "right_eye": (0.0, 0.0, -0.012),
}  # fmt: skip
NECK_PIVOT = (0.0, 6.25, 0.35)  # the head turns about this point
# The base mesh looks half asleep, its mouth is small and its lips are thick: every face gets these on top of its own
# shape, women the first value and men the second. The widths and heights that result are those of anthropometry.
_BIAS = {
    "eye-height1": (0.10, 0.08), "eye-height2": (0.28, 0.22), "eye-height3": (0.18, 0.14), "eye-scale": (0.38, 0.35),
    "eye-push1": (0.45, 0.45), "eye-push2": (0.55, 0.55),
    "eyebrows-trans": (0.18, 0.06), "nose-flaring": (0.0, 0.10), "nose-nostrils-width": (0.0, 0.08),
    "nose-width3": (0.0, 0.08), "mouth-angles": (0.30, 0.25), "mouth-lowerlip-height": (-0.23, -0.33),
    "mouth-scale-horiz": (0.32, 0.38), "mouth-scale-vert": (-0.22, -0.30), "mouth-upperlip-width": (0.13, 0.13),
    "head-oval": (0.28, 0.20), "head-scale-horiz": (0.04, 0.02), "head-scale-vert": (-0.04, -0.15),
    "neck-scale-horiz": (0.40, 0.10),
}  # fmt: skip


@cache
def arrays() -> dict[str, np.ndarray]:
    """Return the baked arrays: floats as float32, indices as int32, masks as float32 in 0…1."""
    kinds = {"f": np.float32, "u": np.int32, "i": np.int32, "U": str}
    with np.load(files("swaplib.synthetic") / "head.npz") as baked:
        out = {name: baked[name].astype(kinds[baked[name].dtype.kind]) for name in baked.files}
    out["masks"] = out["masks"] / np.float32(255)
    return out


@cache
def tensors(device: str = "cpu") -> dict[str, torch.Tensor]:
    """Return the baked arrays as tensors: floats as float32, indices as int64, masks in 0…1."""
    kinds = {"f": torch.float32, "i": torch.int64}
    return {
        name: torch.from_numpy(array).to(device, kinds[array.dtype.kind])
        for name, array in arrays().items()
        if name != "shape_names"
    }


@cache
def shape_names() -> tuple[str, ...]:
    return tuple(str(name) for name in arrays()["shape_names"])


@cache
def _deltas(device: str) -> torch.Tensor:
    """Return dense blend shapes (K, V·3)."""
    baked = arrays()
    offsets, rows, deltas = baked["shape_offsets"], baked["shape_rows"], baked["shape_deltas"]
    dense = np.zeros((len(offsets) - 1, len(baked["vertices"]), 3), np.float32)
    for k in range(len(dense)):
        part = slice(offsets[k], offsets[k + 1])
        dense[k, rows[part]] = deltas[part]
    return torch.from_numpy(dense.reshape(len(dense), -1)).to(device)


# ------------------------------------------------------------------------------------------------ columns -> shapes


@cache
def shape_columns() -> tuple[str, ...]:
    """List the shape columns: macro, pairs of local changes (left and right share one), head shapes, asymmetry."""
    pairs, asymmetries = [], []
    for name in shape_names():
        stem, _, end = name.rpartition("-")
        if end in _OPPOSITES and f"{stem}-{_OPPOSITES[end]}" in shape_names() and not stem.startswith("r-"):
            pairs.append(stem.removeprefix("l-"))
        elif name.startswith("asym-") and name.endswith("-l"):
            asymmetries.append(stem)
    heads = [f"head-{shape}" for shape in HEAD_SHAPES]
    return (*MACRO, *dict.fromkeys(pairs), *heads, *asymmetries)


@cache
def expression_columns() -> tuple[str, ...]:
    """List the facial action units."""
    return tuple(name.removeprefix("unit-") for name in shape_names() if name.startswith("unit-"))


@cache
def _local_parts(device: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Return, for each shape, the column (K,) that it belongs to and the sign (K,) of that column's values it shows.

    The sign is 0 for shapes that belong to none.
    """
    names, columns = shape_names(), shape_columns()
    column, sign = np.zeros(len(names), np.int64), np.zeros(len(names), np.float32)
    for k, name in enumerate(names):
        stem, _, end = name.removeprefix("l-").removeprefix("r-").rpartition("-")
        if name in columns:
            column[k], sign[k] = columns.index(name), 1
        elif stem in columns and (end in _OPPOSITES or end in _OPPOSITES.values()):
            column[k], sign[k] = columns.index(stem), 1 if end in _OPPOSITES else -1
        elif stem in columns and end in ("l", "r"):
            column[k], sign[k] = columns.index(stem), 1 if end == "l" else -1
    return torch.from_numpy(column).to(device), torch.from_numpy(sign).to(device)


_LEVELS = ("min", "average", "max")


def _levels(value: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the shares of three levels for a 0…1 value, piecewise linear and summing to one."""
    high = (value * 2 - 1).clamp(0, 1)
    low = (1 - value * 2).clamp(0, 1)
    return low, 1 - low - high, high


@cache
def _macro_parts(device: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the indices (M,) of the shapes that depend on the macro columns, and those of their weights' factors.

    A weight is the product of four shares, given as indices (M, 4) into the row that `_macro_weights` lays out.
    """
    order = (
        "male",
        "female",
        "old",
        "young",
        *(f"{level}{kind}" for kind in ("muscle", "weight") for level in _LEVELS),
    )
    order = (*order, "african", "asian", "caucasian", "one")
    numbers, parts = [], []
    for k, name in enumerate(shape_names()):
        words = name.split("-")
        if words[0] == "universal":
            parts.append(words[1:5])
        elif words[0] in ("african", "asian", "caucasian"):
            parts.append([words[1], words[2], words[0], "one"])
        else:
            continue
        numbers.append(k)
    table = [[order.index(word) for word in row] for row in parts]
    return torch.tensor(numbers, device=device), torch.tensor(table, device=device)


def _macro_weights(shape: torch.Tensor) -> torch.Tensor:
    """Return blend-shape weights (B, K) of the macro columns; 0 for every other shape."""
    masculine, age, weight, muscle, *races = shape[:, : len(MACRO)].unbind(1)
    row = [masculine, 1 - masculine, age, 1 - age, *_levels(muscle), *_levels(weight), *races, torch.ones_like(age)]
    numbers, table = _macro_parts(str(shape.device))
    total = torch.zeros(len(shape), len(shape_names()), device=shape.device)
    one, two, three, four = torch.stack(row, 1)[:, table].unbind(-1)
    total[:, numbers] = one * two * three * four
    return total


@cache
def _bias(device: str) -> torch.Tensor:
    """Return what is added to the shape columns of women and of men, (2, S)."""
    return torch.tensor([_BIAS.get(name, (0.0, 0.0)) for name in shape_columns()], device=device).T


def weights(shape: torch.Tensor, expression: torch.Tensor | None = None) -> torch.Tensor:
    """Return blend-shape weights (B, K) of shape columns (B, S) and expression columns (B, E)."""
    device = str(shape.device)
    total = _macro_weights(shape)
    local = shape + torch.lerp(*_bias(device), shape[:, :1])  # the first column is `masculine`
    local[:, : len(MACRO)] = 0
    column, sign = _local_parts(device)
    total = total + (local[:, column] * sign).clamp(min=0)
    if expression is not None:
        first = shape_names().index("unit-" + expression_columns()[0])
        total[:, first : first + expression.shape[1]] += expression
    return total


def vertices(weights: torch.Tensor) -> torch.Tensor:
    """Turn blend-shape weights (B, K) into vertex positions (B, V, 3) in dm."""
    device = str(weights.device)
    base = tensors(device)["vertices"]
    points = base + (weights @ _deltas(device)).view(len(weights), *base.shape)
    width, shift = fit_inner_parts()
    points[..., 0] *= torch.from_numpy(width).to(device)
    return points + torch.from_numpy(shift).to(device)


@cache
def fit_inner_parts() -> tuple[np.ndarray, np.ndarray]:
    """Return by what each vertex's x is multiplied (V,) and how it is shifted (V, 3): teeth, tongue and eyes."""
    width, shift = np.ones(len(arrays()["vertices"]), np.float32), np.zeros_like(arrays()["vertices"])
    width[material_rows("upper_teeth", "lower_teeth")] = _TEETH_WIDTH
    for name, way in _SHIFTS.items():
        shift[material_rows(name)] = way
    return width, shift


@cache
def material_rows(*names: str) -> np.ndarray:
    """Return the vertices of the triangles made of these materials, in order."""
    numbers = [MATERIALS.index(name) for name in names]
    return np.unique(arrays()["triangles"][np.isin(arrays()["materials"], numbers)])


STANCE = ("eyes", "right_lids", "left_lids", "mouth", "neck")


@cache
def _stance_parts() -> tuple[np.ndarray, np.ndarray]:
    """Return where the points of STANCE are on the template (5, 3), and how each shape moves them (K, 5, 3).

    They are means of vertices, so they move linearly. Lids and mouth are measured from the midpoint of the eyes.
    """
    baked = arrays()
    share = np.zeros((len(STANCE), len(baked["vertices"])))
    for name in ("left_eye", "right_eye"):
        rows = material_rows(name)
        share[0, rows] += 0.5 / len(rows)
    # The lids' and the mouth's corners among the 51 inner landmarks.
    for k, marks in enumerate((range(19, 25), range(25, 31), (31, 37)), 1):
        for mark in marks:
            np.add.at(share[k], baked["landmark_ids"][mark], baked["landmark_weights"][mark] / len(marks))
        share[k] -= share[k].sum() * share[0]  # seen from the eyes
    x, y, _ = baked["vertices"].T
    ring = (y > 5.5) & (y < 5.8) & (np.abs(x) < 0.7)  # where the neck meets the shoulders
    share[4, ring] = 1 / ring.sum()
    offsets, rows, deltas = baked["shape_offsets"], baked["shape_rows"], baked["shape_deltas"]
    moves = [share[:, rows[a:b]] @ deltas[a:b] for a, b in pairwise(offsets)]
    return share @ (baked["vertices"] + fit_inner_parts()[1]), np.array(moves)


def stand(weights: torch.Tensor) -> list[dict[str, np.ndarray]]:
    """Return where some points of each head are before it is turned: the names of STANCE -> (3,).

    Heads are measured one by one, since sums over a batch round differently from batch to batch.
    """
    base, moves = _stance_parts()
    flat = moves.reshape(len(moves), -1)
    return [dict(zip(STANCE, base + (row @ flat).reshape(base.shape), strict=True)) for row in weights.double().numpy()]


# -------------------------------------------------------------------------------------------------- pose, points


def rotation(pose: torch.Tensor) -> torch.Tensor:
    """Turn pitch (down +), yaw (to the person's left +) and roll in degrees (B, 3) into matrices (B, 3, 3)."""
    pitch, yaw, roll = torch.deg2rad(pose).unbind(-1)
    zero, one = torch.zeros_like(pitch), torch.ones_like(pitch)
    cos, sin = torch.cos, torch.sin
    about_x = torch.stack([one, zero, zero, zero, cos(pitch), -sin(pitch), zero, sin(pitch), cos(pitch)], -1)
    about_y = torch.stack([cos(yaw), zero, sin(yaw), zero, one, zero, -sin(yaw), zero, cos(yaw)], -1)
    about_z = torch.stack([cos(roll), -sin(roll), zero, sin(roll), cos(roll), zero, zero, zero, one], -1)
    about_x, about_y, about_z = (m.view(-1, 3, 3) for m in (about_x, about_y, about_z))
    return about_y @ about_x @ about_z


def smoothstep(low: float, high: float, value: torch.Tensor) -> torch.Tensor:
    t = ((value - low) / (high - low)).clamp(0, 1)
    return t * t * (3 - 2 * t)


def eye_midpoint(points: torch.Tensor) -> torch.Tensor:
    """Return the midpoint of the two eyeballs' centres, (B, 3)."""
    return sum(points[:, material_rows(name)].mean(1) for name in ("left_eye", "right_eye")) / 2


def surface_points(points: torch.Tensor, ids: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Return points on triangles (B, …, 3) from vertex numbers (…, 3) and barycentric weights (…, 3)."""
    return (points[:, ids] * weights[..., None]).sum(-2)


def landmark_points(points: np.ndarray, project: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Return the 68 landmarks of one posed head (V, 3) in the picture, (68, 2).

    project: (N, 3) to pixels (N, 2). Each of the 17 jaw points is the one of its candidates that lies farthest out in
    the picture, so the contour is the visible one, as in iBUG's annotation.
    """
    baked = arrays()
    inner, candidates = (
        (points[baked[f"{name}_ids"]] * baked[f"{name}_weights"][..., None]).sum(-2) for name in ("landmark", "jaw")
    )
    inner, candidates = project(inner), project(candidates.reshape(-1, 3)).reshape(17, -1, 2)
    up = inner[10] - inner[13]  # nose bridge: upright in the picture
    up = up / np.linalg.norm(up)
    axes = np.stack([(-up[1], up[0]), up])  # the person's left, and up
    outward = baked["jaw_directions"] @ axes
    reach = ((candidates - candidates.mean((0, 1))) * outward[:, None]).sum(-1)
    return np.concatenate([candidates[np.arange(17), reach.argmax(1)], inner])


def normals(points: torch.Tensor, triangles: torch.Tensor) -> torch.Tensor:
    """Return area-weighted unit vertex normals (B, V, 3)."""
    a, b, c = (points[:, triangles[:, k]] for k in range(3))
    face = torch.linalg.cross(b - a, c - a)
    first = torch.arange(len(points), device=points.device)[:, None, None] * points.shape[1]
    total = torch.zeros_like(points).view(-1, 3)
    total.index_add_(0, (first + triangles).flatten(), face[:, :, None].expand(-1, -1, 3, -1).reshape(-1, 3))
    return torch.nn.functional.normalize(total.view(points.shape), dim=-1)
