"""Whom a swap shows, among a thousand people: how often its source is found first, or among the first five.

Everybody in the gallery has one picture, of another shot than the swap's: rendered people who are in no set of pairs,
and the swap's own source, rendered in the shot of one of them. Neighbours are found by Euclidean distance.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from swaplib import cache, synthetic
from swaplib.faces import Faces
from swaplib.synthetic import Factors

PEOPLE = 1000  # in the gallery, the source among them
_FIRST = 30_000_000  # number of the gallery's first face in the calm world's series 0
_TOGETHER = 50

Describe = Callable[[Faces], torch.Tensor]
"""Faces -> what is compared, (B, D)."""


def load_gallery(describe: Describe, key: bytes | None, size: int, people: int = PEOPLE) -> torch.Tensor:
    """Return the descriptions of everybody in the gallery but the sources, (people − 1, D).

    key: what `describe` follows from; with one, the descriptions are kept on disk.
    """

    def make(_: Sequence[int]) -> list[cache.Result]:
        end = _FIRST + people - 1
        found = [
            describe(synthetic.render_faces(min(_TOGETHER, end - start), 0, start, "calm", size))
            for start in range(_FIRST, end, _TOGETHER)
        ]
        return [{"people": torch.cat(found)}]

    if key is None:
        return make([0])[0]["people"]
    (kept,) = cache.recall("galleries", [cache.digest_code().encode() + key + f"{size} {people}".encode()], make)
    return kept["people"]


def render_again(people: Factors, numbers: Sequence[int], size: int) -> Faces:
    """Render people in the calm shots of the gallery's first faces; numbers: which ones, (B,)."""
    shots = [synthetic.sample_factors(1, 0, _FIRST + number % (PEOPLE - 1)) for number in numbers]
    shots = {group: torch.cat([one[group] for one in shots]) for group in shots[0]}
    return synthetic.render(synthetic.swap_identity(people, shots), size)


def rank(shown: torch.Tensor, own: torch.Tensor, gallery: torch.Tensor) -> torch.Tensor:
    """Return the place of each one's own picture among the gallery's, by distance: 1 is first, (B,), float32.

    shown, own: (B, D), gallery: (N, D). NaN for descriptions that are not finite.
    """
    mine = (shown - own).norm(dim=1)
    nearer = torch.cdist(shown, gallery) < mine[:, None]
    places = 1 + nearer.sum(1).float()
    return torch.where(mine.isfinite(), places, torch.nan)
