"""What is computed from weights and kept for inference, until the weights change."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch


class Prepared:
    """What a layer keeps. Copies and pickles of the layer begin without it; its state doesn't hold it either.

    Whether tensors have changed is seen by their versions, as autograd counts them: who changes weights by other means
    than torch's in-place operations has to tell it (`torch.autograd.graph.increment_version`).
    """

    def __init__(self):
        self._kept: dict[str, tuple[list[tuple[int, int]], Any]] = {}

    def get(self, name: str, made_of: Sequence[torch.Tensor], make: Callable[[], Any]) -> Any:
        """Return what `make` returns; make it again after a change of one of the tensors that it is made of."""
        state = [(tensor.data_ptr(), tensor._version) for tensor in made_of]
        if name not in self._kept or self._kept[name][0] != state:
            self._kept[name] = state, make()
        return self._kept[name][1]

    def __bool__(self) -> bool:
        return bool(self._kept)

    def __getstate__(self) -> dict[str, Any]:
        return {"_kept": {}}

    def __deepcopy__(self, memo: dict[int, Any]) -> Prepared:
        return Prepared()
