"""What every system's swaps of some pairs are scored by: likeness to the true swap, identity, shot and picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

import torch

from swaplib import cache, photos
from swaplib.faces import Faces
from swaplib.judges import Judges
from swaplib.judges.panel import RELATIVE, Metric, Reading, describe
from swaplib.metrics import retrieval
from swaplib.metrics.details import score_details
from swaplib.metrics.identity import as_target, compare_identity, estimate_poses
from swaplib.metrics.image import SIZE, face_region, resized, score_swaps, ssim
from swaplib.metrics.pairs import Pairs

CHUNK = 10  # pairs per task, whatever the number of processes

METRICS = (
    Metric("given", "given", "higher", "share of pairs with a picture that could be read"),
    Metric("psnr", "PSNR", "higher", "dB to the true swap, whole picture"),
    Metric("psnr_face", "PSNR face", "higher", "dB to the true swap, inside its face region"),
    Metric("ssim", "SSIM", "higher", "to the true swap"),
    Metric("ssim_face", "SSIM face", "higher", "to the true swap, inside its face region"),
    Metric("ms_ssim", "MS-SSIM", "higher", "to the true swap"),
    Metric("ms_ssim_face", "MS-SSIM face", "higher", "to the true swap, inside its face region"),
    Metric("error", "abs. error", "lower", "mean absolute difference to the true swap, of a range of 1"),
    Metric("psnr_face_moved", "PSNR face, moved", "higher",
           "dB, inside the face, to the other truth, with the source's expression, pose and light"),
    Metric("ssim_face_moved", "SSIM face, moved", "higher", "inside the face, to the other truth"),
    Metric("ssim_source", "SSIM to source", "higher",
           "to the source's picture, as some scripts have it: pasting the source whole gets 1"),
    Metric("to_source", "id. to source", "lower", "squared Euclidean distance of dlib's descriptors, to the source"),
    Metric("to_target", "id. to target", "higher", "squared Euclidean distance of dlib's descriptors, to the target"),
    Metric("nearer_source", "nearer source", "higher", "share of swaps that dlib finds nearer the source"),
    Metric("top_1", "top 1", "higher", "share whose source dlib finds first in a gallery of people"),
    Metric("top_5", "top 5", "higher", "share whose source dlib finds among the first five"),
    Metric("smooth", "id. smooth", "lower", "distance of the contrastive embedder's unit vectors, to the source"),
    Metric("smooth_r", "id. smooth-R", "lower", RELATIVE),
    Metric("smooth_cosine", "cos smooth", "higher", "cosine of the contrastive embedder's vectors, to the source"),
    Metric("smooth_masked", "cos smooth, masked", "higher", "the same with all but the face region grey in both"),
    Metric("smooth_top_1", "top 1 smooth", "higher", "share whose source the contrastive embedder finds first"),
    Metric("smooth_top_5", "top 5 smooth", "higher", "share whose source it finds among the first five"),
    Metric("margin", "id. margin", "lower", "distance of the margin-trained embedder's unit vectors, to the source"),
    Metric("margin_r", "id. margin-R", "lower", RELATIVE),
    Metric("margin_cosine", "cos margin", "higher", "cosine of the margin-trained embedder's vectors, to the source"),
    Metric("margin_masked", "cos margin, masked", "higher", "the same with all but the face region grey in both"),
    Metric("margin_top_1", "top 1 margin", "higher", "share whose source the margin-trained embedder finds first"),
    Metric("margin_top_5", "top 5 margin", "higher", "share whose source it finds among the first five"),
    Metric("shape", "shape", "lower", "mm between the heads at rest that the shape judge sees, to the source"),
    Metric("shape_r", "shape-R", "lower", RELATIVE),
    Metric("shape_true", "shape, true", "lower", "mm from the head that the shape judge sees to the source's own"),
    Metric("expression", "expression", "lower", "mm that the expression moves the face otherwise, to the target"),
    Metric("expression_r", "expression-R", "lower", RELATIVE),
    Metric("pose", "pose", "lower", "degrees between the heads, to the target"),
    Metric("pose_r", "pose-R", "lower", RELATIVE),
    Metric("pose_marks", "pose, marks", "lower", "degrees of yaw and roll to the target, by dlib's landmarks"),
    Metric("gaze", "gaze", "lower", "degrees between where the eyes look, by their pixels, and where the target's do"),
    Metric("skin", "skin", "lower", "ΔE between the mean colours of the skin, to the true swap"),
    Metric("light", "light", "lower", "L* across the picture by which the skin's shading differs from the true swap's"),
    Metric("sharpness", "sharpness", "higher", "mean step from pixel to pixel in the face, of the true swap's"),
    Metric("perceptual", "perceptual", "lower", "distance of the classifying embedder's features, to the true swap"),
    Metric("detected", "detected", "higher", "share of swaps in which dlib detects a face"),
    Metric("reconstruction_error", "rec. error", "lower", "decode(encode(x)) to x, mean absolute difference"),
    Metric("reconstruction_ms_ssim", "rec. MS-SSIM", "higher", "decode(encode(x)) to x"),
    Metric("twice_error", "twice error", "lower", "swapped and swapped back, to the first picture (RSGAN, 4.2)"),
    Metric("twice_ms_ssim", "twice MS-SSIM", "higher", "swapped and swapped back, to the first picture"),
    Metric("seconds", "s per swap", "lower", f"in batches of {CHUNK}, one thread; compare within one table only"),
)  # fmt: skip
NAMES = tuple(metric.name for metric in METRICS)
TRUTHS = frozenset({
    "psnr", "psnr_face", "ssim", "ssim_face", "ms_ssim", "ms_ssim_face", "error", "psnr_face_moved", "ssim_face_moved",
    "shape_true", "gaze", "skin", "light", "sharpness", "perceptual",
})  # fmt: skip
"""Those that only rendered pairs have: they compare with the true swap, or with what is known of its faces."""
_FOUND = ("top_1", "top_5")


def list_metrics(columns: Sequence[str]) -> tuple[Metric, ...]:
    """Return `METRICS`, followed by those of judges that were handed in, by the columns of a table."""
    spreads = {f"{name}_{what}" for name in columns for what in ("std", "low", "high")}
    return METRICS + tuple(found for name in columns if name not in spreads and (found := describe(name)))


class Scorer:
    """Scores swaps of some pairs; what it needs of the pairs themselves is computed once, when asked for.

    Where the pairs are photographs, truth and moved are None, and whatever needs them is left out. people: among whom
    sources are looked for; 0: they aren't.
    """

    def __init__(self, pairs: Pairs, judges: Judges, people: int = 0):
        self.pairs, self.judges, self.people = pairs, judges, people

    def score(self, images: torch.Tensor, shot: Faces | None = None) -> dict[str, torch.Tensor]:
        """Return every judge's scores of swaps (B, 3, H, W) in [-1, 1], one for each pair, column -> (B,).

        shot: faces whose landmarks and regions the pictures show, where these are not the targets'.
        """
        source, target, truth, moved = self.pairs.source, self.pairs.target, self.pairs.truth, self.pairs.moved
        # dlib looks for the face where the target's is, at the size of the other pictures.
        shown = as_target(resized(images, target.size[0]), target if shot is None else shot)
        code, poses = photos.describe(shown), estimate_poses(shown.images)
        scores = {
            **self.judges.score(shown.images, source, target, truth, self._readings),
            **compare_identity(code, *self._owners),
            "ssim_source": ssim(resized(images, SIZE), resized(source.images, SIZE)),
            "pose_marks": (poses - self._poses).norm(dim=1),
            "detected": poses.isfinite().all(1).float(),
            **self._compare_embedders(shown),
        }
        if truth is None:
            return scores
        scores |= score_swaps(shown.images, truth) | score_details(shown.images, truth)
        scores |= self._retrieve(shown, code) if self.people else {}
        other = score_swaps(shown.images, moved)
        return scores | {f"{name}_moved": other[name] for name in ("psnr_face", "ssim_face")}

    @cached_property
    def _owners(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Descriptors of the sources and of the targets, by dlib."""
        return photos.describe(self.pairs.source), photos.describe(self.pairs.target)

    @cached_property
    def _readings(self) -> tuple[Reading, Reading]:
        """What the judges see in the sources and in the targets."""
        return self.judges.read(self.pairs.source), self.judges.read(self.pairs.target)

    @cached_property
    def _poses(self) -> torch.Tensor:
        """The targets' yaw and roll, by the landmarks that dlib finds."""
        return estimate_poses(self.pairs.target.images)

    # ------------------------------------------------------------------------------------------------ embedders

    def _own(self) -> dict[str, torch.nn.Module]:
        return {name: self.judges.embedders[name] for name in ("smooth", "margin") if name in self.judges.embedders}

    def _compare_embedders(self, shown: Faces) -> dict[str, torch.Tensor]:
        """Return cosines to the source of whole pictures, and of faces alone where the regions are known."""
        scores, known = {}, self.pairs.source.labels is not None and shown.labels is not None
        for name, embedder in self._own().items():
            scores[f"{name}_cosine"] = (embedder.embed(shown) * self._readings[0][name]).sum(1).cpu()
            if known:
                masked = [embedder.embed(_mask_face(faces)) for faces in (shown, self.pairs.source)]
                scores[f"{name}_masked"] = (masked[0] * masked[1]).sum(1).cpu()
        return scores

    # ------------------------------------------------------------------------------------------------ retrieval

    def _retrieve(self, shown: Faces, code: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return whether the source is found first, and among the first five, by dlib and by our embedders."""
        size, scores = shown.size[0], {}
        own = self._own_again
        gallery = retrieval.load_gallery(photos.describe, b"dlib", size, self.people)
        places = {"": retrieval.rank(code, photos.describe(own), gallery)}
        for name, embedder in self._own().items():
            gallery = retrieval.load_gallery(embedder.embed, cache.fingerprint(embedder), size, self.people)
            places[f"{name}_"] = retrieval.rank(embedder.embed(shown), embedder.embed(own), gallery)
        for prefix, place in places.items():
            for column, most in zip(_FOUND, (1, 5), strict=True):
                scores[prefix + column] = torch.where(place.isfinite(), (place <= most).float(), torch.nan)
        return scores

    @cached_property
    def _own_again(self) -> Faces:
        """The sources in other shots."""
        numbers = self.pairs.source.identity.tolist()
        return retrieval.render_again(self.pairs.source.factors, numbers, self.pairs.source.size[0])


def _mask_face(faces: Faces) -> Faces:
    """Make all but the face region grey."""
    return replace(faces, images=faces.images * face_region(faces.labels)[:, None])
