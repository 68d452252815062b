"""Smooth-Swap: change a picture only as much as a smooth identity embedder asks for.

Jiseob Kim, Jihoon Lee, Byoung-Tak Zhang: Smooth-Swap: A Simple Enhancement for Face-Swapping with Smoothness. CVPR
2022, arXiv:2112.05907.

    x_src ── embedder E (frozen) ── z ──┐                       swapped picture
    x_tgt ──────────────────────────────┴── generator G ── + ── x_swap = x_tgt + U(x_tgt, z)
      └────────────────────────────────────────────────────┘
    L = λ_id (1 − ⟨z, E(x_swap)⟩) + λ_chg ‖x_tgt − x_swap‖² / D + λ_adv L_adv

| paper | here |
|---|---|
| E, f_emb | `embedder`, one of `swaplib.judges.identity` |
| G, f_gen | `forward`: `network` (NCSN++ with z in the place of the time embedding, `projection`) plus the skip |
| L_id, L_chg, L_adv | `identity`, `change`, `adversarial` |

Nothing else is asked of the picture: no mask, no parsing, no attributes. What an embedder can't see stays the target's,
and what it sees comes from the source: head shape as well as features, if its gradients point there, for which the
embedder must be smooth (`swaplib.judges.identity`).

Where we differ from the paper, and why:
- Layer tables are in an appendix that we don't have: the network is NCSN++'s official configuration for FFHQ at half
  the channels, as the text says, conditioned through one linear layer on z (16,464,405 parameters at 256 px).
- The weight of R1 and Adam's betas are not given: γ = 1 (the demo: 0.1, since more restrains a discriminator of small
  pictures too much) and StyleGAN2's betas (0, 0.99).
- The output convolutions start at zero, so that G returns its target exactly at first (the official ones start at
  about a hundred-thousandth of the usual size).
- The demo is narrower, has one block per level and works on squares of 2 x 2 pixels; its penalty runs every 16th step,
  as in StyleGAN2; it learns at half its size first. Its embedder sees each swapped picture through small random changes
  of framing, light and sharpness (`jittered`): a network that sees few pictures learns to please one embedder by
  patterns that no other sees, and such patterns don't survive these changes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import nn

from swaplib.faces import Faces
from swaplib.families.base import Codes, Family, Part
from swaplib.judges.augment import augment
from swaplib.judges.identity import Identity, identity_loss
from swaplib.networks import blocks
from swaplib.networks.discriminators import discriminator_loss, generator_loss
from swaplib.networks.ncsnpp import NCSNPP
from swaplib.networks.stylegan2 import Discriminator, gradient_penalty
from swaplib.training.model import Phase, Stage, cosine


@dataclass(frozen=True)
class Config:
    """Sizes (pixels, channels), the embedder, and loss weights. Sections are the paper's."""

    size: int = 256  # §5.1
    patch: int = 1  # the network sees squares of this many pixels a side as one, with their colours as channels
    width: int = 64  # channels at full size: half of NCSN++'s, §4.2
    factors: tuple[int, ...] = (1, 1, 2, 2, 2, 2, 2)  # multiples of it, at each halving
    blocks: int = 2  # residual blocks per level
    attention: tuple[int, ...] = (16,)  # sizes that have attention
    discriminator_base: int = 32768  # channels · size at most
    discriminator_most: int = 512  # channels at most
    embedder: str = "identity"  # which judge; Table 3 tries identity_margin
    embedder_preset: str = "paper"
    jittered: bool = False  # the embedder sees swapped pictures through random changes; the paper names none
    grown: bool = False  # learn at half the size first
    # Weights of the losses, §5.1.
    identity: float = 4  # λ_id
    change: float = 1  # λ_chg
    adversarial: float = 1  # λ_adv
    discriminator: float = 1
    penalty: float = 0.5  # γ / 2 of R1
    penalty_every: int = 1  # steps from one penalty to the next
    # §5.1
    learning_rate: float = 1e-3
    discriminator_learning_rate: float = 4e-3
    betas: tuple[float, float] = (0.0, 0.99)
    last_rate: float = 1  # final share of the learning rates, reached along half a cosine
    batch: int = 8  # one of them paired with itself
    steps: int = 800_000

    @classmethod
    def paper(cls) -> Config:
        return cls()

    @classmethod
    def demo(cls) -> Config:
        """Return sizes for a CPU: 64 px."""
        return cls(
            size=64, patch=2, width=32, factors=(1, 2, 3), blocks=1, attention=(8,), discriminator_base=1536,
            discriminator_most=96,
            embedder_preset="demo", jittered=True, grown=True, penalty=0.8, penalty_every=16,
            discriminator_learning_rate=2e-3,
            last_rate=0.05, steps=15_000,
        )  # fmt: skip

    @classmethod
    def study(cls, **changes) -> Config:
        """Return a small variant at 32 px, to compare variants in minutes."""
        return replace(
            cls.demo(),
            size=32,
            width=24,
            factors=(1, 2),
            discriminator_base=768,
            discriminator_most=64,
            batch=16,
            grown=False,
            jittered=False,
            steps=300,
            **changes,
        )

    @classmethod
    def smoke(cls) -> Config:
        return replace(
            cls.demo(), size=32, width=8, factors=(1, 2), attention=(8,), discriminator_base=256, discriminator_most=16,
            embedder_preset="smoke", jittered=False, grown=False, penalty=0.5, penalty_every=1, batch=4, steps=20,
        )  # fmt: skip


# ----------------------------------------------------------------------------------------------------------- networks
# G's is `swaplib.networks.ncsnpp`, D `swaplib.networks.stylegan2`, E one of `swaplib.judges.identity`.


# ------------------------------------------------------------------------------------------------------------- losses
# L_id is `judges.identity.identity_loss`, L_chg the mean squared error, L_adv `swaplib.networks.discriminators`.


# ------------------------------------------------------------------------------------------------------------- family


class SmoothSwap(Family):
    """Faces at the config's size, in portrait framing. Training needs only pictures."""

    name = "smooth_swap"
    paper: ClassVar[tuple[str, str]] = ("Smooth-Swap", "2112.05907")
    Config = Config
    swap_parts = ("identity",)
    training_only: ClassVar[tuple[str, ...]] = ("discriminator",)

    def __init__(self, config: Config, embedder: Identity):
        super().__init__(config, embedder=embedder)
        dimensions = embedder.config.dimensions
        self.parts = (
            Part("identity", (dimensions,), "sphere"),
            Part("appearance", (3, config.size, config.size), "image"),
        )
        condition = 4 * config.width
        self.projection = nn.Linear(dimensions, condition)
        self.network = NCSNPP(
            config.size // config.patch, config.width, config.factors, config.blocks, config.attention, condition,
            3 * config.patch**2,
        )  # fmt: skip
        self.discriminator = Discriminator(config.size, config.discriminator_base, config.discriminator_most)

    # -- the contract

    @classmethod
    def frozen_models(cls, config: Config) -> dict[str, tuple[str, str]]:
        return {"embedder": (config.embedder, config.embedder_preset)}

    def encode(self, faces: Faces) -> Codes:
        """Return the identity's unit vector and the picture itself; raise ValueError for pictures of another size."""
        self.check_size(faces.images)
        return {"identity": self.embedder(faces.images), "appearance": faces.images}

    def decode(self, codes: Codes) -> torch.Tensor:
        return self(codes["appearance"], codes["identity"]).clamp(-1, 1)

    def consumers(self) -> dict[str, list[torch.Tensor]]:
        """Return the projection that gives z to every block."""
        return {"identity": [self.projection.weight.detach()]}

    def forward(self, images: torch.Tensor, identity: torch.Tensor) -> torch.Tensor:
        """Apply G to pictures and unit vectors; the pictures that it returns are not yet clamped to [-1, 1]."""
        squares = F.pixel_unshuffle(images, self.config.patch)  # (B, 3, S, S) -> (B, 3 p², S / p, S / p)
        change = self.network(squares, self.projection(identity))  # (B, 3 p², S / p, S / p), (B, D) -> the same
        return images + F.pixel_shuffle(change, self.config.patch)  # (B, 3, S, S)

    # -- training

    def phases(self) -> list[Phase]:
        config = self.config
        self.embedder.require_weights()
        generator = [*self.projection.parameters(), *self.network.parameters()]
        discriminator = [*self.discriminator.parameters()]
        rate, betas = config.discriminator_learning_rate, config.betas
        phases = [
            Phase("generator", generator, self._generator_losses, 1, config.learning_rate, betas),
            Phase("discriminator", discriminator, self._discriminator_losses, 1, rate, betas),
        ]
        if config.penalty_every > 1:
            every = config.penalty_every
            phases.append(Phase("smoothness", discriminator, self._penalty, every, rate, betas, shares="discriminator"))
        return phases

    @classmethod
    def stages(cls, config: Config) -> list[Stage]:
        if not config.grown:
            return [Stage("whole", config, 1.0, cosine(1, config.last_rate))]
        half = replace(config, size=config.size // 2, attention=tuple(size // 2 for size in config.attention))
        return [
            Stage("half", half, 0.5, cosine(1, 0.5)),
            Stage("whole", config, 0.5, cosine(0.5, config.last_rate)),
        ]

    def init_from(self, other: SmoothSwap) -> None:
        """Copy all but those layers of the discriminator that pictures of this size need and the other's don't."""
        blocks.copy_by_name(self, other)

    def _swapped(self, faces: Faces) -> tuple[torch.Tensor, torch.Tensor]:
        """Swap each target to the identity of the next one, the first to its own; return pictures and identities."""
        self.check_size(faces.images)
        order = torch.cat([torch.zeros(1, dtype=torch.long), torch.arange(1, len(faces)).roll(-1)])
        wanted = self.embedder(faces.images)[order.to(faces.images.device)]
        return self(faces.images, wanted), wanted

    def _generator_losses(self, faces: Faces) -> dict[str, torch.Tensor]:
        swapped, wanted = self._swapped(faces)
        seen = augment(Faces(swapped)).images if self.config.jittered else swapped
        return {
            "identity": identity_loss(self.embedder(seen), wanted),
            "change": F.mse_loss(swapped, faces.images),
            "adversarial": generator_loss([self.discriminator(swapped)]),
        }

    def _discriminator_losses(self, faces: Faces) -> dict[str, torch.Tensor]:
        with torch.no_grad():
            swapped, _ = self._swapped(faces)
        losses = {"discriminator": discriminator_loss(self.discriminator(faces.images), [self.discriminator(swapped)])}
        return losses if self.config.penalty_every > 1 else losses | self._penalty(faces)

    def _penalty(self, faces: Faces) -> dict[str, torch.Tensor]:
        return {"penalty": gradient_penalty(self.discriminator, faces.images)}
