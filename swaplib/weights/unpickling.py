"""A reader of NVIDIA's pickles, and of StyleNeRF's in the same format: an unpickler that knows only data.

The pickles carry the source text of their classes, which NVIDIA's loader executes; here it is never looked at. A pickle
may name only the few things that weights need; the first other name ends the reading.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from swaplib.foreign import check_file
from swaplib.weights.files import Tensors, asked_for
from swaplib.weights.published_names import as_floats, from_tensorflow, variables_of

_KINDS = frozenset(["f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1"])
"""Kinds of numbers that arrays may hold."""
_REFUSED = frozenset(("EXT1", "EXT2", "EXT4", "PERSID", "BINPERSID", "NEXT_BUFFER", "READONLY_BUFFER"))
"""Opcodes that reach for something outside the pickle."""


class _Refused(Exception):
    pass


class _Kind:
    """Stands for numpy.dtype: a kind of plain numbers, never one of objects, whatever its state says."""

    def __init__(self, code: str, *_: Any):
        code = code.lstrip("<>=|")
        if code not in _KINDS:
            raise _Refused(f"arrays of {code}")
        self.code, self.order = code, "="

    def __setstate__(self, state: tuple) -> None:
        _, order, *rest = state
        if order not in ("<", ">", "|", "=") or any(part is not None for part in rest[:3]):
            raise _Refused("arrays of structures")
        self.order = order

    def plain(self) -> np.dtype:
        return np.dtype(f"{self.order}{self.code}")


class _Array(np.ndarray):
    """Stands for numpy.ndarray: its bytes must be exactly what its shape and kind need."""

    def __setstate__(self, state: tuple) -> None:
        _, shape, kind, in_columns, data = state
        numbers = _read_numbers(kind, data)
        if not isinstance(shape, tuple) or any(not isinstance(side, int) or side < 0 for side in shape):
            raise _Refused("an array without a shape")
        if math.prod(shape) != len(numbers):
            raise _Refused("an array of another size than its data's")
        super().__setstate__((1, shape, kind.plain(), bool(in_columns), bytes(data)))


def _read_numbers(kind: _Kind, data: bytes) -> np.ndarray:
    if not isinstance(kind, _Kind) or not isinstance(data, (bytes, bytearray)):
        raise _Refused("an array without numbers")
    if len(data) % kind.plain().itemsize:
        raise _Refused("an array of another size than its data's")
    return np.frombuffer(data, kind.plain())


def _scalar(kind: _Kind, data: bytes) -> np.generic:
    numbers = _read_numbers(kind, data)
    if len(numbers) != 1:
        raise _Refused("a number of another size than its data's")
    return numbers[0]


def _tensor(storage: Any, offset: int, size: tuple, stride: tuple, *_: Any) -> torch.Tensor:
    """Rebuild a tensor, as torch does, from a storage that holds all of it."""
    numbers, count = (offset, *size, *stride), storage._size()  # .size() warns that storages will lose their types
    if any(not isinstance(number, int) or number < 0 for number in numbers) or len(size) != len(stride):
        raise _Refused("a tensor without a shape")
    last = offset + sum((side - 1) * step for side, step in zip(size, stride, strict=True)) if all(size) else -1
    if last >= count or math.prod(size) > count:
        raise _Refused("a tensor beyond its own data")
    return torch._utils._rebuild_tensor_v2(storage, offset, size, stride, False, OrderedDict())


def _storage(data: bytes) -> Any:
    """Read the numbers of a tensor, which torch saved inside the pickle in its own format."""
    try:
        return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise _Refused(asked_for(error)) from None


class _Bounded(io.RawIOBase):
    """A file that gives no more than it has: a length written in it allocates nothing."""

    def __init__(self, file: io.BufferedIOBase, size: int):
        super().__init__()
        self.file, self.size = file, size

    def read(self, count: int = -1) -> bytes:
        left = self.size - self.file.tell()
        if count > left:
            raise _Refused(f"{count:,} bytes of {left:,}")
        return self.file.read(count)

    def readinto(self, buffer: Any) -> int:
        if len(buffer) > self.size - self.file.tell():
            raise _Refused(f"{len(buffer):,} bytes")
        return self.file.readinto(buffer)

    def readline(self, limit: int = -1) -> bytes:
        return self.file.readline(limit)

    def tell(self) -> int:
        return self.file.tell()


def _check_opcodes(file: _Bounded) -> None:
    """Refuse what costs more memory than the file has bytes, and what reaches outside it, before anything is built.

    A place in the memo costs 8 bytes for every place before it, too: it can't be further on than the file is.
    """
    for opcode, argument, position in pickletools.genops(file):
        if opcode.name in _REFUSED:
            raise _Refused(opcode.name)
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and argument > position:
            raise _Refused(f"place {argument:,} of its memo")


_CONTAINERS = ("torch.nn.modules.container.ModuleList", "torch.nn.modules.container.Sequential")
_OPTIONS = (
    *(f"omegaconf.{name}" for name in ("dictconfig.DictConfig", "listconfig.ListConfig", "base.ContainerMetadata")),
    *(f"omegaconf.{name}" for name in ("base.Metadata", "nodes.AnyNode", "nodes.StringNode", "nodes.IntegerNode")),
    *("omegaconf.nodes.FloatNode", "omegaconf.nodes.BooleanNode", "collections.defaultdict", "typing.Any"),
    *(f"builtins.{name}" for name in ("dict", "list", "tuple", "str", "int", "float", "bool")),
)
"""What StyleNeRF's options are made of: read as empty boxes, whatever they are given."""


class _Box(dict):
    """Stands for a thing of which nothing is needed; it takes anything and keeps what it is told to."""

    def __init__(self, *_: Any, **__: Any):
        super().__init__()

    def __setstate__(self, state: Any) -> None:
        self["state"] = state

    def append(self, _: Any) -> None:
        pass

    def extend(self, _: Any) -> None:
        pass


class _Reader(pickle.Unpickler):
    """An unpickler that knows only data."""

    def __init__(self, file: _Bounded):
        super().__init__(file)
        # Created for each file, so that nothing that a pickle does to them outlives it.
        network = type("Network", (dict,), {"__setstate__": dict.update})
        cores = [f"numpy.{core}.multiarray" for core in ("core", "_core")]
        self.known: dict[str, Callable] = {
            "collections.OrderedDict": OrderedDict,
            "dnnlib.util.EasyDict": type("EasyDict", (dict,), {}),
            "dnnlib.tflib.network.Network": network,
            "torch_utils.persistence._reconstruct_persistent_obj": lambda meta: network(meta["state"]),
            "torch._utils._rebuild_tensor_v2": lambda *given: _tensor(*given),
            "torch._utils._rebuild_parameter": lambda data, *_: data,
            "torch.storage._load_from_bytes": _storage,
            **dict.fromkeys(_CONTAINERS, network),
            # A kind for each file, so that no file can leave anything in it.
            **dict.fromkeys(_OPTIONS, type("Box", (_Box,), {})),
            "numpy.dtype": _Kind,
            "numpy.ndarray": type("Array", (), {}),  # only named: `_reconstruct` makes it
            "_codecs.encode": lambda text, _: text.encode("latin1"),
            **{f"{module}.scalar": _scalar for module in cores},
            **{f"{module}._reconstruct": lambda *_: np.empty(0).view(_Array) for module in cores},
        }

    def find_class(self, module: str, name: str) -> Callable:
        try:
            return self.known[f"{module}.{name}"]
        except KeyError:
            raise _Refused(f"{module}.{name}") from None


def unpickle(path: Path) -> Any:
    """Read a pickle of data. Raises as `check_file` does, and ValueError for one that is damaged or asks for more."""
    path = check_file(path, "weights")
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            _check_opcodes(_Bounded(file, size))
            file.seek(0)
            return _Reader(_Bounded(file, size)).load()
    except _Refused as error:
        raise ValueError(
            f"{path} asks for {error}, which weights don't need: nothing in it was executed; get the file from its "
            "authors' page"
        ) from None
    except Exception as error:  # a damaged pickle raises nearly anything
        raise ValueError(f"{path} is damaged or no pickle ({type(error).__name__}): copy it again") from error


def nvidia_networks(found: Any) -> dict[str, Tensors]:
    """Return the networks of either of NVIDIA's codes; TensorFlow's are a tuple."""
    if isinstance(found, tuple):
        names = dict(zip(("G", "D", "G_ema"), found, strict=True))
        return {name: from_tensorflow(variables_of(network), name == "D") for name, network in names.items()}
    return {name: as_floats(_state(found[name])) for name in ("G", "D", "G_ema") if found.get(name) is not None}


def _state(module: Mapping[str, Any], prefix: str = "") -> Tensors:
    """Return the state dict of a module of which only the attributes are known."""
    own = {**module["_parameters"], **module["_buffers"]}
    tensors = {prefix + name: value for name, value in own.items() if isinstance(value, torch.Tensor)}
    for name, inner in module["_modules"].items():
        tensors |= {} if inner is None else _state(inner, f"{prefix}{name}.")
    return tensors
