"""LatentSwap's mixers by space, λ, depth and residual, trained alike: claims L1 to L4 and L6, Table 1, Figs 5 to 7.

    python scripts/latent_swap_study.py runs/study

Each variant learns from the same codes in the same order, and is then measured on pairs of codes that none has seen.
Saves beside the weights latent_swap_study.csv (a row a variant), latent_swap_losses.csv (the losses on the way, at
steps that lie evenly on a logarithmic axis) and latent_swap_study.npz (the swaps of four pairs: variant -> uint8
(pairs, H, W, 3)). Given names of variants, only those are made anew.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from swaplib import weights
from swaplib.faces import Faces, to_uint8
from swaplib.families.latent_swap import Config, LatentSwap
from swaplib.judges import fidelity, panel
from swaplib.training import recipes

VARIANTS = {
    **{f"w+, λ {value:g}": {"latent": value} for value in (0, 1, 10, 100, 1000)},
    **{f"{space}, λ {value:g}": {"space": space, "latent": value} for space in ("w", "z") for value in (1, 10, 100)},
    **{f"depth {depth}": {"depth": depth} for depth in (2, 3, 7)},
    **{f"residual {value:g}": {"residual": value} for value in (0, 0.5)},
}
PAIRS = 256


class Codes:
    """No faces at all: this family draws its codes itself, and needs only their number."""

    def __len__(self) -> int:
        return 4096

    def __getitem__(self, index: list[int]) -> Faces:
        return Faces(torch.zeros(len(index), 3, 8, 8))


def main(runs: str, *chosen: str) -> None:
    torch.set_num_threads(1)
    file = weights.FOLDER / "latent_swap_study.csv"
    losses = file.with_name("latent_swap_losses.csv")
    rows, curves = (kept(path, chosen) for path in (file, losses))
    pictures = dict(np.load(file.with_suffix(".npz"))) if chosen and file.exists() else {}
    for name in chosen or VARIANTS:
        config = Config.study(**VARIANTS[name])
        place = Path(runs) / name.replace("λ", "latent").replace(", ", "_").replace(" ", "_")
        steps = followed(config, place)
        family, totals = recipes.result("latent_swap", config, place)
        found, shown = measure(name, family.eval())
        settings = {key: getattr(config, key) for key in ("space", "latent", "depth", "residual")}
        rows.append({"variant": name, **settings, **found, "seconds": totals["seconds"], "steps": totals["steps"]})
        curves += [{"variant": name, **step} for step in steps]
        pictures |= shown
        np.savez_compressed(file.with_suffix(".npz"), **pictures)
        pd.DataFrame(rows).round(5).to_csv(file, index=False)
        pd.DataFrame(curves).to_csv(losses, index=False, float_format="%.4g")
        print(rows[-1], flush=True)


def kept(path: Path, chosen: tuple[str, ...]) -> list[dict]:
    """What the file has of other variants."""
    table = pd.read_csv(path).to_dict("records") if chosen and path.exists() else []
    return [row for row in table if row["variant"] not in chosen]


def followed(config: Config, place: Path) -> list[dict]:
    """Train; the mean losses between steps that lie evenly on a logarithmic axis."""
    marks = set(np.unique(np.geomspace(1, config.steps, 80).round().astype(int)))
    found, sums, count = [], {}, 0
    for step in recipes.studied("latent_swap", config, Codes(), place, precision="fp32"):
        count += 1
        for term, value in step.losses["mixer"].items():
            sums[term] = sums.get(term, 0) + value
        if step.step in marks:
            found.append({"step": step.step, **{term: value / count for term, value in sums.items()}})
            sums, count = {}, 0
    return found


@torch.no_grad()
def measure(name: str, family: LatentSwap) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """The losses and the judges' verdict on held-out pairs, and four of the pairs."""
    torch.manual_seed(0)
    found = {f"{name}_loss": float(value) for name, value in family.phases()[0].losses(Codes()[range(PAIRS)]).items()}
    source, target, swapped = pairs_of(family, PAIRS)
    scores = panel.judged(swapped, Faces(source), Faces(target))
    found |= {name: float(values.nanmean()) for name, values in scores.items()}
    own, drawn = (fidelity.gather(images.split(32)) for images in (target, swapped))
    found |= {"frechet": fidelity.frechet(drawn, own), "parameters": sum(p.numel() for p in family.mixer.parameters())}
    four = {f"{family.config.space}, source": source, f"{family.config.space}, target": target, name: swapped}
    return found, {key: to_uint8(images[:4]) for key, images in four.items()}


@torch.no_grad()
def pairs_of(family: LatentSwap, pairs: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Pictures of sources, targets and swaps, of codes that are the same for all variants of a space."""
    codes = family.sample(2 * pairs, seed=1_000_000)
    source, target = ({name: code[k::2] for name, code in codes.items()} for k in (0, 1))
    return tuple(
        torch.cat(
            [family.decode({name: code[rows] for name, code in one.items()}) for rows in torch.arange(pairs).split(32)]
        )
        for one in (source, target, family.mix(source, target))
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
