"""The linear model of heads that the shape judge answers with: points, principal components, and how these were found.

    python -c "from swaplib.judges import shape_model; shape_model.bake()"

bakes shape_model.npz from 1,500 sampled heads. A shape judge answers in the components that it was trained with: bake
them again, of later heads, where it is trained again. Distances are in millimetres, relative to the midpoint of the
eyeballs.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from pathlib import Path

import numpy as np
import torch

from swaplib import synthetic
from swaplib.synthetic import head

BAKED_OF = "2.0"
"""Version of the renderer whose heads the components are of: those that the released shape judge has learned."""
MM = 100  # millimetres in the head's unit, a decimetre
_SHAPES, _EXPRESSIONS, _POINTS = 80, 32, 256  # what is baked: as many as the largest judge has


@cache
def _file() -> dict[str, np.ndarray]:
    with np.load(files("swaplib.judges") / "shape_model.npz") as baked:
        return dict(baked)


def load_basis(shapes: int, expressions: int, points: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return mean points (P, 3) and whitened components of shape (S, P, 3) and expression (E, P, 3), mm.

    P is 68 + `points`. Raises ValueError for more than are baked.
    """
    if shapes > _SHAPES or expressions > _EXPRESSIONS or points > _POINTS:
        raise ValueError(
            f"the head's model has {_SHAPES} shapes, {_EXPRESSIONS} expressions and {_POINTS} points, not {shapes}, "
            f"{expressions} and {points}: ask for fewer"
        )
    baked, number = _file(), 68 + points
    parts = baked["mean"][:number], baked["shapes"][:shapes, :number], baked["expressions"][:expressions, :number]
    return tuple(torch.tensor(part, dtype=torch.float32, device="cpu") for part in parts)


def find_mean_landmarks() -> np.ndarray:
    """Return the 68 landmarks of the mean head, (68, 3), mm from the eyes' midpoint."""
    return _file()["mean"][:68].astype(float)


def take_points(vertices: torch.Tensor, count: int) -> torch.Tensor:
    """Return the 68 landmarks and `count` points of heads (B, V, 3), mm from the eyes' midpoint, (B, 68 + count, 3).

    The jaw's landmarks are fixed points of the head here: those on its outline in a frontal picture. The others are
    spread over the face, the first `count` of a series.
    """
    device = vertices.device
    baked = head.tensors(str(device))
    jaw, spread = (torch.from_numpy(_file()[name].astype(np.int64)).to(device) for name in ("jaw", "spread"))
    chosen = torch.arange(17, device=device), jaw
    contour = head.surface_points(vertices, baked["jaw_ids"][chosen], baked["jaw_weights"][chosen])
    inner = head.surface_points(vertices, baked["landmark_ids"], baked["landmark_weights"])
    points = torch.cat([contour, inner, vertices[:, spread[:count]]], 1)
    return (points - head.eye_midpoint(vertices)[:, None]) * MM


def find_true_points(factors: synthetic.Factors, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return neutral points of rendered faces and their displacements by expression, (B, 68 + count, 3) each, mm."""
    still = find_resting_points(factors, count)
    moved = take_points(head.vertices(head.weights(factors["shape"], factors["expression"])), count)
    return still, moved - still


def find_resting_points(factors: synthetic.Factors, count: int) -> torch.Tensor:
    """Return neutral points of rendered faces, (B, 68 + count, 3), mm."""
    return take_points(head.vertices(head.weights(factors["shape"])), count)


# ----------------------------------------------------------------------------------------------------------- baking


def spread_points(count: int) -> torch.Tensor:
    """Choose vertices spread over the face, each the farthest from those before it, (count,)."""
    baked = head.tensors()
    points, skin = baked["vertices"], baked["triangles"][baked["materials"] == 0].unique()
    front = skin[(points[skin, 2] > 0.35) & (points[skin, 1] > 6.35)]
    chosen, distance = [0], torch.full((len(front),), torch.inf)
    for _ in range(count - 1):
        distance = torch.minimum(distance, (points[front] - points[front[chosen[-1]]]).norm(dim=1))
        chosen.append(int(distance.argmax()))
    return front[chosen]


def choose_contour() -> torch.Tensor:
    """Choose of each jaw point's candidates the one farthest out on the mean head seen from the front, (17,)."""
    baked = head.tensors()
    shapes = synthetic.sample_factors(200, seed=1, groups=("shape",))["shape"]
    points = head.vertices(head.weights(shapes)).mean(0, keepdim=True)
    flat = head.surface_points(points, baked["jaw_ids"], baked["jaw_weights"])[0, ..., :2]
    return ((flat - flat.mean((0, 1))) * baked["jaw_directions"][:, None]).sum(-1).argmax(1)


def find_components() -> dict[str, np.ndarray]:
    """Find the mean and the components of 1,500 heads, half from each world."""
    groups = ("shape", "expression")
    drawn = [synthetic.sample_factors(750, 1, world=world, groups=groups) for world in ("calm", "wild")]
    parts = [
        find_true_points({group: one[group][k : k + 125] for group in groups}, _POINTS)
        for one in drawn
        for k in range(0, 750, 125)
    ]
    still, moved = (torch.cat(part) for part in zip(*parts, strict=True))
    mean = still.mean(0)

    def components(centred: torch.Tensor, number: int) -> np.ndarray:
        _, strengths, directions = torch.linalg.svd(centred.flatten(1), full_matrices=False)
        scale = strengths[:number, None] / len(centred) ** 0.5
        return (directions[:number] * scale).unflatten(1, mean.shape).half().numpy()

    # Expressions are not centred: the code 0 means no expression.
    return {
        "mean": mean.numpy(),
        "shapes": components(still - mean, _SHAPES),
        "expressions": components(moved, _EXPRESSIONS),
    }


def bake() -> None:
    """Write shape_model.npz beside this file."""
    path = Path(__file__).with_suffix(".npz")  # BAKED_OF is to be written by hand
    places = {"spread": spread_points(_POINTS).numpy().astype(np.int16), "jaw": choose_contour().numpy().astype("i1")}
    _file.cache_clear()
    np.savez_compressed(path, **places)  # taking points needs them
    np.savez_compressed(path, **places, **find_components())
    _file.cache_clear()
