"""LatentSwap's mixers by space, λ, depth and residual, trained alike: claims L1 to L4 and L6, Table 1, Figs 5 to 7.

    swaplib study latent_swap runs/study

Each variant learns from the same codes in the same order, and is then measured on pairs of codes that none has seen.
Saves latent_swap.csv (one row per variant), latent_swap_losses.csv (the losses during training, at steps evenly spaced
on a logarithmic axis) and latent_swap.npz (the swaps of four pairs: variant -> uint8 (pairs, H, W, 3)).
"""

from __future__ import annotations

import numpy as np
import torch

from swaplib.faces import Faces, to_uint8
from swaplib.families.latent_swap import Config, LatentSwap
from swaplib.judges import Judges, fidelity
from swaplib.workbook import studies

CHANGES = {
    **{f"w+, λ {value:g}": {"latent": value} for value in (0, 1, 10, 100, 1000)},
    **{f"{space}, λ {value:g}": {"space": space, "latent": value} for space in ("w", "z") for value in (1, 10, 100)},
    **{f"depth {depth}": {"depth": depth} for depth in (2, 3, 7)},
    **{f"residual {value:g}": {"residual": value} for value in (0, 0.5)},
}
VARIANTS = {title: ("latent_swap", Config.study(**changes)) for title, changes in CHANGES.items()}
PAIRS = 256


class Codes:
    """A stand-in for faces: this family draws its codes itself, and needs only their number."""

    def __len__(self) -> int:
        return 4096

    def __getitem__(self, index: list[int]) -> Faces:
        return Faces(torch.zeros(len(index), 3, 8, 8))


def main(runs: studies.Runs, variants: studies.Chosen = None, seeds: studies.Seeds = 1) -> None:
    """Train LatentSwap's mixers, and measure them on pairs of codes."""
    studies.make("latent_swap", VARIANTS, measure, Codes(), runs, variants, seeds, precision="fp32")


def measure(run: studies.Run) -> studies.Found:
    """Train, save the losses during training, and measure pairs of codes."""
    losses = mean_losses(run)
    family, totals = run.result()
    studies.save_rows("latent_swap_losses.csv", run.title, losses, VARIANTS, run.seed)
    scores, shown = score_pairs(run.title, family)
    settings = {key: getattr(run.config, key) for key in ("space", "latent", "depth", "residual")}
    row = {**settings, **scores, "seconds": totals["seconds"], "steps": totals["steps"]}
    return studies.Found([row], shown)


def mean_losses(run: studies.Run) -> list[dict[str, float]]:
    """Train, and return the mean losses between steps evenly spaced on a logarithmic axis, to four digits."""
    marks = set(np.unique(np.geomspace(1, run.config.steps, 80).round().astype(int)))
    rows, sums, count = [], {}, 0
    for step in run.steps():
        count += 1
        for term, value in step.losses["mixer"].items():
            sums[term] = sums.get(term, 0) + value
        if step.step in marks:
            rows.append({"step": step.step, **{term: float(f"{value / count:.4g}") for term, value in sums.items()}})
            sums, count = {}, 0
    return rows


@torch.no_grad()
def score_pairs(name: str, family: LatentSwap) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Return the losses and the judges' scores on held-out pairs, and four of the pairs."""
    torch.manual_seed(0)
    found = {f"{name}_loss": float(value) for name, value in family.phases()[0].losses(Codes()[range(PAIRS)]).items()}
    source, target, swapped = draw_pairs(family, PAIRS)
    scores = Judges.released().score(swapped, Faces(source), Faces(target))
    found |= {name: float(values.nanmean()) for name, values in scores.items()}
    own, drawn = (fidelity.gather_features(images.split(32)) for images in (target, swapped))
    found |= {
        "frechet": fidelity.frechet_distance(drawn, own),
        "parameters": sum(p.numel() for p in family.mixer.parameters()),
    }
    four = {f"{family.config.space}, source": source, f"{family.config.space}, target": target, name: swapped}
    return found, {key: to_uint8(images[:4]) for key, images in four.items()}


@torch.no_grad()
def draw_pairs(family: LatentSwap, pairs: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return pictures of sources, targets and swaps, from codes that are the same for all variants of a space."""
    codes = family.sample(2 * pairs, seed=1_000_000)
    source, target = ({name: code[k::2] for name, code in codes.items()} for k in (0, 1))
    return tuple(
        torch.cat(
            [family.decode({name: code[rows] for name, code in one.items()}) for rows in torch.arange(pairs).split(32)]
        )
        for one in (source, target, family.mix(source, target))
    )
