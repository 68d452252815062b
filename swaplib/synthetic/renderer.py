"""From factors to pictures with exact labels and landmarks.

One picture: build the meshes (head, glasses, ribbons of hair) with the midpoint of the eyes at the origin, find the
triangle at every sample, paint and light the samples, take the majority label and the mean colour of each pixel.
"""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F

from swaplib.faces import CELEBAMASK_HQ, Faces
from swaplib.synthetic import appearance, glasses, hair, head
from swaplib.synthetic.appearance import Light
from swaplib.synthetic.factors import Factors, attributes, column, columns, shoulders
from swaplib.synthetic.raster import barycentric, rasterize

CLASS = {name: k for k, name in enumerate(CELEBAMASK_HQ)}
SHADOW_SIZE, HAIR_SHADOW_SIZE = 160, 96
# Half width of the nose over the height (dm, template).
_NOSE = ((6.76, 0.0), (6.78, 0.13), (6.86, 0.185), (6.95, 0.165), (7.08, 0.11), (7.22, 0.08), (7.34, 0.06), (7.36, 0.0))
LIT_WIDTH = 3.4  # dm across a shadow map
_STRANDS = ("scalp", "brow", "beard", "lash")
SIZES = (64, 512)


class Scene(NamedTuple):
    """Posed meshes of one face (B is 1), the midpoint of the eyes at the origin.

    points (B, V, 3); triangles (T, 3); spans: kind -> (first, last) triangle; starts: kind -> first vertex;
    normals of the head's vertices; tangents, seeds, height of the ribbons by kind
    """

    points: torch.Tensor
    triangles: torch.Tensor
    spans: dict[str, tuple[int, int]]
    starts: dict[str, int]
    normals: torch.Tensor
    tangents: dict[str, torch.Tensor]
    strands: dict[str, hair.Strands]
    turn: torch.Tensor
    centre: torch.Tensor


# ------------------------------------------------------------------------------------------------------- geometry


def head_points(factors: Factors) -> torch.Tensor:
    """Return posed vertices of head and shoulders (B, V, 3), the garment standing off the skin."""
    macro = {name: column(factors, "body", name) for name in ("masculine", "age", "weight", "muscle")}
    person = head.weights(factors["shape"], factors["expression"])
    person, body = head.vertices(torch.cat([person, head.weights(shoulders(macro, factors["shape"]))])).chunk(2)
    eye = torch.stack([column(factors, "body", f"eye_{axis}") for axis in "xyz"], -1)
    points = head.place(person, body, eye, factors["pose"])
    template = head.tensors(str(points.device))["vertices"]
    cloth = head.smoothstep(-0.01, 0.05, appearance.neckline(factors, template)) * (template[:, 1] < 6.3)
    return points + 0.035 * cloth[..., None] * _template_normals(str(points.device))


@cache
def _template_normals(device: str) -> torch.Tensor:
    baked = head.tensors(device)
    return head.normals(baked["vertices"][None], baked["triangles"])


def _lashes(points: torch.Tensor, turn: torch.Tensor) -> hair.Strands:
    """Build the upper lashes along the rims of the lids."""
    ids, share, along = _lash_roots(str(points.device))
    root = torch.lerp(points[:, ids[:, 0]], points[:, ids[:, 1]], share[:, None])
    left, up, front = (turn[:, :, k][:, None] for k in range(3))
    side = torch.sign(along)[:, None]
    bend = along.abs()[:, None]
    t = torch.linspace(0, 1, 4, device=points.device)
    direction = F.normalize(front + side * left * (bend - 0.25) * 1.3 - 0.15 * up, dim=-1)
    length = (0.034 + 0.026 * bend[:, 0]).expand(root.shape[:2])
    reach = (length[..., None] * t)[..., None]
    curve = (
        root[:, :, None] + direction[:, :, None] * reach + (length[..., None] * 0.9 * t**2)[..., None] * up[:, :, None]
    )
    width = (0.0085 * (1 - 0.8 * t)).expand(*length.shape, 4)
    seeds = torch.zeros(len(ids), 2, device=points.device)
    return hair.Strands(curve, width, seeds, t.expand(*length.shape, 4))


@cache
def _lash_roots(device: str, between: int = 5) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return where lashes stand on the lids' rims.

    Pairs of neighbouring rim vertices (N, 2), where between them a lash stands (N,), and its signed place: 0 at the
    inner corner, ±1 at the outer one (positive on the left eye).
    """
    baked = head.tensors(device)
    faces, material, points = baked["triangles"], baked["materials"], baked["vertices"]
    rim = torch.unique(faces[material == head.MATERIALS.index("eye_socket")])
    skin = torch.unique(faces[material == 0])
    rim = rim[torch.isin(rim, skin)]
    ids, share, along = [], [], []
    for side in (1, -1):
        loop = rim[points[rim, 0] * side > 0]
        x = points[loop, 0].abs()
        inner, outer = loop[x.argmin()], loop[x.argmax()]
        chord = points[inner, 1] + (x - x.min()) / (x.max() - x.min()) * (points[outer, 1] - points[inner, 1])
        upper = loop[points[loop, 1] >= chord - 1e-4]
        upper = upper[points[upper, 0].abs().argsort()]
        for a, b in pairwise(upper):
            for k in range(between):
                ids.append(torch.stack([a, b]))
                share.append(k / between)
                place = points[a, 0].abs() + (k / between) * (points[b, 0].abs() - points[a, 0].abs())
                along.append(side * float((place - x.min()) / (x.max() - x.min())))
    return torch.stack(ids), torch.tensor(share, device=device), torch.tensor(along, device=device)


def build(factors: Factors) -> Scene:
    points = head_points(factors)
    device = str(points.device)
    baked = head.tensors(device)
    turn = head.rotation(factors["pose"])
    normals = head.normals(points, baked["triangles"])
    skull = hair.Skull(points, turn)
    strands = {
        "scalp": hair.scalp(factors, points, normals, skull),
        "brow": hair.face_hair("brow", factors, points, normals, skull, turn),
        "beard": hair.face_hair("beard", factors, points, normals, skull, turn),
        "lash": _lashes(points, turn),
    }
    frame, lenses = (part.to(device) for part in glasses.triangles())
    parts = {"head": (points, baked["triangles"]), "frame": (glasses.build(factors, points, turn), frame)}
    tangents = {}
    for kind, curves in strands.items():
        strip, tangents[kind], faces = hair.ribbons(curves, camera_position(factors))
        parts[kind] = (strip, faces)
    vertices, triangles, spans, starts = [], [], {}, {}
    for kind, (part, faces) in parts.items():
        starts[kind] = sum(v.shape[1] for v in vertices)
        first = sum(len(t) for t in triangles)
        spans[kind] = (first, first + len(faces))
        vertices.append(part)
        triangles.append(faces + starts[kind])
    spans["lens"] = (spans["lash"][1], spans["lash"][1] + len(lenses))
    triangles.append(lenses + starts["frame"])
    return Scene(
        torch.cat(vertices, 1), torch.cat(triangles), spans, starts, normals, tangents, strands, turn, skull.centre
    )


# --------------------------------------------------------------------------------------------------------- camera


def camera_position(factors: Factors) -> torch.Tensor:
    """Return the camera's position, (B, 3); it looks along −z at the picture plane through the eyes."""
    return torch.stack([column(factors, "camera", name) for name in ("shift_x", "shift_y", "distance")], -1)


def project(factors: Factors, points: torch.Tensor, size: int) -> torch.Tensor:
    """Project points (B, N, 3) to pixels x, y and inverse depth, (B, N, 3); the first pixel's centre is (0, 0)."""
    camera = camera_position(factors)[:, None]
    half = column(factors, "camera", "half_width")[:, None]
    depth = camera[..., 2] - points[..., 2]
    scale = camera[..., 2] / depth / half * (size / 2)
    x = (points[..., 0] - camera[..., 0]) * scale + size / 2 - 0.5
    y = size / 2 - 0.5 - (points[..., 1] - camera[..., 1]) * scale
    return torch.stack([x, y, 1 / depth], -1)


# -------------------------------------------------------------------------------------------------------- shading


class Shader:
    """Paints the samples of one picture."""

    def __init__(self, factors: Factors, scene: Scene, samples: int, supersample: int):
        self.factors, self.scene, self.samples, self.supersample = factors, scene, samples, supersample
        self.points = scene.points[0]
        self.camera = camera_position(self.factors)[0]
        self.light = Light(self.factors)
        self.baked = head.tensors(str(self.points.device))
        self._shadow_maps()

    def paint(self, screen: torch.Tensor, ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Paint all samples: display-referred colour (S, S, 3) in 0…1 and labels (S, S)."""
        size = self.samples
        self.screen = screen
        ids = ids.flatten()
        at = torch.arange(size * size, device=ids.device)
        self.x, self.y = (at % size).float(), torch.div(at, size, rounding_mode="floor").float()
        radiance = torch.zeros(size * size, 3, device=ids.device)
        labels = torch.zeros(size * size, dtype=torch.uint8, device=ids.device)
        empty = ids < 0
        unit = 2 / size
        radiance[empty] = appearance.background(
            self.factors, (self.x[empty] + 0.5) * unit - 1, (self.y[empty] + 0.5) * unit - 1
        )
        for kind, (first, last) in self.scene.spans.items():
            chosen = ((ids >= first) & (ids < last)).nonzero()[:, 0]
            if kind == "lens" or len(chosen) == 0:
                continue
            if kind == "head":
                chosen, share = self._once_per_pixel(chosen, ids[chosen])
                radiance_once, labels_once = self._head(kind, chosen, ids[chosen])
                every, chosen = share
                radiance[every], labels[every] = radiance_once[chosen], labels_once[chosen]
                continue
            painter = self._frame if kind == "frame" else self._ribbon
            radiance[chosen], labels[chosen] = painter(kind, chosen, ids[chosen])
        colour = self.light.develop(radiance)
        self._lenses(colour, labels)
        return colour.view(size, size, 3), labels.view(size, size)

    def _once_per_pixel(self, chosen, ids):
        """Choose one skin sample of each pixel to shade; the others copy it, since skin is smooth.

        Returns the samples to shade, and for all given ones their numbers and which shaded one they copy.
        """
        pixels = self.samples // self.supersample
        column = torch.div(self.x[chosen].long(), self.supersample, rounding_mode="floor")
        row = torch.div(self.y[chosen].long(), self.supersample, rounding_mode="floor")
        material = self.baked["materials"][ids]
        smooth = material == 0
        key = torch.where(smooth, row * pixels + column, pixels * pixels + chosen)
        first = torch.full((pixels * pixels + self.samples**2,), len(chosen), device=ids.device)
        order = torch.arange(len(chosen), device=ids.device)
        first.scatter_reduce_(0, key, order, "amin")
        owner = first[key]
        shaded = owner == order
        rank = shaded.cumsum(0) - 1
        return chosen[shaded], (chosen, rank[owner])

    def _gather(self, chosen, ids):
        weights = barycentric(self.screen, self.scene.triangles, ids, self.x[chosen], self.y[chosen])
        return self.scene.triangles[ids], weights

    @staticmethod
    def _mean(values, corners, weights):
        return sum(values[corners[:, k]] * weights[:, k : k + 1] for k in range(3))

    # -- light from the key

    def _shadow_maps(self) -> None:
        """Render what the key light sees: the head's depth, and where hair is, blurred so that strands shade softly."""
        toward = self.light.direction
        helper = torch.tensor([0.0, 1.0, 0.02], device=toward.device)
        one = F.normalize(torch.linalg.cross(helper, toward), dim=0)
        self.frame_of_light = torch.stack([one, torch.linalg.cross(toward, one), toward], 1)
        self.head_depth = self._head_from_light()
        self.hair_shadow = self._hair_from_light()

    def _hair_from_light(self) -> torch.Tensor:
        """Return cover and mean depth of hair seen from the light, (1, 2, S, S), blurred so strands shade softly."""
        size = HAIR_SHADOW_SIZE
        place = self._in_light(self.scene.strands["scalp"].points[0].flatten(0, 1), size)
        col, row = (place[:, k].round().long().clamp(0, size - 1) for k in (0, 1))
        depth = torch.zeros(size * size, device=place.device)
        depth.scatter_reduce_(0, row * size + col, place[:, 2], "amax")
        depth = depth.view(size, size)
        seen = torch.stack([(depth > 0).float(), depth])[None]
        for _ in range(2):
            seen = F.avg_pool2d(seen, 5, 1, 2)
        cover, depth = seen[0]
        # Strands are sampled at their points only: what is half covered by them is covered.
        return torch.stack([(1.6 * cover).clamp(0, 1), depth / cover.clamp(min=1e-4)])[None]

    def _head_from_light(self) -> torch.Tensor:
        """Return the depth of the head seen from the light (S, S), 0 where there is none."""
        flat = self._in_light(self.points[: len(self.baked["vertices"])], SHADOW_SIZE)
        ids = rasterize(flat[None], self.baked["triangles"], SHADOW_SIZE)[0]
        rows, cols = (ids >= 0).nonzero(as_tuple=True)
        depth = torch.zeros(SHADOW_SIZE, SHADOW_SIZE, device=ids.device)
        # The mean of a triangle's corners is exact enough for a shadow.
        depth[rows, cols] = flat[self.baked["triangles"][ids[rows, cols]], 2].mean(1)
        return depth

    def _in_light(self, points: torch.Tensor, size: int) -> torch.Tensor:
        """Map points (N, 3) to samples of a shadow map and a positive depth that grows towards the light."""
        local = points @ self.frame_of_light
        scale = size / LIT_WIDTH
        return torch.stack([local[:, 0] * scale + size / 2, size / 2 - local[:, 1] * scale, local[:, 2] + 10], -1)

    def lit(self, points: torch.Tensor, bias: float, fade: float) -> torch.Tensor:
        """Return the share of key light that reaches points (N, 3); hair darkens gradually over `fade` dm of depth."""
        place = self._in_light(points, SHADOW_SIZE)
        spread = 1.0 + 1.6 * float(self.light.softness)
        blocked = torch.zeros(len(points), device=points.device)
        for dx, dy in ((-1, -1), (1, -1), (0, 0), (-1, 1), (1, 1)):
            col = (place[:, 0] + spread * dx).round().long().clamp(0, SHADOW_SIZE - 1)
            row = (place[:, 1] + spread * dy).round().long().clamp(0, SHADOW_SIZE - 1)
            blocked += ((self.head_depth[row, col] - place[:, 2] - bias) / 0.06).clamp(0, 1) / 5
        grid = torch.stack([place[:, 0], place[:, 1]], -1) * (2 / SHADOW_SIZE) - 1
        cover, depth = F.grid_sample(self.hair_shadow, grid[None, None], align_corners=False)[0, :, 0]
        veil = cover * ((depth - place[:, 2] - bias) / fade).clamp(0, 1)
        return (1 - blocked) * (1 - 0.85 * veil)

    # -- materials

    def _head(self, kind, chosen, ids):
        corners, weights = self._gather(chosen, ids)
        count = len(self.baked["vertices"])
        known = torch.cat([self.baked["vertices"], self.points[:count], self.scene.normals[0], self.baked["masks"]], 1)
        template, world, normal, values = self._mean(known, corners, weights).split([3, 3, 3, len(head.MASKS)], 1)
        normal = F.normalize(normal, dim=-1)
        masks = {name: values[:, k] for k, name in enumerate(head.MASKS)}
        material = self.baked["materials"][ids]
        view = F.normalize(self.camera - world, dim=-1)
        shadow = self.lit(world + 0.02 * normal, 0.03, 0.10)
        radiance = torch.zeros_like(world)
        labels = torch.zeros(len(ids), dtype=torch.uint8, device=ids.device)
        cloth = (material == 0) & (template[:, 1] < 6.3) & (appearance.neckline(self.factors, template)[0] > 0)
        skin = ((material == 0) & ~cloth) | (material == head.MATERIALS.index("eye_socket"))
        groups = {"skin": skin, "cloth": cloth}
        groups["eye"] = (material == 3) | (material == 4)
        groups["teeth"] = (material == 5) | (material == 6)
        groups["inside"] = (material == 2) | (material == 7)
        for name, mask in groups.items():
            part = mask.nonzero()[:, 0]
            if len(part):
                take = {key: value[part] for key, value in masks.items()}
                paint = getattr(self, f"_{name}")
                radiance[part], labels[part] = paint(
                    template[part], world[part], normal[part], view[part], shadow[part], take, material[part]
                )
        return radiance, labels

    def _skin(self, template, world, normal, view, shadow, masks, material):
        albedo, shine = appearance.skin_albedo(self.factors, template, masks)
        if self.samples >= 512:  # pores are finer than the samples of a smaller picture
            grain = 0.035 * appearance.noise(template, 34.0)
            across, up = self.scene.turn[0, :, 0], self.scene.turn[0, :, 1]
            normal = F.normalize(normal + grain[:, :1] * across + grain[:, 1:] * up, dim=-1)
        edge = appearance.neckline(self.factors, template)[0]
        near_cloth = 1 - 0.4 * head.smoothstep(-0.12, 0.0, edge) * (template[:, 1] < 6.3)
        occlusion = (masks["occlusion"] * 1.05).clamp(0, 1) * near_cloth
        socket = material == head.MATERIALS.index("eye_socket")
        albedo = torch.where(socket[:, None], albedo * torch.tensor([0.95, 0.72, 0.70], device=albedo.device), albedo)
        return self.light.skin(albedo, normal, view, shadow, occlusion, shine), self._skin_labels(
            template, normal, masks
        )

    def _skin_labels(self, template, normal, masks):
        x, y, z = template.unbind(-1)
        labels = torch.full((len(x),), CLASS["skin"], dtype=torch.uint8, device=x.device)
        local = normal @ self.scene.turn[0]
        # The neck starts behind the jaw line, where the skin under the chin turns down or back.
        jaw = 6.42 + 0.42 * (0.95 - z).clamp(min=0) / 0.6
        under = (y < jaw) & ((local[:, 1] < -0.55) | (z < 0.8)) & (y < 6.75)
        labels[under | (y < 6.12)] = CLASS["neck"]
        labels[(x.abs() < hair.interpolate(_NOSE, y)) & (z > 1.2)] = CLASS["nose"]
        left = x > 0
        ears = masks["ears"] > 0.5
        labels[ears & left], labels[ears & ~left] = CLASS["left_ear"], CLASS["right_ear"]
        lips = masks["lips"] > 0.45
        lower = masks["jaw"] > 0.42
        labels[lips & ~lower], labels[lips & lower] = CLASS["upper_lip"], CLASS["lower_lip"]
        brow = (hair.brow_cover(self.factors, x, y)[0] > 0.35) & (z > 0.9)
        labels[brow & left], labels[brow & ~left] = CLASS["left_brow"], CLASS["right_brow"]
        relative = template - template.new_tensor(hair.SKULL_CENTRE)
        labels[(hair.scalp_cover(self.factors, relative)[0] > 0.6) & ~ears] = CLASS["hair"]
        return labels

    def _cloth(self, template, world, normal, view, shadow, masks, material):
        albedo = appearance.cloth_colour(self.factors, template)
        edge = appearance.neckline(self.factors, template)[0]
        seam = 1 - 0.25 * torch.exp(-(((edge - 0.07) / 0.012) ** 2)) + 0.12 * torch.exp(-(((edge - 0.03) / 0.03) ** 2))
        folds = appearance.noise(template * template.new_tensor([1.0, 0.4, 1.0]), 4.0, 2)
        normal = F.normalize(normal + 0.16 * folds[:, :1] * normal.new_tensor([1.0, 0, 0.3]), dim=-1)
        labels = torch.full((len(edge),), CLASS["cloth"], dtype=torch.uint8, device=edge.device)
        return self.light.plain(albedo * seam[:, None], normal, shadow, masks["occlusion"].clamp(0.4, 1)), labels

    def _eye(self, template, world, normal, view, shadow, masks, material):
        left = material == head.MATERIALS.index("left_eye")
        radiance = torch.zeros_like(world)
        labels = torch.where(left, CLASS["left_eye"], CLASS["right_eye"]).to(torch.uint8)
        up = self.scene.turn[0, :, 1]
        for k, mask in enumerate((left, ~left)):
            part = mask.nonzero()[:, 0]
            if len(part) == 0:
                continue
            centre = head.eyeballs(self.scene.points)[0, k]
            offset = F.normalize(world[part] - centre, dim=-1)
            colour, wet = appearance.eye_colours(self.factors, offset, self._gaze(k, centre), up)
            # The lids shade the upper part of the ball.
            lid = 1 - 0.55 * head.smoothstep(0.05, 0.42, offset @ up)
            hidden = masks["occlusion"][part].clamp(0.25, 1) * lid
            light = self.light.plain(colour, offset, (0.35 + 0.65 * shadow[part]) * lid, hidden)
            spark = (
                self.light.specular(offset, view[part], 0.16) * 0.035 * wet
                + self.light.specular(offset, view[part], 0.30) * 0.012
            )
            radiance[part] = light + (spark * lid * (0.3 + 0.7 * shadow[part]))[:, None] * self.light.key
        return radiance, labels

    def _gaze(self, k: int, centre: torch.Tensor) -> torch.Tensor:
        rows = head._eye_rows(("left_eye", "right_eye")[k])
        template = self.baked["vertices"][rows]
        pole = rows[template[:, 2].topk(4).indices]
        return F.normalize(self.points[pole].mean(0) - centre, dim=0)

    def _teeth(self, template, world, normal, view, shadow, masks, material):
        upper = material == head.MATERIALS.index("upper_teeth")
        y = template[:, 1]
        height = torch.where(upper, (y - 6.60) / 0.23, (6.71 - y) / 0.29)
        colour = appearance.teeth_colour(template[:, 0], height)
        depth = head.smoothstep(0.9, 1.45, template[:, 2])
        inside = (0.25 + 0.75 * depth) * torch.where(upper, 0.72, 0.5)
        labels = torch.full((len(y),), CLASS["mouth"], dtype=torch.uint8, device=y.device)
        radiance = self.light.plain(colour, normal, 0.4 + 0.6 * shadow, 0.8 * torch.ones_like(y)) * inside[:, None]
        return radiance, labels

    def _inside(self, template, world, normal, view, shadow, masks, material):
        tongue = (material == head.MATERIALS.index("tongue"))[:, None]
        flesh = torch.where(tongue, template.new_tensor([0.42, 0.13, 0.13]), template.new_tensor([0.20, 0.045, 0.045]))
        front = head.smoothstep(0.95, 1.5, template[:, 2])[:, None]
        dim = torch.where(tongue, 0.35, 0.10 + 0.75 * front**2)
        labels = torch.full((len(world),), CLASS["mouth"], dtype=torch.uint8, device=world.device)
        lips = masks["lips"] > 0.45
        labels[lips & (masks["jaw"] <= 0.42)], labels[lips & (masks["jaw"] > 0.42)] = (
            CLASS["upper_lip"],
            CLASS["lower_lip"],
        )
        return self.light.plain(
            flesh, normal, 0.5 * shadow, 0.8 * torch.ones(len(world), device=world.device)
        ) * dim, labels

    def _frame(self, kind, chosen, ids):
        corners, weights = self._gather(chosen, ids)
        world = self._mean(self.points, corners, weights)
        edges = self.points[corners]
        normal = F.normalize(torch.linalg.cross(edges[:, 1] - edges[:, 0], edges[:, 2] - edges[:, 0]), dim=-1)
        view = F.normalize(self.camera - world, dim=-1)
        normal = normal * torch.sign((normal * view).sum(-1, keepdim=True))
        colour = float(column(self.factors, "glasses", "colour")[0])
        palette = ("14110f", "2b1a12", "5a4632", "3c3f45", "20262e")
        albedo = appearance.rgb(palette[min(int(colour * len(palette)), len(palette) - 1)], world.device).expand_as(
            world
        )
        radiance = self.light.plain(
            albedo, normal, torch.ones(len(world), device=world.device), torch.ones(len(world), device=world.device)
        )
        radiance = radiance + self.light.specular(normal, view, 0.25)[:, None] * 0.05 * self.light.key
        return radiance, torch.full((len(world),), CLASS["eye_glasses"], dtype=torch.uint8, device=world.device)

    def _ribbon(self, kind, chosen, ids):
        # Triangles of a strand are small: what holds at the first vertex holds for the whole triangle.
        corner = self.scene.triangles[ids, 0]
        vertex = corner - self.scene.starts[kind]
        strands = self.scene.strands[kind]
        owner = torch.div(vertex, 2 * strands.points.shape[2], rounding_mode="floor")
        world = self.points[corner]
        tangent = self.scene.tangents[kind][0, vertex]
        depth = strands.height[0].flatten()[torch.div(vertex, 2, rounding_mode="floor")]
        view = F.normalize(self.camera - world, dim=-1)
        outward = F.normalize(world - self.scene.centre[0], dim=-1)
        seeds = strands.seeds[owner]
        if kind == "scalp":
            shadow = self.lit(world, 0.06, 0.5)
            bulk = (column(self.factors, "hair", "volume")[0] / 0.15).clamp(0, 1)
            depth = torch.lerp(torch.ones_like(depth), depth, 0.3 + 0.7 * bulk)
            albedo = self._scalp_albedo(seeds)
            shine = float(column(self.factors, "hair", "shine")[0])
        else:
            shadow = self.lit(world, 0.08, 0.1)
            albedo = appearance.hair_colour(self.factors, "beard" if kind == "lash" else kind).expand(len(world), 3) * (
                0.7 + 0.6 * seeds[:, 1:2]
            )
            albedo = albedo * 0.4 if kind == "lash" else albedo
            depth, shine = 0.45 + 0.55 * depth, 0.25
        label = {"scalp": "hair", "beard": "skin"}.get(kind)
        left = (world @ self.scene.turn[0, :, 0]) > 0
        stem = {"brow": "brow", "lash": "eye"}.get(kind)
        labels = torch.where(left, CLASS[label or f"left_{stem}"], CLASS[label or f"right_{stem}"]).to(torch.uint8)
        return self.light.hair(albedo, tangent, outward, view, shadow, depth, shine), labels

    def _scalp_albedo(self, seeds: torch.Tensor) -> torch.Tensor:
        """Vary the strands' colour: a few are lighter, some turn grey before the others."""
        grey = column(self.factors, "hair", "grey")[0]
        pigment = {group: values.clone() for group, values in self.factors.items()}
        pigment["hair"][:, columns()["hair"].index("grey")] = 0
        dark = appearance.hair_colour(pigment, "scalp")
        white = dark.new_tensor(appearance._WHITE_HAIR)
        share = head.smoothstep(-0.25, 0.25, grey * 1.3 - 0.15 - seeds[:, :1])
        return torch.lerp(dark.expand(len(seeds), 3), white.expand(len(seeds), 3), share) * (
            0.68 + 0.64 * seeds[:, 1:2]
        )

    def _lenses(self, colour, labels) -> None:
        """Lay the lenses over the finished samples, in place."""
        first, last = self.scene.spans["lens"]
        if float(column(self.factors, "glasses", "worn")[0]) < 0.5:
            return
        ids = rasterize(self.screen[None], self.scene.triangles[first:last], self.samples)[0].flatten()
        covered = (ids >= 0).nonzero()[:, 0]
        # Frame and hair in front of the lens stay in front.
        covered = covered[
            (labels[covered] != CLASS["hair"]) & (labels[covered] != CLASS["eye_glasses"]) & (labels[covered] != 0)
        ]
        tint = float(column(self.factors, "glasses", "tint")[0])
        sheen = ((self.x[covered] + self.y[covered]) / self.samples * 9).sin().clamp(min=0)[:, None] ** 3 * 0.05
        colour[covered] = (colour[covered] * (0.96 - 0.80 * tint) + 0.02 + sheen).clamp(0, 1)
        hidden = labels[covered] == CLASS["skin"] if tint < 0.5 else torch.ones_like(covered, dtype=torch.bool)
        labels[covered[hidden]] = CLASS["eye_glasses"]


# --------------------------------------------------------------------------------------------------------- picture


def _majority(labels: torch.Tensor, supersample: int) -> torch.Tensor:
    """Return the most frequent label of each pixel's samples; in a tie, the first in reading order."""
    size = labels.shape[0] // supersample
    votes = labels.view(size, supersample, size, supersample).permute(0, 2, 1, 3).flatten(2)
    counts = (votes[..., None] == votes[..., None, :]).sum(-1)
    return votes.gather(-1, counts.argmax(-1, keepdim=True))[..., 0]


def _grain(factors: Factors, size: int) -> torch.Tensor:
    """Draw sensor noise, on the CPU so that every device shows the same."""
    generator = torch.Generator().manual_seed(int(column(factors, "camera", "seed")[0]))
    strength = float(column(factors, "camera", "noise")[0])
    return torch.randn(size, size, 3, generator=generator) * strength


@torch.no_grad()
def render(factors: Factors, size: int = 128, supersample: int = 2, device: str = "cpu") -> Faces:
    """Render pictures of the given factors with everything that is known about them; see `swaplib.faces.Faces`.

    size: pixels, 64 to 512; supersample: samples per pixel along each axis. The identity number is -1: factors do not
    name a person. Raises ValueError for sizes outside the range.
    """
    if not SIZES[0] <= size <= SIZES[1]:
        raise ValueError(
            f"size must be {SIZES[0]} to {SIZES[1]} pixels, got {size}: render at a size in between and resize"
        )
    factors = {group: values.to(device) for group, values in factors.items()}
    rows = range(len(factors["shape"]))
    pictures = [
        _render_one({group: values[k : k + 1] for group, values in factors.items()}, size, supersample) for k in rows
    ]
    images, labels, landmarks = (torch.stack(parts) for parts in zip(*pictures, strict=True))
    return Faces(
        images=images,
        labels=labels,
        landmarks=landmarks,
        attributes=attributes(factors),
        identity=torch.full((len(images),), -1, device=images.device),
        factors=factors,
    )


def _render_one(factors: Factors, size: int, supersample: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Render one face: image (3, S, S), labels (S, S) and landmarks (68, 2)."""
    samples = size * supersample
    scene = build(factors)
    screen = project(factors, scene.points, samples)
    ids = rasterize(screen, scene.triangles[: scene.spans["lens"][0]], samples)
    colour, label = Shader(factors, scene, samples, supersample).paint(screen[0], ids[0])
    pixels = colour.view(size, supersample, size, supersample, 3).mean((1, 3))
    pixels = (pixels + _grain(factors, size).to(pixels.device)).clamp(0, 1)
    vertices = scene.points[:, : scene.starts["frame"]]
    marks = head.landmark_points(vertices, lambda p: project(factors, p, size)[..., :2])
    return pixels.permute(2, 0, 1) * 2 - 1, _majority(label, supersample), marks[0]
