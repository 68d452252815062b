"""Mask-Guided Portrait Editing: each component's appearance in a code of its own, the shape in a mask.

Shuyang Gu, Jianmin Bao, Hao Yang, Dong Chen, Fang Wen, Lu Yuan: Mask-Guided Portrait Editing with Conditional GANs.
CVPR 2019, arXiv:1905.10346.

    x_s, m_s ─ components ─ E_local ─┬─ G_local ─ components again          x picture   m mask   s source   t target
                                     └─ features, placed by m_t ─┐
                                             m_t ─ E_m ──────────┴─ G_m ─ face ─┐
                                        x_t, m_t ─ E_b ─ background of x_t ─────┴─ G_b ─ x'

| paper | here |
|---|---|
| x_i, i = 0 … 4 | `components`: left_eye, right_eye, skin, hair, mouth |
| E_local^i, G_local^i | `encoders`, `image_decoders` |
| features of the components | `decoders`, then `placed` |
| E_m, G_m, E_b, G_b | `generator`: `mask_encoder`, `body`, `background_encoder`, `background_decoder` |
| D_1, D_2 (two scales), their second set | `discriminators["paired"]`, `discriminators["unpaired"]` |
| P_F | `parser`, `swaplib.judges.parsing`, frozen |
| L_local, L_global, L_sigmoid, L_FM, L_GP | `local`, `whole`, `adversarial`, `features_matched`, `parsing` |

Left and right are the picture's here, as in the paper and in Helen's labels: the left eye is the person's right one.
The paper's swap (`swap_printed`) keeps mask and background of its target and takes eyes, mouth and skin; its "swap+"
(`swap_plus`) takes hair, too. In the target's mask a face is hardly the source's: a plain swap here also takes the
mask, recomposed of the source's inner face and the target's rest as E4S does it (`swaplib study comparison` has both).

Where we differ from the paper, and why:
- Layers are those of the authors' code, whose files load (`load_official`). Its batch normalisations have a momentum of
  0.9; ours have torch's default, 0.1.
- Losses are means over pixels and features, as in that code; λ_FM, which the paper doesn't give, is that code's 10.
- Paired and unpaired pictures, which the paper trains on in turn, are the halves of a batch here: in the second half
  every mask and background gets the components of the next face.
- Discriminators see generated and real pictures in one batch, since batch statistics would otherwise tell them apart.
- The surroundings of a component are grey, as in that code's inference; in training it paints the background white.
- Boxes that reach beyond the picture are moved into it, where the code stops with an error.
- Our parser knows 19 classes; the probabilities of those that one class of this mask unites are added.
- `Config.released` is the code's own objective, as far as it works as intended: codes are drawn around their means
  though nothing draws them to a normal distribution, eyes and mouths of the mask are enlarged, and pictures are also
  compared by components and by a network's features, our classifying embedder's in the place of VGG's. Its sigmoids and
  softmaxes before losses that take logits are left out.
- How settings 1 and 2 of Table 1 concatenate codes and mask isn't said: each code is decoded to features over the
  whole grid (`Config.setting`).
- The demo's pixel losses weigh more, since means of squares send too little gradient at this scale beside a
  discriminator's, and pictures are compared by a network's features, too, as in the authors' code: by components, and
  as a whole, in full size and in a close-up of the inner face (`close`). Fresh discriminators stay undecided for as
  long as a demo learns (their loss between 2.68 and 2.75, where guessing costs 2.77): its own come late, and see what a
  frozen parser sees, and colours (`projected`: Sauer et al. 2021, arXiv:2111.01007). The parser, which costs as much as
  everything else, compares an eighth of the pictures, all of them unpaired.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import nn

from swaplib.faces import MGPE, Faces, members, one_hot, relabel
from swaplib.families.base import Codes, Family, Part
from swaplib.families.mask_guided_regions import (
    GLOBAL,
    INNER,
    LOCAL,
    SEEDS,
    Region,
    crop_boxes,
    enlarge,
    find_middles,
    find_region,
    paste_boxes,
    place_boxes,
)
from swaplib.families.masks import recompose
from swaplib.judges import perceptual
from swaplib.judges.identity import IdentityLinear
from swaplib.judges.parsing import Parser, label_faces, parsing_loss
from swaplib.networks.codes import draw
from swaplib.networks.discriminators import ProjectedDiscriminator, hinge_generator_loss, tell_apart
from swaplib.networks.pix2pixhd import (
    Generator,
    MultiscaleDiscriminator,
    discriminator_loss,
    feature_matching,
    generator_loss,
    start_normal,
)
from swaplib.training.model import Phase, Stage, cosine, linear


@dataclass(frozen=True)
class Config:
    """Sizes (pixels, channels, dimensions), options and loss weights. Sections are the paper's."""

    size: int = 256
    framing: str = "portrait"  # how pictures are aligned (`photos.align`); that of official files is "five_point"
    embedding: Literal["local", "global"] = "local"  # §3.1: a code for each component, or one for the face
    placed: bool = True  # §3.2: features lie where the mask shows their component; else each covers the whole grid
    fused: bool = True  # §3.3: a network fuses face and background; else the background's pixels are pasted
    unpaired: bool = True  # §3.5: half of each batch are pairs of different faces, with discriminators of their own
    sampled: bool = False  # codes are drawn around their means in training, as in the released code
    enlarged: float = 1  # factor for eyes and mouth of the mask that generator and discriminators see
    width_local: int = 64  # channels of the components' encoders after the first convolution; doubling each time
    most: int = 512  # channels at most
    hidden: int = 1024  # units between an encoder's last map and the code
    z: int = 512  # dimensions of a code
    width: int = 64  # channels of the generator at full size
    halvings: int = 2  # from full size to the grid on which components are placed
    features: int = 256  # channels of a component there
    blocks: int = 9  # residual blocks of the generator
    width_discriminators: int = 64
    parser_preset: str = "paper"
    parsed: float = 1  # share of the pictures that the parser sees
    judges_preset: str = "paper"  # of the network of the perceptual loss
    regions: tuple[float, ...] = ()  # weight of each component beside the whole picture, in LOCAL's order
    classes: tuple[float, ...] = ()  # weight of each class of the mask in the parsing loss
    squared_features: bool = True  # L_FM compares by squares; else by absolute differences
    projected: bool = False  # the discriminators come late, and see the parser's features and the colours; no L_FM then
    # Weights of the losses, §3.5
    local: float = 10  # λ_local
    whole: float = 1  # λ_global
    adversarial: float = 1  # λ_GD
    adversarial_unpaired: float = 1
    features_matched: float = 10  # λ_GD λ_FM
    parsing: float = 1  # λ_GP
    perceptual: float = 0
    close: bool = False  # features of the whole picture and of a close-up are compared, too
    discriminator: float = 1
    discriminator_unpaired: float = 1
    accuracy: float = 0  # of projected discriminators: logged, not learned from
    accuracy_unpaired: float = 0
    learning_rate: float = 2e-4
    discriminator_learning_rate: float = 2e-4  # of projected ones; the others learn at the generator's
    betas: tuple[float, float] = (0.5, 0.999)
    steady: float = 10 / 55  # share of the training at the full rate, which then falls to nothing
    batch: int = 4
    steps: int = 302_500  # 55 epochs of 22,000 pictures

    @classmethod
    def paper(cls) -> Config:
        """Return the paper's sizes: 256 px, for pictures aligned by five points (`prepare --kind five_point`)."""
        return cls()

    @classmethod
    def released(cls) -> Config:
        """Return the objective of the authors' code."""
        return cls(
            sampled=True, enlarged=1.1, regions=(1, 1, 0.5, 0.5, 1), classes=(0.2, 1, 5, 5, 5, 5, 3, 8, 8, 8, 1),
            squared_features=False, local=10_000, whole=40, features_matched=10, parsing=100, perceptual=300,
            discriminator=0.5, discriminator_unpaired=0.5,
        )  # fmt: skip

    @classmethod
    def demo(cls) -> Config:
        """Return sizes for a CPU: 128 px in portrait framing."""
        return cls(
            size=128, width_local=16, most=160, hidden=256, z=128, width=24, features=64, blocks=3, projected=True,
            width_discriminators=64, parser_preset="demo", judges_preset="demo", parsed=0.125,
            regions=(1, 1, 0.5, 0.5, 1), squared_features=False, local=100, whole=100, perceptual=3, close=True,
            adversarial=0.1, adversarial_unpaired=0.2, learning_rate=1e-3, steady=0.5, batch=8, steps=50_000,
        )  # fmt: skip

    @classmethod
    def study(cls, **changes) -> Config:
        """Return a small variant at 32 px, with the paper's discriminators, to compare variants in minutes.

        Of the 4 x 6 pixels of an eye's box, two or three are the eye.
        """
        small = cls(
            size=32, width_local=16, most=96, hidden=128, z=48, width=24, halvings=1, features=48, blocks=2,
            width_discriminators=16, parser_preset="demo", judges_preset="demo", parsed=0.125, local=100, whole=100,
            learning_rate=1e-3, steady=0.5, batch=16, steps=1000,
        )  # fmt: skip
        return replace(small, **changes)

    @classmethod
    def smoke(cls) -> Config:
        return replace(
            cls.study(), width_local=8, most=16, hidden=16, z=8, width=8, features=8, blocks=1, width_discriminators=8,
            parser_preset="smoke", judges_preset="smoke", parsed=1, batch=4, steps=20,
        )  # fmt: skip

    def setting(self, number: Literal[1, 2]) -> Config:
        """Return setting 1 or 2 of Table 1 (§4.1): codes and mask concatenated, the background pasted.

        Setting 1 embeds the face as a whole, 2 in components; the full model also places their features and fuses the
        background. Raises ValueError for another number.
        """
        if number not in (1, 2):
            raise ValueError(f"the paper has settings 1 and 2 besides the full model, not {number!r}")
        return replace(self, embedding="global" if number == 1 else "local", placed=False, fused=False)

    @property
    def components(self) -> dict[str, Region]:
        return LOCAL if self.embedding == "local" else GLOBAL


# ----------------------------------------------------------------------------------------------------------- networks


def _widths(config: Config, region: Region) -> list[int]:
    """Return the channels of a component's encoder after each halving."""
    halvings = config.size.bit_length() - 2 if region.box is None else (config.size // 16).bit_length() - 1
    return [min(config.width_local << k, config.most) for k in range(halvings)]


class Encoder(nn.Module):
    """Maps a component to its code and, where codes are drawn, to the log-variance."""

    def __init__(self, config: Config, region: Region):
        super().__init__()
        widths, (h, w) = _widths(config, region), SEEDS[region.box]
        self.body = nn.Sequential(*(
            nn.Sequential(nn.Conv2d(inputs, outputs, 4, 2, 1), nn.BatchNorm2d(outputs), nn.ReLU())
            for inputs, outputs in zip([3, *widths[:-1]], widths, strict=True)
        ))  # fmt: skip
        sizes = widths[-1] * h * w, config.hidden, config.z
        self.mean = self._head(*sizes)
        self.log_variance = self._head(*sizes) if config.sampled else None

    @staticmethod
    def _head(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
        return nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, outputs))

    def forward(self, component):  # (B, 3, h, w) -> (B, Z), (B, Z) or None
        x = self.body(component).flatten(1)
        return self.mean(x).float(), None if self.log_variance is None else self.log_variance(x).float()


class Decoder(nn.Module):
    """Maps a code to a map, doubled from the seed once per entry of `outputs`, its channels.

    picture: with a last layer to (B, 3, h, w) in [-1, 1], float32 also under bfloat16.
    """

    def __init__(self, z: int, seed: tuple[int, int], inputs: int, outputs: list[int], bias: bool, picture: bool):
        super().__init__()
        self.shape = (inputs, *seed)
        self.seed = nn.Linear(z, inputs * seed[0] * seed[1], bias)
        layers: list[nn.Module] = []
        for wide in outputs:
            layers.append(nn.Sequential(nn.ConvTranspose2d(inputs, wide, 4, 2, 1), nn.BatchNorm2d(wide), nn.ReLU()))
            inputs = wide
        last = [nn.ReflectionPad2d(2), nn.Conv2d(inputs, 3, 5), nn.Tanh()] if picture else []
        self.body = nn.Sequential(*layers, *last)

    def forward(self, codes):  # (B, Z) -> (B, outputs[-1], h, w), or (B, 3, h, w)
        return self.body(self.seed(codes).unflatten(1, self.shape)).float()


def _feature_decoder(config: Config, region: Region) -> Decoder:
    """Build the decoder from a code to the component's features on the grid, or on all of it if none is placed."""
    region = region if config.placed else replace(region, box=None)
    widths = _widths(config, region)
    doublings = len(widths) - config.halvings
    inputs = widths[-1] if doublings else config.features
    return Decoder(
        config.z, SEEDS[region.box], inputs, [config.features] * doublings, _biased(region), picture=False
    )  # fmt: skip


def _image_decoder(config: Config, region: Region) -> Decoder:
    """Build the decoder from a code to the component itself."""
    widths = _widths(config, region)
    outputs = widths[::-1] if region.box is None else [*widths[-2::-1], widths[0]]
    return Decoder(config.z, SEEDS[region.box], widths[-1], outputs, _biased(region), picture=True)


def _biased(region: Region) -> bool:
    """Return whether a decoder's seed has biases: those of the eyes have none in the authors' files."""
    return region.masked


# ------------------------------------------------------------------------------------------------------------- losses


def half_square_loss(images: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Return ½ (x' − x)², mean over pixels: L_local, of each component, and L_global (§3.5)."""
    return 0.5 * F.mse_loss(images, truth)


# ------------------------------------------------------------------------------------------------------------- family


class MaskGuided(Family):
    """Faces at the config's size, with labels; where they have none, the parser finds them.

    The part `mask` holds MGPE's 11 classes (`faces.MGPE`), `background` the whole picture, of which only what the mask
    calls background is used. Training takes batches of at least two faces.
    """

    name = "mask_guided"
    paper: ClassVar[tuple[str, str]] = ("Mask-Guided Portrait Editing", "1905.10346")
    Config = Config
    training_only: ClassVar[tuple[str, ...]] = ("image_decoders", "discriminators", "classifier", "distance", "closer")
    official: ClassVar[tuple[str, ...]] = ("generator", "encoders", "decoders")
    official_framing: ClassVar[str] = "five_point"

    def __init__(self, config: Config, parser: Parser, classifier: IdentityLinear | None = None):
        super().__init__(config, parser=parser, classifier=classifier)
        _check_size(config)
        regions = self.regions = config.components
        names = [name for name in ("left_eye", "right_eye", "mouth", "skin", "hair", "face") if name in regions]
        self.parts = (
            *(Part(name, (config.z,), regions=members("mgpe", *regions[name].labels)) for name in names),
            Part("mask", (config.size, config.size), "labels", "mgpe"),
            Part("background", (3, config.size, config.size), "image", regions=members("mgpe", "background")),
        )
        self.swap_plus = tuple(names)
        self.swap_printed = tuple(name for name in names if name != "hair")
        self.swap_parts = (*self.swap_printed, "mask")
        self.encoders = nn.ModuleDict({name: Encoder(config, region) for name, region in regions.items()})
        self.decoders = nn.ModuleDict({name: _feature_decoder(config, region) for name, region in regions.items()})
        self.image_decoders = nn.ModuleDict({name: _image_decoder(config, region) for name, region in regions.items()})
        features = len(regions) * config.features
        self.generator = Generator(len(MGPE), config.width, config.halvings, config.blocks, features, config.fused)
        for network in list(self.children()):
            start_normal(network)
        names = ("paired", "unpaired")[: 1 + config.unpaired]
        self.discriminators = nn.ModuleDict({name: self._discriminator(parser) for name in names})
        if classifier is not None:
            self.frozen["distance"] = perceptual.feature_distance(classifier)
            if config.close:
                self.frozen["closer"] = perceptual.feature_distance(classifier, True, True)

    def _discriminator(self, parser: Parser) -> nn.Module:
        config = self.config
        if config.projected:
            return ProjectedDiscriminator(*parser.projected(config.size), config.width_discriminators)
        one = MultiscaleDiscriminator(len(MGPE) + 3, config.width_discriminators)
        start_normal(one)
        return one

    # -- the contract

    @classmethod
    def frozen_models(cls, config: Config) -> dict[str, tuple[str, str]]:
        found = {"parser": ("parser", config.parser_preset)}
        return found | ({"classifier": ("identity_linear", config.judges_preset)} if config.perceptual else {})

    def encode(self, faces: Faces) -> Codes:
        """Return the components' codes, the mask and the picture.

        Raises ValueError for pictures of another size, and for faces without labels where the parser has no weights.
        """
        mask = self._mask(faces)
        components = self.components(faces.images, mask)
        codes = {part.name: self.encoders[part.name](components[part.name])[0] for part in self.parts[:-2]}
        return codes | {"mask": mask, "background": faces.images}

    def decode(self, codes: Codes) -> torch.Tensor:
        return self.generator(self._seen(codes["mask"]), codes["background"], self.placed(codes).values())

    def transfer(self, source: Codes, target: Codes) -> Codes:
        """Return the source's components, and the target's mask with the shape of the source's inner face."""
        mask, _ = recompose(source["mask"], target["mask"], MGPE, (("target", ("hair",)), ("source", INNER)))
        return {**source, "mask": mask}

    def consumers(self) -> dict[str, list[torch.Tensor]]:
        """Return the first layer of each component's decoder."""
        return {name: [decoder.seed.weight.detach()] for name, decoder in self.decoders.items()}

    # -- between pictures and codes

    def components(self, images: torch.Tensor, mask: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return what the encoders see: each component's box (B, 3, h, w) of images (B, 3, S, S), grey outside it."""
        found, size = {}, self.config.size
        for name, region in self.regions.items():
            shown = images * find_region(mask, region)[:, None] if region.masked else images
            box = self._box(region)
            found[name] = (
                shown if box is None else crop_boxes(shown, place_boxes(find_middles(mask, region), box, size), box)
            )
        return found

    def placed(self, codes: Codes) -> dict[str, torch.Tensor]:
        """Return the components' features where the mask has them, each (B, features, G, G), zero around them."""
        stride = 1 << self.config.halvings
        grid, found = self.config.size // stride, {}
        for name, region in self.regions.items():
            found[name] = self.decoders[name](codes[name])
            if region.box is not None and self.config.placed:
                middle = (find_middles(codes["mask"], region) + stride // 2) // stride
                found[name] = paste_boxes(found[name], place_boxes(middle, found[name].shape[-2:], grid), grid)
        return found

    def _box(self, region: Region) -> tuple[int, int] | None:
        """Return a component's box in pixels, or None for the whole picture."""
        return region.box and tuple(side * self.config.size // 256 for side in region.box)

    def _mask(self, faces: Faces) -> torch.Tensor:
        self.check_size(faces.images)
        return relabel(label_faces(faces, self.parser), target="mgpe")

    def _seen(self, mask: torch.Tensor) -> torch.Tensor:
        """Return the mask as generator and discriminators see it, (B, 11, S, S)."""
        return one_hot(mask if self.config.enlarged == 1 else enlarge(mask, self.config.enlarged), len(MGPE))

    # -- training

    def phases(self) -> list[Phase]:
        self.parser.require_weights()
        if "classifier" in self.frozen:
            self.classifier.require_weights()
        rate, betas = self.config.learning_rate, self.config.betas
        networks = (self.encoders, self.decoders, self.image_decoders, self.generator)
        generator = [parameter for network in networks for parameter in network.parameters()]
        phases = [Phase("generator", generator, self._generator_losses, 1, rate, betas)]
        if self.config.projected:
            if not self.config.discriminator:
                return phases
            learned = [parameter for one in self.discriminators.values() for parameter in one.trainable()]
            rate = self.config.discriminator_learning_rate
            return [*phases, Phase("discriminators", learned, self._projected_losses, 1, rate, (0.0, 0.99))]
        learned = [*self.discriminators.parameters()]
        return [*phases, Phase("discriminators", learned, self._discriminator_losses, 1, rate, betas)]

    @classmethod
    def stages(cls, config: Config) -> list[Stage]:
        if not config.projected:
            return [Stage("whole", config, 1.0, linear(config.steady))]
        seeing = replace(config, adversarial=0, adversarial_unpaired=0)  # the discriminators begin alone
        return [
            Stage("alone", replace(seeing, discriminator=0, discriminator_unpaired=0), 0.5, cosine(1, 0.5)),
            Stage("seeing", seeing, 0.05, cosine(0.5, 0.5)),
            Stage("whole", config, 0.45, cosine(0.5, 0.05)),
        ]

    def init_from(self, other: MaskGuided) -> None:
        """Begin with all that another has learned, or all but its discriminators where these are of another kind."""
        known = other.state_dict()
        if self.config.projected != other.config.projected:
            known = {name: value for name, value in known.items() if not name.startswith("discriminators.")}
            known |= {f"discriminators.{name}": value for name, value in self.discriminators.state_dict().items()}
        self.load_state_dict(known)

    def _pictures(self, codes: Codes, mask: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
        """Return the paired pictures, and then those with the components of the next face."""
        order = torch.arange(len(images))
        order[self._paired(len(images)) :] = order.roll(-1)[self._paired(len(images)) :]
        order = order.to(images.device)
        moved = {name: code[order] for name, code in codes.items()}
        return self.decode(moved | {"mask": mask, "background": images})

    def _paired(self, count: int) -> int:
        """Return how many faces of a batch are paired with themselves, or raise ValueError for fewer than 2."""
        if count < 2:
            raise ValueError("Mask-Guided Portrait Editing learns from pairs: give batches of at least 2 faces")
        return count - count // 2 if self.config.unpaired else count

    def _halves(self, count: int) -> dict[str, slice]:
        paired = self._paired(count)
        return {name: {"paired": slice(paired), "unpaired": slice(paired, None)}[name] for name in self.discriminators}

    def _drawn(self, components: Mapping[str, torch.Tensor]) -> Codes:
        distributions = {name: self.encoders[name](component) for name, component in components.items()}
        return {name: draw(*both) if self.config.sampled else both[0] for name, both in distributions.items()}

    def _generator_losses(self, faces: Faces) -> dict[str, torch.Tensor]:
        config, images = self.config, faces.images
        mask = self._mask(faces)
        paired = self._paired(len(images))
        components = self.components(images, mask)
        codes = self._drawn(components)
        fakes = self._pictures(codes, mask, images)
        losses = {
            "local": sum(
                half_square_loss(self.image_decoders[name](codes[name]), components[name]) for name in components
            ),
            "whole": self._whole(fakes[:paired], images[:paired], mask[:paired]),
        }
        losses |= self._projected_adversarial(fakes) if config.projected else self._adversarial(mask, fakes, images)
        if config.parsing:
            last = slice(len(images) - max(1, round(config.parsed * len(images))), None)
            counts = torch.tensor(config.classes, device=images.device) if config.classes else None
            losses["parsing"] = parsing_loss(self.parser, fakes[last], mask[last], "mgpe", counts)
        if "distance" in self.frozen:
            losses["perceptual"] = self._perceptual(fakes[:paired], images[:paired], mask[:paired])
        return losses

    def _adversarial(self, mask: torch.Tensor, fakes: torch.Tensor, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return L_GD of both halves, and L_FM of the paired one."""
        losses, given = {}, self._seen(mask)
        for name, half in self._halves(len(images)).items():
            outputs = self.discriminators[name].compared(given[half], fakes[half], images[half])
            losses[_of("adversarial", name)] = generator_loss(outputs)
            if name == "paired":
                losses["features_matched"] = feature_matching(outputs, self.config.squared_features)
        return losses

    def _projected_adversarial(self, fakes: torch.Tensor) -> dict[str, torch.Tensor]:
        if not self.config.adversarial:
            return {}
        maps = self.parser.project(fakes, self.config.size)
        return {
            _of("adversarial", name): hinge_generator_loss([self.discriminators[name]([one[half] for one in maps])])
            for name, half in self._halves(len(fakes)).items()
        }

    def _fakes(self, mask: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return self._pictures(self._drawn(self.components(images, mask)), mask, images)

    def _discriminator_losses(self, faces: Faces) -> dict[str, torch.Tensor]:
        mask, images = self._mask(faces), faces.images
        fakes, given, losses = self._fakes(mask, images), self._seen(mask), {}
        for name, half in self._halves(len(images)).items():
            outputs = self.discriminators[name].compared(given[half], fakes[half], images[half])
            losses[_of("discriminator", name)] = discriminator_loss(outputs)
        return losses

    def _projected_losses(self, faces: Faces) -> dict[str, torch.Tensor]:
        """Tell true pictures from generated ones; without their masks, which the parsing loss sees to."""
        images, losses = faces.images, {}
        with torch.no_grad():
            both = (images, self._fakes(self._mask(faces), images))
            real, fake = (self.parser.project(one, self.config.size) for one in both)
        for name, half in self._halves(len(images)).items():
            judged = ([one[half] for one in maps] for maps in (real, fake))
            told = tell_apart(*map(self.discriminators[name], judged))
            losses |= {_of(kind, name): value for kind, value in told.items()}
        return losses

    def _shares(self, mask: torch.Tensor) -> list[tuple[float, torch.Tensor]]:
        """Return each component's weight, and where it is, (B, 1, S, S)."""
        counts = zip(self.config.regions, self.regions.values(), strict=False)
        return [(count, find_region(mask, region)[:, None].float()) for count, region in counts]

    def _whole(self, fakes: torch.Tensor, images: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Return L_global, and the same of each component where components count."""
        there = self._shares(mask)
        return half_square_loss(fakes, images) + sum(
            count * half_square_loss(fakes * at, images * at) for count, at in there
        )

    def _perceptual(self, fakes: torch.Tensor, images: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Return the distances of a network's features, of each component by itself; if told, of all together, too."""
        apart = sum(count * self.distance(fakes * at, images * at).mean() for count, at in self._shares(mask))
        return apart + self.closer(fakes, images).mean() if self.config.close else apart


def _of(loss: str, half: str) -> str:
    """Return the name of a half's loss, which is also that of its weight."""
    return loss if half == "paired" else f"{loss}_unpaired"


def _check_size(config: Config) -> None:
    """Raise ValueError unless boxes come out in whole pixels, and on the grid in whole cells."""
    local = (config.size // 16).bit_length() - 1
    if config.size != 16 << local or local < 1 or not 0 <= config.halvings <= local:
        raise ValueError(
            f"size must be a power of two from 32 on and halvings at most log2(size / 16), got {config.size} and "
            f"{config.halvings}"
        )
