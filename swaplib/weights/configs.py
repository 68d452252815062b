"""Configs as JSON, and back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # at run time, nothing here needs it
    from swaplib.training.model import Learner


def as_config(found: Mapping[str, Any], kind: type[Learner]) -> Any:
    """A config as JSON gives it, as an object of the class's own; fields that are newer have their defaults.

    Raises ValueError for fields that the class doesn't know.
    """
    whole = filled(dict(found), kind.Config)
    unknown = whole.keys() - {item.name for item in fields(kind.Config)}
    if unknown:
        raise ValueError(f"the config has {min(unknown)}, which {kind.name} doesn't know: update swaplib")
    return kind.Config(**{name: _tuples(value) for name, value in whole.items()})


# ---------------------------------------------------------------------------------------------- configs


def plain(config: Any) -> dict[str, Any]:
    """A config as JSON would give it back: tuples as lists."""
    return json.loads(json.dumps(asdict(config)))


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value


def filled(found: dict[str, Any], kind: type) -> dict[str, Any]:
    """A file's config with the defaults of fields that are newer than the file."""
    return {name: value for name, value in plain(kind()).items() if name not in found} | found


def differences(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """How two sets of settings differ, in words; empty where they don't."""
    names = [name for name in {**found, **wanted} if found.get(name) != wanted.get(name)]
    return ", ".join(f"{name}={found.get(name)} (here {wanted.get(name)})" for name in names)
