"""The claims ledger: what the five papers claim, how the workbook tests each claim, and the results.

The claims and their tests are listed here. Notebooks `record` a number, its spread and a verdict; `write` makes the
table `claims.md` beside the figures; `refresh` updates what is committed. A claim that fails here is a finding; small
scale and rendered faces are named as the reason only where a test shows that they are.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from filelock import FileLock

from swaplib.figures import folder, layers
from swaplib.figures.saving import read_entries
from swaplib.provenance import commit, origin, write_text

PAPERS = {"R": "RSGAN", "M": "MGPE", "S": "Smooth-Swap", "L": "LatentSwap", "E": "E4S", "N": "LatentSwap"}
Verdict = Literal["holds", "holds weakly", "does not hold here", "not testable here"]
VERDICTS = ("holds", "holds weakly", "does not hold here", "not testable here")
UNTESTED = "not yet tested"


@dataclass(frozen=True)
class Claim:
    """One claim of a paper.

    id: first letter of the paper and a number; place: where the paper makes it; test: what the workbook measures;
    notebooks: the numbers of those that do.
    """

    id: str
    place: str
    claim: str
    test: str
    notebooks: tuple[int, ...]

    @property
    def paper(self) -> str:
        return PAPERS[self.id[0]]


CLAIMS = (
    Claim(
        "R1", "§4.1", "A swap comes out for every pair, where fitting a 3-D model fails on 18%.",
        "Share of pairs with a result: 1,000 rendered and 500 photographed ones, for RSGAN and for `landmarks`.",
        (20, 50),
    ),
    Claim(
        "R2", "Table 1", "Of the generative networks, it carries the identity over best.",
        "dlib's distance of the swap to its source, beside VAE-GAN, ALI and α-GAN trained for as long.", (20,),
    ),
    Claim(
        "R3", "Table 1", "It is the most consistent when swapped twice, although α-GAN reconstructs better.",
        "Absolute error and MS-SSIM, of the reconstruction and of the face swapped there and back.", (20,),
    ),
    Claim(
        "R4", "Fig. 6", "An attribute edited in one region leaves the other region alone.",
        "Change inside and outside of the region, attribute by attribute, with the regions known.", (20,),
    ),
    Claim(
        "R5", "§3", "Trained without random codes, the composer ignores the face's code.",
        "Identity of swaps, trained with and without the branch of random codes.", (20,),
    ),
    Claim(
        "R6", "§4.2", "Without the variational part it reconstructs a little better but can't be sampled from.",
        "Both variants: reconstruction, and pictures from random codes.", (20,),
    ),
    Claim(
        "R7", "§4.2", "An LSTM slows the training and helps nothing.",
        "Losses over steps and final scores, with and without it.", (20,),
    ),
    Claim(
        "R8", "contribution 3", "Differing poses and light do not disturb the swap.",
        "True-swap score over the known differences in yaw and in light of the pair.", (20, 50),
    ),
    Claim(
        "M1", "§4.1, Table 1", "Embedding each component for itself keeps more of the source than one global code.",
        "Settings 1, 2 and full: FID, and the distance to the source region by region.", (21,),
    ),
    Claim(
        "M2", "§4.1", "The network that fuses the background leaves no traces along the border.",
        "Gradients in a band along the mask's border against those elsewhere.", (21,),
    ),
    Claim(
        "M3", "Table 2", "The parsing loss raises the agreement with the given mask from 0.946 to 0.977.",
        "Agreement with and without that loss, according to a parser that did not train the family.", (21,),
    ),
    Claim(
        "M4", "Table 3", "A parser gains 0.8% from generated faces.",
        "Its accuracy on labelled photographs, mean and spread over seeds.", (21,),
    ),
    Claim(
        "M5", "Fig. 4", "From one mask come more diverse faces than from pix2pixHD or BicycleGAN.",
        "Mean perceptual distance between pairs, with the agreement to the mask beside it.", (21,),
    ),
    Claim(
        "M6", "Fig. 7", "Components can be exchanged one at a time.",
        "Change outside of the exchanged component's region.", (21, 30),
    ),
    Claim(
        "S1", "Table 2", "The contrastive embedder is far smoother than others that verify as well.",
        "d_smooth over samples, over generated faces and along known paths between identities; AUC.", (11,),
    ),
    Claim(
        "S2", "Figs 7, 8", "A smooth embedder lets the swapper learn faster and more steadily than ArcFace.",
        "Identity and change losses over steps for a smooth and a margin embedder, at two weights.", (22,),
    ),
    Claim(
        "S3", "Table 1", "The shape of the face follows the source more than with other systems.",
        "The shape judge's error to the source, and the known shape of the head on rendered pairs.", (22, 50),
    ),
    Claim(
        "S4", "§6", "Expression and pose pay for it a little.",
        "Errors of expression and pose to the target.", (22, 50),
    ),
    Claim(
        "S5", "Fig. 9", "An interpolation passes through more distinct identities.",
        "Number of distinct faces retrieved along 64 paths.", (11,),
    ),
    Claim(
        "L1", "Table 1, Fig. 6", "λ trades the source for the target smoothly.",
        "Identity, expression, pose and FID over λ.", (24,),
    ),
    Claim(
        "L2", "Fig. 5", "Z can't hold the swap, W loses detail, W+ is best.", "The same sweep in all three spaces.",
        (24,),
    ),
    Claim(
        "L3", "Fig. 7", "Without λ the code leaves the manifold, first by diffusion, later faster.",
        "Slope of the drift in log-log axes with its confidence interval, early and late.", (24,),
    ),
    Claim(
        "L4", "§3", "The latent penalty settles near the identity loss over λ.",
        "Their ratio at the end of the training, over λ.", (24,),
    ),
    Claim(
        "L5", "Fig. 10", "Middle layers carry the identity, the next colours, the finest nothing that is seen.",
        "What the judges answer to each group of layers, and to each layer.", (24, 30),
    ),
    Claim(
        "L6", "supplement", "Five layers are where a deeper mixer stops paying.",
        "Loss and time with 2, 3, 5 and 7 layers.", (24,),
    ),
    Claim(
        "L7", "Fig. 11", "InterFaceGAN's and GANSpace's edits work on swapped codes and keep the identity.",
        "Change of the attribute against change of the identity along each direction.", (31,),
    ),
    Claim(
        "L8", "Fig. 8", "Inverted photographs can be swapped too.",
        "Identity and perceptual distance on photographs after pivotal tuning.", (32,),
    ),
    Claim(
        "E1", "Table 1", "The perceptual loss and the encoder profit from several scales.",
        "The ablations C and D.", (25,),
    ),
    Claim("E2", "§5", "50 steps of optimising the style are enough.", "Quality over steps.", (25,)),
    Claim(
        "E3", "Figs 12, 13", "The codes of the regions are disentangled.",
        "Change outside of a region when its code changes, region by region.", (25, 30),
    ),
    Claim(
        "E4", "Fig. 8", "The source's skin tone is kept and covered faces are handled.",
        "Distance of the skin's colour to source and target, tones known; pairs with glasses and hair over the face.",
        (25, 50),
    ),
    Claim(
        "E5", "Fig. 13", "λ leads smoothly from the target to the source.",
        "Whether the identity moves one way along λ, and by even steps.", (25,),
    ),
    Claim(
        "E6", "§9", "A limitation: light and texture share a code.",
        "Whose known light the swap shows, the source's or the target's.", (25,),
    ),
    Claim(
        "E7", "§8.4", "Tuning the generator on the clip reduces flicker.",
        "Consistency over time before and after, against the true video.", (60,),
    ),
    Claim(
        "E8", "§7", "Reenactment does not touch the identity.",
        "Identity distance between the source and its driven picture.", (25,),
    ),
    Claim(
        "N1", "Fig. 9", "The mixer carries over to StyleNeRF and stays consistent over views.",
        "The swap's identity and colours over views.", (61,),
    ),
)  # fmt: skip
_BY_ID = {claim.id: claim for claim in CLAIMS}


def results() -> dict[str, dict[str, Any]]:
    """Return what was recorded, by claim: this run's results, otherwise the committed ones.

    Raises ValueError for a damaged claims.json.
    """
    ledger: dict[str, dict[str, Any]] = {}
    for root in reversed(layers()):
        ledger |= _read(root)
    return {claim.id: ledger[claim.id] for claim in CLAIMS if claim.id in ledger}


def _read(root: Path) -> dict[str, dict[str, Any]]:
    """Read the ledger of one folder."""
    return read_entries(root / "claims.json")


def record(
    id: str,
    result: float | str,
    spread: float | str | None,
    verdict: Verdict | bool,
    reason: str = "",
    when: bool = True,
    **conditions: Any,
) -> None:
    """Print a result, and enter it into the ledger (claims.json beside the figures), replacing an earlier one.

    result: our number, or a phrase with several. spread: standard deviation, interval or range. verdict: True stands
    for "holds", False for "does not hold here". reason: required with "not testable here", welcome with the others.
    when: whether the run was large enough to be entered; if not, its result is only printed. conditions: what the
    number depends on (seed, pairs, preset).
    Raises ValueError for an unknown claim or verdict and for a missing reason; several processes may record at once.
    """
    if isinstance(verdict, (bool, np.bool_)):
        verdict = "holds" if verdict else "does not hold here"
    if id not in _BY_ID:
        raise ValueError(f"unknown claim {id!r}: choose one of {', '.join(_BY_ID)}")
    if verdict not in VERDICTS:
        raise ValueError(f"unknown verdict {verdict!r}: choose one of {', '.join(VERDICTS)}")
    if verdict == "not testable here" and not reason:
        raise ValueError(f"claim {id}: say with reason=… why it is not testable here")
    entry = {"result": result, "spread": spread, "verdict": verdict, "reason": reason, "conditions": conditions}
    entry |= {"notebook": origin()["notebook"], "commit": commit()}
    json.dumps(entry)  # refuse a value that JSON can't hold before anything is touched
    print(f"{id} {verdict}: {_number(result)}")
    if when:
        with _writing(folder()) as ledger:
            ledger[id] = entry


def check(holds: bool, text: str) -> None:
    """Print a sentence that states a result, made of the numbers; stop the run where it is no longer true.

    holds: whether the numbers say what the sentence does. Raises AssertionError with the sentence otherwise.
    """
    if not holds:
        raise AssertionError(f"the numbers no longer say so; look at them, and write another sentence: {text}")
    print(text)


@contextmanager
def _writing(root: Path):
    """Yield the ledger of one folder, to be changed in place; several processes may do so at once."""
    root.mkdir(parents=True, exist_ok=True)
    with FileLock(root / ".claims.lock"):
        ledger = _read(root)
        yield ledger
        ordered = {claim.id: ledger[claim.id] for claim in CLAIMS if claim.id in ledger}
        write_text(root / "claims.json", json.dumps(ordered, indent=1, ensure_ascii=False) + "\n")


def refresh(source: str | Path, target: str | Path, notebooks: Collection[str] | None = None) -> list[str]:
    """Update a folder's ledger from another one; return the claims whose result, verdict or conditions changed.

    notebooks: whose results; None: all of them. An unchanged entry keeps the commit that made it.
    """
    source, target = Path(source), Path(target)
    changed = []
    fresh = {id: e for id, e in _read(source).items() if notebooks is None or e["notebook"] in notebooks}
    if fresh:
        with _writing(target) as ledger:
            for id, entry in fresh.items():
                old = ledger.get(id, {})
                if {**entry, "commit": old.get("commit")} != old:
                    ledger[id] = entry
                    changed.append(id)
        _write(target, _table(_read(target)))
    return changed


def table() -> pd.DataFrame:
    """Return the ledger as a data frame, one row per claim, in the papers' order."""
    return _table(results())


def _table(ledger: dict[str, dict[str, Any]]) -> pd.DataFrame:
    return pd.DataFrame([_row(claim, ledger.get(claim.id)) for claim in CLAIMS]).set_index("id")


def _row(claim: Claim, entry: dict[str, Any] | None) -> dict[str, str]:
    row = {"id": claim.id, "paper": f"{claim.paper}, {claim.place}", "claim": claim.claim, "our test": claim.test}
    row["notebook"] = ", ".join(map(str, claim.notebooks))
    if entry is None:
        return row | {"result": "", "conditions": "", "verdict": UNTESTED}
    spread = "" if entry["spread"] is None else f" ± {_number(entry['spread'])}"
    if isinstance(entry["spread"], str):
        spread = f" ({entry['spread']})"
    because = {"": "", "not testable here": ", because "}.get(entry["verdict"], ": ") if entry["reason"] else ""
    return row | {
        "result": f"{_number(entry['result'])}{spread}",
        "conditions": ", ".join(f"{key} {value}" for key, value in entry["conditions"].items()),
        "verdict": f"{entry['verdict']}{because}{entry['reason']}",
    }


def _number(value: float | str) -> str:
    return f"{value:.4g}" if isinstance(value, (int, float)) else value


def write() -> Path:
    """Write the ledger as Markdown, claims.md beside the run's figures; return its path."""
    return _write(folder(), table())


def _write(root: Path, frame: pd.DataFrame) -> Path:
    frame = frame.reset_index()
    done = int((frame["verdict"] != UNTESTED).sum())
    lines = ["# The claims ledger", "", f"{done} of {len(frame)} claims tested. The rest waits for its notebook.", ""]
    lines += ["| " + " | ".join(frame.columns) + " |", "|---" * len(frame.columns) + "|"]
    for row in frame.itertuples(index=False):
        lines.append("| " + " | ".join(str(cell).replace("|", "\\|").replace("\n", " ") for cell in row) + " |")
    write_text(root / "claims.md", "\n".join(lines) + "\n")
    return root / "claims.md"
