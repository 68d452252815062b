"""StyleNeRF: a generator that can walk around the head it shows.

Jiatao Gu, Lingjie Liu, Peng Wang, Christian Theobalt: StyleNeRF: A Style-based 3D-aware Generator for High-resolution
Image Synthesis. ICLR 2022, arXiv:2110.08985.

    z ── mapping ── w, one copy for each layer ─┬─ radiance fields of the head, and of what lies behind ─┐
    camera ── rays, points on them ─────────────┘     features of a small picture ── 2-D layers ── picture
    L_G = −log D(G(z, camera)) + γ_pl E (‖J_wᵀ y‖ − a)² + β L_path       L_D as StyleGAN2's

| paper | here |
|---|---|
| f, G | `network.mapping`, `network.synthesis` |
| D | `discriminator` |
| p(camera) | `swaplib.networks.cameras.draw_cameras` |
| L_NeRF-path, β | `Synthesis.path_loss`, `Config.consistency` |

**Cameras.** The network's axes are the official code's: the origin between the eyes, x forward out of the face, y to
the person's left (the picture's right), z up; a camera's usual distance is 1. Rendered faces (`swaplib.synthetic`) have
x to the person's left, y up and z forward, in decimetres, of which 12 (`UNIT`) are 1 here. The renderer turns the head
by R = yaw · pitch · roll before a camera that stands at (shift_x, shift_y, distance) and looks along −z; here the head
stays, and the same camera stands at Rᵀ (shift_x, shift_y, distance), turned by Rᵀ (`view`). So a head that is turned by
a yaw of 20° is seen from −20°: `look_from(yaw=-20)`; one turned by a pitch of 10°, down, from `look_from(pitch=10)`.

Where we differ from the paper, and why:
- `alpha` stays at its end: training doesn't begin with small pictures.
- The demo is the renderer's pupil, since training against a discriminator alone takes GPUs for days: a rendered face's
  factors, without pose and camera, are mapped to its code w, and the picture is compared with what is generated for the
  camera that the face was rendered with:

    factors ── pupil ── w ──┬── synthesis ── picture     L = log σ of pixels, features, silhouettes, + β L_path
    pose, camera ── camera ─┘                            z ── mapping ── w', distributed as the w of the faces

  Several shots of a person (`swaplib render --shots`) show the same head and skin from several sides, with other hair
  and light. The light's direction is given as the head sees it. In the renderer shoulders and background do not turn
  with the head: the field behind, steered by w in the demo, is therefore seen by a camera that stays (`still`), and may
  show both; the code doesn't say how the head is turned on its shoulders, so the neck is a mean over poses. Without the
  silhouettes, that is the labels, fog before the camera may just as well show what lies behind.
- In the demo density counts along a length of `unit`, and points are divided by `scale` before they are encoded: both
  spare the first thousands of steps.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import nn

from swaplib import synthetic
from swaplib.data import Dataset
from swaplib.faces import CELEBAMASK_HQ, Faces
from swaplib.generators.base import CodedGenerator
from swaplib.generators.stylegan2 import Mean, Pupil, Recent
from swaplib.judges import fidelity, perceptual
from swaplib.judges.identity import IdentityLinear
from swaplib.networks.cameras import Cameras, assemble, draw_cameras
from swaplib.networks.discriminators import discriminator_loss, generator_loss
from swaplib.networks.stylegan2 import gradient_penalty
from swaplib.networks.stylenerf import Build, Discriminator, Generator
from swaplib.synthetic.head import rotation
from swaplib.training.model import Phase, Stage, cosine

UNIT = 12.0
"""Decimetres of the renderer in the network's unit of length: its camera's usual distance."""
_AXES = ((0.0, 0.0, 1.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0))  # from the renderer's axes to the network's


@dataclass(frozen=True)
class Config(Build):
    """Sizes, as in `Build`, and loss weights: the official configuration stylenerf_ffhq at 1024 px."""

    base_judge: int = 32768  # channels · size at most …
    most_judge: int = 512  # … and channels at most, of the discriminator
    mixing: float = 0.9  # share of pictures whose later layers have another code
    # Weights of the losses. A lazy one counts for the steps in between.
    pupil: bool = False  # whether it learns from factors of rendered faces; else against a discriminator
    judges_preset: str = "paper"
    read: float = 1  # of log σ of a pupil's pixels
    perceptual: float = 1  # … and of features
    silhouette: float = 0.3  # … and of what the head covers
    mapping: float = 1
    adversarial: float = 1
    consistency: float = 2  # β, as in the official code
    path: float = 8  # γ_pl = 2, times the 4 steps
    discriminator: float = 1
    penalty: float = 16  # γ / 2 = 1, times the 16 steps
    consistency_every: int = 1  # a pupil's; the others' is a part of the generator's loss
    path_every: int = 4
    penalty_every: int = 16
    learning_rate: float = 2e-3
    betas: tuple[float, float] = (0.0, 0.99)
    last_rate: float = 1  # final share of the learning rates, reached along half a cosine
    batch: int = 32
    steps: int = 781_250  # 25 million pictures

    @classmethod
    def paper(cls) -> Config:
        return cls()

    @classmethod
    def released(cls, size: int = 256) -> Config:
        """Return the official configuration at 256 px, whose file is published, or with another size at that of 1024.

        size: pixels, a power of two.
        """
        if size != 256:
            return cls(size=size)
        return cls(size=256, base_judge=16384, penalty=4, learning_rate=2.5e-3, batch=64, steps=390_625)

    @classmethod
    def demo(cls) -> Config:
        """Return sizes for a CPU: 64 px, of which 32 are rendered."""
        return cls(
            size=64, base=2048, most=32, z=128, w=128, depth=4, volume=32, features=32, hidden=64, blocks=4,
            hidden_back=32, blocks_back=3, code=0, still=True, octaves=5, scale=0.125, unit=0.02, angle=13,
            rise=-0.0055, near=0.94, far=1.13,
            samples=6, samples_back=2, density_noise=0, pupil=True, judges_preset="demo", consistency=1,
            consistency_every=8, last_rate=0.05, batch=16, steps=40_000,
        )  # fmt: skip

    @classmethod
    def smoke(cls) -> Config:
        return replace(
            cls.demo(), size=32, base=256, most=8, z=16, w=16, depth=2, volume=16, features=8, hidden=16, blocks=2,
            hidden_back=16, blocks_back=2, octaves=4, samples=4, judges_preset="smoke", consistency_every=4, batch=4,
            steps=20,
        )  # fmt: skip


VIEW = 7
"""Numbers that say from where a rendered face is seen: pitch, yaw, roll, half_width, distance, shift_x, shift_y."""


# ------------------------------------------------------------------------------------------------------- networks
# Generator and discriminator are `swaplib.networks.stylenerf`, cameras `swaplib.networks.cameras`.


def steady(factors: synthetic.Factors) -> synthetic.Factors:
    """Return factors as a head at rest has them: no pose, no camera, the light from where the head sees it."""
    azimuth, elevation = (torch.deg2rad(synthetic.column(factors, "light", name)) for name in ("azimuth", "elevation"))
    flat = elevation.cos()
    way = torch.stack([flat * azimuth.sin(), elevation.sin(), flat * azimuth.cos()], 1)
    right, up, forward = (rotation(factors["pose"]).mT @ way[..., None])[..., 0].unbind(1)
    light, names = factors["light"].clone(), synthetic.columns()["light"]
    light[:, names.index("azimuth")] = torch.rad2deg(torch.atan2(right, forward))
    light[:, names.index("elevation")] = torch.rad2deg(up.clamp(-1, 1).asin())
    without = {group: torch.zeros_like(factors[group]) for group in ("pose", "camera")}
    return factors | without | {"light": light}


def turn_heads(factors: synthetic.Factors, yaw: float | torch.Tensor) -> synthetic.Factors:
    """Return factors of the same heads as `look_from(yaw)` sees them, lit from where they were lit.

    yaw: degrees to the person's left, one for all or (B,). Pitch and roll are none; camera, shoulders and background
    stay where they are.
    """
    turned = {group: values.clone() for group, values in steady(factors).items()} | {"camera": factors["camera"]}
    yaw = torch.as_tensor(yaw, dtype=turned["pose"].dtype).expand(len(turned["pose"]))
    synthetic.column(turned, "pose", "yaw").copy_(-yaw)
    synthetic.column(turned, "light", "azimuth").sub_(yaw)
    return turned


def read_view(factors: synthetic.Factors) -> torch.Tensor:
    """Return from where rendered faces are seen, (B, VIEW)."""
    return torch.cat([factors["pose"], factors["camera"][:, : VIEW - 3]], 1)


def place_cameras(views: torch.Tensor) -> Cameras:
    """Return the cameras of views (B, VIEW), as `read_view` gives them."""
    return view({"pose": views[:, :3], "camera": views[:, 3:]})


def view(factors: synthetic.Factors) -> Cameras:
    """Return the cameras that see a head at rest as rendered faces of these factors are seen (module docstring)."""
    shift_x, shift_y, distance, half_width = (
        synthetic.column(factors, "camera", name) for name in ("shift_x", "shift_y", "distance", "half_width")
    )
    turns = factors["pose"].new_tensor(_AXES) @ rotation(factors["pose"]).mT
    places = turns @ torch.stack([shift_x, shift_y, distance], 1)[..., None] / UNIT
    # A camera's own axes are the renderer's: right, up and backward.
    return assemble(turns, places[..., 0], half_width / distance)


def head_mask(faces: Faces, size: int) -> torch.Tensor:
    """Return the share of each pixel that is head, hair, glasses or neck, (B, 1, size, size), by the labels.

    Raises ValueError for faces without labels.
    """
    if faces.labels is None:
        raise ValueError("these faces have no labels, and this learns from them: train on rendered faces")
    others = [CELEBAMASK_HQ.index(name) for name in ("background", "cloth")]
    mask = ~torch.isin(faces.labels, torch.tensor(others, device=faces.labels.device, dtype=faces.labels.dtype))
    return nn.functional.adaptive_avg_pool2d(mask[:, None].float(), size)


# ------------------------------------------------------------------------------------------------------- generator


class StyleNeRF(CodedGenerator):
    """Pictures from codes in W+ and cameras. Training needs only pictures; a pupil needs rendered ones."""

    name = "stylenerf"
    Config = Config
    mirrored = False  # a mirrored face's factors are unknown; nor does the official configuration mirror
    training_only: ClassVar[tuple[str, ...]] = ("discriminator", "mean", "recent", "classifier", "distance")
    counted: ClassVar[Mapping[str, str]] = {
        "stylenerf_generator_1024": "network", "stylenerf_discriminator_1024": "discriminator"
    }  # fmt: skip

    def __init__(self, config: Config, classifier: IdentityLinear | None = None):
        super().__init__(config, classifier=classifier)
        self.network = Generator(config)
        self.pupil = Pupil(config.w) if config.pupil else None
        self.recent = Recent(config.w) if config.pupil else None
        self.mean = None if config.pupil else Mean()
        self.discriminator = None
        if not config.pupil:
            self.discriminator = Discriminator(config.size, config.base_judge, config.most_judge, config.volume)
        if classifier is not None:
            self.frozen["distance"] = perceptual.feature_distance(classifier, own_size=True)

    # -- the contract

    @classmethod
    def frozen_models(cls, config: Config) -> dict[str, tuple[str, str]]:
        compares = config.pupil and config.perceptual
        return {"classifier": ("identity_linear", config.judges_preset)} if compares else {}

    def forward(self, ws: torch.Tensor, cameras: Cameras | None = None) -> torch.Tensor:
        """Generate pictures (B, 3, S, S), clamped to [-1, 1], of codes (B, layers, w), from the front by default.

        cameras: one for all, or one for each. What lies behind is always the same, where w doesn't steer it.
        Raises ValueError for cameras of another number.
        """
        return self.network.synthesis(ws, cameras).clamp(-1, 1)

    def look_from(self, yaw: float | torch.Tensor = 0.0, pitch: float | torch.Tensor = 0.0) -> Cameras:
        """Place usual cameras: degrees to the person's left, and up."""
        return self.network.synthesis.look_from(yaw, pitch)

    def paint(self, ws: torch.Tensor) -> torch.Tensor:
        """Generate pictures from the front as others learn from them: not clamped."""
        return self.network.synthesis(ws)

    @torch.no_grad()
    def depth(self, ws: torch.Tensor, cameras: Cameras | None = None) -> torch.Tensor:
        """Return how far away things are along the view, (B, 1, volume, volume), in units of the usual distance.

        What lies behind the head counts as the end of the head's range. Raises ValueError as `forward` does.
        """
        return self.network.synthesis.depth(ws, cameras)

    @staticmethod
    def read_view(faces: Faces) -> torch.Tensor:
        """Return from where rendered faces are seen, (B, VIEW). Raises ValueError for faces without factors."""
        return read_view(_factors(faces)).to(faces.images.device)

    def usual_view(self, count: int) -> torch.Tensor:
        """Return the view of the usual camera from the front, (count, VIEW)."""
        half = UNIT * math.tan(math.radians(self.config.angle) / 2)
        return torch.tensor([[0.0, 0, 0, half, UNIT, 0, UNIT * self.config.rise]]).repeat(count, 1)

    def look(self, ws: torch.Tensor, views: torch.Tensor) -> torch.Tensor:
        """Generate pictures as `forward` does, seen from `views` (B, VIEW)."""
        return self(ws, place_cameras(views))

    @staticmethod
    def cameras(faces: Faces) -> Cameras:
        """Return the cameras that rendered faces are seen by. Raises ValueError for faces without factors."""
        return view(_factors(faces)).to(faces.images.device)

    @torch.no_grad()
    def preview(self, faces: Faces) -> torch.Tensor:
        """Show the same random codes every time, from the right, the front and the left: (3, B, 3, S, S)."""
        codes = self.sample(len(faces), 0, 0.7)
        return torch.stack([self(codes, self.look_from(yaw)) for yaw in (-25, 0, 25)])

    @torch.no_grad()
    def report(self, dataset: Dataset) -> dict[str, float]:
        """Measure how far random pictures, as many as the dataset has, are from the dataset's, by `judges.fidelity`.

        Cameras are those of the dataset's faces, if they are rendered, otherwise drawn. Of a pupil also the mean
        absolute error, of a range of 1, of the dataset's faces, read and shown again.
        """
        features, size = fidelity.load_features(), self.config.size
        own = fidelity.gather_features((faces.resize(size).images for faces in dataset.batches(32)), features)
        codes, missed = iter(self.sample(len(dataset)).split(32)), []
        drawn = (self(next(codes), self._views(faces)) for faces in dataset.batches(32))
        drawn = fidelity.gather_features(drawn, features)
        found = {
            "frechet": fidelity.frechet_distance(drawn, own),
            "kernel": fidelity.kernel_distance(drawn, own)[0],
            "pictures": len(own),
        }
        if self.pupil is not None:
            for faces in dataset.batches(32):
                faces = faces.resize(size)
                shown = self(self.read(faces), self.cameras(faces))
                missed.append((shown - faces.images).abs().mean((1, 2, 3)) / 2)
            found["missed"] = float(torch.cat(missed).mean())
        return found

    # -- training

    def phases(self) -> list[Phase]:
        if "classifier" in self.frozen:
            self.classifier.require_weights()
        config = self.config
        if config.pupil:
            rate, betas = config.learning_rate, (0.9, 0.99)
            learned = [*self.pupil.parameters(), *self.network.synthesis.parameters()]
            every = config.consistency_every
            return [
                Phase("pupil", learned, self._pupil_losses, 1, rate, betas),
                Phase("consistency", learned, self._consistency_losses, every, rate, betas, shares="pupil"),
                Phase("mapping", [*self.network.mapping.parameters()], self._mapping_losses, 1, rate / 0.01, betas),
            ]
        generator, discriminator = [*self.network.parameters()], [*self.discriminator.parameters()]
        (rate_g, betas_g), (rate_d, betas_d) = self._lazily(config.path_every), self._lazily(config.penalty_every)
        return [
            Phase("generator", generator, self._generator_losses, 1, rate_g, betas_g),
            Phase("path", generator, self._path_losses, config.path_every, rate_g, betas_g, shares="generator"),
            Phase("discriminator", discriminator, self._discriminator_losses, 1, rate_d, betas_d),
            Phase("smoothness", discriminator, self._penalty, config.penalty_every, rate_d, betas_d,
                  shares="discriminator"),
        ]  # fmt: skip

    def _lazily(self, every: int) -> tuple[float, tuple[float, float]]:
        """Return learning rate and betas, corrected for the optimiser's additional steps (StyleGAN2, Appendix B)."""
        share = every / (every + 1)
        return self.config.learning_rate * share, tuple(beta**share for beta in self.config.betas)

    @classmethod
    def stages(cls, config: Config) -> list[Stage]:
        whole = Stage("whole", config, 0.5 if config.pupil else 1.0, cosine(1, config.last_rate))
        if not config.pupil:
            return [whole]
        # The layers of both sizes are the same: only rays are fewer.
        half = replace(config, size=config.size // 2, volume=config.volume // 2, base=config.base // 2)
        return [Stage("half", half, 0.5), whole]

    def init_from(self, other: StyleNeRF) -> None:
        """Copy all, the blocks of the smaller generator to those of this one, in their order."""
        renamed = dict(zip(other.network.synthesis.sizes, self.network.synthesis.sizes, strict=True))
        state = {}
        for name, value in other.state_dict().items():
            for old, new in renamed.items():
                if name.startswith(f"network.synthesis.b{old}."):
                    name = name.replace(f".b{old}.", f".b{new}.", 1)
                    break
            state[name] = value
        self.load_state_dict(state)

    def _codes(self, count: int) -> torch.Tensor:
        """Draw random codes (count, layers, w), some of which change to another code at a random layer."""
        layers, device = self.network.layers, self.network.mapping.w_avg.device
        codes = self.network.mapping(torch.randn(2 * count, self.config.z, device=device))
        first, second = self.network.plus(codes).chunk(2)
        start = torch.randint(1, layers, (count, 1), device=device)
        mixed = torch.rand(count, 1, device=device) < self.config.mixing
        return torch.where((mixed & (torch.arange(layers, device=device) >= start))[..., None], second, first)

    def _known(self, faces: Faces) -> torch.Tensor:
        """Return the codes (B, w) of rendered faces."""
        return self.pupil(steady(_factors(faces)))

    def _views(self, faces: Faces) -> Cameras:
        return draw_cameras(len(faces)) if faces.factors is None else self.cameras(faces)

    # -- the pupil's losses

    def _pupil_losses(self, faces: Faces) -> dict[str, torch.Tensor]:
        """Return log σ of pixels, features and silhouettes: so they balance each other (Rybkin et al. 2021, §3.2)."""
        ws, cameras = self.network.plus(self._known(faces)), self.cameras(faces)
        shown, covered = self.network.synthesis.cut_out(ws, cameras)
        losses = {
            "read": (shown - faces.images).square().mean().log() / 2,
            "silhouette": (covered - head_mask(faces, covered.shape[-1])).square().mean().log() / 2,
        }
        if "distance" in self.frozen:
            losses["perceptual"] = self.distance(shown, faces.images).mean().log() / 2
        return losses

    def _consistency_losses(self, faces: Faces) -> dict[str, torch.Tensor]:
        some = slice(max(1, len(faces) // 4))  # each sample along a ray passes all layers
        ws, cameras = self.network.plus(self._known(faces)[some]), self.cameras(faces)[some]
        shown = self.network.synthesis(ws, cameras)
        return {"consistency": self.network.synthesis.path_loss(shown, ws, cameras)}

    def _mapping_losses(self, faces: Faces) -> dict[str, torch.Tensor]:
        """Return the energy distance of mapped and read codes, less the read codes' own, constant term."""
        with torch.no_grad():
            read = self.recent(self._known(faces))
        codes = self.network.mapping(torch.randn(256, self.config.z, device=read.device)).float()
        return {"mapping": 2 * torch.cdist(codes, read).mean() - torch.pdist(codes).mean()}

    # -- the paper's losses

    def _fakes(self, count: int) -> tuple[torch.Tensor, torch.Tensor, Cameras, torch.Tensor | None]:
        """Draw codes, cameras and codes of what lies behind; return the pictures first."""
        ws = self._codes(count)
        cameras, code = draw_cameras(count), self.network.synthesis.draw_code(count, ws.device)
        return self.network.synthesis(ws, cameras, code), ws, cameras, code

    def _generator_losses(self, faces: Faces) -> dict[str, torch.Tensor]:
        shown, ws, cameras, code = self._fakes(len(faces))
        return {
            "adversarial": generator_loss([self.discriminator(shown)]),
            "consistency": self.network.synthesis.path_loss(shown, ws, cameras, code),
        }

    def _path_losses(self, faces: Faces) -> dict[str, torch.Tensor]:
        """Return (‖J_wᵀ y‖ − a)² of half a batch, whose second derivatives need memory (StyleGAN2, eq. 4)."""
        with torch.autocast(faces.images.device.type, enabled=False):
            shown, ws, *_ = self._fakes(max(1, len(faces) // 2))
            moved = (shown * torch.randn_like(shown)).sum() / shown.shape[-1]
            (gradient,) = torch.autograd.grad(moved, ws, create_graph=True)
        lengths = gradient.square().sum(2).mean(1).sqrt()
        return {"path": (lengths - self.mean(lengths)).square().mean()}

    def _discriminator_losses(self, faces: Faces) -> dict[str, torch.Tensor]:
        with torch.no_grad():
            fakes = self._fakes(len(faces))[0]
        return {"discriminator": discriminator_loss(self.discriminator(faces.images), [self.discriminator(fakes)])}

    def _penalty(self, faces: Faces) -> dict[str, torch.Tensor]:
        return {"penalty": gradient_penalty(self.discriminator, faces.images)}


def _factors(faces: Faces) -> synthetic.Factors:
    if faces.factors is None:
        raise ValueError("only rendered faces have factors, and this learns from them: train on rendered faces")
    return faces.factors
