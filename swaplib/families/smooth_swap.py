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
- The weight of R1 and Adam's betas are not given: γ = 1 (`printed()`: 0.1, since more restrains a discriminator of
  small pictures too much) and StyleGAN2's betas (0, 0.99).
- The output convolutions start at zero, so that G returns its target exactly at first (the official ones start at
  about a hundred-thousandth of the usual size).
- Not said either, and chosen: `paper()` keeps averaged weights (decay 0.999, as NCSN++ does), mirrors every other face
  and computes in bfloat16 on a GPU. The paper splits FFHQ into 90% and 10%; prepared FFHQ comes with the split that its
  authors publish, 60,000 and 10,000.
- `Config.demo()` is narrower, has one block per level, four levels and a z of 128 numbers (the paper's 512), and works
  on squares of 2 x 2 pixels. Half of each batch learns from true swaps, which rendered faces have, in groups of people
  who were rendered in the same shots; the other half by the first two of the paper's losses, at the paper's weights. By
  the paper's losses alone, a picture that shows nobody may cost as little as a true swap. Features are compared in a
  close-up as well (`close`); what returns every two pixels by itself (`truth_mesh`), since networks whose first layer
  steps by two pixels hardly see it; and whom two embedders see (`truth_identity`). A projected discriminator of little
  weight joins late. Its embedder sees each swapped picture through small random changes of framing, light and sharpness
  (`jittered`): a network that sees few pictures learns to please one embedder by patterns that no other sees, and such
  patterns don't survive these changes.
- `Config.known()` learns from true swaps alone, by distances of pixels and of a classifier's features. It grows by a
  finer level, so that what the others have learned keeps its scale. It needs no discriminator.
- `Config.printed()` learns by the paper's losses alone, at 64 px. Its discriminator learns at half the paper's rate,
  and both rates fall along a cosine, where the paper's stay; its penalty runs every 16th step, as in StyleGAN2; it
  learns at half its size first.
- The network of `demo()` and `known()` departs from the paper's in two ways. z passes three layers, and scales and
  shifts each block's map (`modulated`: Dhariwal and Nichol's adaptive normalisation, arXiv:2105.05233) instead of being
  added to it; and G paints over its target by a mask (`blended`) instead of adding to it.
- z begins as a condition of variance 1, as NCSN++'s embedded times are: the numbers of a unit vector are small, and
  under a layer's usual weights hardly heard (measured in studies/training/README.md).
- The projected discriminator (`projected`) isn't the paper's either: StyleGAN2's, from scratch, is blind for the first
  hundred thousand pictures; frozen features tell swapped faces at once. Its condition is the identity, real pictures
  coming with another shot's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import nn

from swaplib.data import Crossed, Dataset
from swaplib.faces import Faces
from swaplib.families.base import Codes, Family, Part
from swaplib.judges import perceptual
from swaplib.judges.augment import augment
from swaplib.judges.identity import Identity, IdentityLinear, identity_loss
from swaplib.judges.parsing import Parser
from swaplib.networks import blocks
from swaplib.networks.discriminators import (
    ProjectedDiscriminator,
    discriminator_loss,
    generator_loss,
    hinge_generator_loss,
    tell_apart,
)
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
    embedder: str = "identity"  # which judge; Table 1's Arc rows train with identity_margin
    embedder_preset: str = "paper"
    jittered: bool = False  # the embedder sees swapped pictures through random changes; the paper names none
    grown: bool = False  # learn at half the size first: the same network, or one without the finest level if told
    group: tuple[int, int] = (0, 0)  # people and shots of each group of pictures that are each other's true swaps
    projected: bool = False  # the discriminator sees frozen features, and whose face it should be
    modulated: bool = False  # z scales and shifts each block's map, through layers of its own, instead of adding to it
    blended: bool = False  # G paints over its target, by a mask that it makes, instead of adding to it
    judges_preset: str = "paper"  # of the networks whose features are compared and discriminated
    # Weights of the losses, §5.1.
    identity: float = 4  # λ_id
    change: float = 1  # λ_chg
    adversarial: float = 1  # λ_adv
    discriminator: float = 1
    penalty: float = 0.5  # γ / 2 of R1
    accuracy: float = 0  # of the projected discriminator: logged, not learned from
    # Weights of the distances to the true swap, which only rendered faces have; not the paper's.
    truth: float = 0  # of the pixels
    truth_features: float = 0  # of a classifier's features
    close: bool = False  # those of a close-up are compared, too
    truth_mesh: float = 0  # of what returns every two pixels, which those features hardly see
    truth_identity: float = 0  # of whom the embedder and the classifier see
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
        """Return sizes for a CPU: 128 px. The training goes on from `known`'s weights.

        Half of each batch keeps its true swaps, the other half learns by the first two of the paper's losses.
        """
        return replace(
            cls.known(), jittered=True, grown=False, projected=True, identity=4, change=1, adversarial=0.02,
            discriminator=1, truth=9, truth_features=13, close=True, truth_mesh=10, truth_identity=3,
            learning_rate=3e-4, betas=(0.0, 0.99), steps=15_000,
        )  # fmt: skip

    @classmethod
    def known(cls) -> Config:
        """Return the demo's network told the truth: it learns from true swaps alone, which only rendered faces have."""
        return cls(
            size=128, patch=2, width=32, factors=(1, 2, 3, 4), blocks=1, attention=(8,), discriminator_base=1536,
            discriminator_most=96, embedder_preset="demo", grown=True, group=(4, 2), judges_preset="demo",
            modulated=True, blended=True, truth=1, truth_features=2, identity=0, change=0, adversarial=0,
            discriminator=0, penalty=0, learning_rate=6e-4, betas=(0.9, 0.99), last_rate=0.05, batch=2, steps=60_000,
        )  # fmt: skip

    @classmethod
    def printed(cls) -> Config:
        """Return sizes for a CPU: 64 px, by the paper's losses alone."""
        return cls(
            size=64, patch=2, width=32, factors=(1, 2, 3), blocks=1, attention=(8,), discriminator_base=1536,
            discriminator_most=96, embedder_preset="demo", jittered=True, grown=True, penalty=0.8, penalty_every=16,
            discriminator_learning_rate=2e-3, last_rate=0.05, steps=15_000,
        )  # fmt: skip

    @classmethod
    def study(cls, **changes) -> Config:
        """Return a small variant at 32 px, by the paper's losses alone, to compare variants in minutes."""
        small = replace(
            cls.printed(), size=32, width=24, factors=(1, 2), discriminator_base=768, discriminator_most=64, batch=16,
            grown=False, jittered=False, steps=300,
        )  # fmt: skip
        return replace(small, **changes)

    @classmethod
    def smoke(cls) -> Config:
        return replace(
            cls.printed(), size=32, width=8, factors=(1, 2), attention=(8,), discriminator_base=256,
            discriminator_most=16, embedder_preset="smoke", jittered=False, grown=False, penalty=0.5, penalty_every=1,
            batch=4, steps=20,
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
    training_only: ClassVar[tuple[str, ...]] = ("discriminator", "parser", "classifier", "distance")

    def __init__(
        self, config: Config, embedder: Identity, parser: Parser | None = None, classifier: IdentityLinear | None = None
    ):
        super().__init__(config, embedder=embedder, parser=parser, classifier=classifier)
        dimensions = embedder.config.dimensions
        self.parts = (
            Part("identity", (dimensions,), "sphere"),
            Part("appearance", (3, config.size, config.size), "image"),
        )
        condition = (8 if config.modulated else 4) * config.width
        self.projection = nn.Linear(dimensions, condition)
        nn.init.normal_(self.projection.weight)  # of unit vectors it makes vectors of variance 1
        nn.init.zeros_(self.projection.bias)
        if config.modulated:
            layers = ((nn.LeakyReLU(0.2), nn.Linear(condition, condition)) for _ in range(2))
            self.projection = nn.Sequential(self.projection, *chain(*layers))
        if config.truth_features:
            self.frozen["distance"] = perceptual.feature_distance(classifier, True, config.close)
        self.network = NCSNPP(
            config.size // config.patch, config.width, config.factors, config.blocks, config.attention, condition,
            3 * config.patch**2, config.modulated, (1 + config.blended) * 3 * config.patch**2,
        )  # fmt: skip
        if config.projected:
            seen = parser.projected(config.size)
            self.discriminator = ProjectedDiscriminator(*seen, config.discriminator_most, dimensions)
        else:
            self.discriminator = Discriminator(config.size, config.discriminator_base, config.discriminator_most)

    # -- the contract

    @property
    def mirrored(self) -> bool:
        """Whether pictures are mirrored one by one: not those that are each other's true swaps."""
        return not self.config.group[0]

    @classmethod
    def frozen_models(cls, config: Config) -> dict[str, tuple[str, str]]:
        found = {"embedder": (config.embedder, config.embedder_preset)}
        found |= {"parser": ("parser", config.judges_preset)} if config.projected else {}
        compared = config.truth_features or config.truth_identity
        return found | ({"classifier": ("identity_linear", config.judges_preset)} if compared else {})

    def encode(self, faces: Faces) -> Codes:
        """Return the identity's unit vector and the picture itself; raise ValueError for pictures of another size."""
        self.check_size(faces.images)
        return {"identity": self.embedder(faces.images), "appearance": faces.images}

    def decode(self, codes: Codes) -> torch.Tensor:
        return self(codes["appearance"], codes["identity"]).clamp(-1, 1)

    def consumers(self) -> dict[str, list[torch.Tensor]]:
        """Return the projection that gives z to every block."""
        first = self.projection[0] if self.config.modulated else self.projection
        return {"identity": [first.weight.detach()]}

    def forward(self, images: torch.Tensor, identity: torch.Tensor) -> torch.Tensor:
        """Apply G to pictures and unit vectors; the pictures that it returns are not yet clamped to [-1, 1]."""
        squares = F.pixel_unshuffle(images, self.config.patch)  # (B, 3, S, S) -> (B, 3 p², S / p, S / p)
        change = self.network(squares, self.projection(identity))  # (B, 3 p², S / p, S / p), (B, D) -> the same
        if self.config.blended:
            painted, mask = change.chunk(2, 1)
            return F.pixel_shuffle(squares.lerp(painted, mask.sigmoid()), self.config.patch)
        return images + F.pixel_shuffle(change, self.config.patch)  # (B, 3, S, S)

    # -- training

    def phases(self) -> list[Phase]:
        config = self.config
        self.embedder.require_weights()
        generator = [*self.projection.parameters(), *self.network.parameters()]
        rate, betas = config.discriminator_learning_rate, config.betas
        phases = [Phase("generator", generator, self._generator_losses, 1, config.learning_rate, betas)]
        if not config.discriminator:
            return phases
        if config.projected:
            learned = self.discriminator.trainable()
            return [*phases, Phase("discriminator", learned, self._projected_losses, 1, rate, betas)]
        learned = [*self.discriminator.parameters()]
        phases.append(Phase("discriminator", learned, self._discriminator_losses, 1, rate, betas))
        if config.penalty_every > 1:
            every = config.penalty_every
            phases.append(Phase("smoothness", learned, self._penalty, every, rate, betas, shares="discriminator"))
        return phases

    @classmethod
    def stages(cls, config: Config) -> list[Stage]:
        stages, rate = [], 1.0
        if config.grown:
            half = replace(config, size=config.size // 2)
            if config.group[0]:  # what the levels have learned keeps its scale
                half = replace(half, factors=config.factors[1:], projected=False, adversarial=0, discriminator=0)
                half = replace(half, betas=(0.9, config.betas[1]))  # momentum helps where nothing works against it
            else:
                half = replace(half, attention=tuple(size // 2 for size in config.attention))
            stages, rate = [Stage("half", half, 0.5, cosine(1, 0.5))], 0.5
        if config.projected and config.adversarial:  # the discriminator begins alone
            stages.append(Stage("seeing", replace(config, adversarial=0), 0.1, cosine(rate, rate)))
        left = 1 - sum(stage.share for stage in stages)
        return [*stages, Stage("whole", config, left, cosine(rate, config.last_rate))]

    @classmethod
    def training_data(cls, config: Config, datasets: Sequence[Dataset]) -> Crossed | None:
        """Take the groups of one crossed data set where the truth teaches; else any pictures.

        Raises ValueError for several sets, and for one that was not rendered crossed.
        """
        if not config.group[0]:
            return None
        if len(datasets) > 1:
            raise ValueError("true swaps are taken from one data set: render it with --crossed 4 --shots 4")
        return Crossed(datasets[0], config.group[1])

    def init_from(self, other: SmoothSwap) -> None:
        """Copy all but those layers of the discriminator that pictures of this size need and the other's don't."""
        if len(self.config.factors) == len(other.config.factors) + 1:
            self.network.grow_from(other.network)
            blocks.copy_by_name(self.projection, other.projection)
        else:
            blocks.copy_by_name(self, other)

    def _swapped(self, faces: Faces) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Swap each picture: return swapped pictures, their wanted identities, and true swaps where they are known."""
        self.check_size(faces.images)
        source, truth = (None if rows is None else rows.to(faces.images.device) for rows in self._pair(len(faces)))
        wanted = self.embedder(faces.images)[source]
        return self(faces.images, wanted), wanted, None if truth is None else faces.images[truth]

    def _pair(self, count: int) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Choose whose identity each of a batch's pictures takes: return the numbers of sources and of true swaps.

        In crossed groups, a source shows another shot, and one in eight the target's own person; without them each
        target takes the identity of the next one, the first its own, and no truth is known.
        """
        place = torch.arange(count)
        people, shots = self.config.group
        if not people:
            if count < 3:
                raise ValueError(f"{count} pictures: give each process at least 3, one of which is a pair with itself")
            # One face of the whole batch is paired with itself, however many processes share it.
            first = not (torch.distributed.is_initialized() and torch.distributed.get_rank())
            return torch.cat([place[:1], place[1:].roll(-1)]) if first else place.roll(-1), None
        if count % (people * shots):
            raise ValueError(
                f"{count} pictures are no groups of {people} people in {shots} shots: train on data.Crossed"
            )
        shot, person, first = place % shots, place // shots % people, place - place % (people * shots)
        other = (person + torch.randint(1, people, place.shape)) % people
        other = torch.where(torch.rand(place.shape) < 1 / 8, person, other)
        seen = (shot + torch.randint(1, shots, place.shape)) % shots
        return first + other * shots + seen, first + other * shots + shot

    def _generator_losses(self, faces: Faces) -> dict[str, torch.Tensor]:
        config = self.config
        swapped, wanted, truth = self._swapped(faces)
        losses, told = {}, 0
        seen = augment(Faces(swapped)).images if config.jittered else swapped
        if truth is not None:  # of all pictures, or of the first half where the paper's losses teach, too
            told = len(faces) // 2 if config.identity else len(faces)
            losses |= self._truth_losses(swapped[:told], seen[:told], truth[:told])
        if config.identity:
            losses["identity"] = identity_loss(self.embedder(seen[told:]), wanted[told:])
            losses["change"] = F.mse_loss(swapped[told:], faces.images[told:])
        if config.adversarial and config.projected:
            losses["adversarial"] = hinge_generator_loss([self._judge(swapped, wanted)])
        elif config.adversarial:
            losses["adversarial"] = generator_loss([self.discriminator(swapped)])
        return losses

    def _truth_losses(self, swapped: torch.Tensor, seen: torch.Tensor, truth: torch.Tensor) -> dict[str, torch.Tensor]:
        """Compare pictures with their true swaps: pixels, a classifier's features, mesh, and whom two embedders see."""
        losses = {"truth": F.l1_loss(swapped, truth)}
        if self.config.truth_features:
            losses["truth_features"] = self.distance(swapped, truth).mean()
        if self.config.truth_mesh:
            losses["truth_mesh"] = perceptual.mesh_distance(swapped, truth)
        if self.config.truth_identity:
            losses["truth_identity"] = sum(
                identity_loss(judge(seen), judge(truth)) / 2 for judge in (self.embedder, self.classifier)
            )
        return losses

    def _judge(self, images: torch.Tensor, identity: torch.Tensor) -> torch.Tensor:
        """Return the projected discriminator's logits (B, scales) of pictures that should show an identity."""
        return self.discriminator(self.parser.project(images, self.config.size), identity)

    def _projected_losses(self, faces: Faces) -> dict[str, torch.Tensor]:
        """Tell true pictures, with their person's identity in another shot, from swapped ones with the wanted one."""
        with torch.no_grad():
            swapped, wanted, truth = self._swapped(faces)
        # Where no truth is known, each true picture goes with the identity that it shows itself.
        shown = (faces.images, self.embedder(faces.images)) if truth is None else (truth, wanted)
        return tell_apart(self._judge(*shown), self._judge(swapped, wanted))

    def _discriminator_losses(self, faces: Faces) -> dict[str, torch.Tensor]:
        with torch.no_grad():
            swapped, _, _ = self._swapped(faces)
        losses = {"discriminator": discriminator_loss(self.discriminator(faces.images), [self.discriminator(swapped)])}
        return losses if self.config.penalty_every > 1 else losses | self._penalty(faces)

    def _penalty(self, faces: Faces) -> dict[str, torch.Tensor]:
        return {"penalty": gradient_penalty(self.discriminator, faces.images)}
