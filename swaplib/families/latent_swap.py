"""LatentSwap: in a pretrained generator's latent space, a few linear layers are enough to swap faces.

Changho Choi, Minho Kim, Junhyeok Lee, Hyoung-Kyu Song, Younggeun Kim, Seungryong Kim: LatentSwap: An Efficient Latent
Code Mapping Framework for Face Swapping. 2024, arXiv:2402.18351.

    z_s ── f ── w_s ──┐                                     x_s ── E ──┐
                      ├─ mixer M of each layer ── w_m ── G ── x_m ── E ─┴─ L_id
    z_t ── f ── w_t ──┴─ + c w_t ────┘              L_lp = ‖w_m − w_t‖²   L_s = |landmarks(x_m) − landmarks(s, t)|

    L = L_id + λ L_lp + μ L_s

| paper | here |
|---|---|
| f, G | `generator.network.mapping`, `.synthesis`, frozen |
| M | `mixer`: of all layers at once |
| E | `embedder`, one of `swaplib.judges.identity` |
| 3DMM | `form`, `swaplib.judges.shape`: the source's shape with the target's expression and pose |
| λ, μ | `Config.latent`, `Config.shape` |

Training needs no pictures: codes are drawn. Each layer of W+ has a mixer of its own, which sees only that layer, so
that `amounts` says for each layer how much of the mixer's output is taken.

Where we differ from the paper, and why:
- Codes are drawn with truncation 0.5 in the first 8 layers and AdamW's weight decay is 0.01, as in the authors' code.
  That code pairs a code with itself in a fifth of the cases, the paper in an eighth, as here; it clips gradients to a
  norm of 1, which is left out here.
- Mixers of other depths (the paper's appendix) are as wide as two codes in their first half, and as wide as one in the
  second.
- Landmarks come from our own regressor, in pixels of a 224-px picture, as in the authors' code.
- Pictures are encoded by a small encoder; the paper inverts them by optimisation (`swaplib.latent.inversion`).
- With StyleNeRF (`generator`), whose 21 codes the paper swaps, too, pictures are seen from the front in training.
  A further part, `view`, says from where its heads are seen: a swap is seen from where its target was.
- Without an encoder, codes are what the generator knows of rendered faces.
- `Config.known()` is not the paper's: where the generator was the renderer's pupil, the code of every true swap is
  known, and mixers learn from these codes alone, with no judge and no picture of a swap. Where the paper's losses
  stand beside the truth's, their sources and targets are pictures of rendered faces, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import nn

from swaplib import synthetic
from swaplib.faces import Faces
from swaplib.families.base import Codes, Family, Part
from swaplib.generators.encoder import StyleEncoder
from swaplib.generators.stylegan2 import StyleGAN2
from swaplib.generators.stylenerf import VIEW, StyleNeRF
from swaplib.judges.identity import Identity, identity_loss
from swaplib.judges.shape import Shape
from swaplib.training.model import Phase


@dataclass(frozen=True)
class Config:
    """Networks by their presets, the mixer's build, and loss weights. Sections are the paper's."""

    size: int = 1024
    framing: str = "portrait"  # how pictures are aligned (`photos.align`); that of official files is their authors'
    generator: str = "stylegan2"  # one of `swaplib.generators`
    generator_preset: str = "paper"
    encoder: str = "stylegan2_encoder"  # "": codes are read from the factors of rendered faces
    encoder_preset: str = "paper"
    embedder: str = "identity"
    judges_preset: str = "paper"
    space: Literal["z", "w", "w+"] = "w+"  # what is mixed, Fig. 5
    depth: int = 5  # linear layers of a mixer
    residual: float = 1  # c: the target's share in the output
    truncation: float = 0.5  # ψ of its training codes …
    cutoff: int = 8  # … in this many first layers
    same_pairs: float = 1 / 8  # share of pairs of a code with itself
    # Weights of the losses
    identity: float = 1
    latent: float = 100  # λ
    shape: float = 0.1  # μ
    truth: float = 0  # of the distance to the true swap's codes, which a renderer's pupil knows; not the paper's
    learning_rate: float = 1e-4
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.01
    batch: int = 64
    steps: int = 200_000

    @classmethod
    def paper(cls) -> Config:
        return cls()

    @classmethod
    def demo(cls) -> Config:
        """Return sizes for a CPU: 128 px. The training goes on from `known`'s weights.

        The paper's losses stand beside the distance to the codes of true swaps, to which λ would run counter.
        """
        return replace(cls.printed(), latent=0.1, truth=6)

    @classmethod
    def printed(cls) -> Config:
        """Return sizes for a CPU: 128 px, by the paper's losses alone.

        Its generator's codes are distributed differently from the paper's, and so the λ that swaps is another.
        """
        return cls(
            size=128, generator_preset="demo", encoder_preset="demo", judges_preset="demo", latent=1,
            learning_rate=3e-4, batch=16, steps=8000,
        )  # fmt: skip

    @classmethod
    def views(cls) -> Config:
        """Return a demo in StyleNeRF, whose heads can be seen from all sides: 64 px, by the paper's losses alone.

        Whole codes are drawn, untruncated.
        """
        return replace(cls.printed(), size=64, generator="stylenerf", encoder="", truncation=1)

    @classmethod
    def known(cls) -> Config:
        """Return the demo told the truth alone: the codes of true swaps, which only rendered faces have."""
        return replace(cls.demo(), identity=0, latent=0, shape=0, truth=1, learning_rate=1e-3, steps=12_000)

    @classmethod
    def study(cls, **changes) -> Config:
        """Return the demo's networks with a shorter training by the paper's losses, to compare variants."""
        return replace(cls.printed(), **{"latent": 100, "learning_rate": 1e-3, "steps": 300, **changes})

    @classmethod
    def smoke(cls) -> Config:
        return replace(
            cls.printed(), size=32, generator_preset="smoke", encoder_preset="smoke", judges_preset="smoke", latent=100,
            cutoff=4, batch=4, steps=20,
        )  # fmt: skip


# ----------------------------------------------------------------------------------------------------------- networks


class Mixer(nn.Module):
    """A small network for each layer, from codes (B, layers, w) of source and target to mixed ones.

    depth: linear layers, SiLU between them. residual: c.
    """

    def __init__(self, layers: int, w: int, depth: int = 5, residual: float = 1.0):
        super().__init__()
        self.residual = residual
        outputs = [2 * w] * (depth // 2) + [w] * (depth - depth // 2)
        shapes = list(zip([2 * w, *outputs], outputs, strict=False))
        self.weights = nn.ParameterList(_uniform(inputs, layers, wide, inputs) for inputs, wide in shapes)
        self.biases = nn.ParameterList(_uniform(inputs, layers, 1, wide) for inputs, wide in shapes)

    def forward(self, source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:  # (B, L, w) twice -> (B, L, w)
        x = torch.cat([source, target], 2).transpose(0, 1)  # (layers, B, 2 w)
        for k, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            x = torch.baddbmm(bias, F.silu(x) if k else x, weight.transpose(1, 2))
        return x.transpose(0, 1) + self.residual * target


def _uniform(inputs: int, *shape: int) -> nn.Parameter:
    """Draw a parameter as torch initialises linear layers with this many inputs."""
    return nn.Parameter((2 * torch.rand(shape) - 1) * inputs**-0.5)


# ------------------------------------------------------------------------------------------------------------- losses


def latent_loss(found: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return L_lp: the mean squared difference of codes (B, layers, w) in W+."""
    return F.mse_loss(found, target)


def shape_loss(judge: Shape, found: Codes, source: Codes, target: Codes) -> torch.Tensor:
    """Return L_s: the mean absolute difference of landmarks, in pixels of a 224-px picture.

    Those wanted are of the source's shape with the target's expression and pose. Codes are the judge's.
    """
    wanted = judge.landmarks({**target, "shape": source["shape"]})
    return (judge.landmarks(found) - wanted).abs().mean() * 112


# ------------------------------------------------------------------------------------------------------------- family


class LatentSwap(Family):
    """Faces at any size in portrait framing. Training ignores the faces that it is given, except for their number.

    Told the truth (`Config.known`), it learns from rendered faces.
    """

    name = "latent_swap"
    paper: ClassVar[tuple[str, str]] = ("LatentSwap", "2402.18351")
    Config = Config
    training_only: ClassVar[tuple[str, ...]] = ("embedder", "form")
    optional: ClassVar[tuple[str, ...]] = ("encoder",)
    official: ClassVar[tuple[str, ...]] = ("mixer",)
    official_framing: ClassVar[str] = "ffhq"
    counted: ClassVar[Mapping[str, str]] = {"latent_mixers_1024": "mixer"}

    def __init__(
        self, config: Config, generator: StyleGAN2 | StyleNeRF, embedder: Identity, form: Shape,
        encoder: StyleEncoder | None = None,
    ):  # fmt: skip
        super().__init__(config, generator=generator, encoder=encoder, embedder=embedder, form=form)
        made, layers = self.generator.config, self.generator.network.layers
        names = [f"w{k:02}" for k in range(layers)] if config.space == "w+" else [config.space]
        dimensions = made.z if config.space == "z" else made.w
        self.parts = tuple(Part(name, (dimensions,)) for name in names)
        self._turns = not config.encoder and isinstance(self.generator, StyleNeRF)
        self.parts += (Part("view", (VIEW,)),) if self._turns else ()
        self.swap_parts, self.known_only = tuple(names), not config.encoder
        self.mixer = Mixer(len(names), dimensions, config.depth, config.residual)

    # -- the contract

    @classmethod
    def frozen_models(cls, config: Config) -> dict[str, tuple[str, str]]:
        reads = {"encoder": (config.encoder, config.encoder_preset)} if config.encoder else {}
        return {
            "generator": (config.generator, config.generator_preset),
            **reads,
            "embedder": (config.embedder, config.judges_preset),
            "form": ("shape", config.judges_preset),
        }

    def encode(self, faces: Faces) -> Codes:
        """Return the codes that the encoder reads, or those that the generator knows of rendered faces.

        Raises ValueError in Z, whose mapping can't be inverted, without an encoder or with another generator's, and as
        `read` of the generator does.
        """
        if self.config.space == "z":
            raise ValueError("pictures have no code in Z, whose mapping can't be inverted: choose the space w or w+")
        if self.config.encoder and "encoder" not in self.frozen:
            raise ValueError(
                f"this {self.name} has no encoder for its generator: import one (swaplib import e4e_ffhq_encode.pt), "
                "or find codes by projecting (latent.inversion)"
            )
        ws = self.encoder(faces.images) if self.config.encoder else self.generator.read(faces)
        wanted = self.generator.network.layers, self.generator.config.w
        if ws.shape[1:] != wanted:
            raise ValueError(
                f"this encoder's codes have {ws.shape[1]} layers of {ws.shape[2]} numbers, the generator's {wanted[0]} "
                f"of {wanted[1]}: train one for this generator (swaplib train {self.config.encoder}), or use its own"
            )
        codes = self._named(ws if self.config.space == "w+" else ws.mean(1, keepdim=True))
        return codes | {"view": self.generator.read_view(faces)} if self._turns else codes

    def transfer(self, source: Codes, target: Codes) -> Codes:
        """Return the mixer's output, layer by layer."""
        return source | self._named(self.mixer(self._stacked(source), self._stacked(target)))

    def decode(self, codes: Codes) -> torch.Tensor:
        ws = self._plus(self._stacked(codes))
        return self.generator.look(ws, codes["view"]) if "view" in codes else self.generator(ws)

    @torch.no_grad()
    def sample(self, count: int, seed: int = 0) -> Codes:
        """Draw codes as in training, truncated, and seen from the front."""
        z = torch.randn(count, self.generator.config.z, generator=torch.Generator().manual_seed(seed))
        device = self.mixer.weights[0].device
        codes = self._named(self._codes(z.to(device)))
        return codes | {"view": self.generator.usual_view(count).to(device)} if self._turns else codes

    def consumers(self) -> dict[str, list[torch.Tensor]]:
        """Return each layer's affine map to its style; in W, all of them; in Z, the mapping's first layer."""
        network = self.generator.network
        if self.config.space == "z":
            return {"z": [network.mapping.fc0.weight.detach()]}
        weights = [affine.weight.detach() for affine in network.synthesis.affines()]
        if self.config.space == "w":
            return {"w": weights}
        return {name: [weight] for name, weight in zip(self.swap_parts, weights, strict=True)}

    # -- between pictures and codes

    def _named(self, codes: torch.Tensor) -> Codes:
        return dict(zip(self.swap_parts, codes.unbind(1), strict=True))

    def _stacked(self, codes: Codes) -> torch.Tensor:
        return torch.stack([codes[name] for name in self.swap_parts], 1)

    def _codes(self, z: torch.Tensor) -> torch.Tensor:
        """Map z (B, z) to codes of the config's space, (B, parts, dimensions); in W all layers are truncated alike."""
        network, config = self.generator.network, self.config
        if config.space == "z":
            return z[:, None]
        ws = network.plus(network.mapping(z), config.truncation, config.cutoff)
        return ws if config.space == "w+" else ws[:, :1]

    def _plus(self, codes: torch.Tensor) -> torch.Tensor:
        """Map codes of the config's space to W+."""
        network, config = self.generator.network, self.config
        if config.space == "z":
            return network.plus(network.mapping(codes[:, 0]), config.truncation, config.cutoff)
        return codes.expand(-1, network.layers, -1)

    # -- training

    @property
    def mirrored(self) -> bool:
        """Whether pictures are mirrored: not those whose factors are read."""
        return not self.config.truth

    def phases(self) -> list[Phase]:
        config = self.config
        for model in (self.generator, *((self.embedder, self.form) if config.identity else ())):
            model.require_weights()
        if config.truth:
            self.generator.require_pupil()
        rate, betas, decay = config.learning_rate, config.betas, config.weight_decay
        return [Phase("mixer", [*self.mixer.parameters()], self._losses, 1, rate, betas, decay)]

    def _losses(self, faces: Faces) -> dict[str, torch.Tensor]:
        if not self.config.truth:
            source, target = self._drawn_pairs(len(faces), faces.images.device)
            with torch.no_grad():
                shown, given = (self.generator.paint(self._plus(codes)) for codes in (source, target))
            return self._paper_losses(self._plus(self.mixer(source, target)), target, shown, given)
        if faces.factors is None:
            raise ValueError("the codes of true swaps are known of rendered faces only: train on them (swaplib render)")
        place = torch.arange(len(faces))
        source = torch.where(torch.rand(len(faces)) < self.config.same_pairs, place, place.roll(-1))
        with torch.no_grad():
            codes = self._stacked(self.encode(faces))
            factors = synthetic.swap_identity(faces[source.tolist()].factors, faces.factors)
            wanted = self.generator.read(replace(faces, factors=factors))
        found = self._plus(self.mixer(codes[source], codes))
        losses = {"truth": self.generator.compare_codes(found, wanted)}
        if self.config.identity:
            losses |= self._paper_losses(found, codes, faces.images[source], faces.images)
        return losses

    def _drawn_pairs(self, count: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
        """Draw the codes of sources and targets, some of which are their own source."""
        drawn = torch.randn(2, count, self.generator.config.z, device=device)
        same = torch.rand(count, 1, device=device) < self.config.same_pairs
        return self._codes(drawn[0]), self._codes(torch.where(same, drawn[0], drawn[1]))

    def _paper_losses(
        self, ws: torch.Tensor, target: torch.Tensor, shown: torch.Tensor, given: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """Compare mixed codes in W+ with a target's, and their pictures with those of sources and targets."""
        with torch.no_grad():
            wanted, forms = self.embedder(shown), [self.form(one) for one in (shown, given)]
        swapped = self.generator.paint(ws)
        return {
            "identity": identity_loss(self.embedder(swapped), wanted),
            "latent": latent_loss(ws, self._plus(target)),
            "shape": shape_loss(self.form, self.form(swapped), *forms),
        }
