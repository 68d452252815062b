"""Configs as JSON, and back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any, ClassVar, Protocol

from torch import nn


class Saveable(Protocol):
    """What weights are saved of and loaded into, a torch module: `swaplib.training.model.Model` is one."""

    name: ClassVar[str]
    Config: ClassVar[type]
    training_only: ClassVar[tuple[str, ...]]
    config: Any
    frozen: dict[str, nn.Module]

    def frozen_hashes(self) -> dict[str, str]: ...
    @classmethod
    def frozen_models(cls, config: Any) -> dict[str, tuple[str, str]]: ...


def as_config(found: Mapping[str, Any], kind: type[Saveable]) -> Any:
    """Return a config read from JSON as an object of the model's own class; newer fields get their defaults.

    Raises ValueError for fields that the class doesn't know, and for values that no config of it can have.
    """
    usual = to_plain(kind.Config())
    for name, value in found.items():
        if name in usual and not _is_like(value, usual[name]):
            raise ValueError(f"the config says {name}={str(value)[:40]!r}, which {kind.name} can't be: copy it again")
    whole = fill_defaults(dict(found), kind.Config)
    unknown = whole.keys() - {item.name for item in fields(kind.Config)}
    if unknown:
        raise ValueError(f"the config has {min(unknown)}, which {kind.name} doesn't know: update swaplib")
    return kind.Config(**{name: _tuples(value) for name, value in whole.items()})


def to_plain(config: Any) -> dict[str, Any]:
    """Return a config as JSON would give it back, with lists for tuples."""
    return json.loads(json.dumps(asdict(config)))


_LARGE, _LONG = 1 << 16, 256  # what nothing but numbers of steps or pictures exceeds; items in a list


def _is_like(value: Any, usual: Any) -> bool:
    """Return whether a value may stand in a config in the place of another: of its kind, and of no absurd size."""
    if isinstance(usual, bool) or isinstance(value, bool):
        return isinstance(value, bool) and isinstance(usual, (bool, int))
    if isinstance(usual, (int, float)):
        return isinstance(value, (int, float)) and abs(value) <= max(_LARGE, 64 * abs(usual))
    if isinstance(usual, list):
        alike = isinstance(value, list) and len(value) <= _LONG
        return alike and all(_is_like(item, usual[0] if usual else item) for item in value)
    if isinstance(usual, dict):
        return isinstance(value, dict) and len(value) <= _LONG
    return value is None or usual is None or isinstance(value, type(usual))


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value


def fill_defaults(found: dict[str, Any], kind: type) -> dict[str, Any]:
    """Return a file's config with the defaults of fields that are newer than the file."""
    return {name: value for name, value in to_plain(kind()).items() if name not in found} | found


def describe_differences(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """Describe how two sets of settings differ; return an empty string where they don't."""
    names = [name for name in {**found, **wanted} if found.get(name) != wanted.get(name)]
    return ", ".join(f"{name}={found.get(name)} (here {wanted.get(name)})" for name in names)
