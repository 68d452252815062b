"""Colour and light: what a sample of skin, eye, tooth, hair, glasses, cloth or background looks like.

Everything is painted per sample from its place on the template head, so textures follow every deformation and have no
resolution of their own. Colours are linear RGB. Functions take flat lists of N samples of one picture.
"""

from __future__ import annotations

from functools import cache

import torch
import torch.nn.functional as F

from swaplib.synthetic import hair
from swaplib.synthetic.factors import Factors, column
from swaplib.synthetic.head import smoothstep

# sRGB skin tones from the lightest to the deepest, evenly spaced in `tone`.
_TONES = ("e3c2b1", "dab298", "cea185", "c08f70", "ac7856", "906042", "724931", "573626", "3f261b")


# Linear albedo of hair from no eumelanin (platinum) to much (black), evenly spaced; and of hair without pigment.
_MELANIN = (
    (0.66, 0.53, 0.34), (0.47, 0.335, 0.185), (0.23, 0.148, 0.083), (0.088, 0.053, 0.031), (0.036, 0.023, 0.016),
    (0.013, 0.011, 0.010),
)  # fmt: skip
_WHITE_HAIR = (0.46, 0.44, 0.415)


def srgb_to_linear(value: torch.Tensor) -> torch.Tensor:
    return torch.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def linear_to_srgb(value: torch.Tensor) -> torch.Tensor:
    value = value.clamp(0, 1)
    return torch.where(value <= 0.0031308, value * 12.92, 1.055 * value.clamp(min=1e-5) ** (1 / 2.4) - 0.055)


def rgb(code: str, device) -> torch.Tensor:
    """Turn hexadecimal sRGB into linear RGB (3,)."""
    return srgb_to_linear(torch.tensor([int(code[k : k + 2], 16) / 255 for k in (0, 2, 4)], device=device))


def hsv(hue, saturation, value) -> torch.Tensor:
    """Turn hue, saturation and value in 0…1 into linear RGB (…, 3)."""
    shift = torch.tensor([0.0, 2 / 3, 1 / 3], device=hue.device)
    ramp = (((hue[..., None] + shift) % 1.0) * 6 - 3).abs() - 1
    colour = value[..., None] * (1 - saturation[..., None] * (1 - ramp.clamp(0, 1)))
    return srgb_to_linear(colour.clamp(0, 1))


# ---------------------------------------------------------------------------------------------------------- noise


@cache
def _volume(device: str, size: int = 32) -> torch.Tensor:
    """Draw two channels of periodic random values in [-1, 1], (2, size, size, size)."""
    generator = torch.Generator().manual_seed(20)
    return (torch.rand(size**3, 2, generator=generator) * 2 - 1).to(device)


def noise(places: torch.Tensor, frequency: float, octaves: int = 1, size: int = 32) -> torch.Tensor:
    """Return smooth random values (N, 2) around zero at places (N, 3), `frequency` lumps per dm."""
    total, scale = 0, 1.0
    for octave in range(octaves):
        p = places * (frequency * 2**octave) + 7.31 * octave
        low = p.floor()
        f = p - low
        f = f * f * (3 - 2 * f)
        low = low.long()
        x = torch.stack([low[:, 0], low[:, 0] + 1]) % size
        y = (torch.stack([low[:, 1], low[:, 1] + 1]) % size) * size
        z = (torch.stack([low[:, 2], low[:, 2] + 1]) % size) * size * size
        volume = _volume(str(places.device))
        fx, fy, fz = f[:, 0:1], f[:, 1:2], f[:, 2:3]
        planes = []
        for k in range(2):
            rows = [torch.lerp(volume[x[0] + y[j] + z[k]], volume[x[1] + y[j] + z[k]], fx) for j in range(2)]
            planes.append(torch.lerp(rows[0], rows[1], fy))
        total = total + scale * torch.lerp(planes[0], planes[1], fz)
        scale *= 0.5
    return total


def bump(x, y, cx, cy, rx, ry):
    """Return a soft elliptic spot of height 1."""
    return torch.exp(-(((x - cx) / rx) ** 2) - ((y - cy) / ry) ** 2)


# ----------------------------------------------------------------------------------------------------------- skin


class _Skin:
    """The places of the samples and what several layers of skin share: noise and the person's numbers."""

    def __init__(self, factors: Factors, place: torch.Tensor):
        self.factors = factors
        self.x, self.y, z = place.unbind(-1)
        self.aside = self.x.abs()  # distance from the midline
        self.front = smoothstep(0.7, 1.2, z)
        self.shifted = place + self.get("texture_seed") % 97
        self.coarse, self.fine = noise(self.shifted, 2.2, 2), noise(self.shifted, 14.0, 2)

    def get(self, name: str) -> float:
        return float(column(self.factors, "skin", name)[0])

    def spot(self, cx: float, cy: float, rx: float, ry: float) -> torch.Tensor:
        """Return a soft elliptic spot on both sides of the face, (N,)."""
        return bump(self.aside, self.y, cx, cy, rx, ry)

    def tint(self, colour: torch.Tensor, change: tuple[float, float, float], amount: torch.Tensor) -> torch.Tensor:
        """Tint a colour (N, 3): change each channel by its share, as far as `amount` (N,) says."""
        return colour * (1 + colour.new_tensor(change) * amount[:, None])


def skin_albedo(
    factors: Factors, place: torch.Tensor, masks: dict[str, torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return colour (N, 3) and shine (N,) of skin, lips and the roots of brows and hair at template places (N, 3)."""
    skin = _Skin(factors, place)
    base = _tone(skin)
    colour = base * (1 + 0.05 * skin.coarse[:, :1] + 0.055 * skin.fine[:, :1])
    colour = _spots(skin, _blood(skin, colour, masks["ears"]))
    colour = skin.tint(colour, (-0.55, -0.68, -0.70), _lines(skin))
    shine = 0.55 + 0.5 * bump(skin.aside, skin.y, 0, 7.3, 0.25, 0.6) + 0.3 * skin.spot(0.42, 7.05, 0.16, 0.1)
    colour, shine = _lips(factors, colour, shine * skin.get("shine"), masks["lips"], skin.fine, base)
    return _hair_roots(factors, _eyeshadow(skin, colour), place, skin.fine), shine


def _tone(skin: _Skin) -> torch.Tensor:
    """Return the person's own colour, (3,)."""
    palette = torch.stack([rgb(code, skin.x.device) for code in _TONES])
    position = skin.get("tone") * (len(palette) - 1)
    low = min(int(position), len(palette) - 2)
    base = torch.lerp(palette[low], palette[low + 1], position - low)
    return base * (1 + base.new_tensor([0.04, 0.0, -0.06]) * skin.get("undertone"))


def _blood(skin: _Skin, colour, ears):
    """Add the blood under cheeks, nose, ears, chin and lids: visible on light skin, a deeper tone on dark skin."""
    red = 0.75 * skin.spot(0.40, 6.95, 0.20, 0.16) + 0.45 * ears
    red = red + (0.8 * skin.spot(0.0, 6.93, 0.16, 0.13) + 0.35 * skin.spot(0.0, 6.33, 0.2, 0.12)) * skin.front
    red = red + 0.35 * skin.spot(0.31, 7.28, 0.20, 0.12) * skin.front
    red = (red * (1 - 0.45 * skin.get("tone")) + 0.25 * skin.coarse[:, 0]) * skin.get("redness")
    tired = (0.25 + 0.75 * skin.get("age")) * skin.spot(0.30, 7.21, 0.17, 0.07) * skin.front
    colour = skin.tint(colour, (0.02, -0.16, -0.13), red.clamp(-0.5, 1.5))
    colour = skin.tint(colour, (-0.10, -0.16, -0.12), tired)
    return skin.tint(colour, (0.10, -0.26, -0.16), skin.get("blush") * skin.spot(0.47, 6.98, 0.19, 0.13))


def _spots(skin: _Skin, colour):
    """Add freckles, moles and blemishes."""
    freckle = torch.zeros_like(skin.x)
    if skin.get("freckles"):
        where = (skin.spot(0.28, 7.0, 0.34, 0.24) + 0.4 * skin.spot(0, 7.7, 0.5, 0.3)) * skin.front
        freckle = smoothstep(0.35, 0.7, noise(skin.shifted + 31, 20.0)[:, 0]) * where * skin.get("freckles")
    patch = smoothstep(0.55, 0.95, 0.8 * skin.coarse[:, 1] + 0.3 * skin.fine[:, 1])
    patch = patch * skin.get("blemishes") * (0.2 + skin.get("age"))
    return skin.tint(colour, (-0.20, -0.32, -0.38), freckle + 0.30 * patch)


def _lines(skin: _Skin) -> torch.Tensor:
    """Return the depth of wrinkles (N,): on the forehead, between the brows, crow's feet, from nose to mouth."""
    x, y = skin.aside, skin.y
    wave = 0.05 * skin.coarse[:, 1] + 0.02 * torch.cos(6 * x)
    forehead = (torch.sin((y + wave) * 62) * 0.5 + 0.5) ** 4 * skin.spot(0, 7.80, 0.34, 0.16) * skin.front
    frown = skin.spot(0.055, 7.46, 0.012, 0.07) * skin.front
    fan = torch.sin((y - 7.26 - (x - 0.5) * (y - 7.26) * 3) * 120) * 0.5 + 0.5
    crow = fan**3 * skin.spot(0.55, 7.27, 0.06, 0.08)
    fold = torch.exp(-(((x - 0.17 - 0.62 * (6.95 - y)) / 0.018) ** 2)) * skin.front
    fold = fold * smoothstep(6.58, 6.68, y) * (1 - smoothstep(6.88, 6.96, y))
    age = max(0.0, skin.get("age") - 0.25) / 0.75
    return age * (0.28 * forehead + 0.25 * frown + 0.28 * crow + 0.42 * fold)


def _eyeshadow(skin: _Skin, colour):
    amount = skin.get("eyeshadow") * smoothstep(7.28, 7.31, skin.y) * skin.spot(0.31, 7.34, 0.19, 0.055) * skin.front
    hue, saturation, value = colour.new_tensor([skin.get("eyeshadow_hue"), 0.5, 0.9])
    return torch.lerp(colour, 0.55 * colour * (0.5 + hsv(hue, saturation, value)), (0.75 * amount)[:, None])


def _lips(factors: Factors, colour, shine, lips, fine, base):
    def get(name: str) -> float:
        return float(column(factors, "skin", name)[0])

    amount = smoothstep(0.28, 0.62, lips + 0.05 * fine[:, 1])
    natural = base * torch.tensor([0.86, 0.56, 0.58], device=base.device) + torch.tensor(
        [0.03, 0.008, 0.012], device=base.device
    )
    natural = natural * (0.85 + 0.3 * get("lip_colour"))
    hue = torch.tensor((0.93 + 0.11 * get("lipstick_hue")) % 1.0, device=base.device)
    stick = hsv(
        hue, torch.tensor(0.72, device=base.device), torch.tensor(0.45 + 0.35 * get("lip_colour"), device=base.device)
    )
    tint = torch.lerp(natural, stick, 0.75 * get("lipstick"))
    tint = tint * (1 + 0.10 * fine[:, :1])
    return torch.lerp(colour, tint, (amount * 0.92)[:, None]), shine + amount * (0.25 + 0.6 * get("lipstick"))


def _hair_roots(factors: Factors, colour, place, fine):
    """Darken the skin where hair, brows and beard grow out of it."""
    relative = place - place.new_tensor(hair.SKULL_CENTRE)
    scalp = hair.scalp_cover(factors, relative)[0]
    scalp = scalp * smoothstep(0.3, 0.6, column(factors, "hair", "density")[0] + 0.2 * fine[:, 1])
    front = (place[:, 2] > 0.9).float()
    brow = hair.brow_cover(factors, place[:, 0], place[:, 1])[0] * front
    density = float(column(factors, "skin", "brow_density")[0])
    beard = hair.beard_cover(factors, place)[0] * (place[:, 2] > 0.3).float()
    speckle = (0.75 + 0.5 * fine[:, 0]).clamp(0, 1.2)
    colour = torch.lerp(colour, 0.75 * hair_colour(factors, "scalp"), (0.88 * scalp * speckle.clamp(max=1))[:, None])
    colour = torch.lerp(
        colour, hair_colour(factors, "brow"), (brow * (0.30 + 0.45 * density) * speckle.clamp(max=1))[:, None]
    )
    stubble = float(column(factors, "skin", "stubble")[0])
    long = (
        float(column(factors, "skin", "beard_length")[0]) > 0.01
        and float(column(factors, "skin", "goatee")[0] + column(factors, "skin", "moustache")[0]) > 0
    )
    strength = 0.72 if long else 0.55 * stubble**0.5
    return torch.lerp(
        colour,
        0.8 * hair_colour(factors, "beard") + 0.06 * colour,
        (beard * strength * speckle.clamp(max=1)).clamp(0, 0.9)[:, None],
    )


@torch.no_grad()
def hair_colour(factors: Factors, kind: str) -> torch.Tensor:
    """Return linear RGB (3,) of hair, brows or beard: brows and beard are the person's, scalp hair the shot's."""
    if kind == "scalp":
        melanin, red, grey = (float(column(factors, "hair", name)[0]) for name in ("melanin", "redness", "grey"))
    else:
        darkness, warmth, tone = (
            float(column(factors, "skin", name)[0]) for name in ("brow_darkness", "brow_warmth", "tone")
        )
        melanin = max(0.45 + 0.5 * darkness, 0.5 + 0.5 * tone)
        red = 0.15 + 0.45 * warmth
        age = float(column(factors, "skin", "age")[0])
        grey = smoothstep(0.62, 0.95, torch.tensor(age)).item() * (0.9 if kind == "beard" else 0.6)
    device = factors["hair"].device
    stops = torch.tensor(_MELANIN, device=device)
    position = min(max(melanin, 0.0), 0.999) * (len(stops) - 1)
    base = torch.lerp(stops[int(position)], stops[int(position) + 1], position - int(position))
    ginger = torch.tensor([1.45, 0.62, 0.30], device=device) * base.mean()
    colour = torch.lerp(base, ginger, red)
    return torch.lerp(colour, torch.tensor(_WHITE_HAIR, device=device), grey)


# ----------------------------------------------------------------------------------------------------------- light


class Light:
    """The key light, sky and rim light of one picture, and how materials respond to them."""

    def __init__(self, factors: Factors):
        def get(name: str) -> torch.Tensor:
            return column(factors, "light", name)[0]

        device = factors["light"].device
        azimuth, elevation = torch.deg2rad(get("azimuth")), torch.deg2rad(get("elevation"))
        flat = torch.cos(elevation)
        self.direction = torch.stack([flat * torch.sin(azimuth), torch.sin(elevation), flat * torch.cos(azimuth)])
        # Warmth moves along the daylight locus only: light is amber or faintly blue, never green or magenta.
        amber = torch.tensor([0.10, -0.015, -0.16], device=device)
        self.key = (1 + amber * get("warmth") * 1.4) * get("strength") * 1.75
        self.sky = (1 + amber * get("sky_warmth")) * get("fill") * 0.62
        self.ground = torch.tensor([1.0, 0.94, 0.88], device=device) * get("ground") * get("fill") * 0.5
        self.rim = get("rim")
        self.softness = get("softness")
        self.exposure = 0.62 * 2 ** get("exposure")

    def ambient(self, normal: torch.Tensor) -> torch.Tensor:
        up = (normal[:, 1:2] * 0.5 + 0.5).clamp(0, 1)
        side = 0.85 + 0.15 * normal[:, 2:3].clamp(-1, 1)
        return torch.lerp(self.ground, self.sky, up) * side

    def skin(self, albedo, normal, view, shadow, occlusion, shine) -> torch.Tensor:
        """Shade skin: diffuse, with light bleeding red into the shadow, and two specular lobes."""
        facing = (normal @ self.direction)[:, None]
        wrap = torch.tensor([0.34, 0.20, 0.15], device=albedo.device)
        diffuse = ((facing + wrap) / (1 + wrap)).clamp(0, 1)
        dark = 1 - (1 - shadow)[:, None] * torch.tensor([0.86, 0.94, 0.96], device=albedo.device)
        sky = self.ambient(normal) * occlusion[:, None] ** torch.tensor([0.85, 1.1, 1.2], device=albedo.device)
        light = self.key * diffuse * dark * (0.45 + 0.55 * occlusion[:, None]) + sky
        gloss = self.specular(normal, view, 0.52) * 0.0105 + self.specular(normal, view, 0.33) * 0.0028
        fresnel = (1 - (normal * view).sum(-1).clamp(0, 1)) ** 4
        spec = (gloss * shadow * shine)[:, None] * self.key + (0.035 * fresnel * occlusion)[:, None] * self.sky
        return albedo * light + spec

    def specular(self, normal, view, roughness: float) -> torch.Tensor:
        """Return the GGX highlight with Smith visibility folded into a constant, (N,)."""
        half = F.normalize(self.direction + view, dim=-1)
        nh, nl = (normal * half).sum(-1).clamp(0, 1), (normal @ self.direction).clamp(0, 1)
        a2 = roughness**4
        return a2 / (torch.pi * ((nh * nh * (a2 - 1) + 1) ** 2)).clamp(min=1e-6) * nl * 3.0

    def hair(self, albedo, tangent, outward, view, shadow, depth, shine) -> torch.Tensor:
        """Shade hair: two Kajiya–Kay lobes over a volume that darkens towards the skull."""
        tl, tv = tangent @ self.direction, (tangent * view).sum(-1)
        sin_l, sin_v = (1 - tl * tl).clamp(0, 1).sqrt(), (1 - tv * tv).clamp(0, 1).sqrt()
        cosine = sin_l * sin_v - tl * tv
        white = cosine.clamp(0, 1) ** 70 * 0.18 * shine
        coloured = (cosine + 0.06).clamp(0, 1) ** 18 * 0.40 * shine
        facing = (0.5 + 0.5 * outward @ self.direction).clamp(0, 1)
        diffuse = (sin_l * (0.25 + 0.75 * facing))[:, None] * shadow[:, None]
        inside = (0.42 + 0.58 * depth)[:, None]
        sky = self.ambient(outward) * 0.9
        gloss = (white[:, None] * 0.5 + coloured[:, None] * albedo.sqrt() * 0.8) * (facing * shadow)[:, None]
        rim = ((1 - (outward * view).sum(-1).clamp(0, 1)) ** 3 * 0.12 * self.rim)[:, None]
        return (albedo * (self.key * diffuse * 0.9 + sky) + self.key * gloss * 0.55 + rim * albedo.sqrt()) * inside

    def plain(self, albedo, normal, shadow, occlusion) -> torch.Tensor:
        facing = ((normal @ self.direction + 0.1) / 1.1).clamp(0, 1)
        return albedo * (self.key * (facing * shadow)[:, None] + self.ambient(normal) * occlusion[:, None])

    def develop(self, radiance: torch.Tensor) -> torch.Tensor:
        """Turn linear radiance into sRGB in 0…1: exposure, then a film-like shoulder."""
        exposed = radiance * self.exposure
        knee = 0.58
        over = (exposed - knee).clamp(min=0)
        return linear_to_srgb(
            torch.where(exposed > knee, knee + (1 - knee) * (1 - torch.exp(-over / (1 - knee))), exposed)
        )


# ------------------------------------------------------------------------------------------------ eyes, mouth, cloth


def eye_colours(
    factors: Factors, offset: torch.Tensor, gaze: torch.Tensor, up: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return colour (N, 3) and wetness (N,) of an eyeball at unit offsets (N, 3) from its centre, for a gaze (3,)."""

    def get(name: str) -> torch.Tensor:
        return column(factors, "skin", name)[0]

    angle = torch.acos((offset @ gaze).clamp(-1, 1))
    side = F.normalize(torch.linalg.cross(up, gaze), dim=-1)
    around = torch.atan2(offset @ up, offset @ side)
    rays = 0.5 + 0.25 * torch.sin(around * 23 + 3 * torch.sin(around * 5)) + 0.25 * torch.sin(around * 41 + 1.7)
    device = offset.device
    hue, light = get("iris_hue"), get("iris_light")
    stops = torch.stack([rgb(code, device) for code in ("3a2010", "6b4423", "7d7242", "6d8d8f", "7fa3c7")])
    position = (hue.clamp(0, 1) * (len(stops) - 1)).clamp(max=len(stops) - 1.001)
    base = torch.lerp(stops[int(position)], stops[int(position) + 1], position - int(position)) * (0.55 + 0.9 * light)
    radius = (angle / 0.50).clamp(0, 1.2)
    iris = base * (0.65 + 0.7 * rays * (0.4 + 0.6 * radius))[:, None] * (1.25 - 0.5 * (radius - 0.55).abs())[:, None]
    ring = smoothstep(0.82, 1.0, radius)[:, None]
    iris = iris * (1 - 0.72 * ring)
    pupil = 1 - smoothstep(0.36, 0.44, radius)[:, None]
    iris = torch.lerp(iris, torch.full_like(iris, 0.006), pupil)
    white = rgb("e9e1dc", device) * 0.80
    veins = torch.tensor([1.0, 0.86, 0.84], device=device)
    sclera = white * torch.lerp(torch.ones(3, device=device), veins, smoothstep(0.7, 1.25, angle)[:, None])
    share = smoothstep(0.485, 0.535, angle)[:, None]
    return torch.lerp(iris, sclera, share), 1 - 0.55 * share[:, 0]


def teeth_colour(x: torch.Tensor, height: torch.Tensor) -> torch.Tensor:
    """Return the colour (N, 3) of teeth by x (dm from the middle) and height: 0 at the edge, 1 in the gum."""
    device = x.device
    ivory, gum = rgb("efe6d6", device) * 0.92, rgb("b8686a", device)
    width = 0.052 + 0.012 * (x.abs() < 0.055)
    gap = (torch.cos((x / width) * torch.pi * 2 * 0.5) ** 2).clamp(0, 1) ** 24
    colour = ivory * (1 - 0.45 * gap)[:, None]
    root = smoothstep(0.62, 0.78, height + 0.12 * torch.cos(x / width * 6.28))
    return torch.lerp(colour, gum, root[:, None])


def cloth_colour(factors: Factors, place: torch.Tensor) -> torch.Tensor:
    """Return the colour (N, 3) of the garment at template places (N, 3)."""

    def get(name: str) -> torch.Tensor:
        return column(factors, "body", name)[0]

    saturation, brightness = get("saturation") * 0.5, 0.12 + 0.78 * get("brightness")
    base = hsv(get("hue"), saturation, brightness)
    weave = noise(place, 26.0)[:, :1]
    folds = noise(place * torch.tensor([1.0, 0.35, 1.0], device=place.device), 3.0, 2)[:, :1]
    colour = base * (1 + 0.06 * weave + 0.10 * folds)
    kind = int(get("pattern").round())
    if kind == 1:
        stripe = smoothstep(-0.2, 0.2, torch.sin(place[:, 1] * 55))[:, None]
        colour = torch.lerp(colour, colour * 0.55 + 0.05, stripe * 0.8)
    elif kind == 2:
        check = smoothstep(-0.1, 0.1, torch.sin(place[:, 0] * 38)) + smoothstep(-0.1, 0.1, torch.sin(place[:, 1] * 38))
        colour = colour * (1 - 0.22 * check[:, None])
    return colour


def neckline(factors: Factors, place: torch.Tensor) -> torch.Tensor:
    """Return how far (dm) template places (…, 3) lie below the garment's edge; positive on cloth, (B, …)."""
    low = column(factors, "body", "neckline").view(-1, *[1] * (place.ndim - 1))
    collar = column(factors, "body", "collar").view(-1, *[1] * (place.ndim - 1))
    x, y, z = place.unbind(-1)
    # A ring around the neck that dips in front; a V for collar kind 2, a standing collar for kind 1.
    front = smoothstep(-0.2, 0.9, z)
    round_edge = 5.98 - (0.10 + 0.26 * low) * front - 0.16 * smoothstep(0.55, 1.0, x.abs())
    vee = 6.0 - (0.55 + 0.25 * low) * front * (1 - (x.abs() / 0.55).clamp(0, 1))
    standing = 6.10 - (0.14 + 0.14 * low) * front
    edge = torch.where(collar > 1.5, vee, torch.where(collar > 0.5, standing, round_edge))
    # Shoulders are always covered, however low the front is cut.
    return torch.maximum(edge - y, 0.5 * (torch.hypot(x, z - 0.2) - 0.95) * (y < 6.1))


# ------------------------------------------------------------------------------------------------------ background


def background(factors: Factors, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Return radiance (N, 3) behind the head at picture coordinates x, y in [-1, 1]; developed with the rest."""

    def get(name: str) -> torch.Tensor:
        return column(factors, "background", name)[0]

    device = x.device
    angle = torch.deg2rad(get("angle"))
    bright, contrast, saturation = get("brightness"), get("contrast"), get("saturation")
    slope = x * torch.cos(angle) + y * torch.sin(angle)
    first = hsv(get("hue"), saturation, bright.clamp(0, 1))
    second = hsv(get("hue") + 0.12 * (get("hue2") - 0.5), saturation * 0.8, (bright * (1 - 0.7 * contrast)).clamp(0, 1))
    blend = smoothstep(-1.3, 1.3, slope)[:, None]
    glow = torch.exp(-(x**2 + (y + 0.1) ** 2) / 0.9)[:, None]
    colour = torch.lerp(first, second, blend) * (0.82 + 0.30 * glow)
    kind, seed = int(get("kind").round()), float(get("seed") % 89)
    flat = torch.stack([x, y, torch.zeros_like(x)], -1) + seed
    if kind == 1:  # blurred foliage or a room far away
        cloud = noise(flat, 1.0, 3)
        other = hsv(get("hue2"), saturation, bright * 0.8)
        colour = torch.lerp(colour, other, (0.5 + 0.5 * cloud[:, :1]).clamp(0, 1) * 0.8) * (1 + 0.35 * cloud[:, 1:])
    elif kind == 2:  # a wall with a window or a shelf: blurred upright and level edges
        edge = 0.03 + 0.12 * get("blur")
        for k in range(3):
            place = float(noise(torch.tensor([[k * 3.7 + seed, 0.5, 0.5]], device=device), 1.0)[0, 0])
            across = x if k % 2 == 0 else y
            step = torch.sigmoid((across - 0.9 * place) / edge)[:, None]
            colour = colour * (1 + contrast * (step - 0.5) * (1 if k != 1 else -1))
    elif kind == 3:  # lights out of focus
        for k in range(7):
            spot = noise(torch.tensor([[k * 5.3 + seed, 1.5, 2.5], [k * 7.7 + seed, 3.5, 0.5]], device=device), 1.0)
            radius = 0.10 + 0.16 * float(get("blur")) * (0.5 + abs(float(spot[1, 1])))
            distance = torch.hypot(x - 1.4 * spot[0, 0], y - 1.2 * spot[0, 1] + 0.2)
            disc = torch.sigmoid((radius - distance) / 0.02)[:, None]
            tint = hsv((get("hue2") + 0.2 * spot[1, 0]) % 1, saturation * 0.9, torch.tensor(0.9, device=device))
            colour = colour + 0.22 * disc * tint * bright
    return colour.clamp(min=0) * 1.35
