"""The families by name. This is the only place that knows which ones exist."""

from __future__ import annotations

from swaplib import generators, judges
from swaplib.families.autoencoders import ALI, VAEGAN, AlphaGAN
from swaplib.families.base import Codes, Family, Overlay, Part
from swaplib.families.baselines import Landmarks, Target
from swaplib.families.e4s import E4S
from swaplib.families.latent_swap import LatentSwap
from swaplib.families.mask_guided import MaskGuided
from swaplib.families.mask_to_face import BicycleGAN, Pix2PixHD
from swaplib.families.rsgan import RSGAN
from swaplib.families.smooth_swap import SmoothSwap
from swaplib.training.model import Phase, Stage
from swaplib.training.registry import PRESETS, Registry

__all__ = [
    "ALL",
    "NAMES",
    "PRESETS",
    "TRAINED",
    "Codes",
    "Family",
    "Overlay",
    "Part",
    "Phase",
    "Stage",
    "build",
    "config",
    "kind",
    "load",
    "ready",
    "start",
]

ALL: Registry[Family] = Registry(
    "family",
    (
        Target, Landmarks, VAEGAN, ALI, AlphaGAN, RSGAN, Pix2PixHD, BicycleGAN, MaskGuided, SmoothSwap, LatentSwap, E4S,
    ),
    below=(judges.ALL, generators.ALL),
)  # fmt: skip
NAMES = tuple(ALL)
TRAINED = ALL.trained
kind, config, build, start, load, ready = ALL.kind, ALL.config, ALL.build, ALL.start, ALL.load, ALL.ready
