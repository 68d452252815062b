"""Inversion of held-out pictures: quality against steps and seconds, for W, W+, an encoder, its refinement and PTI.

    python benchmarks/inversion.py --preset demo --pictures 16
    python benchmarks/inversion.py --preset paper --file e4e_ffhq_encode.pt --data ffhq --device cuda

Pictures are rendered ones that are in no training set, or those of a prepared dataset's part "val". Each picture has
its own inversion, `--batch` of them at once, and also its own PTI, which continues from the codes in W; `--together 2`
tunes one generator on two, as LatentSwap does. `--speed` only measures steps per second, times pictures. Else saves
quality (a table of means), curves and pictures under inversion/ in the figures folder.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
import typer
from matplotlib.figure import Figure
from tqdm.auto import tqdm

from swaplib import data, figures, generators, judges, photos, synthetic, weights
from swaplib.judges import perceptual
from swaplib.latent import inversion
from swaplib.latent.inversion import Config, Inversion, Step
from swaplib.networks.stylegan2 import Generator
from swaplib.weights import published

MEASURES = {"error": "abs. error", "ms_ssim": "MS-SSIM", "perceptual": "perceptual distance", "identity": "identity"}
REFINED = "encoder, refined"
Encoder = Callable[[torch.Tensor], torch.Tensor]


class Measured:
    """One row for each method, picture and step that is looked at."""

    def __init__(self, marks: set[int], eyes: dict):
        self.marks, self.eyes, self.rows, self.first = marks, eyes, [], 0

    def note(self, method: str, images: torch.Tensor, step: int, seconds: float, quality: pd.DataFrame) -> None:
        for picture, row in quality.iterrows():
            self.rows.append(
                {"method": method, "picture": self.first + picture, "step": step, "seconds": seconds / len(images)}
                | row.to_dict()
            )

    def watch(self, method: str, images: torch.Tensor, steps: int = 0, seconds: float = 0.0) -> Callable[[Step], None]:
        """Return a callback that measures a method's marked steps; steps, seconds: those already behind it."""

        def look(step: Step) -> None:
            if step.step in self.marks or step.step == step.steps:
                shown = inversion.show(step.generator, step.codes)
                quality = inversion.measure_quality(shown, images, **self.eyes)
                self.note(method, images, steps + step.step, seconds + step.seconds, quality)

        return look


def main(
    preset: str = "demo",
    pictures: Annotated[int, typer.Option(min=1, help="How many.")] = 16,
    seed: Annotated[int, typer.Option(help="Of the pictures and of the inversions.")] = 0,
    steps: Annotated[int | None, typer.Option(help="Of a projection; by default the preset's.")] = None,
    tuning_steps: Annotated[int | None, typer.Option(help="Of PTI; by default the preset's.")] = None,
    together: Annotated[int, typer.Option(min=1, help="Pictures that share a tuned generator.")] = 1,
    batch: Annotated[int, typer.Option(min=1, help="Pictures that are projected at once.")] = 16,
    speed: Annotated[bool, typer.Option(help="Measure only the speed, of one picture and of a batch.")] = False,
    data_folder: Annotated[Path | None, typer.Option("--data", help="A prepared dataset; its part val.")] = None,
    file: Annotated[Path | None, typer.Option(help="pSp's or e4e's file instead of the preset's weights.")] = None,
    world: str = "calm",
    device: str = "cpu",
    threads: Annotated[int, typer.Option(help="Of the processor.")] = 1,
) -> None:
    """Measure all methods on the same pictures."""
    torch.set_num_threads(threads)
    generator, encoder, used = networks(preset, file, device)
    config = getattr(Config, preset)()
    steps, tuning_steps = steps or config.steps, tuning_steps or config.tuning_steps
    config = replace(config, steps=steps, tuning_steps=tuning_steps, stop=0)  # the curve needs all steps
    images = held_out(generator, pictures, seed, data_folder, world, file is not None).to(device)
    names = {"distance": "identity_linear", "identity": "identity"}
    eyes = {name: judges.load(judge, device=device) for name, judge in names.items()}
    eyes["distance"] = perceptual.feature_distance(eyes["distance"])
    if speed:
        for count in (1, min(batch, pictures)):
            measure_speed(generator, images[:count], replace(config, steps=20, tuning_steps=20), eyes)
        return
    marks = {round(10 ** (k / 4)) for k in range(4, 16)}  # 10, 18, 32, 56, 100 …
    measured, shown = Measured(marks, eyes), []
    for first in tqdm(range(0, pictures, batch), desc="pictures", unit=f"x{batch}"):
        measured.first = first
        found = invert(generator, encoder, images[first : first + batch], seed, config, measured, together)
        shown.append(found)
    table = summary(pd.DataFrame(measured.rows))
    facts = {"preset": preset, "seed": seed, "pictures": pictures, "together": together, "world": world}
    where = f"{pictures} held-out pictures of {data_folder.name if data_folder else f'the {world} world'}"
    what = f"Inversion of {where} at {images.shape[-1]} px"
    means = f"{what}: means over pictures, seconds for one of them."
    story = {"checkpoints": used, **facts}
    figures.style()
    figures.save_table(table.round(5), "inversion/quality", caption=means, **story)
    figures.save(curves(table), "inversion/curves", caption=means, **story)
    rows = {"picture": images} | {name: torch.cat([part[name] for part in shown]) for name in shown[0]}
    grid = figures.grid({name: part[:8] for name, part in rows.items()}, as_rows=True)
    figures.save(grid, "inversion/pictures", caption=f"{what}, by all methods.", **story)
    typer.echo(table.groupby("method", sort=False).tail(1).round(4).to_string(index=False))


def networks(preset: str, file: Path | None, device: str) -> tuple[Generator, Encoder | None, list[Path]]:
    """Return generator, its encoder where there is one, and the files that they came from."""
    if file is not None:
        found = published.load_official(file)
        encoder = next((found[name] for name in published.ENCODERS if name in found), None)
        return found["G_ema"].to(device), encoder and encoder.to(device), [file]
    generator = generators.load("stylegan2", preset, device).network
    used = [weights.find_released(name, preset) for name in ("stylegan2", "stylegan2_encoder")]
    if not used[1].exists():
        typer.echo(f"no encoder has weights for the preset {preset}: it is left out")
        return generator, None, used[:1]
    return generator, generators.load("stylegan2_encoder", preset, device), used


def held_out(generator: Generator, count: int, seed: int, folder: Path | None, world: str, ffhq: bool) -> torch.Tensor:
    """Return pictures (count, 3, S, S) at the generator's size.

    ffhq: cropped as in FFHQ, which published encoders expect.
    """
    size = generator.synthesis.sizes[-1]
    if folder is None:
        faces = synthetic.render_faces(count, seed, synthetic.HELD_OUT, world, max(64, size))
    else:
        part = data.open(folder).split("val")
        if len(part) < count:
            raise SystemExit(f"{folder} has {len(part)} pictures in its part val: ask for fewer with --pictures")
        chosen = np.random.default_rng(seed).choice(len(part), count, replace=False)
        faces = part[sorted(chosen.tolist())]
    return photos.align(faces, "ffhq", size).images if ffhq else faces.resize(size).images


def measure_speed(generator: Generator, images: torch.Tensor, config: Config, eyes: dict) -> None:
    """Print the steps per second, times pictures, of projection and of tuning."""
    options, count = {"config": config, "progress": False, **eyes}, len(images)
    pivot = inversion.project(generator, images, "w", **options)
    found = {
        "W": [pivot],
        "W+": [inversion.project(generator, images, "w+", **options)],
        "tuned together": [inversion.tune(generator, images, pivot.codes, **options)],
        "tuned in turn": [
            inversion.tune(generator, images[[k]], pivot.codes[[k]], **options) for k in range(count)
        ],
        "tuned each": inversion.tune_each(generator, images, pivot.codes, **options)[-1:],
    }  # fmt: skip
    for name, some in found.items():
        seconds = sum(one.history["seconds"].max() for one in some)
        typer.echo(f"{count:>3} pictures, {name:<14} {config.steps * count / seconds:7.1f} picture steps/s")


def invert(
    generator: Generator,
    encoder: Encoder | None,
    images: torch.Tensor,
    seed: int,
    config: Config,
    measured: Measured,
    together: int,
) -> dict[str, torch.Tensor]:
    """Invert some pictures by all methods; return the pictures that these show."""
    options = {"seed": seed, "config": config, "progress": False, **measured.eyes}
    found: dict[str, Inversion] = {}
    for space, method in (("w", "W"), ("w+", "W+")):
        watch = measured.watch(method, images)
        found[method] = inversion.project(generator, images, space, watch=watch, **options)
    if encoder is not None:
        read = inversion.encode(generator, images, encoder, **measured.eyes)
        took = read.history["seconds"].iloc[-1]
        measured.note("encoder", images, 1, took, read.quality)
        watch = measured.watch(REFINED, images, 1, took)
        found |= {
            "encoder": read,
            REFINED: inversion.project(generator, images, "w+", read.codes, watch=watch, **options),
        }
    shown = {name: one.pictures for name, one in found.items()}
    pivot, tuned, start = found["W"], [], measured.first
    each = pivot.history["seconds"].iloc[-1] / len(images)
    for first in range(0, len(images), together):
        measured.first, some = start + first, slice(first, first + together)
        watch = measured.watch("PTI", images[some], config.steps, each * len(images[some]))
        tuned.append(inversion.tune(generator, images[some], pivot.codes[some], watch=watch, **options).pictures)
    return shown | {"PTI": torch.cat(tuned)}


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """Return means over the pictures, and half their 95% intervals where there are several.

    One row per method and step.
    """
    columns = ["seconds", *MEASURES]
    groups = rows.groupby(["method", "step"], sort=False)
    table = groups[columns].mean()
    halves = 1.96 * groups[list(MEASURES)].sem()
    table = table.join(halves.add_suffix("_half")).join(groups.size().rename("pictures"))
    return table.reset_index()


def curves(table: pd.DataFrame) -> Figure:
    """Plot each measure against steps (above) and seconds (below)."""
    figure, axes = plt.subplots(2, len(MEASURES), figsize=(2.9 * len(MEASURES), 5.2), sharey="col")
    for row, (axis, label) in enumerate({"step": "steps", "seconds": "seconds per picture"}.items()):
        for ax, (name, title) in zip(axes[row], MEASURES.items(), strict=True):
            for method, part in table.groupby("method", sort=False):
                ax.plot(part[axis], part[name], marker="o", markersize=3, label=method)
            ax.set(xscale="log", xlabel=label, title="" if row else title)
    axes[0, 0].legend()
    return figure


if __name__ == "__main__":
    typer.run(main)
