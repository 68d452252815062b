"""dlib's descriptor of a face: King's ResNet of 29 convolutions (dlib 19.3), read once from dlib's file, run in torch.

dlib's wheels come without a matrix library and take 0.1 s a face; torch takes a tenth of that, for the same numbers to
1e-5. dlib still cuts out the face.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from swaplib.faces import Faces, to_uint8
from swaplib.photos.detection import cut_chip, detect, find_model_file

SIZE = 150  # pixels of the picture that the network sees
_MEAN = (122.782, 117.001, 104.298)  # of R, G and B, subtracted from the input
_BLOCKS = ((32, 1), (32, 1), (32, 1), (64, 2), (64, 1), (64, 1), (64, 1), (128, 2), (128, 1), (128, 1),
           (256, 2), (256, 1), (256, 1), (256, 2))  # fmt: skip
"""Channels and stride of the residual blocks, as in dlib's dnn_face_recognition_ex.cpp."""
_BATCH = 32


def describe(faces: Faces, detect_faces: bool = False) -> torch.Tensor:
    """Compute dlib's face descriptor, float32 (B, 128): a smaller squared Euclidean distance means more alike.

    Uses the faces' landmarks where they have any, else (or with `detect_faces`) the largest face that dlib finds. Rows
    of faces that it doesn't find are NaN.
    """
    images = to_uint8(faces.images)
    points = [None] * len(faces)
    if faces.landmarks is not None and not detect_faces:
        points = list(faces.landmarks.double().cpu().numpy())
    out = torch.full((len(faces), 128), torch.nan)
    rows, chips = [], []
    for row, (image, marks) in enumerate(zip(images, points, strict=True)):
        if marks is None:
            found = detect(image)
            marks = found[0].landmarks if found else np.full((68, 2), np.nan)
        if np.isfinite(marks).all():
            rows.append(row)
            chips.append(cut_chip(image, marks, SIZE))
    out[rows] = _run(chips)
    return out


def describe_photo(photo: np.ndarray, landmarks: Sequence[np.ndarray]) -> torch.Tensor:
    """Compute the descriptors, float32 (N, 128), of N faces of a photo (uint8 RGB), given their landmarks (68, 2)."""
    return _run([cut_chip(photo, marks, SIZE) for marks in landmarks])


def _run(chips: Sequence[np.ndarray]) -> torch.Tensor:
    parts = [np.stack(chips[first : first + _BATCH]) for first in range(0, len(chips), _BATCH)]
    return torch.cat([torch.empty(0, 128), *(_network()(torch.from_numpy(part)) for part in parts)])


# ------------------------------------------------------------------------------------------------------- the network


class DescriptorNetwork(nn.Module):
    """The network, with each affine layer folded into the convolution before it."""

    def __init__(self):
        super().__init__()
        widths = [32] + [channels for channels, _ in _BLOCKS]
        self.stem = nn.Conv2d(3, 32, 7, 2)
        self.first = nn.ModuleList(
            # dlib pads only convolutions without a stride.
            nn.Conv2d(before, channels, 3, stride, 2 - stride)
            for before, (channels, stride) in zip(widths, _BLOCKS, strict=False)
        )
        self.second = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1) for channels, _ in _BLOCKS)
        self.head = nn.Linear(256, 128, bias=False)

    @torch.inference_mode()
    def forward(self, chips: torch.Tensor) -> torch.Tensor:  # (B, 150, 150, 3), uint8 RGB -> (B, 128)
        x = (chips.movedim(-1, 1).float() - torch.tensor(_MEAN)[:, None, None]) / 256
        x = F.max_pool2d(F.relu(self.stem(x)), 3, 2)
        for (_, stride), first, second in zip(_BLOCKS, self.first, self.second, strict=True):
            shortcut = x if stride == 1 else F.avg_pool2d(x, 2)
            x = _add(second(F.relu(first(x))), shortcut)
        return self.head(x.mean((2, 3)))


def _add(x: torch.Tensor, shortcut: torch.Tensor) -> torch.Tensor:
    """Return relu(x + shortcut); where one is smaller, in channels or sides, it counts as zero (dlib's add_prev)."""
    shape = [max(sizes) for sizes in zip(x.shape[1:], shortcut.shape[1:], strict=True)]

    def grow(y: torch.Tensor) -> torch.Tensor:
        missing = [whole - side for whole, side in zip(shape, y.shape[1:], strict=True)]
        return F.pad(y, (0, missing[2], 0, missing[1], 0, missing[0]))

    return F.relu(grow(x) + grow(shortcut))


@cache
def _network() -> DescriptorNetwork:
    network = DescriptorNetwork().eval().requires_grad_(False)
    with open(find_model_file("dlib_face_recognition_resnet_model_v1.dat"), "rb") as file:
        layers = list(_read_layers(file.read()))
    convolutions = [network.stem]
    for pair in zip(network.first, network.second, strict=True):
        convolutions += pair
    for k, layer in enumerate(convolutions):
        (kind, values), (next_kind, scales) = layers[2 * k : 2 * k + 2]
        assert (kind, next_kind) == ("con_4", "affine_"), "not dlib's face recognition network"
        weight, bias = values.split([layer.weight.numel(), layer.bias.numel()])
        gamma, beta = scales.chunk(2)
        layer.weight.copy_(weight.view_as(layer.weight) * gamma[:, None, None, None])
        layer.bias.copy_(bias * gamma + beta)
    network.head.weight.copy_(layers[-1][1].view(256, 128).T)
    return network


# ------------------------------------------------------------------------------------------------------ dlib's format


def _read_layers(data: bytes) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield kind and parameters (N,) of the layers that have any, from the input on.

    dlib writes a layer as its kind's name and, right behind it, a tensor; nothing else of the file is needed.
    """
    name, at = re.compile(b"con_4|affine_|fc_2"), 0
    while found := name.search(data, at):
        kind, at = found[0].decode(), found.end()
        if kind == "fc_2":  # the numbers of its outputs and inputs come first
            at = _read_integer(data, _read_integer(data, at)[1])[1]
        shape = []
        for _ in range(5):  # the format's version, then four sides
            number, at = _read_integer(data, at)
            shape.append(number)
        count = int(np.prod(shape[1:]))
        yield kind, torch.from_numpy(np.frombuffer(data, "<f4", count, at).copy())
        at += 4 * count


def _read_integer(data: bytes, at: int) -> tuple[int, int]:
    """Return an integer of dlib's format and the place behind it: a byte with sign and length, then little endian."""
    length, negative = data[at] & 0x0F, data[at] & 0x80
    number = int.from_bytes(data[at + 1 : at + 1 + length], "little")
    return -number if negative else number, at + 1 + length
