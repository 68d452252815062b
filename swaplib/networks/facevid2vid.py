"""FaceVid2Vid, as E4S uses it: a picture driven by another's pose and expression.

Ting-Chun Wang, Arun Mallya, Ming-Yu Liu: One-Shot Free-View Neural Talking-Head Synthesis for Video Conferencing. CVPR
2021, arXiv:2011.15126.

    source ─┬─ kp_detector ── k, canonical keypoints ──┬─ x_s = R_s k + t_s + δ_s ─┐
            └─ he_estimator ─ R_s, t_s, δ_s ───────────┘                           ├─ generator ─ picture
    driver ─── he_estimator ─ R_d, t_d, δ_d ───────────── x_d = R_d k + t_d + δ_d ─┤
    source ────────────────────────────────────────────────────────────────────────┘

The generator turns the source into features in a volume, moves them from x_s to x_d, and paints them with a decoder
that normalises in a spatially adaptive way (Park et al. 2019). Parameters are named as in 00000189-checkpoint.pth.tar
of the implementation that E4S builds on, whose conventions are kept even where they look odd: degrees become radians by
3.14 / 180, and the layer called fc_roll gives the yaw, fc_yaw the roll.

Pictures inside are in [0, 1]. Keypoints are (x, y, z) in [-1, 1] over the volume.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import spectral_norm

from swaplib.networks.convolution import Conv2d

KEYPOINTS = 15
DEPTH = 16  # slices of the volume
_BINS = 66  # of 3 degrees, from −99 on
_LEVELS = 5  # of the hourglasses


class Motion(NamedTuple):
    """Head pose and expression: yaw, pitch, roll (B,) in degrees; t (B, 3); expression (B, K, 3)."""

    yaw: torch.Tensor
    pitch: torch.Tensor
    roll: torch.Tensor
    t: torch.Tensor
    expression: torch.Tensor


def rotation(yaw: torch.Tensor, pitch: torch.Tensor, roll: torch.Tensor) -> torch.Tensor:
    """Turn pitch about x, yaw about y and roll about z in degrees (B,) into R = pitch · yaw · roll, (B, 3, 3)."""
    yaw, pitch, roll = (angle / 180 * 3.14 for angle in (yaw, pitch, roll))
    zero, one = torch.zeros_like(yaw), torch.ones_like(yaw)

    def matrix(*rows):
        return torch.stack(rows, -1).unflatten(-1, (3, 3))

    about_x = matrix(one, zero, zero, zero, pitch.cos(), -pitch.sin(), zero, pitch.sin(), pitch.cos())
    about_y = matrix(yaw.cos(), zero, yaw.sin(), zero, one, zero, -yaw.sin(), zero, yaw.cos())
    about_z = matrix(roll.cos(), -roll.sin(), zero, roll.sin(), roll.cos(), zero, zero, zero, one)
    return about_x @ about_y @ about_z


def degrees(logits: torch.Tensor) -> torch.Tensor:
    """Return the mean angle of a distribution over bins, (B, 66) -> (B,)."""
    bins = torch.arange(_BINS, device=logits.device, dtype=logits.dtype)
    return (logits.softmax(1) * bins).sum(1) * 3 - 99


def moved(canonical: torch.Tensor, motion: Motion) -> torch.Tensor:
    """Return x = R k + t + δ (eq. 2): keypoints (B, K, 3) moved to a head's pose and expression."""
    turned = canonical @ rotation(motion.yaw, motion.pitch, motion.roll).transpose(1, 2)
    return turned + motion.t[:, None] + motion.expression


def grid(depth: int, height: int, width: int, like: torch.Tensor) -> torch.Tensor:
    """Return the positions of the voxels, (depth, height, width, 3), those of the corners at ±1."""
    z, y, x = (torch.arange(n, device=like.device, dtype=like.dtype) / (n - 1) * 2 - 1 for n in (depth, height, width))
    z, y, x = torch.meshgrid(z, y, x, indexing="ij")
    return torch.stack([x, y, z], -1)


# ---------------------------------------------------------------------------------------------- blocks


def _kinds(dimensions: int) -> tuple[type[nn.Module], type[nn.Module]]:
    return (Conv2d, nn.BatchNorm2d) if dimensions == 2 else (nn.Conv3d, nn.BatchNorm3d)


class Conv(nn.Module):
    """Convolution, batch normalisation, ReLU; `up` doubles height and width before, `down` halves them after."""

    def __init__(
        self, dimensions: int, inputs: int, outputs: int, up: bool = False, down: bool = False, slope: float = 0.0
    ):
        super().__init__()
        convolution, normalisation = _kinds(dimensions)
        self.conv, self.norm = convolution(inputs, outputs, 3, 1, 1), normalisation(outputs)
        self.up, self.down, self.slope, self.flat = up, down, slope, dimensions == 2

    def forward(self, x):  # (B, inputs, H, W) or (B, inputs, D, H, W) -> (B, outputs, …), H and W · 2 or / 2
        if self.up:
            x = F.interpolate(x, scale_factor=2.0 if self.flat else (1.0, 2.0, 2.0))
        x = self.conv(x, self.norm) if self.flat else self.norm(self.conv(x))
        x = F.leaky_relu(x, self.slope)
        if self.down:
            x = F.avg_pool2d(x, 2) if self.flat else F.avg_pool3d(x, (1, 2, 2))
        return x


class Residual(nn.Module):
    """x → x + f(x) in a volume, f being normalisation, ReLU and convolution, twice."""

    def __init__(self, channels: int):
        super().__init__()
        self.norm1, self.conv1 = nn.BatchNorm3d(channels), nn.Conv3d(channels, channels, 3, 1, 1)
        self.norm2, self.conv2 = nn.BatchNorm3d(channels), nn.Conv3d(channels, channels, 3, 1, 1)

    def forward(self, x):  # (B, C, D, H, W) -> (B, C, D, H, W)
        inside = self.conv1(self.norm1(x).relu())
        return x + self.conv2(self.norm2(inside).relu())


class Bottleneck(nn.Module):
    """1 x 1, 3 x 3, 1 x 1, all with biases; the stride is the middle one's."""

    def __init__(self, channels: int, stride: int = 1):
        super().__init__()
        inside = channels // 4
        self.conv1, self.norm1 = Conv2d(channels, inside, 1), nn.BatchNorm2d(inside)
        self.conv2, self.norm2 = Conv2d(inside, inside, 3, stride, 1), nn.BatchNorm2d(inside)
        self.conv3, self.norm3 = Conv2d(inside, channels, 1), nn.BatchNorm2d(channels)
        self.stride = stride
        if stride > 1:
            self.skip, self.norm4 = Conv2d(channels, channels, 1, stride), nn.BatchNorm2d(channels)

    def forward(self, x):  # (B, C, H, W) -> (B, C, H / stride, W / stride)
        inside = self.conv1(x, self.norm1).relu()
        inside = self.conv2(inside, self.norm2).relu()
        shortcut = self.skip(x, self.norm4) if self.stride > 1 else x
        return (self.conv3(inside, self.norm3) + shortcut).relu()


def _named(prefix: str, modules: list[nn.Module]) -> nn.Sequential:
    named = nn.Sequential()
    for number, module in enumerate(modules):
        named.add_module(f"{prefix}{number}", module)
    return named


# ---------------------------------------------------------------------------------------------- what is seen


class Shrink(nn.Module):
    """Pictures at a quarter of their size: blurred by a Gaussian of 13 taps and sigma 1.5, every fourth pixel taken."""

    def __init__(self):
        super().__init__()
        line = torch.exp(-((torch.arange(13.0) - 6) ** 2) / (2 * 1.5**2))
        kernel = line[:, None] * line
        self.register_buffer("weight", (kernel / kernel.sum()).expand(3, 1, 13, 13).clone())

    def forward(self, images):  # (B, 3, H, W) -> (B, 3, H/4, W/4)
        return F.conv2d(images, self.weight, padding=6, groups=3)[..., ::4, ::4]


class KeypointPredictor(nn.Module):
    """Pictures down to 1/32 of their size, unfolded there to a volume, and up again."""

    def __init__(self, width: int):
        super().__init__()
        wide = [width << level for level in range(_LEVELS + 1)]
        downs = [Conv(2, 3 if k == 0 else wide[k], wide[k + 1], down=True) for k in range(_LEVELS)]
        self.down_blocks = _named("down", downs)
        self.conv = Conv2d(wide[-1], wide[-1] * DEPTH, 1)
        self.up_blocks = _named("up", [Conv(3, wide[k + 1], wide[k], up=True) for k in reversed(range(_LEVELS))])

    def forward(self, x):  # (B, 3, H, W) -> (B, width, D, H, W)
        return self.up_blocks(self.conv(self.down_blocks(x)).unflatten(1, (-1, DEPTH)))


class KeypointDetector(nn.Module):
    """Pictures in [0, 1] to canonical keypoints: the means of heat maps in a volume."""

    def __init__(self, width: int = 32):
        super().__init__()
        self.down = Shrink()
        self.predictor = KeypointPredictor(width)
        self.kp = nn.Conv3d(width, KEYPOINTS, 3, padding=1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:  # (B, 3, H, W) -> (B, K, 3)
        maps = self.kp(self.predictor(self.down(images)))
        heat = (maps.flatten(2) / 0.1).softmax(2)
        return heat @ grid(*maps.shape[2:], maps).flatten(0, 2)


class HeadEstimator(nn.Module):
    """Pictures in [0, 1] to head pose and expression."""

    def __init__(self, width: int = 64):
        super().__init__()
        self.conv1, self.norm1 = Conv2d(3, width, 7, 2, 3), nn.BatchNorm2d(width)
        wide = [width, *(width << level for level in range(2, 6))]
        for level in range(1, 5):
            setattr(self, f"conv{level + 1}", Conv2d(wide[level - 1], wide[level], 1))
            setattr(self, f"norm{level + 1}", nn.BatchNorm2d(wide[level]))
        self.block1 = _named("b1_", [Bottleneck(wide[1]) for _ in range(3)])
        self.block2, self.block3 = Bottleneck(wide[2], 2), _named("b3_", [Bottleneck(wide[2]) for _ in range(3)])
        self.block4, self.block5 = Bottleneck(wide[3], 2), _named("b5_", [Bottleneck(wide[3]) for _ in range(5)])
        self.block6, self.block7 = Bottleneck(wide[4], 2), _named("b7_", [Bottleneck(wide[4]) for _ in range(2)])
        self.fc_roll, self.fc_pitch, self.fc_yaw = (nn.Linear(wide[4], _BINS) for _ in range(3))
        self.fc_t, self.fc_exp = nn.Linear(wide[4], 3), nn.Linear(wide[4], 3 * KEYPOINTS)

    def features(self, images: torch.Tensor) -> torch.Tensor:  # (B, 3, H, W) -> (B, 32 · width)
        x = F.max_pool2d(self.conv1(images, self.norm1).relu(), 3, 2, 1)
        x = self.block1(self.conv2(x, self.norm2).relu())
        x = self.block3(self.block2(self.conv3(x, self.norm3).relu()))
        x = self.block5(self.block4(self.conv4(x, self.norm4).relu()))
        x = self.block7(self.block6(self.conv5(x, self.norm5).relu()))
        return x.mean((2, 3))

    def forward(self, images: torch.Tensor) -> Motion:  # (B, 3, H, W) -> (B,) three times, (B, 3), (B, K, 3)
        x = self.features(images)
        yaw, pitch, roll = (degrees(layer(x)) for layer in (self.fc_roll, self.fc_pitch, self.fc_yaw))
        return Motion(yaw, pitch, roll, self.fc_t(x), self.fc_exp(x).unflatten(1, (KEYPOINTS, 3)))


# ---------------------------------------------------------------------------------------------- how it moves


class HourglassEncoder(nn.Module):
    def __init__(self, inputs: int, wide: list[int]):
        super().__init__()
        self.down_blocks = nn.ModuleList(
            Conv(3, inputs if k == 0 else wide[k], wide[k + 1], down=True) for k in range(_LEVELS)
        )

    def forward(self, x):  # (B, inputs, D, H, W) -> that and (B, wide[k], D, H / 2^k, W / 2^k) for k = 1 … 5
        maps = [x]
        for block in self.down_blocks:
            maps.append(block(maps[-1]))
        return maps


class HourglassDecoder(nn.Module):
    def __init__(self, inputs: int, wide: list[int]):
        super().__init__()
        self.up_blocks = nn.ModuleList(
            Conv(3, wide[k + 1] * (1 if k == _LEVELS - 1 else 2), wide[k], up=True) for k in reversed(range(_LEVELS))
        )
        outputs = wide[0] + inputs
        self.conv, self.norm = nn.Conv3d(outputs, outputs, 3, 1, 1), nn.BatchNorm3d(outputs)

    def forward(self, maps):  # the encoder's maps -> (B, wide[0] + inputs, D, H, W)
        *skips, x = maps
        for block, skip in zip(self.up_blocks, reversed(skips), strict=True):
            x = torch.cat([block(x), skip], 1)
        return self.norm(self.conv(x)).relu()


class Hourglass(nn.Module):
    """A U-Net over volumes that halves only height and width."""

    def __init__(self, inputs: int, width: int):
        super().__init__()
        wide = [width << level for level in range(_LEVELS + 1)]
        self.encoder, self.decoder = HourglassEncoder(inputs, wide), HourglassDecoder(inputs, wide)

    def forward(self, x):  # (B, inputs, D, H, W) -> (B, width + inputs, D, H, W)
        return self.decoder(self.encoder(x))


class DenseMotion(nn.Module):
    """Which keypoint's motion, if any, each voxel follows, and where the source shows nothing that could move there."""

    def __init__(self, channels: int, width: int, compressed: int = 4):
        super().__init__()
        inputs = (KEYPOINTS + 1) * (compressed + 1)
        self.hourglass = Hourglass(inputs, width)
        self.mask = nn.Conv3d(width + inputs, KEYPOINTS + 1, 7, padding=3)
        self.compress, self.norm = nn.Conv3d(channels, compressed, 1), nn.BatchNorm3d(compressed)
        self.occlusion = Conv2d((width + inputs) * DEPTH, 1, 7, padding=3)

    def forward(
        self, volume: torch.Tensor, driven: torch.Tensor, source: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Estimate the flow from features (B, C, D, H, W) and the driven and the source's keypoints, (B, K, 3) each.

        Returns where each voxel comes from (B, D, H, W, 3), how visible that is (B, 1, H, W), and the masks
        (B, K + 1, D, H, W), the first for what stays.
        """
        size = volume.shape[2:]
        voxels = grid(*size, volume)
        shifts = F.pad(source - driven, (0, 0, 1, 0))[:, :, None, None, None]
        origins = voxels + shifts  # (B, K + 1, D, H, W, 3)
        small = self.norm(self.compress(volume)).relu()
        repeated = small[:, None].expand(-1, KEYPOINTS + 1, -1, -1, -1, -1).flatten(0, 1)
        warped = F.grid_sample(repeated, origins.flatten(0, 1), align_corners=False).unflatten(0, origins.shape[:2])

        def heat(points):
            return torch.exp((voxels - points[:, :, None, None, None]).square().sum(-1) / -0.02)

        change = F.pad(heat(driven) - heat(source), (0, 0, 0, 0, 0, 0, 1, 0))[:, :, None]
        seen = self.hourglass(torch.cat([change, warped], 2).flatten(1, 2))
        masks = self.mask(seen).softmax(1)
        flow = (origins * masks[..., None]).sum(1)
        return flow, self.occlusion(seen.flatten(1, 2)).sigmoid(), masks


# ---------------------------------------------------------------------------------------------- the picture


class Spade(nn.Module):
    """Instance normalisation whose scale and shift are computed, place by place, from a map of features."""

    def __init__(self, channels: int, conditions: int, width: int):
        super().__init__()
        self.mlp_shared = nn.Sequential(Conv2d(conditions, width, 3, padding=1), nn.ReLU())
        self.mlp_gamma, self.mlp_beta = (Conv2d(width, channels, 3, padding=1) for _ in range(2))

    def forward(self, x, condition):  # (B, C, H, W), (B, conditions, H', W') -> (B, C, H, W)
        shared = self.mlp_shared(F.interpolate(condition, x.shape[2:]))
        return F.instance_norm(x) * (1 + self.mlp_gamma(shared)) + self.mlp_beta(shared)


class SpadeBlock(nn.Module):
    """x → shortcut(x) + f(x), the convolutions' weights divided by their largest singular value."""

    def __init__(self, inputs: int, outputs: int, conditions: int, width: int):
        super().__init__()
        inside = min(inputs, outputs)
        self.conv_0 = spectral_norm(Conv2d(inputs, inside, 3, padding=1))
        self.conv_1 = spectral_norm(Conv2d(inside, outputs, 3, padding=1))
        self.norm_0, self.norm_1 = Spade(inputs, conditions, width), Spade(inside, conditions, width)
        self.resized = inputs != outputs
        if self.resized:
            self.conv_s = spectral_norm(Conv2d(inputs, outputs, 1, bias=False))
            self.norm_s = Spade(inputs, conditions, width)

    def forward(self, x, condition):  # (B, inputs, H, W), (B, conditions, H', W') -> (B, outputs, H, W)
        shortcut = self.conv_s(self.norm_s(x, condition)) if self.resized else x
        x = self.conv_0(F.leaky_relu(self.norm_0(x, condition), 0.2))
        return shortcut + self.conv_1(F.leaky_relu(self.norm_1(x, condition), 0.2))


class SpadeDecoder(nn.Module):
    """Features to pictures in [0, 1]."""

    def __init__(self, width: int):
        super().__init__()
        self.fc = Conv2d(4 * width, 8 * width, 3, padding=1)
        for number in range(6):
            setattr(self, f"G_middle_{number}", SpadeBlock(8 * width, 8 * width, 4 * width, 2 * width))
        self.up_0 = SpadeBlock(8 * width, 4 * width, 4 * width, 2 * width)
        self.up_1 = SpadeBlock(4 * width, width, 4 * width, 2 * width)
        self.conv_img = Conv2d(width, 3, 3, padding=1)

    def forward(self, features):  # (B, 4 · width, H/4, W/4) -> (B, 3, H, W)
        x = self.fc(features)
        for number in range(6):
            x = getattr(self, f"G_middle_{number}")(x, features)
        x = self.up_0(F.interpolate(x, scale_factor=2.0), features)
        x = self.up_1(F.interpolate(x, scale_factor=2.0), features)
        return self.conv_img(F.leaky_relu(x, 0.2)).sigmoid()


class Generator(nn.Module):
    """The source's picture (B, 3, H, W) in [0, 1], with its keypoints (B, K, 3) moved from `source` to `driven`."""

    def __init__(self, width: int = 64):
        super().__init__()
        channels = width // 2
        self.dense_motion_network = DenseMotion(channels, width // 2)
        self.first = Conv(2, 3, width)
        self.down_blocks = nn.ModuleList(Conv(2, width << k, width << k + 1, down=True) for k in range(2))
        self.second = Conv2d(4 * width, channels * DEPTH, 1)
        self.resblocks_3d = _named("3dr", [Residual(channels) for _ in range(6)])
        self.third = Conv(2, channels * DEPTH, 4 * width, slope=0.01)
        self.fourth = Conv2d(4 * width, 4 * width, 1)
        self.decoder = SpadeDecoder(width)

    def appearance(self, images: torch.Tensor) -> torch.Tensor:
        """Return the features in a volume, (B, C, D, H/4, W/4)."""
        x = self.first(images)
        for block in self.down_blocks:
            x = block(x)
        return self.resblocks_3d(self.second(x).unflatten(1, (-1, DEPTH)))

    def forward(self, images: torch.Tensor, driven: torch.Tensor, source: torch.Tensor) -> torch.Tensor:
        # (B, 3, H, W), (B, K, 3), (B, K, 3) -> (B, 3, H, W)
        volume = self.appearance(images)
        flow, visible, _ = self.dense_motion_network(volume, driven, source)
        warped = F.grid_sample(volume, flow, align_corners=False).flatten(1, 2)
        return self.decoder(self.fourth(self.third(warped)) * visible)


class FaceVid2Vid(nn.Module):
    """Sources' pictures (B, 3, 256, 256) in [-1, 1] with the drivers' pose and expression.

    width: channels of the first layers; 64 in the published file. Other sizes also work, in multiples of 128.
    """

    size = 256

    def __init__(self, width: int = 64):
        super().__init__()
        self.generator = Generator(width)
        self.kp_detector = KeypointDetector(width // 2)
        self.he_estimator = HeadEstimator(width)

    def forward(self, source: torch.Tensor, driver: torch.Tensor) -> torch.Tensor:  # (B, 3, H, W) all three
        source, driver = (source + 1) / 2, (driver + 1) / 2
        canonical = self.kp_detector(source)
        here, there = (moved(canonical, self.he_estimator(images)) for images in (source, driver))
        return self.generator(source, there, here) * 2 - 1
