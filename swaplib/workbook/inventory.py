"""What is here: families, generators, judges and networks, with their parts, sizes and released weights.

`swaplib info` is this on the command line.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from swaplib import families, judges, weights
from swaplib.weights import published


def describe() -> dict[str, Any]:
    """Return what `swaplib info` says.

    Of families, generators and judges: parameters by preset, at the paper's size also of each network in them; the
    released weights; a family's parts. Of networks by name, parameters at the paper's size: those that
    `Model.counted` names, all in a model that learn and that its use needs (no discriminators), and those that only
    published files fill.
    """
    counted: dict[str, int] = {}

    def facts(learners: Any, name: str) -> dict[str, Any]:
        sizes = {preset: _size(learners.build(name, preset)) for preset in ("smoke", "demo")}
        with torch.device("meta"):  # the largest networks are only counted
            whole = learners.build(name, "paper")
        sizes["paper"] = _size(whole)
        networks = {child: _size(network) for child, network in whole.named_children()}
        counted.update({title: networks[child] for title, child in whole.counted.items()})
        if learned := _size(whole.for_inference(), trainable=True):
            counted[f"{name}_trainable"] = learned
        return {"parameters": sizes, "networks": networks, "weights": _released(learners, name)}

    kinds = {"families": families.ALL} | dict(zip(("judges", "generators"), families.ALL.below, strict=True))
    found = {kind: {name: facts(learners, name) for name in learners} for kind, learners in kinds.items()}
    for name, told in found["families"].items():
        told["parts"] = [part.name for part in families.build(name, "demo").parts]
    with torch.device("meta"):
        loaded = {
            **{f"{kind}_encoder": encoder(1024) for kind, encoder in published.ENCODERS.items()},
            "facevid2vid": published.FaceVid2Vid(),
            **{name: judges.PUBLISHED.build(name) for name in judges.PUBLISHED},
        }
    found["networks"] = counted | {name: _size(network) for name, network in loaded.items()}
    return found


def tell(found: Mapping[str, Any]) -> str:
    """Say in words what `describe` returns."""
    lines = []
    for name, facts in (found["families"] | found["generators"] | found["judges"]).items():
        sizes = ", ".join(f"{preset} {count:,}" for preset, count in facts["parameters"].items())
        networks = ", ".join(f"{child} {count:,}" for child, count in facts["networks"].items()) or "none"
        released = facts["weights"]
        file = f"{released['file']}, {released['bytes'] / 1e6:.1f} MB" if released else "none"
        parts = [f"  parts       {', '.join(facts['parts'])}"] if "parts" in facts else []
        lines += [name, *parts, f"  parameters  {sizes}", f"  paper's     {networks}", f"  weights     {file}"]
    return "\n".join([*lines, *(f"network {name}: {count:,} parameters" for name, count in found["networks"].items())])


def _size(network: Any, trainable: bool = False) -> int:
    return sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad or not trainable)


def _released(learners: Any, name: str) -> dict[str, Any] | None:
    """Describe the file of a model's demo weights; None where there is none."""
    file = weights.find_released(name, "demo")
    if not file.exists():
        return None
    size = weights.read_config(file, learners.kind(name)).size
    return {
        "file": file.name,
        "bytes": file.stat().st_size,
        "resolution": size,
        "card": file.with_suffix(".md").name,
    }
