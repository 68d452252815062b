"""The record that every part of swaplib passes around: face pictures and what is known about them.

Images are float32 in [-1, 1], shape (B, 3, H, W), RGB. Label maps hold the 19 classes of CelebAMask-HQ.
Landmarks are the 68 iBUG points in pixels, x to the right and y down, the centre of the first pixel at (0, 0).
"Left" and "right" are the person's own, as in CelebAMask-HQ: the left eye is on the right of the picture.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

# ---------------------------------------------------------------------------------------------- label tables

CELEBAMASK_HQ = (
    "background", "skin", "nose", "eye_glasses", "left_eye", "right_eye", "left_brow", "right_brow",
    "left_ear", "right_ear", "mouth", "upper_lip", "lower_lip", "hair", "hat", "earring", "necklace", "neck",
    "cloth",
)  # fmt: skip
BISENET = (
    "background", "skin", "left_brow", "right_brow", "left_eye", "right_eye", "eye_glasses", "left_ear",
    "right_ear", "earring", "nose", "mouth", "upper_lip", "lower_lip", "neck", "necklace", "cloth", "hair", "hat",
)  # fmt: skip
E4S = (
    "background", "lip", "eyebrows", "eyes", "hair", "nose", "skin", "ears", "neck", "mouth", "eye_glasses",
    "earring",
)  # fmt: skip
# Helen's order, whose sides are the viewer's; ears, neck and clothes are background in Helen.
MGPE = (
    "background", "skin", "image_left_brow", "image_right_brow", "image_left_eye", "image_right_eye", "nose",
    "upper_lip", "mouth", "lower_lip", "hair",
)  # fmt: skip
LABELS = {"celebamask_hq": CELEBAMASK_HQ, "bisenet": BISENET, "e4s": E4S, "mgpe": MGPE}

_E4S_MERGES = {
    "lip": ("upper_lip", "lower_lip"),
    "eyebrows": ("left_brow", "right_brow"),
    "eyes": ("left_eye", "right_eye"),
    "ears": ("left_ear", "right_ear"),
}
_MGPE_MERGES = {
    "image_left_brow": ("right_brow",),
    "image_right_brow": ("left_brow",),
    "image_left_eye": ("right_eye",),
    "image_right_eye": ("left_eye",),
    "skin": ("skin", "eye_glasses"),  # Helen has no glasses: they lie on skin
}
MIRRORED = {"left_eye": "right_eye", "left_brow": "right_brow", "left_ear": "right_ear"}

# Display colours of the classes, in CelebAMask-HQ's order. A person's left side is lighter than the right one, so that
# mirrored labels can be seen.
LABEL_COLOURS = np.array(
    [
        [236, 236, 232], [244, 203, 168], [226, 141, 94], [70, 70, 78], [108, 184, 236], [28, 104, 178],
        [158, 120, 86], [98, 66, 40], [240, 168, 186], [196, 92, 124], [122, 24, 44], [226, 72, 88],
        [176, 36, 62], [84, 58, 120], [148, 128, 40], [250, 214, 60], [214, 184, 20], [222, 178, 140],
        [112, 152, 120],
    ],
    dtype=np.uint8,
)  # fmt: skip

# CelebA's list_attr_celeba.txt, in its order.
CELEBA_ATTRIBUTES = (
    "5_o_Clock_Shadow", "Arched_Eyebrows", "Attractive", "Bags_Under_Eyes", "Bald", "Bangs", "Big_Lips",
    "Big_Nose", "Black_Hair", "Blond_Hair", "Blurry", "Brown_Hair", "Bushy_Eyebrows", "Chubby", "Double_Chin",
    "Eyeglasses", "Goatee", "Gray_Hair", "Heavy_Makeup", "High_Cheekbones", "Male", "Mouth_Slightly_Open",
    "Mustache", "Narrow_Eyes", "No_Beard", "Oval_Face", "Pale_Skin", "Pointy_Nose", "Receding_Hairline",
    "Rosy_Cheeks", "Sideburns", "Smiling", "Straight_Hair", "Wavy_Hair", "Wearing_Earrings", "Wearing_Hat",
    "Wearing_Lipstick", "Wearing_Necklace", "Wearing_Necktie", "Young",
)  # fmt: skip
# The ones known for rendered faces; the others are NaN there ("Attractive" and "Blurry" have no ground truth).
SYNTHETIC_ATTRIBUTES = (
    "5_o_Clock_Shadow", "Arched_Eyebrows", "Bags_Under_Eyes", "Bald", "Bangs", "Big_Lips", "Big_Nose",
    "Black_Hair", "Blond_Hair", "Brown_Hair", "Bushy_Eyebrows", "Chubby", "Double_Chin", "Eyeglasses", "Goatee",
    "Gray_Hair", "Heavy_Makeup", "High_Cheekbones", "Male", "Mouth_Slightly_Open", "Mustache", "Narrow_Eyes",
    "No_Beard", "Oval_Face", "Pale_Skin", "Pointy_Nose", "Receding_Hairline", "Rosy_Cheeks", "Sideburns",
    "Smiling", "Straight_Hair", "Wavy_Hair", "Wearing_Earrings", "Wearing_Hat", "Wearing_Lipstick",
    "Wearing_Necklace", "Wearing_Necktie", "Young",
)  # fmt: skip

# Portraits are FFHQ's crop widened by this factor, so that hair fits into the picture. Rendered faces are framed this
# way, and photographs are aligned this way (`swaplib.photos.alignment(…, "portrait", …)`).
PORTRAIT_MARGIN = 1.12

LANDMARK_GROUPS = {
    "jaw": slice(0, 17),
    "brows": slice(17, 27),
    "nose": slice(27, 36),
    "eyes": slice(36, 48),
    "mouth": slice(48, 68),
}
# Index of each landmark's mirror image.
LANDMARK_MIRROR = (
    *range(16, -1, -1), *range(26, 16, -1), 27, 28, 29, 30, 35, 34, 33, 32, 31,
    45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40,
    54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55, 64, 63, 62, 61, 60, 67, 66, 65,
)  # fmt: skip


def label_table(source: str, target: str) -> torch.Tensor:
    """Return the lookup table from one label order to another, uint8 (number of source classes,).

    Classes that the target order lacks become background (0). Raises ValueError for an unknown order, and for
    a coarser order as the source, since its merged classes can no longer be told apart.
    """
    for name in (source, target):
        if name not in LABELS:
            raise ValueError(f"unknown label order {name!r}: choose one of {', '.join(LABELS)}")
    if source in ("e4s", "mgpe") and source != target:
        raise ValueError(f"{source!r} merges classes, so it can't be turned into {target!r}: start from the 19 classes")
    merges = {"e4s": _E4S_MERGES, "mgpe": _MGPE_MERGES}.get(target, {}) if source != target else {}
    index = {part: LABELS[target].index(name) for name, parts in merges.items() for part in parts}
    index = {name: k for k, name in enumerate(LABELS[target])} | index
    return torch.tensor([index.get(name, 0) for name in LABELS[source]], dtype=torch.uint8, device="cpu")


def members(order: str, *names: str) -> tuple[str, ...]:
    """List the classes of CelebAMask-HQ that another order maps to the classes `names` of its own."""
    table = label_table("celebamask_hq", order).tolist()
    return tuple(name for name, k in zip(CELEBAMASK_HQ, table, strict=True) if LABELS[order][k] in names)


def relabel(labels: torch.Tensor, source: str = "celebamask_hq", target: str = "celebamask_hq") -> torch.Tensor:
    """Translate label maps (any shape, uint8) from one order to another; see `label_table`."""
    table = label_table(source, target).to(labels.device)
    if labels.numel() and int(labels.max()) >= len(table):
        raise ValueError(
            f"labels hold the value {int(labels.max())}, but the order {source!r} has {len(table)} classes (0 to "
            f"{len(table) - 1}): check which order the file uses"
        )
    return table[labels.long()]


def one_hot(labels: torch.Tensor, classes: int) -> torch.Tensor:
    """Return label maps (B, H, W) as ones and zeros, float32 (B, classes, H, W)."""
    return torch.nn.functional.one_hot(labels.long(), classes).movedim(-1, 1).float()


def region(labels: torch.Tensor, *names: str) -> torch.Tensor:
    """Return the boolean mask of the named CelebAMask-HQ classes, the shape of `labels`."""
    unknown = [name for name in names if name not in CELEBAMASK_HQ]
    if unknown:
        raise ValueError(f"unknown class {unknown[0]!r}: choose from {', '.join(CELEBAMASK_HQ)}")
    wanted = torch.tensor([CELEBAMASK_HQ.index(name) for name in names], device=labels.device, dtype=labels.dtype)
    return torch.isin(labels, wanted)


# ---------------------------------------------------------------------------------------------- value ranges


def to_uint8(images: torch.Tensor) -> np.ndarray:
    """Turn [-1, 1] images (B, 3, H, W) or (3, H, W) into uint8 (B, H, W, 3) or (H, W, 3), rounded and clipped."""
    levels = ((images.detach().float().cpu() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return np.ascontiguousarray(levels.movedim(-3, -1).numpy())


def from_uint8(array: np.ndarray) -> torch.Tensor:
    """Turn uint8 arrays (B, H, W, 3) or (H, W, 3) into float32 images in [-1, 1], channels first."""
    if array.dtype != np.uint8 or array.shape[-1] != 3:
        raise ValueError(f"expected uint8 RGB with channels last, got {array.dtype} {array.shape}")
    return torch.from_numpy(np.ascontiguousarray(array)).movedim(-1, -3).float().div(127.5).sub(1).contiguous()


def to_unit(images: torch.Tensor) -> torch.Tensor:
    """Map [-1, 1] to [0, 1]."""
    return (images + 1) / 2


def from_unit(images: torch.Tensor) -> torch.Tensor:
    """Map [0, 1] to [-1, 1]."""
    return images * 2 - 1


def split_colours(images: torch.Tensor) -> torch.Tensor:
    """Return how much red and blue differ from the mean of all three channels, (B, 2, H, W)."""
    return images[:, ::2] - images.mean(1, keepdim=True)


# ---------------------------------------------------------------------------------------------- the record


@dataclass(frozen=True)
class Faces:
    """A batch of faces. Everything but the images may be unknown (None).

    images      float32 (B, 3, H, W) in [-1, 1]
    labels      uint8 (B, H, W), CelebAMask-HQ's 19 classes
    landmarks   float32 (B, 68, 2), pixels (x, y)
    attributes  float32 (B, 40) in CelebA's order: 1 yes, 0 no, NaN unknown
    identity    int64 (B,), the number of the person; -1 unknown
    factors     group name -> float32 (B, columns): what a rendered face was made from (`swaplib.synthetic`)
    names       a file name or another handle for each face
    """

    images: torch.Tensor
    labels: torch.Tensor | None = None
    landmarks: torch.Tensor | None = None
    attributes: torch.Tensor | None = None
    identity: torch.Tensor | None = None
    factors: dict[str, torch.Tensor] | None = None
    names: tuple[str, ...] | None = None

    def __post_init__(self):
        if self.images.ndim != 4 or self.images.shape[1] != 3:
            raise ValueError(f"images must be (B, 3, H, W), got {tuple(self.images.shape)}: add the batch axis")
        count, _, height, width = self.images.shape
        wanted = {
            "labels": (count, height, width),
            "landmarks": (count, 68, 2),
            "attributes": (count, len(CELEBA_ATTRIBUTES)),
            "identity": (count,),
        }
        for name, shape in wanted.items():
            value = getattr(self, name)
            if value is not None and tuple(value.shape) != shape:
                raise ValueError(f"{name} must be {shape} for these images, got {tuple(value.shape)}")
        if self.names is not None and len(self.names) != count:
            raise ValueError(f"{len(self.names)} names for {count} faces")

    def __len__(self) -> int:
        return len(self.images)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return tuple(self.images.shape[-2:])

    def _map(self, change) -> Faces:
        """Apply `change` to every tensor (batch first)."""
        new: dict[str, Any] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, torch.Tensor):
                new[field.name] = change(value)
            elif isinstance(value, dict):
                new[field.name] = {key: change(tensor) for key, tensor in value.items()}
        return replace(self, **new)

    def __getitem__(self, index: int | slice | list[int] | torch.Tensor) -> Faces:
        """Return the chosen faces as a batch; an int gives a batch of one."""
        if isinstance(index, int):
            index = [index]
        rows = torch.arange(len(self))[index]
        names = None if self.names is None else tuple(self.names[i] for i in rows)
        chosen = replace(self, names=None)._map(lambda tensor: tensor[rows.to(tensor.device)])
        return replace(chosen, names=names)

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    def to(self, device: str | torch.device) -> Faces:
        return self._map(lambda tensor: tensor.to(device))

    def resize(self, size: int | tuple[int, int]) -> Faces:
        """Resize with antialiasing; labels by nearest neighbour, landmarks scaled along."""
        size = (size, size) if isinstance(size, int) else tuple(size)
        if size == self.size:
            return self
        images = F.interpolate(self.images, size, mode="bicubic", antialias=True, align_corners=False).clamp(-1, 1)
        labels = self.labels
        if labels is not None:
            labels = F.interpolate(labels[:, None].float(), size, mode="nearest-exact")[:, 0].to(torch.uint8)
        landmarks = self.landmarks
        if landmarks is not None:
            scale = landmarks.new_tensor([size[1] / self.size[1], size[0] / self.size[0]])
            landmarks = (landmarks + 0.5) * scale - 0.5
        return replace(self, images=images, labels=labels, landmarks=landmarks)

    def mirror(self) -> Faces:
        """Mirror the faces, exchanging left and right labels and landmarks; factors no longer apply and are dropped."""
        labels, landmarks = self.labels, self.landmarks
        if labels is not None:
            table = torch.arange(len(CELEBAMASK_HQ), dtype=torch.uint8)
            for left, right in MIRRORED.items():
                a, b = CELEBAMASK_HQ.index(left), CELEBAMASK_HQ.index(right)
                table[a], table[b] = b, a
            labels = table.to(labels.device)[labels.flip(-1).long()]
        if landmarks is not None:
            landmarks = landmarks[:, list(LANDMARK_MIRROR)]
            landmarks = torch.stack((self.size[1] - 1 - landmarks[..., 0], landmarks[..., 1]), -1)
        return replace(self, images=self.images.flip(-1), labels=labels, landmarks=landmarks, factors=None)

    @staticmethod
    def cat(batches: list[Faces]) -> Faces:
        """Join batches; a field that one of them lacks is dropped."""
        if not batches:
            raise ValueError("no faces to join: the list is empty")
        new: dict[str, Any] = {}
        for field in fields(Faces):
            values = [getattr(batch, field.name) for batch in batches]
            if any(value is None for value in values):
                continue
            if isinstance(values[0], tuple):
                new[field.name] = tuple(name for value in values for name in value)
            elif isinstance(values[0], dict):
                new[field.name] = {key: torch.cat([value[key] for value in values]) for key in values[0]}
            else:
                new[field.name] = torch.cat(values)
        return Faces(**new)
