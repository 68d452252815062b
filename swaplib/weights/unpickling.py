"""A reader of NVIDIA's pickles: an unpickler that knows only data.

The pickles carry the source text of their classes, which NVIDIA's loader executes; here it is never looked at. A pickle
may name only the few things that weights need; the first other name ends the reading.
"""

from __future__ import annotations

import io
import pickle
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from swaplib.weights.files import Tensors, asked_for
from swaplib.weights.published_names import as_floats, from_tensorflow, variables_of


class _Refused(Exception):
    pass


class _Reader(pickle.Unpickler):
    """An unpickler that knows only data."""

    def __init__(self, file: io.BufferedIOBase):
        super().__init__(file)
        # Created for each file, so that nothing that a pickle does to them outlives it.
        network = type("Network", (dict,), {"__setstate__": dict.update})
        arrays = {f"numpy.{core}.multiarray": np.empty(0).__reduce__()[0] for core in ("core", "_core")}
        self.known: dict[str, Callable] = {
            "collections.OrderedDict": OrderedDict,
            "dnnlib.util.EasyDict": type("EasyDict", (dict,), {}),
            "dnnlib.tflib.network.Network": network,
            "torch_utils.persistence._reconstruct_persistent_obj": lambda meta: network(meta["state"]),
            "torch._utils._rebuild_tensor_v2": lambda *given: torch._utils._rebuild_tensor_v2(*given),
            "torch._utils._rebuild_parameter": lambda data, *_: data,
            "torch.storage._load_from_bytes": _storage,
            "numpy.dtype": np.dtype,
            "numpy.ndarray": np.ndarray,
            "_codecs.encode": lambda text, _: text.encode("latin1"),
            **{f"{module}.scalar": _scalar for module in arrays},
            **{f"{module}._reconstruct": lambda *given, make=make: make(*given) for module, make in arrays.items()},
        }

    def find_class(self, module: str, name: str) -> Callable:
        try:
            return self.known[f"{module}.{name}"]
        except KeyError:
            raise _Refused(f"{module}.{name}") from None


def _storage(data: bytes) -> Any:
    """Read the numbers of a tensor, which torch saved inside the pickle in its own format."""
    try:
        return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise _Refused(asked_for(error)) from None


def _scalar(kind: np.dtype, data: bytes) -> np.generic:
    return np.frombuffer(data, kind)[0]


def unpickle(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            return _Reader(file).load()
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
        tensors |= _state(inner, f"{prefix}{name}.")
    return tensors
