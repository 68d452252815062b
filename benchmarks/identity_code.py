"""Measure what an identity embedder's code tells of a face: how good a swap could be that knew no more of its source.

    python benchmarks/identity_code.py grid2 --pairs 60

The factors of a person are predicted from the code of one picture, linearly, and the true swap is rendered with them:
a painter that makes no mistake. Prints how dlib finds it, beside the true swap.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

import torch

from swaplib import data, judges, metrics, synthetic
from swaplib.faces import Faces
from swaplib.judges.identity import Dlib

GROUPS = ("shape", "skin")


@torch.no_grad()
def fit(embedder: torch.nn.Module, dataset: data.Dataset, ridge: float) -> torch.Tensor:
    """Return the weights (D + 1, factors) that predict factors from codes with the least squared error."""
    codes, factors = [], []
    for faces in dataset.batches(64):
        codes.append(_extended(embedder(faces.images)))
        factors.append(torch.cat([faces.factors[name] for name in GROUPS], 1).double())
    x, y = torch.cat(codes), torch.cat(factors)
    return torch.linalg.solve(x.T @ x + ridge * torch.eye(x.shape[1]), x.T @ y)


def _extended(codes: torch.Tensor) -> torch.Tensor:
    """Scale unit vectors to a variance of 1, and add a constant."""
    return torch.cat([codes * codes.shape[1] ** 0.5, torch.ones(len(codes), 1)], 1).double()


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="a rendered dataset, several shots of each person")
    parser.add_argument("--judge", default="identity")
    parser.add_argument("--pairs", type=int, default=60)
    parser.add_argument("--ridge", type=float, default=100)
    chosen = parser.parse_args()
    embedder, dlib = judges.load(chosen.judge).eval(), Dlib()
    weights = fit(embedder, data.open(chosen.data).split("train"), chosen.ridge)
    faces = synthetic.render_faces(2 * chosen.pairs, 0, metrics.HELD_OUT, size=128)
    source, target = faces[::2], faces[1::2]
    predicted = (_extended(embedder(source.images)) @ weights).float()
    told = dict(zip(GROUPS, predicted.split([source.factors[name].shape[1] for name in GROUPS], 1), strict=True))
    ends = dlib.embed(source), dlib.embed(target)

    def report(title: str, given: Faces) -> None:
        found = dlib.embed(synthetic.true_swap(given, target))
        near, far = ((found - end).square().sum(1) for end in ends)
        print(f"{title}: {(near < far).double().mean():.0%} nearer, distance to the source {near.nanmean():.3f}")

    report("true swap", source)
    for groups in (("shape",), GROUPS):
        factors = source.factors | {name: told[name] for name in groups}
        report(f"{' and '.join(groups)} by the code", replace(source, factors=factors))


if __name__ == "__main__":
    main()
