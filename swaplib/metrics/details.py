"""What a swap got right of skin, light, gaze and sharpness: differences to the true swap, in units that can be seen.

    skin       ΔE (CIE 1976) of the mean colours of the skin
    light      ‖g − g'‖, g the gradient of a plane fitted to L* over the skin, in units of L* across the picture
    gaze       ‖γ − γ'‖, degrees; γ by the place of the iris between the eyelids, γ' as the factors have it
    sharpness  mean |∂x| + |∂y| in the face, of the truth's: 1 is right, blur is below, noise above

Gaze is read off the pixels of both eyes by a ridge regression that learned from rendered faces (`bake`). The true
swap's own error is the floor of that: compare with it.
"""

from __future__ import annotations

from functools import lru_cache
from importlib import resources
from pathlib import Path

import cv2
import numpy as np
import torch

from swaplib import judges, synthetic
from swaplib.faces import Faces, region, to_uint8
from swaplib.metrics.image import SIZE, face_region, resized
from swaplib.synthetic import Factors, column

_EYES = (range(36, 42), range(42, 48))  # landmarks: a corner, the upper lid, the other corner, the lower lid
_GAZE = (15.0, 11.0)  # degrees that the head's eyes turn at full action, sideways and up or down
_PATCH = (32, 16)  # pixels of an eye that the regression of gaze sees
_LEARNERS = 1000  # rendered faces that it is fitted to


def score_details(images: torch.Tensor, truth: Faces) -> dict[str, torch.Tensor]:
    """Compute the four of images (B, 3, H, W) in [-1, 1] against true swaps with labels, (B,) each.

    gaze is left out where the true swaps have no factors or landmarks. NaN where a picture has too little skin.
    """
    images, truth = resized(images, SIZE), truth.resize(SIZE)
    skin = region(truth.labels, "skin", "nose")
    mine, theirs = _to_lab(images), _to_lab(truth.images)
    scores = {
        "skin": (_mean_colour(mine, skin) - _mean_colour(theirs, skin)).norm(dim=1),
        "light": (fit_light(mine, skin) - fit_light(theirs, skin)).norm(dim=1),
        "sharpness": measure_sharpness(images, truth.labels) / measure_sharpness(truth.images, truth.labels),
    }
    if truth.factors is not None and truth.landmarks is not None:
        scores["gaze"] = (estimate_gaze(images, truth) - known_gaze(truth.factors)).norm(dim=1)
    return scores


def _to_lab(images: torch.Tensor) -> torch.Tensor:
    """Turn images (B, 3, H, W) in [-1, 1] into CIE L*a*b*, (B, 3, H, W)."""
    rgb = np.ascontiguousarray((images.float().cpu().clamp(-1, 1) + 1).movedim(1, -1).numpy() / 2)
    return torch.from_numpy(np.stack([cv2.cvtColor(one, cv2.COLOR_RGB2LAB) for one in rgb])).movedim(-1, 1)


def _mean_colour(lab: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    mask = mask[:, None].float()
    enough = torch.where(mask.mean((1, 2, 3)) >= 0.01, 1.0, torch.nan)[:, None]
    return (lab * mask).sum((2, 3)) / mask.sum((2, 3)).clamp(min=1) * enough


def fit_light(lab: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Return the gradient (B, 2) of the plane that fits L* over a mask best, across the whole picture."""
    size = lab.shape[-1]
    line = (torch.arange(size, dtype=torch.float64) + 0.5) / size - 0.5
    plane = torch.stack([torch.ones(size, size), line.expand(size, -1), line[:, None].expand(-1, size)], -1).double()
    weight = mask.double()
    moments = torch.einsum("bhw,hwi,hwj->bij", weight, plane, plane)
    right = torch.einsum("bhw,bhw,hwi->bi", weight, lab[:, 0].double(), plane)
    enough = weight.mean((1, 2)) >= 0.01
    moments[~enough] = torch.eye(3, dtype=torch.float64)
    found = torch.linalg.solve(moments, right)[:, 1:].float()
    return torch.where(enough[:, None], found, torch.nan)


def measure_sharpness(images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the mean absolute step to the next pixel, right and down, inside the face region, (B,)."""
    face = face_region(labels)
    steps = []
    for axis in (2, 3):
        inside = face.narrow(axis - 1, 0, face.shape[axis - 1] - 1) & face.narrow(axis - 1, 1, face.shape[axis - 1] - 1)
        change = images.diff(dim=axis).abs().mean(1) * inside
        steps.append(change.sum((1, 2)) / inside.sum((1, 2)))
    return steps[0] + steps[1]


def average_sharpness(images: torch.Tensor) -> float:
    """Return the mean of `measure_sharpness` over images (B, 3, H, W) in [-1, 1] whose faces the parser has to find."""
    parser = judges.load("parser")
    found = [measure_sharpness(some, parser.parse(some)) for some in images.cpu().split(32)]
    return float(torch.cat(found).nanmean())


# ----------------------------------------------------------------------------------------------------------- gaze


def known_gaze(factors: Factors) -> torch.Tensor:
    """Return where rendered eyes look from their own head, degrees to its left and up, (B, 2)."""

    def act(name: str) -> torch.Tensor:
        return column(factors, "expression", f"eyeLook{name}")

    left = act("OutLeft") + act("InRight") - act("InLeft") - act("OutRight")
    up = act("UpLeft") + act("UpRight") - act("DownLeft") - act("DownRight")
    return torch.stack([_GAZE[0] * left / 2, _GAZE[1] * up / 2], 1)


def estimate_gaze(images: torch.Tensor, shot: Faces) -> torch.Tensor:
    """Estimate where the eyes of pictures look, degrees to the head's left and up, (B, 2).

    shot: rendered faces with the same eyelids and turn of the head, such as the true swaps.
    """
    return (_describe_eyes(images, shot) @ _gaze_weights()).float()


def _describe_eyes(images: torch.Tensor, shot: Faces) -> torch.Tensor:
    """Return what the regression sees: both eyes' pixels, of equal contrast, and the turn of the head, (B, 1027)."""
    patches = [
        np.concatenate([_cut_eye(picture, marks[list(eye)]).ravel() for eye in _EYES])
        for picture, marks in zip(to_uint8(images), shot.landmarks.numpy(), strict=True)
    ]
    turn = torch.stack([column(shot.factors, "pose", name) for name in ("yaw", "pitch")], 1).double() / 7
    return torch.cat([torch.from_numpy(np.stack(patches)), turn, torch.full((len(turn), 1), 3.0)], 1)


def _cut_eye(picture: np.ndarray, lids: np.ndarray) -> np.ndarray:
    """Cut out an eye, its corners level, at three quarters of the patch's width; (16, 32), mean 0."""
    across = lids[3] - lids[0]
    turn = np.array([[across[0], across[1]], [-across[1], across[0]]]) * 0.75 * _PATCH[0] / max(across @ across, 1e-6)
    move = (np.array(_PATCH) - 1) / 2 - turn @ lids[[0, 3]].mean(0)
    patch = cv2.warpAffine(picture, np.column_stack([turn, move]), _PATCH, flags=cv2.INTER_CUBIC)
    grey = cv2.cvtColor(patch, cv2.COLOR_RGB2GRAY).astype(float)
    return (grey - grey.mean()) / (grey.std() + 4)


def set_gaze(factors: Factors, left: torch.Tensor, up: torch.Tensor) -> None:
    """Turn the eyes of rendered faces, in place: degrees to the head's left and up, (B,) each."""
    actions = {
        "OutLeft": left / _GAZE[0], "InRight": left / _GAZE[0], "InLeft": -left / _GAZE[0],
        "OutRight": -left / _GAZE[0], "UpLeft": up / _GAZE[1], "UpRight": up / _GAZE[1],
        "DownLeft": -up / _GAZE[1], "DownRight": -up / _GAZE[1],
    }  # fmt: skip
    for name, value in actions.items():
        column(factors, "expression", f"eyeLook{name}").copy_(value.clamp(min=0))


@lru_cache(maxsize=1)
def _gaze_weights() -> torch.Tensor:
    """Return the regression's weights, float64 (1027, 2)."""
    with resources.as_file(resources.files("swaplib.metrics") / "gaze.npz") as path, np.load(path) as file:
        return torch.from_numpy(file["weights"]).double()


def bake() -> None:
    """Fit the regression again, for faces of another renderer, and write gaze.npz."""
    weights = _learn_gaze().numpy().astype(np.float32)
    np.savez_compressed(Path(__file__).with_name("gaze.npz"), weights=weights)


def _learn_gaze() -> torch.Tensor:
    """Fit the regression to rendered faces of both worlds, in no set, whose eyes turn farther than people's do."""
    seen, known, random = [], [], torch.Generator().manual_seed(5)
    for world in ("calm", "wild"):
        factors = synthetic.sample_factors(_LEARNERS // 2, 77, 0, world)
        left, up = (torch.rand(2, _LEARNERS // 2, generator=random) * 2 - 1) * torch.tensor([[12.0], [6.5]])
        set_gaze(factors, left, up)
        faces = synthetic.render(factors, SIZE)
        seen.append(_describe_eyes(faces.images, faces))
        known.append(known_gaze(factors).double())
    x, y = torch.cat(seen), torch.cat(known)
    return torch.linalg.solve(x.T @ x / len(x) + torch.eye(x.shape[1], dtype=x.dtype), x.T @ y / len(x))
