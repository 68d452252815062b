"""Directions to edit along, found in the codes of any family whose parts are vectors.

    interfacegan   the normal of a linear SVM's boundary between codes of high and of low scores
                   (Shen et al. 2020, arXiv:1907.10786); `conditional` removes what it shares with others
    ganspace       principal components of the codes, or of a network's features, mapped back to codes
                   (Härkönen et al. 2020, arXiv:2004.02546)
    sefa           the directions that the first layers reading a code amplify most (Shen & Zhou 2021, arXiv:2007.06600)

Each gives a `Direction`, whose `codes` go to `latent.edit`; `make_sliders` turns them into sliders of the studio.

>>> codes = directions.collect(family, faces)
>>> smile = directions.interfacegan(family, codes, directions.find_known_scores(faces, "Smiling"), "smile", share=0.2)
>>> latent.edit(family, codes, smile.codes, 2 * smile.scale)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F

from swaplib import latent
from swaplib.faces import CELEBA_ATTRIBUTES, Faces
from swaplib.families import Codes, Family, Part
from swaplib.synthetic.factors import columns


@dataclass(frozen=True)
class Direction:
    """A straight line through the codes of some parts.

    name     for its slider
    found    how it was found, in words
    codes    part -> tensor of the part's shape, for `latent.edit`; a unit vector over all the parts together
    scale    standard deviation of the codes along it: a step of one standard deviation is a strength of `scale`
    offset   of the plane from which `distance` counts: the boundary; without one, the plane through the codes' mean
    quality  from 0 to 1, as `found` says: the accuracy of the boundary, or the share of the variance or of all change
    """

    name: str
    found: str
    codes: Codes
    scale: float
    offset: float
    quality: float = float("nan")

    def distance(self, codes: Codes) -> torch.Tensor:
        """Return the signed distances of codes from the plane, (N,)."""
        pairs = ((codes[name].float(), way) for name, way in self.codes.items())
        return sum((code * way.to(code.device)).flatten(1).sum(1) for code, way in pairs) + self.offset

    def on(self, parts: Sequence[str]) -> Direction:
        """Return the same direction in other parts, all alike: one of W for chosen layers, whose codes are copies of w.

        Raises ValueError for a direction of several parts.
        """
        if len(self.codes) != 1:
            raise ValueError(f"{self.name} is a way through {', '.join(self.codes)}: only one part's goes to others")
        (way,), many = self.codes.values(), len(parts) ** 0.5
        codes = {name: way / many for name in parts}
        return replace(self, codes=codes, scale=self.scale * many, offset=self.offset * many)


def make_sliders(found: Iterable[Direction]) -> dict[str, Codes]:
    """Return name -> codes one standard deviation long, for the studio's `directions`.

    Its sliders then count in standard deviations.
    """
    return {one.name: {part: one.scale * way for part, way in one.codes.items()} for one in found}


def move_to(family: Family, codes: Codes, direction: Direction, distance: float | torch.Tensor) -> Codes:
    """Move codes along a direction to a given distance from its plane, as InterFaceGAN edits in W.

    To move by a distance, as it edits in W+: `latent.edit(family, codes, direction.codes, distance)`. InterFaceGAN's
    own code counts from the origin; here the boundary's intercept counts. On a sphere the result is normalised to unit
    length, so the distance is reached only approximately.
    """
    return latent.edit(family, codes, direction.codes, distance - direction.distance(codes))


# ---------------------------------------------------------------------------------------------- samples


def collect(family: Family, faces: Faces | None = None, count: int = 1000, seed: int = 0, batch: int = 32) -> Codes:
    """Return codes to look for directions in: those of given faces, of any size, or random ones.

    Raises ValueError without faces where the family is not generative.
    """
    return family.sample(count, seed) if faces is None else latent.encode(family, faces, batch)


def find_known_scores(faces: Faces, name: str) -> torch.Tensor:
    """Return what is known of faces under a name, (N,).

    name: one of CelebA's attributes, such as "Smiling" (1, 0 or NaN), or a factor of rendered faces, such as "pose.yaw"
    (group and column, as `synthetic.factors.columns` lists them).
    Raises ValueError for another name, and where the faces have no factors or attributes.
    """
    group, dot, column = name.partition(".")
    listed = columns().get(group, ()) if dot else CELEBA_ATTRIBUTES
    wanted = column if dot else name
    if wanted not in listed:
        choice = listed or tuple(columns())
        raise ValueError(f"nothing is called {name!r}: choose from {', '.join(choice)}")
    table = (faces.factors or {}).get(group) if dot else faces.attributes
    if table is None:
        raise ValueError(f"these faces have no {'factors' if dot else 'attributes'}: take rendered or labelled ones")
    return table[:, listed.index(wanted)]


@torch.no_grad()
def score_codes(
    family: Family, codes: Codes, judge: Callable[[torch.Tensor], torch.Tensor], batch: int = 32
) -> torch.Tensor:
    """Return a judge's scores of the codes' pictures, (N,).

    judge: takes images (B, 3, H, W) in [-1, 1] and gives (B,).
    """
    batch = min(batch, family.at_once())
    return torch.cat([judge(family.decode(one)) for one in latent.split_batches(codes, batch)])


# ---------------------------------------------------------------------------------------------- InterFaceGAN


def interfacegan(
    family: Family,
    codes: Codes,
    scores: torch.Tensor,
    name: str,
    parts: str | Sequence[str] | None = None,
    share: float = 0.02,
    split: float = 0.7,
    seed: int = 0,
) -> Direction:
    """Return the unit normal of a linear SVM's boundary between the codes of the highest and the lowest scores.

    scores: (N,), such as true factors, attributes, or what `score_codes` gives; NaN where unknown. parts: by name;
    None: all that are vectors. share: of the codes with a score, taken at each end. split: share of those that the SVM
    learns from; its `quality` is the accuracy on the others. seed: of the split, and of the choice between equal
    scores. Raises ValueError for too few codes, and where both ends have the same score.
    """
    chosen, matrix = _matrix(family, codes, parts)
    scores = scores.float().cpu()
    if len(scores) != len(matrix):
        raise ValueError(f"{len(scores)} scores for {len(matrix)} codes: give one for each")
    rng = np.random.default_rng(seed)
    known = scores.isfinite()
    high, low = _ends(scores[known], share, rng)
    used, learned = matrix[known], int(len(high) * split)
    if not 0 < learned < len(high):
        raise ValueError(
            f"a share of {share:g} of {len(used)} codes is {len(high)} at each end, {learned} to learn from and "
            f"{len(high) - learned} to test by: give more codes or a larger share"
        )
    ends = [used[rng.permutation(end)] for end in (high, low)]
    from sklearn.svm import SVC  # takes a second to load

    machine = SVC(kernel="linear")
    machine.fit(np.concatenate([end[:learned] for end in ends]), np.repeat([1, 0], learned))
    rest = len(high) - learned
    accuracy = machine.score(np.concatenate([end[learned:] for end in ends]), np.repeat([1, 0], rest))
    normal = torch.tensor(machine.coef_[0])
    found = f"InterFaceGAN: {accuracy:.1%} of {2 * rest} other codes on the right side"
    offset = float(machine.intercept_[0] / normal.norm())
    return replace(_direction(name, found, normal, torch.from_numpy(matrix), chosen, accuracy), offset=offset)


def _ends(scores: torch.Tensor, share: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return the indices of the highest and of the lowest scores; ties are broken at random."""
    shuffled = rng.permutation(len(scores))
    order = shuffled[scores[shuffled].argsort(descending=True).numpy()]
    count = min(int(len(order) * share), len(order) // 2)
    high, low = order[:count], order[len(order) - count :]
    if count and scores[high[-1]] <= scores[low[0]]:
        same = float(scores[low[0]])
        raise ValueError(f"a share of {share:g} ends at the same score above and below, {same:g}: choose a smaller one")
    return high, low


def conditional(family: Family, codes: Codes, direction: Direction, *others: Direction) -> Direction:
    """Return the direction without what it shares with others: its component orthogonal to them, of unit length again.

    codes: those it was found in, for the new scale. Raises ValueError without others, and where nothing is left.
    """
    if not others:
        raise ValueError(f"no directions that {direction.name} shall be freed of: name one or more")
    names = {name for one in (direction, *others) for name in one.codes}
    chosen, matrix = _matrix(family, codes, [name for name in codes if name in names])
    vector, *given = (_flat(one, chosen) for one in (direction, *others))
    spanned, sizes, _ = torch.linalg.svd(torch.stack(given, 1), full_matrices=False)
    spanned = spanned[:, sizes > 1e-6 * sizes[0]]
    left = vector - spanned @ (spanned.T @ vector)
    if left.norm() < 1e-4:
        raise ValueError(f"{direction.name} lies within {', '.join(one.name for one in others)}: nothing of it is left")
    without = ", ".join(one.name for one in others)
    found = f"{direction.found}; without {without}: {float(left.norm()):.0%} of its length"
    name = f"{direction.name} without {without}"
    return _direction(name, found, left, torch.from_numpy(matrix), chosen, direction.quality)


# ---------------------------------------------------------------------------------------------- GANSpace


def ganspace(
    family: Family,
    codes: Codes,
    parts: str | Sequence[str] | None = None,
    count: int = 10,
    module: str | None = None,
    batch: int = 32,
) -> list[Direction]:
    """Return the first principal components of codes, the widest first; fewer than `count` where the codes span fewer.

    parts: by name, their codes concatenated; None: all that are vectors. module: name of a submodule, as in
    `get_submodule`, whose output while the codes are decoded is analysed instead; its components are mapped back to
    codes by the regression of the codes on their coordinates (§3.1). batch: pictures at a time. `quality` is the share
    of the variance. Signs are such that the largest entry is positive. Raises ValueError for an unknown module and for
    one that decoding does not use.
    """
    chosen, matrix = _matrix(family, codes, parts)
    centred = torch.from_numpy(matrix) - torch.from_numpy(matrix).mean(0)
    features = centred if module is None else _features(family, codes, module, batch)
    u, spread, components = torch.linalg.svd(features - features.mean(0), full_matrices=False)
    u, spread, components = (kept[spread > 1e-9 * spread[0]] for kept in (u.T, spread, components))
    shares = spread.square() / spread.square().sum()
    # With coordinates u · spread, the regression of codes on one is uᵀ codes / spread: its direction is uᵀ codes.
    vectors = components if module is None else u @ centred
    label, where = _label(chosen), "" if module is None else f" of {module}"
    return [
        _direction(
            f"{label}{where} PC {k + 1}", f"GANSpace: {share:.1%} of the variance{where}", _signed(vector),
            torch.from_numpy(matrix), chosen, float(share),
        )
        for k, (vector, share) in enumerate(zip(vectors[:count], shares, strict=False))
    ]  # fmt: skip


@torch.no_grad()
def _features(family: Family, codes: Codes, module: str, batch: int) -> torch.Tensor:
    """Return a submodule's output for each code, (N, F), float64."""
    try:
        watched = family.get_submodule(module)
    except AttributeError as error:
        raise ValueError(f"{family.name} has no module {module!r}: family.named_modules() lists them") from error
    seen: list[torch.Tensor] = []
    hook = watched.register_forward_hook(lambda _, given, output: seen.append(_kept(output)))
    kept = []
    try:
        for one in latent.split_batches(codes, min(batch, family.at_once())):
            seen.clear()
            family.decode(one)
            if not seen:
                raise ValueError(f"decoding does not use {module} of {family.name}: choose another module")
            kept.append(seen[0])
    finally:
        hook.remove()
    return torch.cat(kept).double()


def _kept(output: torch.Tensor | tuple) -> torch.Tensor:
    """Return a copy, since what follows a module may change its output in place."""
    first = output[0] if isinstance(output, tuple) else output
    return first.flatten(1).to("cpu", torch.float32, copy=True)


# ---------------------------------------------------------------------------------------------- SeFa


def sefa(
    family: Family, parts: str | Sequence[str] | None = None, count: int = 10, codes: Codes | None = None
) -> list[Direction]:
    """Return the unit vectors d that the first layers reading the codes amplify most, the strongest first.

    They are the eigenvectors of AᵀA, where the rows of A, each of unit length, are all weights that read the parts
    (`Family.consumers`). parts: by name, which share one d, as layers of a StyleGAN do; None: all that have such
    weights. codes: for the scale; without them it is 1. `quality` is the share of the sum of the eigenvalues. Signs
    are such that the largest entry is positive. Raises ValueError for parts without such weights and for parts of
    different dimensions.
    """
    read = family.consumers()
    names = list(read) if parts is None else _listed(parts)
    missing = [name for name in names if name not in read]
    if missing or not names:
        what = repr(missing[0]) if missing else "its parts"
        raise ValueError(
            f"{family.name} does not tell which weights read {what} (Family.consumers), which SeFa needs: use ganspace "
            "or interfacegan instead"
        )
    weights = [weight.double().cpu() for name in names for weight in read[name]]
    if len({weight.shape[1] for weight in weights}) > 1:
        raise ValueError(f"{', '.join(names)} have different dimensions: ask for the directions of one after the other")
    rows = F.normalize(torch.cat(weights), dim=1)
    values, vectors = torch.linalg.eigh(rows.T @ rows)
    values, vectors = values.flip(0), vectors.flip(1).T
    chosen = [part for part in family.parts if part.name in names]
    matrix = None if codes is None else torch.from_numpy(_matrix(family, codes, names)[1])
    shares = values / values.sum()
    return [
        _direction(
            f"{_label(chosen)} SeFa {k + 1}", f"SeFa: {share:.1%} of the sum of the eigenvalues",
            _signed(vector).repeat(len(chosen)), matrix, chosen, float(share),
        )
        for k, (vector, share) in enumerate(zip(vectors[:count], shares, strict=False))
    ]  # fmt: skip


# ---------------------------------------------------------------------------------------------- vectors and parts


def _matrix(family: Family, codes: Codes, parts: str | Sequence[str] | None) -> tuple[list[Part], np.ndarray]:
    """Return the parts in the family's order, and their concatenated codes, (N, D), float64."""
    vectors = {part.name: part for part in family.parts if part.geometry in ("euclidean", "sphere")}
    names = vectors if parts is None else _listed(parts)
    for name in names:
        if name not in vectors:
            raise ValueError(f"{family.name} has no part {name!r} of vectors: there are {', '.join(vectors) or 'none'}")
    if not names:
        raise ValueError(f"{family.name} has no parts of vectors: directions need some")
    chosen = [part for part in vectors.values() if part.name in names]
    return chosen, torch.cat([codes[part.name].flatten(1) for part in chosen], 1).double().cpu().numpy()


def _direction(
    name: str, found: str, vector: torch.Tensor, matrix: torch.Tensor | None, parts: Sequence[Part], quality: float
) -> Direction:
    """Make a direction of the unit vector along `vector` (D,), its scale taken from codes (N, D)."""
    vector = vector / vector.norm()
    pieces = vector.float().split([int(np.prod(part.shape)) for part in parts])
    codes = {part.name: piece.reshape(part.shape) for part, piece in zip(parts, pieces, strict=True)}
    if matrix is None:
        return Direction(name, found, codes, 1.0, 0.0, quality)
    along = matrix @ vector
    return Direction(name, found, codes, float(along.std()), -float(along.mean()), quality)


def _flat(direction: Direction, parts: Sequence[Part]) -> torch.Tensor:
    """Return a direction as one vector over all the parts, 0 for parts it leaves alone."""
    zeros = {part.name: torch.zeros(part.shape) for part in parts}
    return torch.cat([way.flatten() for way in (zeros | dict(direction.codes)).values()]).double()


def _signed(vector: torch.Tensor) -> torch.Tensor:
    return vector * vector[vector.abs().argmax()].sign()


def _listed(parts: str | Sequence[str]) -> list[str]:
    return [parts] if isinstance(parts, str) else list(parts)


def _label(parts: Sequence[Part]) -> str:
    first, last = parts[0].name, parts[-1].name
    return first if len(parts) == 1 else f"{first}–{last}"
