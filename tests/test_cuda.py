"""Everything that has a device, on a GPU: the same answers as on the processor. Skipped where there is none."""

from __future__ import annotations

import drawn
import pytest
import torch

from swaplib import families, generators, judges, latent, metrics, synthetic
from swaplib.judges import Judges
from swaplib.latent import reenactment
from swaplib.training.loop import train

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


def close(found: torch.Tensor, wanted: torch.Tensor, tolerance: float = 2e-2) -> None:
    torch.testing.assert_close(found.cpu(), wanted.cpu(), atol=tolerance, rtol=0)


@pytest.mark.parametrize("name", families.NAMES)
def test_families_swap_alike(name):
    family = families.load(name, "smoke") if name in families.ready("smoke") else families.build(name, "smoke").eval()
    faces = synthetic.render_faces(4, size=64)
    wanted = latent.swap(family, faces[[0, 1]], faces[[2, 3]])
    close(latent.swap(family.to("cuda"), faces[[0, 1]], faces[[2, 3]]), wanted)


@pytest.mark.parametrize("name", ["stylegan2", "stylenerf"])
def test_generators_make_the_same_pictures(name):
    model = generators.build(name, "smoke").eval()
    ws = model.sample(2)
    with torch.no_grad():
        wanted = model(ws)
        close(model.to("cuda")(ws.to("cuda")), wanted)


def test_the_renderer_takes_factors_from_anywhere():
    factors = synthetic.sample_factors(2, seed=3)
    wanted = synthetic.render(factors, 64)
    found = synthetic.render({group: values.to("cuda") for group, values in factors.items()}, 64)
    assert torch.equal(found.images, wanted.images)
    faces = synthetic.render_faces(2, size=64)
    truth = synthetic.true_swap(faces.to("cuda"), faces.to("cuda"))
    close(truth.images, synthetic.true_swap(faces, faces).images, 1e-6)


def test_judges_and_reenactors_answer_alike():
    faces = synthetic.render_faces(2, size=64)
    ours, theirs = Judges.released("demo", "cpu"), Judges.released("demo", "cuda")
    wanted, found = (one.differences(one.read(faces.images), one.read(faces.images.flip(0))) for one in (ours, theirs))
    for name, values in wanted.items():
        torch.testing.assert_close(found[name], values, rtol=0.05, atol=0.05)
    parser = judges.load("parser", "demo")
    labels = parser.parse(faces.images)
    same = parser.to("cuda").parse(faces.images.to("cuda")).cpu() == labels
    assert same.float().mean() > 0.99
    driven = reenactment.load("landmarks").drive(faces[[0]], faces[[1]])
    assert driven.images.isfinite().all()


def test_the_table_is_the_same():
    options = {"pairs": 4, "size": 64, "jobs": 1, "progress": False, "keep": False}
    wanted = metrics.measure(["rsgan"], preset="smoke", **options)
    found = metrics.measure(["rsgan"], preset="smoke", device="cuda", **options)
    for column in ("psnr", "reconstruction_error"):
        assert abs(found[column] - wanted[column]).max() < 0.1


@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16"])
def test_training_steps_are_finite(precision):
    family = families.start("rsgan", "smoke")
    steps = list(train(family, drawn.faces(8, size=32), 3, batch=4, precision=precision, device="cuda", progress=False))
    assert len(steps) == 3
    assert all(
        torch.isfinite(torch.tensor(value))
        for step in steps
        for values in step.losses.values()
        for value in values.values()
    )
