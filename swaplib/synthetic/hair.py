"""Hair, brows and beard as strands: curves that grow from roots on the head, lie on the skull, hang, curl and clump.

Strands grow in the head's own frame around the centre of the skull, where the head is star-shaped: a point is inside
the head when its distance from the centre is below the surface's distance in that direction, so pushing hair out of the
head is one look-up. Each strand is drawn as a ribbon that faces the camera.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import torch
import torch.nn.functional as F

from swaplib.synthetic import head
from swaplib.synthetic.factors import HAIR_STYLES, Factors, column, columns

SKULL_CENTRE = (0.0, 7.45, 0.55)
_FREE = -1.15  # height over the skull's centre (dm) below which hair no longer rests on the head
_MOST = 3000  # strands of one kind; more cost time and are not seen below 256 pixels
_GUIDES = 170  # strands that the others clump around
KINDS = ("scalp", "brow", "beard")

# Height of the hairline (dm, template) over the azimuth (degrees from the face).
_HAIRLINE = (
    (0, 8.00), (14, 8.00), (26, 7.99), (38, 7.90), (50, 7.70), (60, 7.50), (68, 7.22), (76, 7.12), (84, 7.30),
    (92, 7.50), (104, 7.42), (115, 7.05), (130, 6.72), (155, 6.58), (180, 6.55),
)  # fmt: skip
# Centre line of the brow: height over the distance from the midline (dm, template). The bake's landmarks use the same.
_BROW = ((0.11, 7.47), (0.22, 7.493), (0.33, 7.505), (0.44, 7.485), (0.54, 7.42))
# How far from the middle of the face (degrees of azimuth) hair without a fringe stays, over the height (dm, template).
_CURTAIN = ((5.6, 30), (6.1, 44), (6.5, 56), (7.0, 62), (7.35, 60), (7.6, 50), (7.85, 26), (8.05, 0))


class Strands(NamedTuple):
    """Strands of one kind on one face (B is 1: people differ in how many they have).

    points (B, N, K, 3) in the world; width (B, N, K) in dm; seeds (N, 2) in 0…1, for the colour; height (B, N, K): how
    far outside in the hair's volume a point lies, 0 at the skin, 1 outermost
    """

    points: torch.Tensor
    width: torch.Tensor
    seeds: torch.Tensor
    height: torch.Tensor

    def take(self, rows: torch.Tensor) -> Strands:
        return Strands(self.points[:, rows], self.width[:, rows], self.seeds[rows], self.height[:, rows])


@cache
def _knots(table: tuple, device: str) -> tuple[torch.Tensor, torch.Tensor]:
    return tuple(torch.tensor(values, dtype=torch.float32, device=device) for values in zip(*table, strict=True))


def interpolate(table: tuple, at: torch.Tensor) -> torch.Tensor:
    """Interpolate linearly between the points ((x, y), …)."""
    x, y = _knots(table, str(at.device))
    k = torch.searchsorted(x, at.contiguous()).clamp(1, len(x) - 1)
    t = ((at - x[k - 1]) / (x[k] - x[k - 1])).clamp(0, 1)
    return y[k - 1] + t * (y[k] - y[k - 1])


def azimuth(points: torch.Tensor) -> torch.Tensor:
    """Return degrees from straight ahead, positive to the person's left, of points relative to the skull's centre."""
    return torch.rad2deg(torch.atan2(points[..., 0], points[..., 2]))


class Roots(NamedTuple):
    """Where hairs grow.

    Template places relative to the skull's centre (N, 3), the triangles' vertices and weights there (N, 3), and random
    numbers that belong to each root (N, 4).
    """

    places: torch.Tensor
    ids: torch.Tensor
    weights: torch.Tensor
    seeds: torch.Tensor


@cache
def _roots(kind: str, device: str) -> Roots:
    """Return the baked roots of one kind, without those from which nothing grows on anybody."""
    baked = head.tensors(device)
    ids, weights = baked[f"{kind}_ids"], baked[f"{kind}_weights"]
    template = head.surface_points(baked["vertices"][None], ids, weights)[0]
    places = template - template.new_tensor(SKULL_CENTRE)
    seeds = torch.rand(len(places), 4, generator=torch.Generator().manual_seed(KINDS.index(kind))).to(device)
    if kind == "scalp":
        useful = hairline_height(_extreme(device, hair={}), places)[0] > -0.025
    elif kind == "brow":
        arches = [_extreme(device, skin={"brow_thickness": 1, "brow_arch": a}) for a in (-0.7, -0.2, 0.3, 0.8, 1.2)]
        useful = torch.stack([brow_cover(some, places[:, 0], template[:, 1])[0] for some in arches]).amax(0) > 0
    else:
        everywhere = dict.fromkeys(("moustache", "goatee", "cheek_beard"), 1.0)
        useful = beard_cover(_extreme(device, skin=everywhere), template)[0] > 0.6
    rows = useful.nonzero()[:, 0][:_MOST]  # in random order: what is cut off leaves no gap
    return Roots(places[rows], ids[rows], weights[rows], seeds[rows])


def _extreme(device: str, **groups: dict[str, float]) -> Factors:
    """Return one face whose named columns have the given values and whose others are 0."""
    names = {group: columns()[group] for group in ("hair", "skin")}
    rows = {group: [[groups.get(group, {}).get(name, 0.0) for name in names[group]]] for group in names}
    return {group: torch.tensor(row, dtype=torch.float32, device=device) for group, row in rows.items()}


@cache
def _clumps(device: str) -> torch.Tensor:
    """Return every scalp strand's nearest guide, (N,); roots are in random order, so the first are spread out."""
    places = _roots("scalp", device).places
    return torch.cdist(places, places[:_GUIDES]).argmin(1)


def hairline_height(factors: Factors, places: torch.Tensor) -> torch.Tensor:
    """Return the height over the hairline (dm, negative below) of places (…, 3) relative to the skull, (B, …)."""
    receding = column(factors, "hair", "receding").view(-1, *[1] * (places.ndim - 1))
    crown = column(factors, "hair", "crown_bald").view(-1, *[1] * (places.ndim - 1))
    angle = azimuth(places).abs()
    height = places[..., 1] + SKULL_CENTRE[1]
    line = interpolate(_HAIRLINE, angle)
    temple = torch.exp(-(((angle - 30) / 17) ** 2))
    line = line + receding * (0.30 * temple + 0.07 * (angle < 40))
    above = height - line
    # A bald crown: distance from the whorl on top of the head, measured along the surface.
    whorl = torch.linalg.vector_norm(places - places.new_tensor([0.0, 0.95, -0.25]), dim=-1)
    bare = whorl - 0.75 * crown
    return torch.where(crown > 0, torch.minimum(above, bare), above)


def scalp_cover(factors: Factors, places: torch.Tensor) -> torch.Tensor:
    """Return the share of scalp hidden by hair (0…1) at places relative to the skull, for painting the roots."""
    style = column(factors, "hair", "style").round()
    hairy = (style != HAIR_STYLES.index("bald")).float().view(-1, *[1] * (places.ndim - 1))
    return hairy * head.smoothstep(-0.05, 0.09, hairline_height(factors, places))


class Skull:
    """The head's distance from the skull's centre in every direction, in the head's own frame."""

    def __init__(self, points: torch.Tensor, turn: torch.Tensor):
        baked = head.tensors(str(points.device))
        template = baked["vertices"]
        # The centre moves with the head: follow the mean of the skull's cap.
        cap = template[:, 1] > 7.9
        shift = template.new_tensor(SKULL_CENTRE) - template[cap].mean(0)
        self.turn = turn
        self.centre = points[:, cap].mean(1) + (turn @ shift)
        hits = head.surface_points(points, baked["skull_ids"], baked["skull_weights"])
        self.radius = (hits - self.centre[:, None, None]).norm(dim=-1)

    def to_head(self, points: torch.Tensor) -> torch.Tensor:
        """Transform points (B, …, 3) from the world to the head's frame."""
        flat = (points.flatten(1, -2) - self.centre[:, None]) @ self.turn
        return flat.view(points.shape)

    def to_world(self, points: torch.Tensor) -> torch.Tensor:
        flat = points.flatten(1, -2) @ self.turn.transpose(1, 2) + self.centre[:, None]
        return flat.view(points.shape)

    def surface(self, points: torch.Tensor) -> torch.Tensor:
        """Return the surface's distance (B, N) towards points (B, N, 3), bilinear in elevation and azimuth."""
        rows, cols = self.radius.shape[1:]
        direction = F.normalize(points, dim=-1)
        elevation = (torch.asin(direction[..., 1].clamp(-1, 1)) / torch.pi + 0.5) * (rows - 1)
        around = (torch.atan2(direction[..., 0], direction[..., 2]) / (2 * torch.pi) + 0.5) * cols
        row = elevation.floor().clamp(0, rows - 2)
        y, x = elevation - row, around - around.floor()
        row, left = row.long(), around.floor().long() % cols
        right = (left + 1) % cols
        flat = self.radius.flatten(1)

        def at(r, c):
            return flat.gather(1, r * cols + c)

        low = at(row, left) * (1 - x) + at(row, right) * x
        high = at(row + 1, left) * (1 - x) + at(row + 1, right) * x
        return low * (1 - y) + high * y

    def push_out(self, points: torch.Tensor, height: float | torch.Tensor) -> torch.Tensor:
        """Move points (B, N, 3) that lie inside the head outwards, to `height` dm above its surface.

        Below the jaw hair hangs free, and a point far below the surface is not inside the head but in the hollow
        between neck and shoulder, where the head is not star-shaped.
        """
        radius = points.norm(dim=-1)
        surface = self.surface(points)
        limit = surface + height
        hollow = torch.where(points[..., 1] < -0.3, 0.08, 0.25)  # under the ear lobe it is shallow
        inside = (radius < limit) & (radius > surface - hollow) & (points[..., 1] > _FREE)
        return torch.where(inside[..., None], points * (limit / radius.clamp(min=1e-6))[..., None], points)


def _tangent(vector: torch.Tensor, normal: torch.Tensor) -> torch.Tensor:
    return vector - normal * (vector * normal).sum(-1, keepdim=True)


def _style(factors: Factors, name: str) -> torch.Tensor:
    return column(factors, "hair", name)[:, None]


def _points_per_strand(factors: Factors) -> int:
    """Return enough points per strand to follow the curls and the fall of the hair."""
    curly = float(column(factors, "hair", "curl_radius")[0]) > 0.02
    long = float(column(factors, "hair", "length_top")[0]) > 1.0
    return 16 if curly else 11 if long else 7


def scalp(factors: Factors, points: torch.Tensor, normals: torch.Tensor, skull: Skull) -> Strands:
    """Grow the hair of one head; points, normals: posed vertices (1, V, 3)."""
    roots = _roots("scalp", str(points.device))
    above = hairline_height(factors, roots.places)[0]
    kept = (above + 0.05 * (roots.seeds[:, 0] - 0.5) > 0) & (roots.seeds[:, 1] < _style(factors, "density")[0])
    kept &= round(float(_style(factors, "style"))) != HAIR_STYLES.index("bald")
    grows = kept.clone()
    grows[:_GUIDES] = True  # the others clump around these, even where they don't grow themselves
    owner = _clumps(str(points.device))[grows]
    places, ids, weights, seeds = (values[grows] for values in roots)
    root = skull.to_head(head.surface_points(points, ids, weights))
    normal = F.normalize(head.surface_points(normals, ids, weights), dim=-1) @ skull.turn
    top = head.smoothstep(0.25, 0.62, places[:, 1] + 0.15 * (places[:, 2] > 0.2))[None]
    length = _lengths(factors, places, seeds, above[grows], top)
    direction = _comb(factors, places, normal, top)
    count = _points_per_strand(factors)
    curves, height = _grow(factors, root, normal, direction, length, seeds, places, skull, count)
    curves = _curl(factors, _clump(factors, curves, places, owner), length, seeds, owner)
    curves = _curtain(curves, _has_fringe(factors, places)[..., None], _side(root)[..., None])
    outside = skull.push_out(curves.flatten(1, 2), 0.008).view(curves.shape)
    curves = torch.cat([root[:, :, None], outside[:, :, 1:]], 2)
    t = torch.linspace(0, 1, count, device=points.device)
    thick = 0.022 + 0.011 * seeds[:, 3:4]
    thick = thick * (1 + 0.6 * (length[0, :, None] - 0.5).clamp(0, 1))  # long strands spread over a larger area
    width = ((1 - 0.7 * t**4)[None] * thick)[None] * (length[..., None].clamp(max=0.3) / 0.3).clamp(min=0.35)
    return Strands(skull.to_world(curves), width, seeds[:, 2:4], height).take(kept[grows].nonzero()[:, 0])


def _lengths(factors: Factors, places, seeds, above, top) -> torch.Tensor:
    """Return the length of each strand (dm), (1, N)."""
    front = head.smoothstep(0.42, 0.8, places[:, 2])[None] * head.smoothstep(0.3, 0.45, places[:, 1])[None]
    back = 1 - head.smoothstep(-0.4, 0.05, places[:, 2])[None]
    side = _style(factors, "length_side") * (1 - back) + _style(factors, "length_back") * back
    length = side * (1 - top) + _style(factors, "length_top") * top
    length = length * (1 - front) + _style(factors, "fringe") * front
    length = length * (0.82 + 0.3 * seeds[:, 2]) * head.smoothstep(-0.02, 0.22, above).clamp(min=0.35)
    # Short hair is cut shorter towards the hairline at the sides and the nape.
    cut = 0.05 + (0.25 + 0.35 * head.smoothstep(-0.3, 0.2, places[:, 1])) * above.clamp(min=0)
    beside_ear = torch.exp(-(((azimuth(places).abs() - 86) / 24) ** 2)) * (places[:, 1] < 0.1)
    cut = cut * (1 - 0.65 * beside_ear)
    short = (side < 0.75) & (places[:, 1] < 0.4)
    length = torch.where(short, torch.minimum(length, cut), length)
    # A fringe ends a little above the eyes, wherever it starts.
    rise = torch.asin((places[:, 1] / places.norm(dim=-1)).clamp(-1, 1)) - 0.13
    length = torch.where(_has_fringe(factors, places), torch.minimum(length, 1.15 * rise + 0.12 * seeds[:, 3]), length)
    length = torch.where(_tied(factors), (_knot(places) - places).norm(dim=-1) * (0.9 + 0.15 * seeds[:, 3]), length)
    return length.clamp(min=0.02)


def _tied(factors: Factors) -> torch.Tensor:
    return _style(factors, "style").round() == HAIR_STYLES.index("tied_back")


def _knot(places: torch.Tensor) -> torch.Tensor:
    """Return where tied hair comes together, at the back of the head, relative to the skull's centre."""
    return places.new_tensor([0.0, 0.15, -1.02])


def _comb(factors: Factors, places, normal, top) -> torch.Tensor:
    """Return the direction in which the hair is combed at each root, (B, N, 3), tangent to the head."""
    x, y, z = torch.eye(3, device=places.device)
    whorl = places.new_tensor([0.0, 0.95, -0.3])
    radial = F.normalize(places - whorl, dim=-1)
    side = torch.tanh((places[:, :1] - _style(factors, "part")[..., None]) / 0.05)
    on_top = (
        _style(factors, "forward")[..., None] * radial
        + _style(factors, "sideways")[..., None] * x
        + _style(factors, "backward")[..., None] * (-z)
        + _style(factors, "parted")[..., None] * (side * x - 0.12 * z)
    )
    high = head.smoothstep(-0.2, 0.3, places[:, 1:2])
    below = -y - (0.3 + 0.9 * _style(factors, "backward")[..., None]) * high * z
    direction = F.normalize(on_top + 1e-4 * radial, dim=-1) * top[..., None] + below * (1 - top[..., None])
    direction = torch.where(_tied(factors)[..., None], _knot(places) - places, direction)
    return F.normalize(_tangent(direction.expand(normal.shape), normal), dim=-1)


def _grow(factors: Factors, root, normal, direction, length, seeds, places, skull: Skull, count: int):
    """Integrate the strands step by step: inertia, gravity, staying outside the head and off the face."""
    down = -skull.turn[:, 1][:, None]  # gravity in the head's frame
    lift = _style(factors, "lift")[..., None]
    volume = _style(factors, "volume")
    tied = _tied(factors).float()
    stiff = (1.0 / (0.35 + length)).clamp(max=2.5)[..., None]
    layer = 0.2 + 0.8 * seeds[:, 2]
    afro = (lift > 1.2).float()
    fringe, side = _has_fringe(factors, places), _side(root)
    # Hair lies flat along a parting.
    flat = head.smoothstep(0.0, 0.22, (places[:, 0] - _style(factors, "part")).abs())
    flat = torch.where(_style(factors, "parted") > 0.4, 0.15 + 0.85 * flat, torch.ones_like(flat))
    volume, lift = volume * flat, lift * flat[..., None]
    heading = F.normalize(normal * lift + direction, dim=-1)
    step = (length / (count - 1))[..., None]
    position, curves, heights = root, [root], [torch.zeros_like(length)]
    for k in range(1, count):
        t = k / (count - 1)
        fall = (0.55 * step / stiff * (1 - 0.9 * afro)) * (1 - tied[..., None])
        outward = F.normalize(position, dim=-1)
        aim = tied[..., None] * 0.5 * F.normalize(_knot(places) - position, dim=-1)
        heading = F.normalize(heading + aim + (5.0 * fall) * down + 0.10 * (1 - afro) * direction * (1 - t), dim=-1)
        position = position + heading * step
        position = skull.push_out(position, 0.012 + volume * layer * min(1.0, 3.0 * t))
        position = _curtain(position, fringe, side)
        heading = F.normalize(0.6 * heading + 0.4 * F.normalize(position - curves[-1] + 1e-6 * outward, dim=-1), dim=-1)
        curves.append(position)
        heights.append(layer.expand_as(length) * min(1.0, 2.0 * t))
    return torch.stack(curves, 2), torch.stack(heights, 2)


def _has_fringe(factors: Factors, places):
    """Return which strands are combed forward over the forehead, (B, N)."""
    return (
        (_style(factors, "forward") > 0.42) & (places[:, 2] > 0.2) & (places[:, 1] > 0.3) & (azimuth(places).abs() < 45)
    )


def _side(root) -> torch.Tensor:
    """Return 1 for roots on the person's left and −1 for those on the right, (B, N)."""
    return torch.where(root[..., 0] < 0, -1.0, 1.0)


def _curtain(position, fringe, side):
    """Turn points that hang over the face to the side (±1) of their root, unless they belong to a fringe."""
    angle = torch.atan2(position[..., 0], position[..., 2]) * side
    least = torch.deg2rad(interpolate(_CURTAIN, position[..., 1] + SKULL_CENTRE[1]))
    hangs = (angle < least) & (angle > -1.6) & (least > 0.02) & ~fringe
    wanted = torch.where(hangs, least, angle) * side
    flat = torch.hypot(position[..., 0], position[..., 2])
    return torch.stack([flat * torch.sin(wanted), position[..., 1], flat * torch.cos(wanted)], -1)


def _clump(factors: Factors, curves, places, owner):
    """Draw strands towards their guide, growing with the distance from the root."""
    t = torch.linspace(0, 1, curves.shape[2], device=curves.device)
    # A strand joins its guide only on the same side of the parting.
    part = _style(factors, "part")
    together = torch.sign(places[:, 0] - part) == torch.sign(places[owner, 0] - part)
    together = together | (_style(factors, "parted") < 0.3)
    pull = _style(factors, "clump")[..., None] * 0.75 * together[..., None] * head.smoothstep(0.15, 0.9, t)
    pull = pull[..., None]
    guides = curves[:, owner]
    gap = (curves[:, :, :1] - guides[:, :, :1]) * (1 - 0.55 * pull)
    return torch.lerp(curves, guides + gap, pull)


def _curl(factors: Factors, curves, length, seeds, owner):
    """Add waves across the strands, curls around them, and frizz, all of them zero at the root."""
    count = curves.shape[2]
    t = torch.linspace(0, 1, count, device=curves.device)
    along = F.normalize(torch.diff(curves, dim=2, append=2 * curves[:, :, -1:] - curves[:, :, -2:-1]) + 1e-9, dim=-1)
    across = F.normalize(torch.linalg.cross(along, curves), dim=-1)
    phase = 6.28 * seeds[owner, 0][:, None] + 0.9 * (seeds[:, 0][:, None] - 0.5)
    ramp = head.smoothstep(0, 0.25, t)
    sway = _style(factors, "wave")[..., None] * 0.06 * ramp * torch.sin(9.0 * t * length[..., None] ** 0.5 + 2 * phase)
    wild = _style(factors, "frizz")[..., None] * 0.10 * t**1.5 * length[..., None].clamp(max=0.8)
    curled = curves + sway[..., None] * across + (seeds[:, None, :3] - 0.5) * wild[..., None]
    if float(_style(factors, "curl_radius")) > 0:
        turns = _style(factors, "curl_turns")[..., None] * (0.75 + 0.5 * seeds[owner, 1])[:, None]
        angle = 6.28 * turns.clamp(max=count / 4.2) * t + phase  # a turn needs four points
        radius = _style(factors, "curl_radius")[..., None] * ramp * (0.6 + 0.8 * seeds[:, 1:2])
        up = torch.linalg.cross(across, along)
        curled += radius[..., None] * (torch.cos(angle)[..., None] * across + torch.sin(angle)[..., None] * up)
    return curled


# ------------------------------------------------------------------------------------------------ brows and beard


def brow_fields(factors: Factors, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return brow coordinates of template places x, y (N,), (B, N) each.

    They are the position from the inner end (0…1) and the height above the brow's centre line, in units of its half
    thickness.
    """
    along = ((x.abs() - 0.115) / 0.42)[None]
    centre = interpolate(_BROW, x.abs())[None]
    arch = column(factors, "skin", "brow_arch")[:, None]
    centre = centre + 0.035 * arch * torch.exp(-(((along - 0.62) / 0.28) ** 2)) - 0.015 * arch
    thick = 0.022 + 0.034 * column(factors, "skin", "brow_thickness")[:, None]
    half = thick * (0.85 + 0.35 * torch.exp(-(((along - 0.3) / 0.35) ** 2))) * (1 - 0.75 * along.clamp(0, 1.1) ** 2.5)
    half = half * (0.55 + 0.45 * head.smoothstep(-0.05, 0.25, along))
    return along.expand(len(half), -1), (y[None] - centre) / half.clamp(min=0.006)


def brow_cover(factors: Factors, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Return how much brow there is at template places (0…1), (B, N)."""
    along, height = brow_fields(factors, x, y)
    ends = head.smoothstep(-0.06, 0.08, along) * (1 - head.smoothstep(0.92, 1.06, along))
    return ends * (1 - head.smoothstep(0.75, 1.15, height.abs()))


def beard_cover(factors: Factors, places: torch.Tensor) -> torch.Tensor:
    """Return how much beard grows at template places (N, 3) in absolute coordinates, (B, N)."""
    x, y, z = places[:, 0].abs(), places[:, 1], places[:, 2]
    above_lip = (
        head.smoothstep(6.70, 6.73, y) * (1 - head.smoothstep(6.79, 6.83, y)) * (1 - head.smoothstep(0.25, 0.31, x))
    )
    beside = (
        (1 - head.smoothstep(0.30, 0.36, x))
        * head.smoothstep(0.2, 0.25, x)
        * head.smoothstep(6.3, 6.4, y)
        * (1 - head.smoothstep(6.72, 6.80, y))
    )
    chin = (1 - head.smoothstep(0.22, 0.33, x)) * (1 - head.smoothstep(6.46, 6.50, y)) * head.smoothstep(6.02, 6.1, y)
    patch = (1 - head.smoothstep(0.05, 0.09, x)) * (1 - head.smoothstep(6.49, 6.53, y)) * head.smoothstep(6.3, 6.35, y)
    upper = 6.72 + 0.55 * ((x - 0.30) / 0.40).clamp(0, 1) ** 1.6
    cheek = (
        head.smoothstep(0.26, 0.36, x) * (1 - head.smoothstep(-0.05, 0.05, y - upper)) * head.smoothstep(6.0, 6.15, y)
    )
    cheek = torch.maximum(cheek, (1 - head.smoothstep(6.36, 6.46, y)) * head.smoothstep(6.0, 6.15, y))
    cheek = cheek * head.smoothstep(0.45, 0.6, z)

    def has(name):
        return column(factors, "skin", name)[:, None]

    full = torch.maximum(
        torch.maximum(has("moustache") * above_lip, has("goatee") * torch.maximum(chin, torch.maximum(beside, patch))),
        has("cheek_beard") * cheek,
    )
    stubble = has("stubble") * torch.maximum(
        torch.maximum(above_lip, torch.maximum(chin, patch)), torch.maximum(cheek, beside)
    )
    return torch.maximum(full, 0.55 * stubble)


def face_hair(kind: str, factors: Factors, points, normals, skull: Skull, turn) -> Strands:
    """Grow brow or beard strands: short, straight, combed outwards (brows) or downwards (beard)."""
    places, ids, weights, seeds = _roots(kind, str(points.device))
    template = places + places.new_tensor(SKULL_CENTRE)
    root = head.surface_points(points, ids, weights)
    normal = F.normalize(head.surface_points(normals, ids, weights), dim=-1)
    left, up = turn[:, :, 0][:, None], turn[:, :, 1][:, None]
    side = torch.sign(template[:, :1])
    if kind == "brow":
        along, height = brow_fields(factors, template[:, 0], template[:, 1])
        cover = brow_cover(factors, template[:, 0], template[:, 1])
        kept = seeds[:, 0] < cover * (0.35 + 0.65 * column(factors, "skin", "brow_density")[:, None])
        rise = (0.8 - 1.2 * along)[..., None] - 0.55 * height[..., None].clamp(-1, 1)
        direction = side * left + rise * up + 0.25 * normal
        length = 0.055 + 0.045 * seeds[:, 1].expand(len(points), -1)
        thick, count = 0.0075, 4
    else:
        cover = beard_cover(factors, template)
        grown = column(factors, "skin", "beard_length")[:, None]
        kept = (seeds[:, 0] < cover) & (cover > 0.6)
        direction = 0.28 * normal - up + 0.25 * side * left * (template[:, 1:2] > 6.6)
        direction = direction + 0.5 * (seeds[:, None, 1:4].squeeze(1) - 0.5)
        length = grown * (0.6 + 0.8 * seeds[:, 1])
        thick, count = 0.011, 4
    t = torch.linspace(0, 1, count, device=points.device)
    direction = F.normalize(direction, dim=-1)
    reach = (length[..., None] * t)[..., None]
    lift = 0.006 * normal[:, :, None]
    sag = -0.3 * (length[..., None] * t**2)[..., None] * up[:, :, None]
    curve = root[:, :, None] + lift + direction[:, :, None] * reach + sag * (kind == "beard")
    width = (thick * (1 - 0.7 * t**2)).expand(*length.shape, count)
    return Strands(curve, width, seeds[:, 2:4], t.expand(*length.shape, count)).take(kept[0].nonzero()[:, 0])


def ribbons(strands: Strands, eye: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Build strips that face the camera at `eye` (B, 3): vertices (B, N·K·2, 3), their tangents, and triangles."""
    points = strands.points
    tangent = torch.diff(points, dim=2, append=2 * points[:, :, -1:] - points[:, :, -2:-1])
    tangent = F.normalize(tangent + 1e-9, dim=-1)
    view = F.normalize(eye[:, None, None] - points, dim=-1)
    across = F.normalize(torch.linalg.cross(tangent, view), dim=-1) * (strands.width / 2)[..., None]
    both = torch.stack([points - across, points + across], 3)
    count, length = points.shape[1:3]
    tangents = tangent[:, :, :, None].expand_as(both).flatten(1, 3)
    return both.flatten(1, 3), tangents, _strip(8192, length, str(points.device))[: count * (length - 1) * 2]


@cache
def _strip(count: int, length: int, device: str) -> torch.Tensor:
    """Return the triangles of `count` strips of 2·length vertices each, strip by strip."""
    start = torch.arange(count, device=device)[:, None] * length * 2 + torch.arange(length - 1, device=device) * 2
    quad = torch.stack([start, start + 1, start + 2, start + 1, start + 3, start + 2], -1)
    return quad.view(-1, 3)
