"""The two baselines that every learned system has to beat: do nothing, and the classical two-dimensional swap.

`target` returns the target's picture. `landmarks` is the swap of image editing before deep learning, written as an
active appearance model (Cootes, Edwards & Taylor 2001): a face is its texture, warped to a standard shape, and its
shape, 68 landmarks, in a surround. A swap takes the source's texture:

    source ─ landmarks ─ warp to the standard shape ─► texture ─┐
                                                                ├─ warp to the shape ─ match colours ─ blend ─► picture
    target ─┬──────────────────────────────────────► shape  ────┤
            └──────────────────────────────────────► surround ──┘

The warp is piecewise affine over Delaunay triangles (as in Cootes et al.), colours are matched in median and spread
(after Reinhard et al. 2001), the seam is closed in the gradient domain (Pérez et al. 2003).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
import torch

from swaplib.faces import LANDMARK_MIRROR, Faces
from swaplib.families.base import Codes, Family, Part
from swaplib.photos.blending import membrane


@dataclass(frozen=True)
class TargetConfig:
    """size: height and width of the pictures, pixels."""

    size: int = 128

    @classmethod
    def smoke(cls) -> TargetConfig:
        return cls(size=32)

    @classmethod
    def demo(cls) -> TargetConfig:
        return cls()

    @classmethod
    def paper(cls) -> TargetConfig:
        return cls(size=256)


class Target(Family):
    """Returns the target's picture: the score of a swap that swaps nothing."""

    name = "target"
    Config = TargetConfig
    swap_parts = ()
    any_size = True

    def __init__(self, config: TargetConfig):
        super().__init__(config)
        self.parts = (Part("picture", (3, config.size, config.size), "image"),)

    def encode(self, faces: Faces) -> Codes:
        return {"picture": faces.images}

    def decode(self, codes: Codes) -> torch.Tensor:
        return codes["picture"]


# ------------------------------------------------------------------------------------------ the classical swap


@dataclass(frozen=True)
class LandmarksConfig:
    """size, texture: height and width in pixels of the pictures and of the warped texture.

    forehead    how far the warped region reaches above the brows, in distances from the brows to the nose's base
    feather     width of the soft edge, in widths of the face
    slant       share of its mirror image's area below which a triangle's texture is mirrored: wholly, not at all
    contrast    smallest and largest factor by which colour matching may change the texture's spread
    bleed       largest difference along the seam (of a range of 2) that is carried into the face
    """

    size: int = 128
    texture: int = 384
    forehead: float = 0.3
    feather: float = 0.08
    slant: tuple[float, float] = (0.25, 0.45)
    contrast: tuple[float, float] = (0.6, 1.25)
    bleed: float = 0.15

    @classmethod
    def smoke(cls) -> LandmarksConfig:
        return cls(size=32, texture=64)

    @classmethod
    def demo(cls) -> LandmarksConfig:
        return cls()

    @classmethod
    def paper(cls) -> LandmarksConfig:
        return cls(size=256, texture=512)


# The standard shape in widths of the face, x from its middle, y from the height of the nose's tip: an average face,
# eyes and mouth held open so that lids and teeth have room in the texture. Only the picture's left half is listed.
_LEFT_HALF = {
    0: (-0.50, -0.22), 1: (-0.50, -0.09), 2: (-0.48, 0.05), 3: (-0.46, 0.18), 4: (-0.41, 0.31), 5: (-0.34, 0.43),
    6: (-0.24, 0.53), 7: (-0.13, 0.60), 8: (0.00, 0.62),
    17: (-0.39, -0.33), 18: (-0.33, -0.39), 19: (-0.25, -0.41), 20: (-0.16, -0.40), 21: (-0.08, -0.37),
    27: (0.00, -0.25), 28: (0.00, -0.17), 29: (0.00, -0.09), 30: (0.00, 0.00), 31: (-0.10, 0.06), 32: (-0.05, 0.08),
    33: (0.00, 0.09),
    36: (-0.29, -0.23), 37: (-0.24, -0.27), 38: (-0.18, -0.27), 39: (-0.13, -0.22), 40: (-0.18, -0.20),
    41: (-0.24, -0.20),
    48: (-0.19, 0.26), 49: (-0.12, 0.20), 50: (-0.05, 0.18), 51: (0.00, 0.19), 57: (0.00, 0.41), 58: (-0.06, 0.40),
    59: (-0.13, 0.36), 60: (-0.16, 0.26), 61: (-0.05, 0.23), 62: (0.00, 0.23), 66: (0.00, 0.34), 67: (-0.05, 0.33),
}  # fmt: skip
_BROWS = slice(17, 27)
_ARCH = np.array([0.45, 0.75, 0.95, 1, 1, 1, 1, 0.95, 0.75, 0.45])[:, None]  # the forehead's rounding above each point


def _standard_shape(size: int, forehead: float) -> np.ndarray:
    """Return the standard shape with its forehead, in pixels of a square texture, (78, 2)."""
    shape = np.zeros((68, 2))
    for k, (x, y) in _LEFT_HALF.items():
        shape[k], shape[LANDMARK_MIRROR[k]] = (x, y), (-x, y)
    shape = _with_forehead(shape, forehead)
    low, high = shape.min(0), shape.max(0)
    return (shape - (low + high) / 2) * 0.94 * size / (high - low).max() + (size - 1) / 2


def _with_forehead(shape: np.ndarray, forehead: float) -> np.ndarray:
    """Add ten points above the brows to 68 landmarks, (68, 2) to (78, 2): a linear map, so the same on every face."""
    up = shape[_BROWS].mean(0) - shape[33]
    return np.concatenate((shape, shape[_BROWS] + forehead * _ARCH * up))


@dataclass(frozen=True)
class _Standard:
    """What the warps need of the standard shape, at one texture size.

    points     (78, 2), triangles (T, 3)
    owner      int (size, size): the triangle that each texture pixel lies in or is nearest to
    weights    float32 (size, size, 3): the face, falling to 0 at the edge of the warped region; its skin where
               no beard grows, from the nose's base up; the inside of the mouth
    mouth      the rows and columns of the texture that hold the inside of the mouth
    """

    points: np.ndarray
    triangles: np.ndarray
    owner: np.ndarray
    weights: np.ndarray
    mouth: tuple[slice, slice]


@cache
def _standard(size: int, forehead: float, feather: float) -> _Standard:
    # Loaded here: parts of scipy that no other system waits for.
    from scipy.ndimage import distance_transform_edt
    from scipy.spatial import Delaunay

    points = _standard_shape(size, forehead)
    triangles = Delaunay(points).simplices
    owner = _rasterise(points, triangles, (size, size))
    width = points[16, 0] - points[0, 0]
    depth = distance_transform_edt(np.pad(owner >= 0, 1))[1:-1, 1:-1]
    ramp = np.clip(depth / (feather * width), 0, 1)
    face = ramp * ramp * (3 - 2 * ramp)
    features = [_polygon(points[k], size) for k in (_BROWS, slice(36, 42), slice(42, 48), slice(48, 60))]
    features = cv2.dilate(np.max(features, 0), np.ones((3, 3)), iterations=max(1, round(0.03 * width)))
    skin = face * (1 - features)
    skin[round(points[33, 1]) :] = 0
    mouth = cv2.GaussianBlur(_polygon(points[60:68], size), (0, 0), 0.006 * width)
    weights = np.stack((face, skin, mouth), -1).astype(np.float32)
    box = tuple(slice(max(k.min() - 1, 0), k.max() + 2) for k in np.nonzero(mouth > 1e-3))
    nearest = distance_transform_edt(owner < 0, return_distances=False, return_indices=True)
    return _Standard(points, triangles, owner[tuple(nearest)], weights, box)


def _polygon(points: np.ndarray, size: int) -> np.ndarray:
    """Fill the convex hull of the points, float32 (size, size)."""
    hull = cv2.convexHull(np.round(points * 16).astype(np.int32))
    return cv2.fillConvexPoly(np.zeros((size, size), np.float32), hull, 1.0, shift=4)


def _rasterise(points: np.ndarray, triangles: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return the index of the triangle that covers each pixel, int32 (H, W), or -1 where none does.

    Triangles that a turned head folds over are drawn first, so that those facing the viewer lie on top.
    """
    corners = points[triangles]
    area = _areas(corners)
    facing = np.sign(area) == (1 if np.median(area) >= 0 else -1)
    owner = np.full(size, -1, np.int32)
    fixed = np.round(np.clip(corners, -4 * max(size), 5 * max(size)) * 16).astype(np.int32)
    for k in np.argsort(facing, kind="stable"):
        if abs(area[k]) > 0.02:
            cv2.fillConvexPoly(owner, fixed[k], int(k), lineType=cv2.LINE_8, shift=4)
    return owner


def _areas(corners: np.ndarray) -> np.ndarray:
    """Return twice the signed area of triangles (T, 3, 2)."""
    a, b = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    return a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]


def _warp_map(owner: np.ndarray, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Return where each pixel of the start's frame lies in the end's, float32 (H, W, 2), pixels.

    owner (H, W) names each pixel's triangle; start, end (T, 3, 2) are the triangles' corners in the two frames.
    """
    flat = np.abs(_areas(start)) < 1e-6
    system = np.concatenate((start, np.ones((*start.shape[:2], 1))), -1)
    system[flat] = np.eye(3)
    affine = np.linalg.solve(system, end)[owner]
    rows, columns = np.indices(owner.shape)
    return (columns[..., None] * affine[..., 0, :] + rows[..., None] * affine[..., 1, :] + affine[..., 2, :]).astype(
        np.float32
    )


def _match_colours(front: np.ndarray, back: np.ndarray, where: np.ndarray, contrast: tuple[float, float]) -> np.ndarray:
    """Give `front` the colour and the spread of lightness that `back` has where `where` holds, in CIELAB.

    As Reinhard et al. (2001, eqs 10-11), but with medians and quartiles, so that a fringe or glasses don't count as
    skin, and matched by gains, with a shift only where those end: a shift drives the brows and pupils of a bright
    face into black when it is put into a dark picture, and tints highlights.
    Pictures (H, W, 3) in [-1, 1]; where bool (H, W). contrast limits the factor of the spread.
    """
    if not where.any():
        return front
    front, back = (cv2.cvtColor((x.clip(-1, 1) + 1) / 2, cv2.COLOR_RGB2Lab) for x in (front, back))
    (low, ours, high), (floor, wanted, ceiling) = (np.percentile(x[where], (25, 50, 75), axis=0) for x in (front, back))
    bright = np.minimum(front[..., :1] / max(ours[0], 1), 1)
    gain = np.clip(wanted / np.where(np.abs(ours) < 1, 1, ours), 0.25, 1.4)[1:]
    front[..., 1:] = front[..., 1:] * gain + bright * (wanted[1:] - ours[1:] * gain)
    brighter = wanted[0] / max(ours[0], 1)
    # One unit of lightness is no visible spread: added to both, it keeps flat skin from being stretched.
    factor = np.clip((ceiling - floor + 1)[0] / ((high - low)[0] * brighter + 1), *contrast)
    front[..., 0] = (front[..., 0] * brighter - wanted[0]) * factor + wanted[0]
    return cv2.cvtColor(front, cv2.COLOR_Lab2RGB) * 2 - 1


class Landmarks(Family):
    """The classical two-dimensional swap. Needs `faces.landmarks`. Takes pictures of any size from 32 pixels on.

    texture     the face warped to the standard shape, in [-1, 1]
    mouth       the inside of the lips, warped likewise: it belongs to the expression, so a swap keeps the target's
    shape       the 68 landmarks, in pixels
    surround    the whole picture
    """

    name = "landmarks"
    Config = LandmarksConfig
    swap_parts = ("texture",)
    any_size = True

    def __init__(self, config: LandmarksConfig):
        super().__init__(config)
        rows, columns = self._standard.mouth
        self.parts = (
            Part("texture", (3, config.texture, config.texture), "image"),
            Part("mouth", (3, rows.stop - rows.start, columns.stop - columns.start), "image"),
            Part("shape", (68, 2), "euclidean"),
            Part("surround", (3, config.size, config.size), "image"),
        )

    @property
    def _standard(self) -> _Standard:
        return _standard(self.config.texture, self.config.forehead, self.config.feather)

    def encode(self, faces: Faces) -> Codes:
        """Return texture, mouth, shape and surround.

        Raises ValueError for faces without landmarks, and for pictures below 32 pixels.
        """
        if faces.landmarks is None:
            raise ValueError("landmarks needs faces.landmarks (68 points each): prepare the photographs first")
        if not bool(torch.isfinite(faces.landmarks).all()):
            raise ValueError("faces.landmarks holds values that are not finite: leave out the faces without landmarks")
        if min(faces.size) < 32:
            raise ValueError(f"pictures of {faces.size[1]}x{faces.size[0]} are too small: give at least 32 pixels")
        pairs = zip(faces.images, faces.landmarks, strict=True)
        texture, mouth = zip(*(self._unwarp(_to_numpy(image), _points(shape)) for image, shape in pairs), strict=True)
        return {
            "texture": _to_tensor(texture, faces.images),
            "mouth": _to_tensor(mouth, faces.images),
            "shape": faces.landmarks,
            "surround": faces.images,
        }

    def decode(self, codes: Codes) -> torch.Tensor:
        rows = zip(codes["texture"], codes["mouth"], codes["shape"], codes["surround"], strict=True)
        pictures = [
            self._compose(_to_numpy(texture), _to_numpy(mouth), _points(shape), _to_numpy(surround))
            for texture, mouth, shape, surround in rows
        ]
        return _to_tensor(pictures, codes["surround"])

    def _unwarp(self, image: np.ndarray, shape: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Warp a picture (H, W, 3) to the standard shape and return its texture and mouth."""
        standard = self._standard
        corners = _with_forehead(shape, self.config.forehead)[standard.triangles]
        where = _warp_map(standard.owner, standard.points[standard.triangles], corners)
        flat = cv2.remap(image, where, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE).clip(-1, 1)
        hidden = self._hidden(corners)[..., None]
        return flat + hidden * (flat[:, ::-1] - flat), flat[standard.mouth]

    def _hidden(self, corners: np.ndarray) -> np.ndarray:
        """Return how far each texture pixel of a turned head must come from its mirror image, float32 (T, T), 0 to 1.

        A triangle seen at a slant covers less of the picture than its mirror image on the near side.
        """
        seen = np.abs(_areas(corners)) / np.abs(_areas(self._standard.points[self._standard.triangles]))
        seen = cv2.GaussianBlur(seen[self._standard.owner].astype(np.float32), (0, 0), 0.03 * self.config.texture)
        ratio = seen / np.maximum(seen[:, ::-1], 1e-6)
        low, high = self.config.slant
        return np.clip((high - ratio) / (high - low), 0, 1)

    def _compose(self, texture: np.ndarray, mouth: np.ndarray, shape: np.ndarray, surround: np.ndarray) -> np.ndarray:
        """Warp texture and mouth to the shape and blend them into the surround (H, W, 3)."""
        standard = self._standard
        points = _with_forehead(shape, self.config.forehead)
        owner = _rasterise(points, standard.triangles, surround.shape[:2])
        where = _warp_map(owner, points[standard.triangles], standard.points[standard.triangles])
        inside = (owner >= 0)[..., None]
        weights = np.where(inside, cv2.remap(standard.weights, where, None, cv2.INTER_LINEAR), 0)
        face, skin, lips = np.split(weights, 3, -1)

        front = cv2.remap(texture, where, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        front = np.where(inside, _match_colours(front, surround, skin[..., 0] > 0.5, self.config.contrast), surround)
        seam = (surround - front).clip(-self.config.bleed, self.config.bleed)
        front = front + membrane(seam, face[..., 0] > 0.25)
        picture = surround + face * (front - surround)

        rows, columns = standard.mouth
        inner = cv2.remap(mouth, where - np.float32([columns.start, rows.start]), None, cv2.INTER_CUBIC)
        return (picture + lips * (inner - picture)).clip(-1, 1)


def _points(shape: torch.Tensor) -> np.ndarray:
    return shape.detach().cpu().double().numpy()


def _to_numpy(image: torch.Tensor) -> np.ndarray:
    return np.ascontiguousarray(image.detach().float().cpu().movedim(0, -1).numpy())


def _to_tensor(images: list[np.ndarray], like: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(np.stack(images)).movedim(-1, 1).contiguous().to(like)
