"""From pictures to codes of a generator: by optimisation, by an encoder, by pivotal tuning.

    images ─┬─ encode ──┐
            └─ project ─┴─ codes ─┬─ G ── pictures
                                  └─ tune ── G', a copy of G adapted until it shows the images at these codes

| function | paper |
|---|---|
| `project` into W | Karras et al. 2020, arXiv:1912.04958, Appendix D, with the numbers of PTI's authors |
| `project` into W+ | the same with a code for each layer (Abdal et al. 2019, arXiv:1904.03189) |
| `encode` | Richardson et al. 2021, arXiv:2008.00951: `generators.encoder`, or `published.load_official` |
| `tune` | PTI: Roich et al. 2021, arXiv:2106.05744; LatentSwap tunes one generator on source and target together |
| `tune_each` | PTI with a generator for each picture |

    project   L = d(G(w + jitter), x) + noise · Σ correlation²                                (+ pixels · ‖G(w) − x‖²)
    tune      L = d(G'(w_p), x) + ‖G'(w_p) − x‖²       (+ locality · (d + ‖·‖²) of G'(w_r) and G(w_r), w_r near w_p)

Where we differ from PTI's code, and why: d is by default the distance of our classifier's features, whose weights we
have (`perceptual.AlexNetDistance` is LPIPS); it sees small pictures, so the small presets count pixels as well.
Several pictures are processed at once: projections are independent of each other, and `tune` takes one step for all of
them where that code takes one for each in turn. As there, the noise that a projection optimises beside the codes is
dropped: it keeps out of the codes what no code can show. All pictures are shown with the generator's own noise.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any, Literal

import pandas as pd
import torch
import torch.nn.functional as F
from torch.func import functional_call, vmap
from tqdm.auto import tqdm

from swaplib import judges, metrics
from swaplib.faces import Faces
from swaplib.generators.stylegan2 import StyleGAN2
from swaplib.judges import perceptual
from swaplib.networks.stylegan2 import Generator, Layer, Noise
from swaplib.training.optimiser import make_adam

AnyGenerator = StyleGAN2 | Generator
"""One of `swaplib.generators`, or one read by `swaplib.weights.published`."""
Distance = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""Two batches of pictures (B, 3, H, W) in [-1, 1] -> (B,); `judges.perceptual` has two such distances."""


@dataclass(frozen=True)
class Config:
    """How to descend, and what counts. The defaults are those of PTI's authors.

    Raises ValueError for sizes and numbers of steps below 1.
    """

    # project
    steps: int = 450
    samples: int = 600  # codes of W whose mean and spread are taken
    learning_rate: float = 0.01  # Adam's, at its peak
    ramp_up: float = 0.05  # share of the steps in which it rises linearly …
    ramp_down: float = 0.25  # … and in which it falls along half a cosine
    jitter: float = 0.05  # noise added to the codes at first, in spreads of W
    jitter_ramp: float = 0.75  # share of the steps after which nothing is added
    perceptual: float = 1
    pixels: float = 0
    noise: float = 1e5  # weight against pictures in the noise; 0: the generator's own noise stays
    # tune
    tuning_steps: int = 350
    tuning_rate: float = 3e-4
    tuning_perceptual: float = 1
    tuning_pixels: float = 1
    stop: float = 0.06  # perceptual distance of all pictures at which tuning is done; 0: never
    locality: float = 0  # 0.1 where the authors use it
    radius: float = 30  # α = ‖w_r − w_p‖ of all layers together

    def __post_init__(self):
        for name in ("steps", "samples", "tuning_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")

    @classmethod
    def paper(cls) -> Config:
        return cls()

    @classmethod
    def demo(cls) -> Config:
        """Return the config for the demo on a CPU."""
        return cls(steps=200, learning_rate=0.1, pixels=1, tuning_steps=100, tuning_rate=1e-3, stop=0.02, radius=15)

    @classmethod
    def smoke(cls) -> Config:
        return replace(cls.demo(), steps=20, samples=100, tuning_steps=10, radius=4)


@dataclass(frozen=True)
class Step:
    """The progress of an inversion.

    step, steps   number of steps done, from 1, and of all
    seconds       spent in steps
    losses        name -> (B,), unweighted, before the step
    codes         (B, layers, w) after it
    generator     that shows them, with `show`; tuning goes on changing it
    """

    step: int
    steps: int
    seconds: float
    losses: dict[str, torch.Tensor]
    codes: torch.Tensor
    generator: AnyGenerator


@dataclass(frozen=True)
class Inversion:
    """The result for B pictures.

    codes       (B, layers, w)
    pictures    (B, 3, S, S) in [-1, 1]: the codes, shown
    generator   that shows them: a tuned copy, or the given one
    quality     one row for each picture, as `measure_quality` returns it
    history     one row for each step and picture: step, seconds (of all pictures together), picture, the losses
                before the step, and loss, their weighted sum
    """

    codes: torch.Tensor
    pictures: torch.Tensor
    generator: AnyGenerator
    quality: pd.DataFrame
    history: pd.DataFrame


@torch.no_grad()
def show(generator: AnyGenerator, codes: torch.Tensor) -> torch.Tensor:
    """Turn codes (B, layers, w) into pictures (B, 3, S, S), clipped to [-1, 1], always with the same noise."""
    return _network(generator).synthesis(codes).clamp(-1, 1)


@torch.no_grad()
def measure_quality(
    pictures: torch.Tensor, images: torch.Tensor, distance: Distance | None = None, identity: Any = None
) -> pd.DataFrame:
    """Measure how close pictures are to the images they should show, both (B, 3, H, W) in [-1, 1]; one row for each.

    error        mean absolute difference, of a range of 1
    ms_ssim      as in `metrics`; pictures smaller than 128 px are enlarged to it
    perceptual   `distance`; by default that of the released classifier's features
    identity     cosine between an embedder's vectors, `identity.embed`; by default the released smooth one's
    """
    distance, identity = _distance(distance, images.device), _embedder(identity, images.device)
    large = [Faces(one).resize(max(metrics.SIZE, one.shape[-1])).images for one in (pictures, images)]
    columns = {
        "error": metrics.absolute_error(pictures, images),
        "ms_ssim": metrics.ms_ssim(*large),
        "perceptual": distance(pictures, images),
    }
    if identity is not None:
        columns["identity"] = F.cosine_similarity(*(identity.embed(Faces(one)) for one in (pictures, images)))
    frame = pd.DataFrame({name: value.double().cpu().numpy() for name, value in columns.items()})
    return frame.rename_axis("picture")


# ---------------------------------------------------------------------------------------------- codes


def encode(
    generator: AnyGenerator,
    images: torch.Tensor,
    encoder: Callable[[torch.Tensor], torch.Tensor],
    distance: Distance | None = None,
    identity: Any = None,
) -> Inversion:
    """Let an encoder read codes off pictures (B, 3, S, S) in [-1, 1], S the generator's size.

    encoder: pictures -> codes (B, layers, w): the generator's own of `swaplib.generators`, or a published one.
    The other arguments are `measure_quality`'s. Raises ValueError for pictures of another size and for codes of another
    generator.
    """
    images = _checked(images, _network(generator))
    started = time.perf_counter()
    with torch.no_grad():
        codes = _fitting(encoder(images), images, _network(generator))
    seconds = time.perf_counter() - started
    history = pd.DataFrame({"step": 0, "seconds": seconds, "picture": range(len(images))})
    return _result(codes, images, generator, history, _distance(distance, images.device), identity)


def project(
    generator: AnyGenerator,
    images: torch.Tensor,
    space: Literal["w", "w+"] = "w+",
    start: torch.Tensor | None = None,
    seed: int = 0,
    config: Config | None = None,
    distance: Distance | None = None,
    identity: Any = None,
    watch: Callable[[Step], None] | None = None,
    progress: bool = True,
) -> Inversion:
    """Find codes whose pictures look like the images, by optimisation; the generator isn't changed.

    images     (B, 3, S, S) in [-1, 1], S the generator's size. Each has its own codes and noise, and all share the same
               random numbers, so that a picture's result depends on the others in its last digits only. Memory grows
               with their number: at 1024 px give one at a time
    space      "w": one code for all layers; "w+": one for each
    start      initial codes (B, layers, w), such as an encoder's, used without jitter; in W their mean over the
               layers. None: the mean of W
    seed       of the samples of W, the jitter and the noise
    config     None: the paper's
    distance   minimised, and reported by `measure_quality`; by default that of the released classifier's features
    identity   as in `measure_quality`
    watch      called after each step

    Raises ValueError for pictures and codes that don't fit the generator, and FloatingPointError where a loss is no
    longer finite.
    """
    config = Config() if config is None else config
    if space not in ("w", "w+"):
        raise ValueError(f"unknown space {space!r}: choose w or w+")
    network = deepcopy(_network(generator)).requires_grad_(False).eval()
    images = _checked(images, network)
    distance, device = _distance(distance, images.device), images.device
    apart = _distance_to(distance, images)
    random = torch.Generator().manual_seed(seed)
    mean, spread = _statistics(network, config.samples, random)
    codes = mean.expand(len(images), network.layers, -1) if start is None else _fitting(start, images, network)
    codes = codes.detach().mean(1, keepdim=True) if space == "w" else codes.detach().clone()
    codes.requires_grad_()
    layers = [layer for layer in network.synthesis.modules() if isinstance(layer, Layer)]
    noise = _draw_noise(layers, len(images), random) if config.noise else []

    def losses(progress: float) -> dict[str, torch.Tensor]:
        _normalise(noise)
        _give_noise(layers, noise)
        shown = codes
        if start is None:
            left = 1 - progress / config.jitter_ramp if progress < config.jitter_ramp else 0.0
            scale = spread * config.jitter * left**2
            shown = codes + scale * torch.randn(1, *codes.shape[1:], generator=random).to(device)
        pictures = network.synthesis(shown.expand(-1, network.layers, -1))
        terms = {"perceptual": apart(pictures), "pixels": (pictures - images).square().mean((1, 2, 3))}
        return terms | ({"noise": correlation(noise)} if noise else {})

    def rate(progress: float) -> float:
        return config.learning_rate * ramp(progress, config.ramp_up, config.ramp_down)

    weights = {"perceptual": config.perceptual, "pixels": config.pixels, "noise": config.noise}
    descent = _descend(losses, [codes, *noise], config.steps, rate, weights)
    every = (
        Step(step, config.steps, seconds, terms, codes.detach().expand(-1, network.layers, -1).clone(), generator)
        for step, seconds, terms in descent
    )
    history = _follow(every, config.steps, watch, progress)
    found = codes.detach().expand(-1, network.layers, -1).clone()
    return _result(found, images, generator, history, distance, identity)


def ramp(progress: float, up: float, down: float) -> float:
    """Return the factor of a learning rate at a progress of 0 to 1: a linear rise, at the end half a cosine down."""
    rising = 1.0 if progress >= up else progress / up
    falling = 1.0 if 1 - progress >= down else (1 - progress) / down
    return rising * (0.5 - 0.5 * math.cos(math.pi * falling))


@torch.no_grad()
def _statistics(network: Generator, samples: int, random: torch.Generator) -> tuple[torch.Tensor, float]:
    """Return the mean of W (w,), and its spread: the root of the mean squared distance from the mean."""
    z = torch.randn(samples, network.mapping.fc0.weight.shape[1], generator=random)
    w = network.mapping(z.to(network.mapping.w_avg.device))
    mean = w.mean(0)
    return mean, float((w - mean).square().sum(1).mean().sqrt())


def _draw_noise(layers: Sequence[Layer], count: int, random: torch.Generator) -> list[torch.Tensor]:
    """Draw noise to be optimised in place of the layers' own: for each size (count, layers, S, S), at first alike."""
    drawn: dict[int, list[torch.Tensor]] = {}
    for layer in layers:
        one = torch.randn(1, 1, layer.size, layer.size, generator=random).to(layer.noise_const.device)
        drawn.setdefault(layer.size, []).append(one)
    return [torch.cat(some, 1).repeat(count, 1, 1, 1).requires_grad_() for some in drawn.values()]


def _give_noise(layers: Sequence[Layer], noise: Sequence[torch.Tensor]) -> None:
    """Let each layer use its own of the noise."""
    own = [one for some in noise for one in some.unbind(1)]
    for layer, one in zip(layers, own, strict=bool(own)):
        layer.noise_const = one


@torch.no_grad()
def _normalise(noise: Sequence[torch.Tensor]) -> None:
    """Normalise the noise to mean 0 and variance 1, for each picture and layer."""
    for one in noise:
        one -= one.mean((2, 3), keepdim=True)
        one *= one.square().mean((2, 3), keepdim=True).rsqrt()


def correlation(noise: Sequence[torch.Tensor]) -> torch.Tensor:
    """Measure how much of a picture noise holds (Karras et al. 2020, Appendix D); (B, layers, S, S) each -> (B,).

    That is the squared mean product of neighbours, summed over both directions, the scales down to 8 pixels and the
    layers.
    """
    size, total = max(one.shape[-1] for one in noise), 0.0
    maps = noise[0].new_zeros(len(noise[0]), 0, size, size)
    while size:
        maps = torch.cat([maps, *(one for one in noise if one.shape[-1] == size)], 1)
        for axis in (2, 3):
            total = total + (maps * maps.roll(1, axis)).mean((2, 3)).square().sum(1)
        size //= 2
        maps = F.avg_pool2d(maps, 2) if size >= 8 else maps[:, :0, :size, :size]
    return total


# ---------------------------------------------------------------------------------------------- pivotal tuning


def tune(
    generator: AnyGenerator,
    images: torch.Tensor,
    codes: torch.Tensor,
    seed: int = 0,
    config: Config | None = None,
    distance: Distance | None = None,
    identity: Any = None,
    watch: Callable[[Step], None] | None = None,
    progress: bool = True,
) -> Inversion:
    """Return a copy of the generator that shows the images at given codes, the pivots (PTI).

    The given generator isn't changed.

    images   (B, 3, S, S) in [-1, 1]; all of them share one generator, so that their codes can be mixed in it. Give one
             alone for a generator of its own
    codes    (B, layers, w), as `project` finds them in W
    seed     of the codes at which the locality regulariser keeps the generator as it was

    The other arguments and errors are as in `project`. Tuning ends after `config.tuning_steps`, or as soon as each
    picture's perceptual distance is at most `config.stop`.
    """
    config = Config() if config is None else config
    before = _network(generator)
    images = _checked(images, before)
    codes = _fitting(codes, images, before).detach().clone()
    distance = _distance(distance, images.device)
    tuned = _copied(generator)
    network = _network(tuned)
    learning = [*network.synthesis.requires_grad_().parameters()]
    random = torch.Generator().manual_seed(seed)

    def near() -> torch.Tensor:
        z = torch.randn(len(codes), network.mapping.fc0.weight.shape[1], generator=random)
        return _around(network, codes, config.radius, z)

    losses = _tuning_losses(config, distance, images, codes, before.synthesis, network.synthesis, near)

    def enough(terms: dict[str, torch.Tensor]) -> bool:
        return config.stop > 0 and bool((terms["perceptual"] <= config.stop).all())

    descent = _descend(losses, learning, config.tuning_steps, lambda _: config.tuning_rate, _tuned(config), enough)
    every = (Step(step, config.tuning_steps, seconds, terms, codes, tuned) for step, seconds, terms in descent)
    history = _follow(every, config.tuning_steps, watch, progress)
    tuned.requires_grad_(False)
    return _result(codes, images, tuned, history, distance, identity)


def tune_each(
    generator: AnyGenerator,
    images: torch.Tensor,
    codes: torch.Tensor,
    seed: int = 0,
    config: Config | None = None,
    distance: Distance | None = None,
    identity: Any = None,
    progress: bool = True,
) -> list[Inversion]:
    """Return for each picture what `tune` returns for it alone, up to rounding: a generator of its own.

    All take their steps together, which is faster while pictures are small: measured, 1.6 times for 8 pictures at 64
    px. Memory grows with their number. Arguments and errors are as in `tune`.
    """
    config = Config() if config is None else config
    before = _network(generator)
    images = _checked(images, before)
    codes = _fitting(codes, images, before).detach().clone()
    distance = _distance(distance, images.device)
    network, random = _network(_copied(generator)), torch.Generator().manual_seed(seed)
    own = {
        name: value.expand(len(images), *value.shape).clone().requires_grad_()
        for name, value in network.synthesis.named_parameters()
    }
    ends: dict[int, int] = {}  # picture -> the step in which it was near enough
    last: dict[int, dict[str, torch.Tensor]] = {}  # picture -> its weights then

    def synthesis(codes: torch.Tensor, noise: Noise = "const") -> torch.Tensor:
        def one(own: dict[str, torch.Tensor], code: torch.Tensor) -> torch.Tensor:
            return functional_call(network.synthesis, own, (code[None], noise))[0]

        return vmap(one)(own, codes)

    def near() -> torch.Tensor:
        z = torch.randn(1, network.mapping.fc0.weight.shape[1], generator=random)
        return _around(network, codes, config.radius, z)

    compute = _tuning_losses(config, distance, images, codes, before.synthesis, synthesis, near)

    def losses(progress: float) -> dict[str, torch.Tensor]:
        terms = compute(progress)
        for k in (terms["perceptual"] <= config.stop).nonzero()[:, 0].tolist() if config.stop > 0 else ():
            if k not in ends:
                ends[k] = 1 + round(progress * config.tuning_steps)
                last[k] = {name: value[k].detach().clone() for name, value in own.items()}
        return terms

    descent = _descend(
        losses, [*own.values()], config.tuning_steps, lambda _: config.tuning_rate, _tuned(config),
        lambda _: len(ends) == len(images),
    )  # fmt: skip
    every = (Step(step, config.tuning_steps, seconds, terms, codes, generator) for step, seconds, terms in descent)
    history = _follow(every, config.tuning_steps, None, progress)
    results = []
    for k in range(len(images)):
        tuned = _copied(generator)
        weights = last.get(k) or {name: value[k].detach() for name, value in own.items()}
        _network(tuned).synthesis.load_state_dict(weights, strict=False)
        mine = (history["picture"] == k) & (history["step"] <= ends.get(k, config.tuning_steps))
        rows = history[mine].assign(picture=0).reset_index(drop=True)
        results.append(_result(codes[[k]], images[[k]], tuned, rows, distance, identity))
    return results


def _copied(generator: AnyGenerator) -> AnyGenerator:
    """Return a copy without what only training needs, and without gradients."""
    light = generator.for_inference() if isinstance(generator, StyleGAN2) else generator
    return deepcopy(light).requires_grad_(False).eval()


def _tuned(config: Config) -> dict[str, float]:
    """Return the weights of tuning's losses."""
    return {"perceptual": config.tuning_perceptual, "pixels": config.tuning_pixels, "locality": config.locality}


def _tuning_losses(
    config: Config,
    distance: Distance,
    images: torch.Tensor,
    codes: torch.Tensor,
    before: Callable[..., torch.Tensor],
    synthesis: Callable[..., torch.Tensor],
    near: Callable[[], torch.Tensor],
) -> Callable[[float], dict[str, torch.Tensor]]:
    """Return the losses of what `synthesis` shows; near: codes at which it should stay as `before` was."""
    apart = _distance_to(distance, images)

    def pixels(found: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        return (found - wanted).square().mean((1, 2, 3))

    def losses(_: float) -> dict[str, torch.Tensor]:
        shown = synthesis(codes)
        terms = {"perceptual": apart(shown), "pixels": pixels(shown, images)}
        if config.locality:
            beside = near()
            with torch.no_grad():
                kept = before(beside, "none")
            shown = synthesis(beside, "none")
            terms["locality"] = distance(shown, kept) + pixels(shown, kept)
        return terms

    return losses


@torch.no_grad()
def _around(network: Generator, codes: torch.Tensor, radius: float, z: torch.Tensor) -> torch.Tensor:
    """Return codes w_r at a distance from each pivot, on the way to random truncated ones of z (PTI, §3.3)."""
    away = network.plus(network.mapping(z.to(codes.device)), 0.5) - codes
    return codes + radius * away / away.square().sum((1, 2), keepdim=True).sqrt()


# ---------------------------------------------------------------------------------------------- the descent


def _descend(
    losses: Callable[[float], dict[str, torch.Tensor]],
    parameters: Sequence[torch.Tensor],
    steps: int,
    rate: Callable[[float], float],
    weights: dict[str, float],
    enough: Callable[[dict[str, torch.Tensor]], bool] = lambda _: False,
) -> Iterator[tuple[int, float, dict[str, torch.Tensor]]]:
    """Take Adam's steps down the weighted sum of losses (B,); yield step, seconds and losses with their sum, `loss`.

    losses, rate: functions of the progress, 0 to 1. The last step is the one whose losses are `enough`: it changes
    nothing.
    """
    optimiser, seconds = make_adam(parameters, rate(0.0)), 0.0
    for step in range(1, steps + 1):
        started, done = time.perf_counter(), (step - 1) / steps
        for group in optimiser.param_groups:
            group["lr"] = rate(done)
        with torch.enable_grad():
            terms = losses(done)
            terms["loss"] = sum(weights[name] * value for name, value in terms.items())
            if not torch.isfinite(terms["loss"]).all():
                raise FloatingPointError(f"the loss is no longer finite in step {step}: take a lower learning rate")
            last = enough(terms)
            if not last:
                optimiser.zero_grad()
                terms["loss"].sum().backward()
                optimiser.step()
        seconds += time.perf_counter() - started
        yield step, seconds, {name: value.detach() for name, value in terms.items()}
        if last:
            return


def _follow(every: Iterator[Step], steps: int, watch: Callable[[Step], None] | None, progress: bool) -> pd.DataFrame:
    """Take all steps, show the progress, and record the losses."""
    rows = []
    for step in tqdm(every, total=steps, unit="step", disable=not progress):
        losses = pd.DataFrame({name: value.cpu().numpy() for name, value in step.losses.items()})
        losses.insert(0, "picture", losses.index)
        losses.insert(0, "seconds", step.seconds)
        losses.insert(0, "step", step.step)
        rows.append(losses)
        if watch is not None:
            watch(step)
    return pd.concat(rows, ignore_index=True)


def _result(
    codes: torch.Tensor,
    images: torch.Tensor,
    generator: AnyGenerator,
    history: pd.DataFrame,
    distance: Distance,
    identity: Any,
) -> Inversion:
    pictures = show(generator, codes)
    return Inversion(codes, pictures, generator, measure_quality(pictures, images, distance, identity), history)


# ---------------------------------------------------------------------------------------------- arguments


def _network(generator: AnyGenerator) -> Generator:
    return generator.network if isinstance(generator, StyleGAN2) else generator


def _checked(images: torch.Tensor, network: Generator) -> torch.Tensor:
    """Return pictures on the generator's device, after checking that they have its size."""
    size = network.synthesis.sizes[-1]
    if images.ndim != 4 or images.shape[1] != 3 or not len(images):
        raise ValueError(f"images must be (B, 3, {size}, {size}), got {tuple(images.shape)}: add the batch axis")
    if tuple(images.shape[2:]) != (size, size):
        raise ValueError(
            f"the images are {images.shape[3]} x {images.shape[2]} px, the generator makes {size} x {size}: resize "
            f"them (Faces.resize({size})), or align the photographs at that size"
        )
    return images.detach().to(network.mapping.w_avg)


def _fitting(codes: torch.Tensor, images: torch.Tensor, network: Generator) -> torch.Tensor:
    """Return codes on the generator's device, after checking that they fit it."""
    wanted = len(images), network.layers, len(network.mapping.w_avg)
    if tuple(codes.shape) != wanted:
        raise ValueError(
            f"the codes are {tuple(codes.shape)}, but {len(images)} pictures of this generator have {wanted}: take an "
            "encoder of this generator, and as many codes as pictures"
        )
    return codes.to(network.mapping.w_avg)


def _distance_to(distance: Distance, images: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return the distance of other pictures to these, whose features are computed once where it has any."""
    if not isinstance(distance, perceptual.FeatureDistance):
        return lambda others: distance(others, images)
    with torch.no_grad():
        features = distance.features(images)
    return lambda others: distance.compare(distance.features(others), features)


def _distance(given: Distance | None, device: torch.device) -> Distance:
    if given is not None:
        return given
    judge = judges.frozen("identity_linear", "demo")
    judge.require_weights()
    return perceptual.feature_distance(judge).to(device)


def _embedder(given: Any, device: torch.device) -> Any:
    """Return the given embedder or the released one; None where that isn't available."""
    if given is not None:
        return given
    judge = judges.frozen("identity", "demo")
    return judge.to(device) if judge.trained else None
