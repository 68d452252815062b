"""The parametric head: blend shapes, expression, pose and the 68 landmarks.

The file head.npz is baked by `swaplib.synthetic.baking` from CC0 assets. Units: decimetres; x to the person's left,
y up, z forward. All functions are batched and run on the device of their arguments.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files

import numpy as np
import torch

MATERIALS = ("skin", "eye_socket", "mouth_cavity", "left_eye", "right_eye", "upper_teeth", "lower_teeth", "tongue")
MASKS = ("lips", "ears", "jaw", "occlusion")  # painted per vertex, 0…1

_OPPOSITES = {
    "incr": "decr", "up": "down", "out": "in", "forward": "backward", "convex": "concave", "uncompress": "compress",
}  # fmt: skip
MACRO = ("masculine", "age", "weight", "muscle", "african", "asian", "caucasian")
HEAD_SHAPES = ("diamond", "invertedtriangular", "oval", "rectangular", "round", "square", "triangular")
NECK_PIVOT = (0.0, 6.25, 0.35)  # the head turns about this point
# The base mesh looks half asleep and boxy: every face gets these on top of its own shape.
_BIAS = {
    "eye-height2": 0.30, "eye-height1": 0.16, "eye-height3": 0.16, "eye-scale": 0.22, "head-oval": 0.28,
    "chin-width": -0.16, "chin-bones": -0.12, "head-scale-horiz": -0.06,
}  # fmt: skip


@cache
def _file() -> dict[str, np.ndarray]:
    with np.load(files("swaplib.synthetic") / "head.npz") as baked:
        return dict(baked)


@cache
def tensors(device: str = "cpu") -> dict[str, torch.Tensor]:
    """Return the baked arrays as tensors: floats as float32, indices as int64, masks in 0…1."""
    out = {}
    for name, array in _file().items():
        if name == "shape_names":
            continue
        kind = np.float32 if array.dtype.kind == "f" else np.int64
        out[name] = torch.from_numpy(array.astype(kind)).to(device)
    out["masks"] = out["masks"].float() / 255
    return out


@cache
def shape_names() -> tuple[str, ...]:
    return tuple(str(name) for name in _file()["shape_names"])


@cache
def _deltas(device: str) -> torch.Tensor:
    """Return dense blend shapes (K, V·3)."""
    baked = _file()
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
def _signed(device: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Return two matrices (columns, K): what positive and what negative values of each column add."""
    names = {name: k for k, name in enumerate(shape_names())}
    up = np.zeros((len(shape_columns()), len(names)), np.float32)
    down = np.zeros_like(up)
    for row, column in enumerate(shape_columns()):
        for side in ("", "l-", "r-"):
            for end, opposite in _OPPOSITES.items():
                if f"{side}{column}-{end}" in names and f"{side}{column}-{opposite}" in names:
                    up[row, names[f"{side}{column}-{end}"]] = 1
                    down[row, names[f"{side}{column}-{opposite}"]] = 1
        if column in names:
            up[row, names[column]] = 1
        if f"{column}-l" in names:
            up[row, names[f"{column}-l"]] = down[row, names[f"{column}-r"]] = 1
    return torch.from_numpy(up).to(device), torch.from_numpy(down).to(device)


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
    total[:, numbers] = torch.stack(row, 1)[:, table].prod(-1)
    return total


def weights(shape: torch.Tensor, expression: torch.Tensor | None = None) -> torch.Tensor:
    """Return blend-shape weights (B, K) of shape columns (B, S) and expression columns (B, E)."""
    device = str(shape.device)
    columns = shape_columns()
    total = _macro_weights(shape)
    local = shape.clone()
    local[:, : len(MACRO)] = 0
    for name, extra in _BIAS.items():
        local[:, columns.index(name)] += extra
    up, down = _signed(device)
    total = total + local.clamp(min=0) @ up + (-local).clamp(min=0) @ down
    if expression is not None:
        first = shape_names().index("unit-" + expression_columns()[0])
        total[:, first : first + expression.shape[1]] += expression
    return total


@cache
def _framing_rows(device: str) -> torch.Tensor:
    """Return the vertices that determine where a face stands: eyes, landmarks and the base of the neck."""
    baked = tensors(device)
    eyes = [_eye_rows(name) for name in ("left_eye", "right_eye")]
    marks = [baked["landmark_ids"].flatten(), baked["jaw_ids"].flatten()]
    return torch.cat([*eyes, *marks, _neck_ring(device).nonzero()[:, 0]]).unique()


@cache
def _framing_deltas(device: str) -> torch.Tensor:
    return _deltas(device).view(len(shape_names()), -1, 3)[:, _framing_rows(device)].flatten(1).contiguous()


def vertices(weights: torch.Tensor, framing: bool = False) -> torch.Tensor:
    """Turn blend-shape weights (B, K) into vertex positions (B, V, 3) in dm.

    framing: move only the vertices of eyes, landmarks and the base of the neck, which is five times as fast.
    """
    device = str(weights.device)
    base = tensors(device)["vertices"]
    if framing:
        rows = _framing_rows(device)
        points = base.repeat(len(weights), 1, 1)
        points[:, rows] += (weights @ _framing_deltas(device)).view(len(weights), -1, 3)
    else:
        points = base + (weights @ _deltas(device)).view(len(weights), *base.shape)
    # The teeth of the base mesh poke through narrow lips: set them back and closer together.
    teeth = _teeth_rows(device)
    points[:, teeth] = points[:, teeth] * points.new_tensor([0.86, 1, 1]) - points.new_tensor([0, 0, 0.06])
    return points


@cache
def _teeth_rows(device: str) -> torch.Tensor:
    baked = tensors(device)
    material = baked["materials"]
    upper, lower = (material == MATERIALS.index(name) for name in ("upper_teeth", "lower_teeth"))
    return baked["triangles"][upper | lower].unique()


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
    eyes = eyeballs(points)
    return (eyes[:, 0] + eyes[:, 1]) / 2


def eyeballs(points: torch.Tensor) -> torch.Tensor:
    """Return the centres of the left and the right eyeball, (B, 2, 3)."""
    return torch.stack([points[:, _eye_rows(name)].mean(1) for name in ("left_eye", "right_eye")], 1)


def neck_base(points: torch.Tensor) -> torch.Tensor:
    """Return the middle of the ring where the neck meets the shoulders, (B, 3)."""
    return points[:, _neck_ring(str(points.device))].mean(1)


@cache
def _neck_ring(device: str) -> torch.Tensor:
    template = tensors(device)["vertices"]
    return (template[:, 1] > 5.5) & (template[:, 1] < 5.8) & (template[:, 0].abs() < 0.7)


@cache
def _eye_rows(name: str) -> torch.Tensor:
    baked = tensors()
    return baked["triangles"][baked["materials"] == MATERIALS.index(name)].unique()


def place(head: torch.Tensor, body: torch.Tensor, eye: torch.Tensor, pose: torch.Tensor) -> torch.Tensor:
    """Turn the head on the shoulders and put the midpoint of the eyes at the origin.

    head: vertices of the person (B, V, 3); body: vertices that give the shoulders (B, V, 3), whose own eyes stood at
    `eye` (B, 3). The neck blends between the two, so another head fits on the same shoulders.
    """
    pivot = head.new_tensor(NECK_PIVOT)
    turn = rotation(pose)
    template = tensors(str(head.device))["vertices"]
    share = smoothstep(5.55, 6.35, template[:, 1])[:, None]

    def turned(points):
        return (points - pivot) @ turn.transpose(1, 2)

    midpoint = eye_midpoint(head)[:, None]
    above = turned(head) - turned(midpoint)
    below = (body - pivot) - turned(eye[:, None])
    return below + share * (above - below)


def surface_points(points: torch.Tensor, ids: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Return points on triangles (B, …, 3) from vertex numbers (…, 3) and barycentric weights (…, 3)."""
    return (points[:, ids] * weights[..., None]).sum(-2)


def landmark_points(points: torch.Tensor, project) -> torch.Tensor:
    """Return the 68 landmarks in the picture, (B, 68, 2).

    project: (B, N, 3) to pixels (B, N, 2). Each of the 17 jaw points is the one of its candidates that lies farthest
    out in the picture, so the contour is the visible one, as in iBUG's annotation.
    """
    baked = tensors(str(points.device))
    inner = project(surface_points(points, baked["landmark_ids"], baked["landmark_weights"]))
    candidates = surface_points(points, baked["jaw_ids"], baked["jaw_weights"]).flatten(1, 2)
    candidates = project(candidates).unflatten(1, baked["jaw_ids"].shape[:2])
    middle = candidates.mean((1, 2), keepdim=True)
    up = inner[:, 10] - inner[:, 13]  # nose bridge: upright in the picture
    up = torch.nn.functional.normalize(up, dim=-1)
    left = torch.stack([-up[:, 1], up[:, 0]], -1)  # the person's left
    axes = torch.stack([left, up], 1)
    outward = baked["jaw_directions"] @ axes
    reach = ((candidates - middle) * outward[:, :, None]).sum(-1)
    best = reach.argmax(2)[..., None, None].expand(-1, -1, 1, 2)
    return torch.cat([candidates.gather(2, best)[:, :, 0], inner], 1)


def normals(points: torch.Tensor, triangles: torch.Tensor) -> torch.Tensor:
    """Return area-weighted unit vertex normals (B, V, 3)."""
    a, b, c = (points[:, triangles[:, k]] for k in range(3))
    face = torch.linalg.cross(b - a, c - a)
    first = torch.arange(len(points), device=points.device)[:, None, None] * points.shape[1]
    total = torch.zeros_like(points).view(-1, 3)
    total.index_add_(0, (first + triangles).flatten(), face[:, :, None].expand(-1, -1, 3, -1).reshape(-1, 3))
    return torch.nn.functional.normalize(total.view(points.shape), dim=-1)
