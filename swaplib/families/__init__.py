"""The families by name. This is the only place that knows which ones exist."""

from __future__ import annotations

from swaplib.families.autoencoders import ALI, VAEGAN, AlphaGAN
from swaplib.families.base import Codes, Family, Part
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
    "Part",
    "Phase",
    "Stage",
    "build",
    "config",
    "kind",
    "load",
    "ready",
]

ALL: Registry[Family] = Registry(
    "family",
    (
        Target, Landmarks, VAEGAN, ALI, AlphaGAN, RSGAN, Pix2PixHD, BicycleGAN, MaskGuided, SmoothSwap, LatentSwap, E4S,
    ),
)  # fmt: skip
NAMES = tuple(ALL)
TRAINED = ALL.trained
kind, config, build, load, ready = ALL.kind, ALL.config, ALL.build, ALL.load, ALL.ready
