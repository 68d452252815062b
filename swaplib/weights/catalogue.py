"""The table of published files that load here: their names, origins, sizes and licences, and what each fills."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class OfficialFile:
    """A published file, or a folder of them.

    name       what it fills, as `load_official` calls it: a model's name, or that of a network in the dict it returns
    files      as their authors call them
    project    owner/repository, or the package that ships the file
    megabytes  approximate; None where neither the authors nor the tensors alone tell
    fills      in words
    load       Python that loads it
    licence    of the authors' code and, where stated, of the weights
    """

    name: str
    files: str
    project: str
    megabytes: int | None
    fills: str
    load: str
    licence: str

    @property
    def size(self) -> str:
        """The size in words."""
        return "not stated" if self.megabytes is None else f"{self.megabytes} MB"


_MIT = "code MIT; weights not stated"
# Sizes: the authors' own, or four bytes per number where a file holds only the network.
OFFICIAL: tuple[OfficialFile, ...] = (
    OfficialFile(
        "G_ema",
        "ffhq.pkl, stylegan2-ffhq-config-f.pkl; 550000.pt",
        "NVlabs/stylegan2-ada-pytorch, NVlabs/stylegan2; rosinality/stylegan2-pytorch",
        None,
        "a StyleGAN2 generator of the file's size, or StyleNeRF's of its files below",
        'published.load_official("ffhq.pkl")["G_ema"]',
        "Nvidia Source Code License: not for commercial use; of 550000.pt not stated",
    ),
    OfficialFile(
        "stylegan2",
        "stylegan2-ffhq-config-f.pt, or NVIDIA's ffhq.pkl",
        "rosinality/stylegan2-pytorch",
        364,
        "generators: stylegan2",
        'generators.build("stylegan2", "paper").load_official("stylegan2-ffhq-config-f.pt")',
        "converted from NVIDIA's: Nvidia Source Code License, not for commercial use",
    ),
    OfficialFile(
        "stylenerf",
        "ffhq_256.pkl, ffhq_512.pkl",
        "facebookresearch/StyleNeRF",
        128,
        "generators: stylenerf",
        'generators.build("stylenerf", generators.kind("stylenerf").Config.released(256))'
        '.load_official("ffhq_256.pkl")',
        "CC BY-NC 4.0 and Nvidia Source Code License: not for commercial use",
    ),
    OfficialFile(
        "e4e",
        "e4e_ffhq_encode.pt",
        "omertov/encoder4editing",
        None,
        "an inversion encoder (e4e), and its generator (G_ema)",
        'published.load_official("e4e_ffhq_encode.pt")["e4e"]',
        _MIT,
    ),
    OfficialFile(
        "psp",
        "psp_ffhq_encode.pt",
        "eladrich/pixel2style2pixel",
        None,
        "an inversion encoder (psp), and its generator (G_ema)",
        'published.load_official("psp_ffhq_encode.pt")["psp"]',
        _MIT,
    ),
    OfficialFile(
        "facevid2vid",
        "00000189-checkpoint.pth.tar",
        "zhanglonghao1992/One-Shot_Free-View_Neural_Talking_Head_Synthesis",
        None,
        "the reenactor facevid2vid",
        'latent.reenactment.load("facevid2vid", "00000189-checkpoint.pth.tar")',
        "not stated",
    ),
    OfficialFile(
        "e4s",
        "iteration_300000.pt",
        "e4s2022/e4s",
        None,
        "families: e4s",
        'families.build("e4s", "paper").load_official("iteration_300000.pt")',
        _MIT,
    ),
    OfficialFile(
        "mask_guided",
        "a folder with latest_net_G.pth, latest_net_encoder_mouth.pth, …",
        "cientgu/Mask_Guided_Portrait_Editing",
        None,
        "families: mask_guided",
        'families.build("mask_guided", "paper").load_official("checkpoints/pretrained")',
        "not stated",
    ),
    OfficialFile(
        "latent_swap",
        "epoch=39-step=200000.ckpt",
        "usingcolor/LatentSwap",
        None,
        "families: latent_swap, its mixers (`generator`: stylegan2, as above)",
        'families.build("latent_swap", "paper", frozen={"generator": generator})'
        '.load_official("epoch=39-step=200000.ckpt")',
        "code BSD-3-Clause (its README says MIT); weights not stated",
    ),
    OfficialFile(
        "ir_se50",
        "model_ir_se50.pth",
        "TreB1eN/InsightFace_Pytorch",
        175,
        "judges: identity",
        'judges.load_official("model_ir_se50.pth")',
        _MIT,
    ),
    OfficialFile(
        "latentswap_embedder",
        "epoch=5-step=109999.ckpt",
        "usingcolor/LatentSwap",
        None,
        "judges: identity",
        'judges.load_official("epoch=5-step=109999.ckpt")',
        "code BSD-3-Clause (its README says MIT); weights not stated",
    ),
    OfficialFile(
        "bisenet",
        "79999_iter.pth",
        "zllrunning/face-parsing.PyTorch",
        53,
        "judges: parsing, 19 classes",
        'judges.load_official("79999_iter.pth")',
        "not stated; trained on CelebAMask-HQ",
    ),
    OfficialFile(
        "helen",
        "latest_net_P.pth",
        "cientgu/Mask_Guided_Portrait_Editing",
        117,
        "judges: parsing, MGPE's 11 classes",
        'judges.load_official("latest_net_P.pth")',
        "not stated; trained on Helen",
    ),
    OfficialFile(
        "lpips",
        "alexnet-owt-7be5be79.pth; torchmetrics brings LPIPS's own weights along",
        "pytorch/vision, richzhang/PerceptualSimilarity",
        244,
        "judges: perceptual (LPIPS)",
        'judges.load_official("alexnet-owt-7be5be79.pth")',
        "code BSD-3-Clause and BSD-2-Clause; weights not stated",
    ),
)
"""All published files that load here."""


def official_file(name: str) -> OfficialFile:
    """Return the row of `OFFICIAL` with this name, or raise KeyError where there is none."""
    return {row.name: row for row in OFFICIAL}[name]


def official_text() -> str:
    """Return `OFFICIAL` as text for a terminal, one paragraph per file."""
    paragraphs = [
        f"{row.files}\n  fills    {row.fills}\n  from     {row.project}\n  size     {row.size}\n"
        f"  licence  {row.licence}\n  load     {row.load}"
        for row in OFFICIAL
    ]
    return "\n\n".join(paragraphs)


def official_markdown() -> str:
    """Return `OFFICIAL` as a Markdown table."""
    lines = ["| file | from | size | fills | licence | load by |", "|---|---|---|---|---|---|"]
    lines += [
        f"| {row.files} | {row.project} | {row.size} | {row.fills} | {row.licence} | `{row.load}` |" for row in OFFICIAL
    ]
    return "\n".join(lines) + "\n"
