"""The claims ledger: what the five papers claim, how the workbook tests each claim, and the results.

Each claim states its own test: statistics, and the bounds that they must keep for the claim to hold. Whoever adds one
writes them down before the run; the bounds of these were first written when earlier results were known (`KNOWN`).
Notebooks `record` the statistics with their intervals; the verdict follows from these by rule (`verdicts.judge`) and is
nobody's to choose. `write` makes the table `claims.md` beside the figures; `refresh` updates what is committed. A claim
that fails here is a finding; small scale and rendered faces are named as the reason only where a test shows that they
are.
"""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Collection, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from filelock import FileLock
from numpy.typing import ArrayLike

from swaplib.figures import folder, layers
from swaplib.figures.saving import read_entries
from swaplib.provenance import as_cell, commit, origin, write_text
from swaplib.workbook.verdicts import (
    Bound,
    Estimate,
    above,
    below,
    between,
    bootstrap,
    difference,
    estimate,
    judge,
    rank_correlation,
    ratio,
    share,
)

__all__ = (
    "CLAIMS", "PAPERS", "UNTESTED", "Claim", "Estimate", "bootstrap", "check", "difference", "estimate",
    "rank_correlation", "ratio", "read_estimates", "record", "refresh", "results", "share", "table", "write",
)  # fmt: skip

PAPERS = {"R": "RSGAN", "M": "MGPE", "S": "Smooth-Swap", "L": "LatentSwap", "E": "E4S", "N": "LatentSwap"}
UNTESTED = "not yet tested"
KNOWN = (
    "Verdicts follow by rule from 95% intervals. Bounds and numbers of pairs were set when earlier results were known: "
    "they bind the runs to come, and are weaker evidence about these. Each interval is a single one's, of many."
)


@dataclass(frozen=True)
class Claim:
    """One claim of a paper.

    id: first letter of the paper and a number; place: where the paper makes it; test: what the workbook measures;
    notebook: the number of the one that does; bounds: where each statistic must lie for the claim to hold; trained:
    whether it is about a difference between trainings.
    """

    id: str
    place: str
    claim: str
    test: str
    notebook: int
    bounds: Mapping[str, Bound]
    trained: bool = False

    @property
    def paper(self) -> str:
        return PAPERS[self.id[0]]

    @property
    def refuted(self) -> str:
        """What would refute the claim, made of the bounds."""
        same: dict[Bound, list[str]] = {}
        for name, bound in self.bounds.items():
            same.setdefault(bound, []).append(name)
        named = {bound: ("one of " if len(names) > 1 else "") + ", ".join(names) for bound, names in same.items()}
        return "; ".join(f"{names}: {bound.refuted}" for bound, names in named.items())


RIVALS = ("VAE-GAN", "ALI", "α-GAN")
CLAIMS = (
    Claim(
        "R1", "§4.1", "A swap comes out for every pair, where fitting a 3-D model fails on 18%.",
        "The share of swaps in which dlib finds a face.", 20,
        {"swaps in which dlib finds a face": above(0.99)},
    ),
    Claim(
        "R2", "Table 1", "Of the generative networks, it carries the identity over best.",
        "dlib's distance of the swap to its source, beside VAE-GAN, ALI and α-GAN trained for about as long.", 20,
        {f"{name}'s distance minus RSGAN's": above(0) for name in RIVALS}, trained=True,
    ),
    Claim(
        "R3", "Table 1", "It is the most consistent when swapped twice, although α-GAN reconstructs better.",
        "Absolute error of the face swapped there and back, and of the reconstruction, trained for about as long.",
        20,
        {f"{name}'s swap-twice error minus RSGAN's": above(0) for name in RIVALS}
        | {"RSGAN's reconstruction error minus α-GAN's": above(0)}, trained=True,
    ),
    Claim(
        "R4", "Fig. 6", "An attribute edited in one region leaves the other region alone.",
        "Attributes told to one region's encoders, as the paper edits: the change of that region over the other's.", 20,
        {"change of the face over elsewhere when told to the face": above(2),
         "change of elsewhere over the face when told to the hair": above(2)},
    ),
    Claim(
        "R5", "§3", "Trained without random codes, the composer ignores the face's code.",
        "dlib's distance of the swap to its source, trained with and without the branch of random codes.", 20,
        {"distance without random codes minus that with them": above(0)}, trained=True,
    ),
    Claim(
        "R6", "§4.2", "Without the variational part it reconstructs a little better but can't be sampled from.",
        "The reconstruction error of both variants; no picture from random codes is measured.", 20,
        {"reconstruction error of the variational one minus the plain one's": above(0)}, trained=True,
    ),
    Claim(
        "R7", "§4.2", "An LSTM slows the training and helps nothing.",
        "Reconstruction error, and PSNR to the true swap inside the face, with and without it after equal training.",
        20,
        {"reconstruction error with an LSTM minus that without": above(0),
         "PSNR without an LSTM minus that with": above(0)}, trained=True,
    ),
    Claim(
        "R8", "contribution 3", "Differing poses and light do not disturb the swap.",
        "SSIM to the true swap inside the face, against the known differences of the pair in yaw and in light.", 20,
        {"rank correlation with the difference in yaw": above(-0.2),
         "rank correlation with the difference in light": above(-0.2)},
    ),
    Claim(
        "M1", "§4.1, Table 1", "Embedding each component for itself keeps more of the source than one global code.",
        "Five codes (setting 2) against one (setting 1): error of a face put together from its own parts, region by "
        "region; and the Fréchet distance of the full system against both.", 21,
        {"error of one code minus that of five in the worst region": above(0),
         "Fréchet distance of setting 1 minus the full one's": above(0),
         "Fréchet distance of setting 2 minus the full one's": above(0)}, trained=True,
    ),
    Claim(
        "M2", "§4.1", "The network that fuses the background leaves no traces along the border.",
        "Gradients along the border of what the mask calls background, of the target's own: fused and pasted.", 21,
        {"roughness pasted minus fused": above(0)},
    ),
    Claim(
        "M3", "Table 2", "The parsing loss raises the agreement with the given mask from 0.946 to 0.977.",
        "Agreement with and without that loss, according to a parser that did not train the family.", 21,
        {"pixels found again with the loss minus without": above(0), "F1 with the loss minus without": above(0)},
        trained=True,
    ),
    Claim(
        "M4", "Table 3", "A parser gains 0.8% from generated faces.",
        "Its accuracy on labelled photographs, in points, over seeds.", 21,
        {"points that generated faces bring": above(0)}, trained=True,
    ),
    Claim(
        "M5", "Fig. 4", "From one mask come more diverse faces than from pix2pixHD or BicycleGAN.",
        "Mean perceptual distance between pictures of one mask, with other faces' looks.", 21,
        {"diversity minus BicycleGAN's": above(0), "diversity minus pix2pixHD's": above(0)}, trained=True,
    ),
    Claim(
        "M6", "Fig. 7", "Components can be exchanged one at a time.",
        "Change outside of the exchanged component's region and its margin over that within, for each.", 21,
        {f"{part} outside over inside": below(0.1) for part in ("left_eye", "right_eye", "mouth", "skin", "hair")},
    ),
    Claim(
        "S1", "Table 2", "The contrastive embedder is far smoother than others that verify as well.",
        "d_smooth of the smoother of two classifiers over the contrastive one's: by samples, and along known paths "
        "between identities; the areas under the curve may differ by 0.02.", 11,
        {"by samples at 0.25": above(1.5), "by samples at 0.5": above(1.5), "by path at 0.5": above(1.5)},
        trained=True,
    ),
    Claim(
        "S2", "Figs 7, 8", "A smooth embedder lets the swapper learn faster and more steadily than ArcFace.",
        "After equal training, margin embedder minus smooth one, at the worse of two weights: the share of the "
        "identity loss that is left, the change loss, and identity-R by a third judge.", 22,
        {"identity loss left": above(0), "change loss": above(0), "identity-R by a third judge": above(0)},
        trained=True,
    ),
    Claim(
        "S3", "Table 1", "The shape of the face follows the source more than with other systems.",
        "The shape judge's error to the known head of the source, on the same rendered pairs, in mm.", 22,
        {"landmarks' error minus Smooth-Swap's": above(0), "RSGAN's error minus Smooth-Swap's": above(0)},
    ),
    Claim(
        "S4", "§6", "Expression and pose pay for it a little.",
        "Errors of expression (mm) and pose (degrees) to the target, on the same pairs, beside a swap by landmarks.",
        22,
        {"error of expression minus landmarks'": above(0), "error of pose minus landmarks'": above(0)},
    ),
    Claim(
        "S5", "Fig. 9", "An interpolation passes through more distinct identities.",
        "Distinct pictures retrieved at nine places along each of 64 paths, beside two classifiers.", 11,
        {"pictures met minus CE-Lin's": above(0), "pictures met minus CE-Arc's": above(0)}, trained=True,
    ),
    Claim(
        "L1", "Table 1, Fig. 6", "λ trades the source for the target smoothly.",
        "From each λ to the next (1, 10, 100, 1000): whether the distance to the source rises and the errors of "
        "expression, of pose and the Fréchet distance fall.", 24,
        {"least rise of the distance to the source": above(0), "least fall of the error of expression": above(0),
         "least fall of the error of pose": above(0), "least fall of the Fréchet distance": above(0)}, trained=True,
    ),
    Claim(
        "L2", "Fig. 5", "Z can't hold the swap, W loses detail, W+ is best.",
        "Distance to the source in all three spaces, at the λ (1, 10, 100) where they differ least.", 24,
        {"distance in Z minus that in W": above(0), "distance in W minus that in W+": above(0)}, trained=True,
    ),
    Claim(
        "L3", "Fig. 7", "Without λ the code leaves the manifold, first by diffusion, later faster.",
        "The exponent of the squared distance over steps, by regression in log-log axes.", 24,
        {"exponent early": between(0.75, 1.25), "exponent late": above(1)},
    ),
    Claim(
        "L4", "§3", "The latent penalty settles near the identity loss over λ.",
        "λ times the penalty over the identity loss at the end of the training, for four λ.", 24,
        {"smallest ratio": above(0.5), "largest ratio": below(2)}, trained=True,
    ),
    Claim(
        "L5", "Fig. 10", "Middle layers carry the identity, the next colours, the finest nothing that is seen.",
        "The share of the swap's change of identity that the middle layers bring alone, minus that of the largest "
        "other group, by two embedders.", 30,
        {"middle minus the largest other by smooth": above(0), "middle minus the largest other by margin": above(0)},
    ),
    Claim(
        "L6", "supplement", "Five layers are where a deeper mixer stops paying.",
        "The loss with 3, 5 and 7 layers after equal training.", 24,
        {"gain from 3 to 5 layers": above(0), "gain from 3 to 5 minus twice that from 5 to 7": above(0)}, trained=True,
    ),
    Claim(
        "L7", "Fig. 11", "InterFaceGAN's and GANSpace's edits work on swapped codes and keep the identity.",
        "Swaps nearer their source after an edit, minus those before, for the direction that loses most; and how far "
        "yaw turns the head, over how far pale skin does.", 31,
        {"share nearer the source after minus before": above(-0.05), "turn by yaw over turn by pale skin": above(2)},
    ),
    Claim(
        "L8", "Fig. 8", "Inverted photographs can be swapped too.",
        "Rendered faces that the generator has never seen, inverted by pivotal tuning: cosine of the identity with the "
        "picture's, and the share of swaps that the smooth embedder finds nearer their source.", 32,
        {"cosine of identity when inverted": above(0.9), "swaps nearer their source": above(0.5)},
    ),
    Claim(
        "E1", "Table 1", "The perceptual loss and the encoder profit from several scales.",
        "Reconstruction by the full system minus that by the ablations C and D.", 25,
        {"SSIM minus that of C": above(0), "SSIM minus that of D": above(0), "RMSE of C minus the full one's": above(0),
         "RMSE of D minus the full one's": above(0)}, trained=True,
    ),
    Claim(
        "E2", "§5", "50 steps of optimising the style are enough.",
        "The share of the SSIM gained in 100 steps that 50 steps bring, face by face.", 25,
        {"share of the gain": above(0.85)},
    ),
    Claim(
        "E3", "Figs 12, 13", "The codes of the regions are disentangled.",
        "Change outside of a region and its margin when its code changes over that inside, for each.", 25,
        {f"{part} outside over inside": below(0.1)
         for part in ("skin", "hair", "lip", "eyebrows", "eyes", "nose", "background")},
    ),
    Claim(
        "E4", "Fig. 8", "The source's skin tone is kept.",
        "The share of swaps with skin nearer in colour to the source's than to the target's.", 25,
        {"skin nearer the source's": above(0.9)},
    ),
    Claim(
        "E5", "Fig. 13", "λ leads smoothly from the target to the source.",
        "The share of the steps of λ that lead nearer to the source, pair by pair; and the largest step over the mean.",
        25, {"steps that lead nearer": above(0.9), "largest step over the mean one": below(2)},
    ),
    Claim(
        "E6", "§9", "A limitation: light and texture share a code.",
        "The side of the light in the swap, regressed on the source's and the target's.", 25,
        {"the source's coefficient": above(0.5)},
    ),
    Claim(
        "E7", "§8.4", "Tuning the generator on the clip reduces flicker.",
        "Flicker inside the face against the true video, frame by frame of one clip.", 60,
        {"flicker before minus after": above(0)},
    ),
    Claim(
        "E8", "§7", "Reenactment does not touch the identity.",
        "The distance of the source to itself, driven by landmarks, over that to another person.", 25,
        {"share of the identity lost": below(0.25)},
    ),
    Claim(
        "E9", "Fig. 8", "Covered faces are handled.",
        "The difference to the true swap where an object, or glasses, hide the face over that on the face beside.", 25,
        {f"error on {what} over that on the face": below(1) for what in ("objects", "glasses")},
    ),
    Claim(
        "N1", "Fig. 9", "The mixer carries over to StyleNeRF and stays consistent over views.",
        "Swaps of rendered faces from five sides, all at 64 px: smooth distances to source and target; variance of "
        "dlib's descriptors over views; warping error between neighbouring views by the true swap's depth. Beside "
        "StyleGAN2's swaps of each view for itself.", 61,
        {"swaps nearer their source": above(0.5), "variance over views, over the true swaps'": below(1.5),
         "StyleGAN2's variance over views minus StyleNeRF's": above(0),
         "StyleGAN2's warping error minus StyleNeRF's": above(0)},
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
    """Read the ledger of one folder, without what an earlier version wrote otherwise."""
    return {id: entry for id, entry in read_entries(root / "claims.json").items() if "statistics" in entry}


def record(
    id: str,
    statistics: Mapping[str, Estimate | ArrayLike],
    text: str = "",
    seeds: int = 1,
    untestable: str = "",
    when: bool = True,
    **conditions: Any,
) -> None:
    """Judge a claim by its statistics, print it with the verdict, and enter that into the ledger for an earlier one.

    statistics: the claim's own, each an `Estimate` or the values of independent units, of which the mean is meant.
    text: what else the run tells. seeds: trainings of each kind. untestable: why the run can't answer, or nothing.
    when: whether it was large enough to be entered; if not, it is only printed. conditions: what the numbers depend on.
    The ledger is claims.json beside the figures; several processes may record at once.
    Raises ValueError for an unknown claim, and for other statistics than the claim's.
    """
    if id not in _BY_ID:
        raise ValueError(f"unknown claim {id!r}: choose one of {', '.join(_BY_ID)}")
    claim = _BY_ID[id]
    if set(statistics) != set(claim.bounds):
        raise ValueError(f"claim {id} is about {', '.join(claim.bounds)}; got {', '.join(statistics)}")
    found = {name: statistics[name] for name in claim.bounds}
    found = {name: one if isinstance(one, Estimate) else estimate(one) for name, one in found.items()}
    kept = {name: _plain(one) | {"bound": str(claim.bounds[name])} for name, one in found.items()}
    entry = {"statistics": kept, "seeds": int(seeds), "untestable": untestable}
    verdict, reason = judge(read_estimates(entry), claim.bounds, claim.trained, seeds, untestable)
    entry |= {"verdict": verdict, "reason": reason, "text": text, "conditions": conditions}
    entry |= {"notebook": origin()["notebook"], "command": _command(), "commit": commit()}
    json.dumps(entry)  # refuse a value that JSON can't hold before anything is touched
    print(f"{id} · {claim.claim}\n   {verdict}{_because(entry)}\n   {_result(entry)}")
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


def read_estimates(entry: Mapping[str, Any]) -> dict[str, Estimate]:
    """Return the statistics of a recorded entry."""
    fields = ("value", "low", "high", "n")
    return {
        name: Estimate(*(math.nan if kept[field] is None else kept[field] for field in fields))
        for name, kept in entry["statistics"].items()
    }


def _plain(found: Estimate) -> dict[str, Any]:
    """Return an estimate for JSON, to six digits; what is unknown is None."""
    kept = {name: value if name == "n" else float(f"{value:.6g}") for name, value in asdict(found).items()}
    return {name: None if math.isnan(value) else value for name, value in kept.items()}


def _command() -> str:
    """Return the command that repeats the present run of a notebook."""
    run = origin()
    if run["notebook"] is None:
        return ""
    given = [f"--set {shlex.quote(f'{name}={value}')}" for name, value in run.get("set", {}).items()]
    return " ".join(["swaplib run", run["notebook"], *given])


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
    row["refuted by"] = claim.refuted
    if entry is None:
        return row | {"result": "", "trainings": "", "conditions": "", "verdict": UNTESTED, "repeated by": ""}
    return row | {
        "result": _result(entry),
        "trainings": str(entry["seeds"]) if claim.trained else "",
        "conditions": ", ".join(f"{key} {value}" for key, value in entry["conditions"].items()),
        "verdict": f"{entry['verdict']}{_because(entry)}",
        "repeated by": entry["command"] and f"`{entry['command']}`",
    }


def _because(entry: Mapping[str, Any]) -> str:
    joined = ", because " if entry["verdict"] == "not testable here" else ": "
    return f"{joined}{entry['reason']}" if entry["reason"] else ""


def _result(entry: Mapping[str, Any]) -> str:
    """Say the statistics as a phrase: value [interval], units, then what else the run told."""
    found = read_estimates(entry)
    counts = {one.n for one in found.values()}
    each = {name: f" (n {one.n})" if len(counts) > 1 else "" for name, one in found.items()}
    text = "; ".join(f"{name} {one}{each[name]}" for name, one in found.items())
    text += f"; n {counts.pop()}" if len(counts) == 1 else ""
    return f"{text}. {entry['text']}" if entry["text"] else text


def write() -> Path:
    """Write the ledger as Markdown, claims.md beside the run's figures; return its path."""
    return _write(folder(), table())


def _write(root: Path, frame: pd.DataFrame) -> Path:
    frame = frame.reset_index()
    done = int((frame["verdict"] != UNTESTED).sum())
    lines = [
        "# The claims ledger",
        "",
        f"{done} of {len(frame)} claims tested. The rest waits for its notebook.",
        "",
        KNOWN,
        "",
    ]
    lines += ["| " + " | ".join(frame.columns) + " |", "|---" * len(frame.columns) + "|"]
    for row in frame.itertuples(index=False):
        lines.append("| " + " | ".join(map(as_cell, row)) + " |")
    write_text(root / "claims.md", "\n".join(lines) + "\n")
    return root / "claims.md"
