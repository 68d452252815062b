"""StyleNeRF's networks (Gu et al. 2022, arXiv:2110.08985), with parameters named as in the official code for FFHQ.

    z ── mapping ── w ── styles of all layers
    camera ── rays ── points ─┬─ fg_nerf ── density, hidden ─┐ sum along the ray, early (§3.2, eq. 6)
                              └─ bg_nerf ── density, hidden ─┴─ features, 32 x 32 ── b64 ── b128 … ── picture
                                                                       └ RGB ────────── + ───── + …  (ToRGB of each)

The head is seen by a neural radiance field whose layers a code steers as in StyleGAN2; what lies behind it by another,
at points of the inverted sphere (NeRF++, Zhang et al. 2020, arXiv:2010.07492). Both are summed up along the rays of a
small picture, and 1 x 1 convolutions enlarge it, so that a pixel's neighbours leak in through the upsampler alone. What
is summed up is the last hidden layer: the layers after it are linear, so features are the same and cost a tenth.

As in the official code:
- depth counts along the camera's view; densities are ReLU's, with normal noise in training;
- of two sets of samples the first is spread evenly, the second where the first one's weights lie;
- `alpha`, from 0 to 1, grows the picture from 32 px to its size; at 1, and at −1, it has its full size.
Its clamp at ±256, a guard for half precision, is left out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from swaplib.networks import stylegan2
from swaplib.networks.cameras import ANGLE, DEPTHS, RADIUS, Cameras, grid, look_from
from swaplib.networks.resample import blur, double, half
from swaplib.networks.stylegan2 import Conv, Linear, Mapping, batch_deviation


@dataclass(frozen=True)
class Build:
    """Sizes of a generator (pixels, channels, dimensions): official ones for FFHQ."""

    size: int = 1024
    base: int = 32768  # channels · size at most …
    most: int = 1024  # … and channels at most, of the upsampler
    z: int = 512
    w: int = 512
    depth: int = 8  # layers of the mapping
    volume: int = 32  # pixels of the picture that is rendered
    features: int = 256  # channels of that picture, beside its colours
    hidden: int = 128  # channels of the field in front
    blocks: int = 8  # its layers
    hidden_back: int = 64  # the same of the field behind
    blocks_back: int = 4
    code: int = 32  # dimensions of the normal code of what lies behind; 0: it is steered by w, like the head
    still: bool = False  # whether what lies behind stays where it is in the picture ("freeze_bg")
    octaves: int = 10  # of the positional encoding
    scale: float = 1.0  # by which points are divided before it
    unit: float = 1.0  # length along which density counts
    angle: float = ANGLE  # field of view of the usual camera, degrees …
    rise: float = 0.0  # … and how far it is moved up (`cameras.look_from`)
    near: float = DEPTHS[0]  # where the head begins, seen from a camera at distance 1 …
    far: float = DEPTHS[1]  # … and where it ends; other cameras' ranges are shifted by their distance
    samples: int = 14  # along each ray, twice
    samples_back: int = 4
    begin_back: float = 0.5  # one over the distance at which what lies behind begins
    density_noise: float = 1.0  # its deviation in training


# ---------------------------------------------------------------------------------------------------------- layers


class Steered(nn.Module):
    """A 1 x 1 convolution whose inputs a code scales: (B, …, inputs), (B, w) -> (B, …, outputs).

    active: outputs are brought back to unit variance, then leaky ReLU; otherwise as StyleGAN2's ToRGB.
    """

    def __init__(self, inputs: int, outputs: int, w: int, active: bool = True):
        super().__init__()
        self.affine = Linear(w, inputs, bias=1.0)
        self.weight = nn.Parameter(torch.randn(outputs, inputs, 1, 1))
        self.bias, self.active = nn.Parameter(torch.zeros(outputs)), active

    def kernel(self, w: torch.Tensor) -> torch.Tensor:
        """Return the convolution's weights for each code, (B, outputs, inputs), float32."""
        style = self.affine(w).float()
        with torch.autocast(w.device.type, enabled=False):
            kernel = self.weight[:, :, 0, 0] * style[:, None]
            if not self.active:
                return kernel * kernel.shape[2] ** -0.5
            return kernel * (kernel.square().sum(2, keepdim=True) + 1e-8).rsqrt()

    def forward(self, x, w, share=None):
        """share: the sum of the weights that x was summed up with, (B, …), where no activation follows."""
        return _mix(x, self.kernel(w), self.bias, self.active, share)


class Plain(nn.Module):
    """The same layer without a code, as the field behind has: ReLU if active."""

    def __init__(self, inputs: int, outputs: int, active: bool = True):
        super().__init__()
        like = nn.Linear(inputs, outputs)
        self.weight, self.bias, self.active = like.weight, like.bias, active

    def forward(self, x, w=None, share=None):  # (B, …, inputs) -> (B, …, outputs)
        x = _mix(x, self.weight, self.bias, False, share)
        return F.relu(x, inplace=True) if self.active else x


class Mixed(nn.Module):
    """A 1 x 1 convolution with weights of unit variance, scaled when used; leaky ReLU if active."""

    def __init__(self, inputs: int, outputs: int, active: bool = False):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, 1, 1))
        self.bias, self.active = nn.Parameter(torch.zeros(outputs)), active

    def forward(self, x, share=None):  # (B, …, inputs) -> (B, …, outputs)
        kernel = self.weight[:, :, 0, 0] * self.weight.shape[1] ** -0.5
        return _mix(x, kernel, self.bias, self.active, share)


def _mix(x, kernel, bias, active: bool, share=None) -> torch.Tensor:
    """Mix channels, which come last: twice as fast on a CPU as maps of channels. kernel: (B or none, outputs, inputs).

    active: leaky ReLU, whose gain √2 is applied to its inputs. share: what the bias is multiplied by, (B, …).
    """
    gain = math.sqrt(2) if active else 1.0
    bias = bias * gain if share is None else bias * share.flatten(1)[..., None]
    kernel = (kernel * gain).mT.expand(len(x), -1, -1)
    found = torch.baddbmm(bias.to(x.dtype), x.flatten(1, -2), kernel).unflatten(1, x.shape[1:-1])
    return F.leaky_relu(found, 0.2, inplace=True) if active else found


# ---------------------------------------------------------------------------------------------------------- fields


def encode(points: torch.Tensor, octaves: int) -> torch.Tensor:
    """Return sines and cosines of 2^k π p, k < octaves: (…, D) -> (…, 2 D octaves) (NeRF, eq. 4)."""
    angles = points[..., None, :] * (2.0 ** torch.arange(octaves, device=points.device) * math.pi)[:, None]
    return torch.stack([angles.sin(), angles.cos()], -2).flatten(-3)


class Field(nn.Module):
    """Density and features of points (B, R, S, dimensions).

    code: dimensions of a vector that is appended to each point; with it no code w steers the layers.
    """

    def __init__(self, build: Build, dimensions: int, hidden: int, blocks: int, code: int = 0):
        super().__init__()
        inputs, self.octaves, self.scale = 2 * dimensions * build.octaves + code, build.octaves, build.scale

        def layer(inputs: int, outputs: int, active: bool = True) -> nn.Module:
            return Plain(inputs, outputs, active) if code else Steered(inputs, outputs, build.w, active)

        self.fc_in = layer(inputs, hidden)
        self.blocks = nn.ModuleList(layer(hidden, hidden) for _ in range(blocks - 1))
        self.sigma_out = layer(hidden, 1, False)
        self.feat_out = layer(hidden, build.features, False)
        self.to_rgb = Mixed(build.features, 3)
        self.layers = 0 if code else blocks + 2  # how many codes steer it

    def forward(self, points, ws, code=None):
        """Return the last hidden layer (B, R, S, hidden), and raw densities (B, R, S), float32.

        points: float32. ws: (B, layers, w). code: (B, code).
        """
        x = encode(points / self.scale, self.octaves)
        if code is not None:
            x = torch.cat([x, code[:, None, None].expand(*x.shape[:3], -1)], -1)
        codes = ws.unbind(1) if self.layers else [None] * (len(self.blocks) + 2)
        x = self.fc_in(x, codes[0])
        for block, w in zip(self.blocks, codes[1:], strict=False):
            x = block(x, w)
        return x, self.sigma_out(x, codes[len(self.blocks) + 1])[..., 0].float()

    def show(self, hidden, ws, share=None):
        """Return features (B, …, features) and colours (B, …, 3), float32, of hidden layers, or of sums of them.

        share: (B, …), the sum of the weights with which they were summed up; None where they weren't.
        """
        features = self.feat_out(hidden, ws[:, -1] if self.layers else None, share)
        return features, self.to_rgb(features, share).float()


# ------------------------------------------------------------------------------------------------ volume rendering


def volume_weights(densities: torch.Tensor, distances: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return how much of each interval a ray sees, (…, S), and what it sees of all that lies behind, (…) (NeRF, eq. 3).

    Both are at least 0 and together 1. densities: raw ones (…, S); distances: the intervals' lengths.
    """
    depth = F.relu(densities) * distances
    left = torch.exp(-F.pad(depth.cumsum(-1), (1, 0)))
    return left[..., :-1] * -torch.expm1(-depth), left[..., -1]


def spread(count: int, like: torch.Tensor, random: bool) -> torch.Tensor:
    """Return numbers from 0 to 1 in rising order, evenly or one at random around each: (*like, count)."""
    even = torch.linspace(0, 1, count, device=like.device).expand(*like.shape, count)
    if not random:
        return even
    middle = (even[..., 1:] + even[..., :-1]) / 2
    low, high = (torch.cat(ends, -1) for ends in ((even[..., :1], middle), (middle, even[..., -1:])))
    return low + (high - low) * torch.rand_like(even)


def resample(depths: torch.Tensor, weights: torch.Tensor, count: int, random: bool) -> torch.Tensor:
    """Draw depths (…, count) where weights lie, as in NeRF's hierarchical sampling (§5.2).

    depths: (…, S); weights: (…, S − 1), of the intervals that they begin. Evenly distributed quantiles, or random ones.
    """
    edges = (depths[..., 1:] + depths[..., :-1]) / 2
    share = weights[..., 1:] + 1e-5
    reached = F.pad((share / share.sum(-1, keepdim=True)).cumsum(-1), (1, 0))
    at = torch.rand(*depths.shape[:-1], count, device=depths.device) if random else spread(count, depths[..., 0], False)
    above = torch.searchsorted(reached, at.contiguous()).clamp(1, share.shape[-1])
    (low, high), (start, end) = ((some.gather(-1, above - 1), some.gather(-1, above)) for some in (reached, edges))
    wide = high - low
    return start + (at - low) / torch.where(wide < 1e-5, 1, wide) * (end - start)


def outside(places: torch.Tensor, rays: torch.Tensor, inverse: torch.Tensor) -> torch.Tensor:
    """Return points beyond the unit sphere: their directions and inverse distances, (B, R, S, 4) (NeRF++, §4).

    places: (B, 3), of cameras; rays: (B, R, 3), which must meet the sphere; inverse: (B, R, S), distances from the
    origin, inverted, in [0, 1].
    """
    start, ray = places[:, None], F.normalize(rays, dim=-1)
    middle = start - (ray * start).sum(-1, keepdim=True) * ray  # of the chord
    nearest = middle.norm(dim=-1, keepdim=True).clamp(max=1)
    sphere = middle + (1 - nearest.square()).clamp(min=0).sqrt() * ray
    axis = F.normalize(torch.linalg.cross(start.expand_as(sphere), sphere, dim=-1), dim=-1)
    angle = (torch.asin(nearest) - torch.asin(nearest * inverse))[..., None]
    sphere, axis = sphere[:, :, None], axis[:, :, None]
    turned = (
        sphere * angle.cos() + torch.linalg.cross(axis, sphere, dim=-1) * angle.sin()
    )  # the axis is at right angles
    return torch.cat([F.normalize(turned, dim=-1), inverse[..., None]], -1)


class Seen(NamedTuple):
    """What rays (B, R) pass: of the head, of the head once more where it is dense, and of what lies behind it.

    hidden   of each, (B, R, S, H)
    weights  of each, (B, R, S): together 1 for each ray
    depth    (B, R), along the view, the mean of what is passed; what lies behind counts as the end of the range
    """

    hidden: tuple[torch.Tensor, ...]
    weights: tuple[torch.Tensor, ...]
    depth: torch.Tensor


# ------------------------------------------------------------------------------------------------------- upsampler


class Tracked(Steered):
    """A steered layer of the upsampler, whose inputs are divided by their usual magnitude."""

    def __init__(self, inputs: int, outputs: int, w: int):
        super().__init__(inputs, outputs, w)
        self.register_buffer("w_avg", torch.ones(()))

    def forward(self, x, w, share=None):
        return _mix(x, self.levelled(x, w), self.bias, True, share)

    def levelled(self, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        """Return the kernel (B, outputs, inputs) that divides its inputs, too."""
        if self.training:
            size = torch.linalg.vector_norm(x.detach(), dtype=torch.float32)
            self.w_avg.lerp_(size.square() / x.numel(), 0.001)
        return self.kernel(w) * self.w_avg.rsqrt()


class Grow(Tracked):
    """A layer that doubles a map: each pixel copied, corrected by an adapter that sees its neighbours, and blurred."""

    def __init__(self, inputs: int, outputs: int, w: int):
        super().__init__(inputs, outputs, w)
        self.adapter = nn.Sequential(Mixed(2 * outputs, outputs // 4, True), Mixed(outputs // 4, outputs))

    def forward(self, x, w, grow=True):  # (B, H, W, inputs), (B, w) -> (B, 2 H, 2 W, outputs)
        if not grow:
            return super().forward(x, w)
        x = _mix(x, self.levelled(x, w), torch.zeros_like(self.bias), False)
        copied = x.repeat_interleave(2, 1).repeat_interleave(2, 2)
        x = copied + self.adapter(torch.cat([copied, corners(x)], -1))
        x = blur(F.pad(x, (0, 0, 2, 1, 2, 1)).movedim(-1, 1), 0).movedim(1, -1) + self.bias.to(x.dtype)
        return F.leaky_relu(x, 0.2) * math.sqrt(2)


def corners(x: torch.Tensor) -> torch.Tensor:
    """Return for each quarter of a pixel the mean of its two neighbours: (B, H, W, C) -> (B, 2 H, 2 W, C)."""
    wide = F.pad(x, (0, 0, 1, 1, 1, 1)) / 2
    left, right = wide[:, 1:-1, :-2], wide[:, 1:-1, 2:]
    up, down = wide[:, :-2, 1:-1], wide[:, 2:, 1:-1]
    rows = [torch.stack([left + side, side + right], 3) for side in (up, down)]
    return torch.stack(rows, 2).flatten(3, 4).flatten(1, 2)


class Block(nn.Module):
    """The layers of one size: one that doubles the map, another, and ToRGB."""

    def __init__(self, inputs: int, outputs: int, w: int):
        super().__init__()
        self.conv0, self.conv1 = Grow(inputs, outputs, w), Tracked(outputs, outputs, w)
        self.torgb = Steered(outputs, 3, w, active=False)

    def forward(self, x, picture, ws, grow=True):
        """Return the map (B, H, W, C) and the picture (B, 3, H, W), doubled.

        Without `grow` they keep their size, and have any shape (B, …, C) and (B, …, 3).
        """
        x = self.conv1(self.conv0(x, ws[:, 0], grow), ws[:, 1])
        shown = self.torgb(x, ws[:, 2]).float()
        return x, double(picture) + shown.movedim(-1, 1) if grow else picture + shown


# ------------------------------------------------------------------------------------------------------- generator


class Synthesis(nn.Module):
    """W+ and cameras to pictures: (B, layers, w) to (B, 3, size, size), float32, about in [-1, 1].

    Of the codes the first steer the head's field, and the last the upsampler, two for each size and one for the last
    ToRGB; between them are those of the field behind, if that has no code of its own. In training rays are sampled at
    random; in evaluation pictures follow from the arguments alone.
    """

    def __init__(self, build: Build):
        super().__init__()
        self.build, self.volume = build, min(build.volume, build.size)
        self.register_buffer("alpha", torch.ones(()))
        self.fg_nerf = Field(build, 3, build.hidden, build.blocks)
        self.bg_nerf = Field(build, 4, build.hidden_back, build.blocks_back, build.code)
        self.sizes = [self.volume << k for k in range(1, (build.size // self.volume).bit_length())]
        inputs = build.features
        for size in self.sizes:
            outputs = min(build.base // size, build.most)
            self.add_module(f"b{size}", Block(inputs, outputs, build.w))
            inputs = outputs
        steering = self.fg_nerf.layers + self.bg_nerf.layers
        self.layers = steering + (2 * len(self.sizes) + 1 if self.sizes else 0)

    def affines(self) -> list[Linear]:
        """Return the map from code to style of each code."""
        fields = [field for field in (self.fg_nerf, self.bg_nerf) if field.layers]
        layers = [one for field in fields for one in (field.fc_in, *field.blocks, field.sigma_out, field.feat_out)]
        blocks = [self.get_submodule(f"b{size}") for size in self.sizes]
        layers += [one for block in blocks for one in (block.conv0, block.conv1)]
        return [one.affine for one in (*layers, *(block.torgb for block in blocks[-1:]))]

    def look_from(self, yaw: float | torch.Tensor = 0.0, pitch: float | torch.Tensor = 0.0) -> Cameras:
        """Place usual cameras, by `cameras.look_from`: degrees, to the person's left and up."""
        return look_from(yaw, pitch, RADIUS, self.build.angle, self.build.rise)

    def forward(self, ws, cameras=None, code=None):
        """Generate pictures.

        cameras: one for each picture, or for all; the usual one from the front by default. code: (B, code), of what
        lies behind; in training a random one by default, in evaluation nothing. Raises ValueError for cameras of
        another number.
        """
        return self.cut_out(ws, cameras, code)[0]

    def cut_out(self, ws, cameras=None, code=None) -> tuple[torch.Tensor, torch.Tensor]:
        """Generate pictures as `forward` does; return also how much the head covers, (B, 1, volume, volume), 0 to 1."""
        cameras, code = self._complete(ws, cameras, code)
        seen = self.march(ws, cameras, grid(self.volume).to(ws.device), code)
        x, picture = (some.unflatten(1, (self.volume, -1)) for some in self._early(seen, ws))
        covered = 1 - seen.weights[-1].sum(-1).unflatten(1, (1, self.volume, -1))
        return self._layers(x, picture.movedim(-1, 1), ws), covered

    def depth(self, ws, cameras=None, code=None) -> torch.Tensor:
        """Return depths along the view, (B, 1, volume, volume), in units of the camera's usual distance."""
        cameras, code = self._complete(ws, cameras, code)
        seen = self.march(ws, cameras, grid(self.volume).to(ws.device), code)
        return seen.depth.unflatten(1, (1, self.volume, -1))

    def path_loss(self, picture, ws, cameras=None, code=None, side: int = 16) -> torch.Tensor:
        """Return the NeRF-path regulariser (§3.3): how far pixels are from what the field itself shows there.

        The same layers are applied to each sample along a ray, without the upsampler's glances at neighbours, and only
        colours are summed up. picture: what `forward` gave for the same arguments, `code` included. side: pixels along
        each edge that are compared, spread over the picture. The squared differences are summed over colours, means
        over pixels.
        """
        cameras, code = self._complete(ws, cameras, code)
        size, side = picture.shape[-1], min(side, picture.shape[-1])
        rows, columns = self._scattered(len(ws), size, side, ws.device)
        places = torch.stack(torch.broadcast_tensors(columns[:, None], rows[..., None]), -1).flatten(1, 2)
        pixels = ((places + 0.5) * (2 / size) - 1) * ws.new_tensor([1, -1])
        late = self._late(self.march(ws, cameras, pixels, code), ws)
        chosen = places[..., 1] * size + places[..., 0]
        early = picture.flatten(2).mT.gather(1, chosen[..., None].expand(-1, -1, 3))
        return (early - late).square().sum(-1).mean()

    def draw_code(self, count: int, device: torch.device | str = "cpu") -> torch.Tensor | None:
        """Draw codes (count, code) of what lies behind; None where it has none of its own."""
        return torch.randn(count, self.build.code, device=device) if self.build.code else None

    # -- along rays

    def march(self, ws, cameras: Cameras, pixels: torch.Tensor, code=None) -> Seen:
        """Follow the rays of pixels, as `Cameras.rays` takes them."""
        build, random = self.build, self.training
        places, rays = cameras.places, cameras.rays(pixels)
        noise = build.density_noise if random else 0.0
        depths = spread(build.samples, rays[..., 0], random) * (build.far - build.near) + build.near
        depths = depths + places.norm(dim=-1)[:, None, None] - 1
        end, first = depths[..., -1:], depths[..., :-1]  # the last sample only ends the last interval
        codes, length = ws[:, : self.fg_nerf.layers], rays.norm(dim=-1, keepdim=True) / build.unit

        def look(depths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            points = places[:, None, None] + depths[..., None] * rays[:, :, None]
            hidden, density = self.fg_nerf(points, codes)
            return hidden, density + noise * torch.randn_like(density) if noise else density

        hidden, density = look(first)
        with torch.no_grad():
            weights, _ = volume_weights(density, depths.diff(dim=-1) * length)
            second = resample(depths, weights, build.samples, random)
        more, denser = look(second)
        sorted_depths, order = torch.cat([first, second], -1).sort(-1)
        distances = torch.cat([sorted_depths, end], -1).diff(dim=-1) * length
        weights, left = volume_weights(torch.cat([density, denser], -1).gather(-1, order), distances)
        depth = (weights * sorted_depths).sum(-1) + left * end[..., 0]
        weights = torch.zeros_like(weights).scatter(-1, order, weights)  # as the samples were drawn
        behind, share = self._behind(ws, places, rays, pixels, code, noise)
        weights = (*weights.split([first.shape[-1], build.samples], -1), share * left[..., None])
        return Seen((hidden, more, behind), weights, depth)

    def _behind(self, ws, places, rays, pixels, code, noise: float) -> tuple[torch.Tensor, torch.Tensor]:
        """Return hidden layers (B, R, S, H) of what lies behind, and weights (B, R, S), 1 for each ray together."""
        build = self.build
        if build.still:
            fixed = self.look_from().to(ws.device).expand(len(ws))
            places, rays = fixed.places, fixed.rays(pixels)
        inverse = (1 - spread(build.samples_back, rays[..., 0], self.training)) * build.begin_back
        points = outside(places, rays, inverse)
        codes = ws[:, self.fg_nerf.layers :][:, : self.bg_nerf.layers]
        hidden, density = self.bg_nerf(points, codes, code)
        density = density + noise * torch.randn_like(density) if noise else density
        weights, left = volume_weights(density[..., :-1], -inverse.diff(dim=-1))
        return hidden, torch.cat([weights, left[..., None]], -1)

    def _fields(self, ws) -> tuple[tuple[Field, torch.Tensor], ...]:
        """Return the fields of the three sets of samples that `march` gives, each with its codes."""
        front, behind = self.fg_nerf.layers, self.bg_nerf.layers
        head = self.fg_nerf, ws[:, :front]
        return head, head, (self.bg_nerf, ws[:, front : front + behind])

    def _early(self, seen: Seen, ws) -> tuple[torch.Tensor, torch.Tensor]:
        """Sum up along the rays first: features (B, R, features) and colours (B, R, 3) (eq. 6)."""
        sums = [
            (hidden * weights[..., None].to(hidden.dtype)).sum(2) for hidden, weights in zip(*seen[:2], strict=True)
        ]
        shares = [weights.sum(-1) for weights in seen.weights]
        (head, codes), _, (back, others) = self._fields(ws)
        parts = [head.show(sums[0] + sums[1], codes, shares[0] + shares[1]), back.show(sums[2], others, shares[2])]
        return tuple(front + behind for front, behind in zip(*parts, strict=True))

    def _late(self, seen: Seen, ws) -> torch.Tensor:
        """Sum up along the rays last: colours (B, R, 3) after all layers."""
        parts = []
        for hidden, weights, (field, codes) in zip(*seen[:2], self._fields(ws), strict=True):
            colours = self._layers(*field.show(hidden, codes), ws, grow=False)
            parts.append((colours * weights[..., None]).sum(2))
        return sum(parts)

    def _complete(self, ws, cameras, code) -> tuple[Cameras, torch.Tensor | None]:
        cameras = (self.look_from() if cameras is None else cameras).to(ws.device).expand(len(ws))
        if self.build.code and code is None:
            code = self.draw_code(len(ws), ws.device) if self.training else ws.new_zeros(len(ws), self.build.code)
        return cameras, code

    @staticmethod
    def _scattered(count: int, size: int, side: int, device) -> tuple[torch.Tensor, torch.Tensor]:
        """Draw rows and columns (B, side) of pixels at equal distances, one shift for each picture and direction."""
        pace = size // side
        return tuple(torch.arange(side, device=device) * pace + torch.randint(pace, (2, count, 1), device=device))

    # -- to pictures

    def _shown(self) -> tuple[list[int], float]:
        """Return the sizes that are generated at the present `alpha`, and the share of the last one."""
        levels, share = grown(float(self.alpha), len(self.sizes))
        return self.sizes[:levels], share

    def _layers(self, x, picture, ws, grow=True) -> torch.Tensor:
        """Apply the blocks to a map and its picture, as `Block` takes them; return the last picture."""
        (sizes, share), before = self._shown(), picture
        first = self.fg_nerf.layers + self.bg_nerf.layers
        for k, size in enumerate(sizes):
            before = picture
            x, picture = self.get_submodule(f"b{size}")(x, picture, ws[:, first + 2 * k : first + 2 * k + 3], grow)
        if share < 1 and sizes:
            if grow:
                before = F.interpolate(before, scale_factor=2, mode="bilinear")
            picture = torch.lerp(before, picture, share)
        return picture


def grown(alpha: float, levels: int) -> tuple[int, float]:
    """Return how many of the levels of a growing network are in use, and the share of the last one.

    At alpha 0 none is, at 1 all are; below 0 the network doesn't grow.
    """
    if not 0 <= alpha < 1:
        return levels, 1.0
    share, whole = math.modf(alpha * levels)
    return (int(whole) + 1, share) if alpha else (0, 1.0)


class Generator(stylegan2.Generator):
    """Codes in Z, W or W+, and cameras, to pictures."""

    def __init__(self, build: Build | None = None):
        nn.Module.__init__(self)
        build = build or Build()
        self.synthesis = Synthesis(build)
        self.mapping = Mapping(build.z, build.w, build.depth)

    @property
    def layers(self) -> int:
        """Number of layers of W+: 21 at 1024 px."""
        return self.synthesis.layers

    def forward(self, z, cameras=None, truncation: float = 1.0, cutoff: int | None = None, code=None):
        """Turn standard normal codes (B, z) into pictures (B, 3, size, size)."""
        return self.synthesis(self.plus(self.mapping(z), truncation, cutoff), cameras, code)


# --------------------------------------------------------------------------------------------------- discriminator


class _Down(nn.Module):
    """A block that halves a map and adds what it sees in the picture itself."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.fromrgb, self.conv0 = Conv(3, inputs, 1), Conv(inputs, inputs, 3)
        self.conv1 = Conv(inputs, outputs, 3, shrink=True)

    def forward(self, x, images):
        """Return map and pictures, halved: (B, inputs, H, W) or None, (B, 3, H, W)."""
        seen = self.fromrgb(images)
        return self.conv1(self.conv0(seen if x is None else x + seen)), half(images)


class _End(nn.Module):
    """A map of 4 x 4 pixels and its picture, together with how much the batch varies, to a logit."""

    def __init__(self, channels: int, group: int):
        super().__init__()
        self.group, self.fromrgb = group, Conv(3, channels, 1)
        self.conv = Conv(channels + 1, channels, 3)
        self.fc, self.out = Linear(channels * 16, channels, active=True), Linear(channels, 1)

    def forward(self, x, images):  # (B, channels, 4, 4), (B, 3, 4, 4) -> (B, 1)
        x = x + self.fromrgb(images)
        return self.out(self.fc(self.conv(torch.cat([x, batch_deviation(x, self.group)], 1)).flatten(1)))


class Discriminator(nn.Module):
    """(B, 3, size, size) to logits (B, 1), float32 also under bfloat16; at a smaller `alpha` smaller pictures, too.

    base: channels · size at most; most: channels at most. start: pixels with which the generator begins. group:
    pictures whose variation is measured together.
    """

    def __init__(self, size: int, base: int = 32768, most: int = 512, start: int = 32, group: int = 4):
        super().__init__()
        self.sizes, self.start = [size >> k for k in range(size.bit_length() - 3)], min(start, size)
        for side in self.sizes:
            self.add_module(f"b{side}", _Down(min(base // side, most), min(base // (side // 2), most)))
        self.b4 = _End(min(base // 4, most), group)
        self.register_buffer("alpha", torch.ones(()))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        levels, share = grown(float(self.alpha), (self.sizes[0] // self.start).bit_length() - 1)
        sizes = [side for side in self.sizes if side <= self.start << levels]
        images = _shrink(images.contiguous(memory_format=torch.channels_last), sizes[0])
        smaller = _shrink(images, sizes[0] // 2) if share < 1 else None
        x = None if sizes[0] == self.sizes[0] else self.get_submodule(f"b{sizes[0]}.fromrgb")(images)
        for side in sizes:
            block = self.get_submodule(f"b{side}")
            if smaller is not None and side == sizes[0] // 2:  # the second block sees what the first one let through
                images, x = torch.lerp(smaller, images, share), torch.lerp(block.fromrgb(smaller), x, share)
            x, images = block(x, images)
        return self.b4(x, images).float()


def _shrink(images: torch.Tensor, size: int) -> torch.Tensor:
    return F.interpolate(images, (size, size), mode="bilinear") if images.shape[-1] > size else images
