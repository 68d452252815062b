"""What the compiled parts of the renderer share: how they are compiled, and arithmetic on numbers and triples.

Kernels are plain scalar loops over float32 arrays. What they compute between reading and writing is float64, since a
literal is: scalar code is as fast in either, and last digits that differ between processors are rounded away. Only the
rasteriser counts in float32. Nothing here runs several threads: several processes share the cores.

To change how something looks, change its part (in `appearance`, `light`, `hair` …) as if it were Python: the first
picture after that takes about 25 seconds more. Mind the types: integers and float32 make another copy of a function, so
write 1.0 and read arrays with `triple` and `read`.
"""

from __future__ import annotations

import math
from functools import cache

import numba
import numpy as np
import torch
from numba import types
from numba.extending import intrinsic

from swaplib.synthetic.version import digest_files

_OPTIONS = {"nogil": True, "error_model": "numpy", "no_cfunc_wrapper": True}


def part(function):
    """Compile a function that only kernels call: it becomes a part of them."""
    return numba.njit(no_cpython_wrapper=True, forceinline=True, **_OPTIONS)(function)


def kernel(function):
    """Compile a function that Python calls, and keep the machine code on disk.

    Numba looks for changes in the kernel's own file alone. The parts and constants that it takes from other files
    count, too, so the name under which the code is kept tells the state of all files of this folder.
    """
    function.__qualname__ += f"_{digest_files()}"
    try:
        return numba.njit(cache=True, **_OPTIONS)(function)
    except RuntimeError:  # there is no folder to write to: compile in every process
        return numba.njit(**_OPTIONS)(function)


@intrinsic
def bare(typing_context, held):
    """Return an array, or a tuple of arrays, without its count of references: counting costs more than a sample's work.

    For arguments of kernels, which the caller holds. An array that a kernel makes would be freed under its feet.
    """

    def release(context, builder, signature, arguments):
        return _release(context, builder, held, arguments[0])

    return held(held), release


def _release(context, builder, kind, value):
    if isinstance(kind, types.Array):
        array = context.make_array(kind)(context, builder, value)
        array.meminfo = array.meminfo.type(None)
        return array._getvalue()
    if isinstance(kind, types.BaseTuple):
        for k, part_kind in enumerate(kind):
            part_value = _release(context, builder, part_kind, builder.extract_value(value, k))
            value = builder.insert_value(value, part_value, k)
    return value


# -------------------------------------------------------------------------------------------------------- numbers


@part
def clamp(value, low, high):
    return min(max(value, low), high)


@part
def smoothstep(low, high, value):
    t = clamp((value - low) * (1.0 / (high - low)), 0.0, 1.0)  # the limits are mostly literals: no division is left
    return t * t * (3.0 - 2.0 * t)


@part
def blend(a, b, share):
    """Return a for share 0, b for share 1, and what lies between."""
    return a + (b - a) * share


@part
def interpolate(table, at):
    """Interpolate linearly between the points of a table (N, 2), constant outside."""
    k = 1
    while k < len(table) - 1 and table[k, 0] < at:
        k += 1
    t = clamp((at - table[k - 1, 0]) / (table[k, 0] - table[k - 1, 0]), 0.0, 1.0)
    return table[k - 1, 1] + t * (table[k, 1] - table[k - 1, 1])


@part
def bump(x, y, cx, cy, rx, ry):
    """Return a soft elliptic spot of height 1."""
    across, up = (x - cx) * (1.0 / rx), (y - cy) * (1.0 / ry)
    away = across * across + up * up
    return math.exp(-away) if away < 18.0 else 0.0


# -------------------------------------------------------------------------------------------------------- triples


@part
def triple(array, k):
    """Read row k of an array (N, 3)."""
    return np.float64(array[k, 0]), np.float64(array[k, 1]), np.float64(array[k, 2])


@part
def read(array):
    """Read an array (3,)."""
    return np.float64(array[0]), np.float64(array[1]), np.float64(array[2])


@part
def column_of(matrix, k):
    """Read column k of a matrix (3, N)."""
    return np.float64(matrix[0, k]), np.float64(matrix[1, k]), np.float64(matrix[2, k])


@part
def add(a, b):
    return a[0] + b[0], a[1] + b[1], a[2] + b[2]


@part
def minus(a, b):
    return a[0] - b[0], a[1] - b[1], a[2] - b[2]


@part
def scale(a, factor):
    return a[0] * factor, a[1] * factor, a[2] * factor


@part
def times(a, b):
    return a[0] * b[0], a[1] * b[1], a[2] * b[2]


@part
def dot(a, b):
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


@part
def cross(a, b):
    return a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]


@part
def length(a):
    return math.sqrt(a[0] * a[0] + a[1] * a[1] + a[2] * a[2])


@part
def normalize(a):
    return scale(a, 1.0 / max(length(a), 1e-12))


@part
def mix(a, b, share):
    """Blend two triples."""
    return blend(a[0], b[0], share), blend(a[1], b[1], share), blend(a[2], b[2], share)


@part
def tint(colour, change, amount):
    """Change each channel of a colour by its share, as far as `amount` says."""
    return (
        colour[0] * (1.0 + change[0] * amount),
        colour[1] * (1.0 + change[1] * amount),
        colour[2] * (1.0 + change[2] * amount),
    )


@part
def turn_by(matrix, a):
    """Multiply a matrix (3, 3) with a triple."""
    return (
        matrix[0, 0] * a[0] + matrix[0, 1] * a[1] + matrix[0, 2] * a[2],
        matrix[1, 0] * a[0] + matrix[1, 1] * a[1] + matrix[1, 2] * a[2],
        matrix[2, 0] * a[0] + matrix[2, 1] * a[1] + matrix[2, 2] * a[2],
    )


@part
def turn_back(matrix, a):
    """Multiply a triple with a matrix (3, 3): the inverse of `turn_by` for rotations."""
    return (
        matrix[0, 0] * a[0] + matrix[1, 0] * a[1] + matrix[2, 0] * a[2],
        matrix[0, 1] * a[0] + matrix[1, 1] * a[1] + matrix[2, 1] * a[2],
        matrix[0, 2] * a[0] + matrix[1, 2] * a[1] + matrix[2, 2] * a[2],
    )


@part
def on_triangle(array, corners, weights):
    """Return the mean of three rows of an array (N, 3), with three weights."""
    a, b, c = triple(array, corners[0]), triple(array, corners[1]), triple(array, corners[2])
    return (
        a[0] * weights[0] + b[0] * weights[1] + c[0] * weights[2],
        a[1] * weights[0] + b[1] * weights[1] + c[1] * weights[2],
        a[2] * weights[0] + b[2] * weights[1] + c[2] * weights[2],
    )


# ---------------------------------------------------------------------------------------------------------- noise

_SIDE = 32  # a power of two: the volume repeats


@cache
def noise_volume() -> np.ndarray:
    """Draw two channels of periodic random values in [-1, 1], (32, 32, 32, 2), indexed z, y, x."""
    values = torch.rand(_SIDE**3, 2, generator=torch.Generator().manual_seed(20)) * 2 - 1
    return values.view(_SIDE, _SIDE, _SIDE, 2).numpy()


@part
def noise(volume, place, frequency, weakest):
    """Return two smooth random values around zero at a place, `frequency` lumps per dm.

    Octaves of half the strength and half the size are added down to the strength `weakest`: 1.0 means one octave.
    """
    first, second, strength, octave = 0.0, 0.0, 1.0, 0.0
    while strength >= weakest:
        px = place[0] * frequency + 7.31 * octave
        py = place[1] * frequency + 7.31 * octave
        pz = place[2] * frequency + 7.31 * octave
        x, y, z = math.floor(px), math.floor(py), math.floor(pz)
        fx, fy, fz = px - x, py - y, pz - z
        fx, fy, fz = fx * fx * (3.0 - 2.0 * fx), fy * fy * (3.0 - 2.0 * fy), fz * fz * (3.0 - 2.0 * fz)
        x0, y0, z0 = x & (_SIDE - 1), y & (_SIDE - 1), z & (_SIDE - 1)
        x1, y1, z1 = (x0 + 1) & (_SIDE - 1), (y0 + 1) & (_SIDE - 1), (z0 + 1) & (_SIDE - 1)
        low_0 = blend(
            blend(volume[z0, y0, x0, 0], volume[z0, y0, x1, 0], fx),
            blend(volume[z0, y1, x0, 0], volume[z0, y1, x1, 0], fx),
            fy,
        )
        low_1 = blend(
            blend(volume[z0, y0, x0, 1], volume[z0, y0, x1, 1], fx),
            blend(volume[z0, y1, x0, 1], volume[z0, y1, x1, 1], fx),
            fy,
        )
        high_0 = blend(
            blend(volume[z1, y0, x0, 0], volume[z1, y0, x1, 0], fx),
            blend(volume[z1, y1, x0, 0], volume[z1, y1, x1, 0], fx),
            fy,
        )
        high_1 = blend(
            blend(volume[z1, y0, x0, 1], volume[z1, y0, x1, 1], fx),
            blend(volume[z1, y1, x0, 1], volume[z1, y1, x1, 1], fx),
            fy,
        )
        first += strength * blend(low_0, high_0, fz)
        second += strength * blend(low_1, high_1, fz)
        frequency *= 2.0
        strength *= 0.5
        octave += 1.0
    return first, second
