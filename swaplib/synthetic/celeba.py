"""CelebA's attributes of rendered faces, told from their factors."""

from __future__ import annotations

import torch

from swaplib.faces import CELEBA_ATTRIBUTES, SYNTHETIC_ATTRIBUTES
from swaplib.synthetic.factors import HAIR_STYLES, Factors, column


def attributes(factors: Factors) -> torch.Tensor:
    """Return CelebA's 40 attributes (B, 40): 1 or 0, NaN for the two without ground truth; thresholds are ours."""

    def get(group: str, name: str) -> torch.Tensor:
        return column(factors, group, name)

    style = get("hair", "style").round().long()

    def styled(*names: str) -> torch.Tensor:
        return torch.isin(style, torch.tensor([HAIR_STYLES.index(name) for name in names], device=style.device))

    def act(name: str) -> torch.Tensor:
        return (get("expression", f"{name}Left") + get("expression", f"{name}Right")) / 2

    hairy = ~styled("bald")
    grey, melanin, red = get("hair", "grey") > 0.5, get("hair", "melanin"), get("hair", "redness") > 0.6
    coloured = hairy & ~grey
    age, male = get("shape", "age"), get("shape", "masculine") > 0.5
    moustache, goatee, cheeks = (get("skin", name) > 0.5 for name in ("moustache", "goatee", "cheek_beard"))
    stubble = get("skin", "stubble") > 0.3
    lipstick = get("skin", "lipstick") > 0.3
    open_jaw = get("expression", "jawOpen")
    never = torch.zeros_like(male)
    known = {
        "5_o_Clock_Shadow": stubble & ~moustache & ~goatee,
        "Arched_Eyebrows": get("skin", "brow_arch") > 0.45,
        "Bags_Under_Eyes": get("shape", "eye-bag") + age > 0.9,
        "Bald": styled("bald"),
        "Bangs": (get("hair", "fringe") > 0.4) & (get("hair", "forward") > 0.45) & hairy,
        "Big_Lips": get("shape", "mouth-upperlip-volume")
        + get("shape", "mouth-lowerlip-volume")
        + get("shape", "mouth-scale-vert")
        > 0.45,
        "Big_Nose": get("shape", "nose-scale-horiz") + get("shape", "nose-volume") + get("shape", "nose-scale-vert")
        > 0.45,
        "Black_Hair": coloured & (melanin > 0.88),
        "Blond_Hair": coloured & (melanin < 0.32) & ~red,
        "Brown_Hair": coloured & (melanin >= 0.32) & (melanin <= 0.88) & ~red,
        "Bushy_Eyebrows": (get("skin", "brow_thickness") > 0.68) & (get("skin", "brow_density") > 0.6),
        "Chubby": get("shape", "weight") > 0.66,
        "Double_Chin": (get("shape", "weight") > 0.6) & (get("shape", "neck-double") > 0.05),
        "Eyeglasses": get("glasses", "worn") > 0.5,
        "Goatee": goatee & ~cheeks,
        "Gray_Hair": hairy & grey,
        "Heavy_Makeup": lipstick & (get("skin", "eyeshadow") > 0.3),
        "High_Cheekbones": get("shape", "cheek-bones") + get("shape", "cheek-volume") + act("cheekSquint") > 0.35,
        "Male": male,
        "Mouth_Slightly_Open": (open_jaw > 0.08) | (act("mouthUpperUp") + act("mouthLowerDown") > 0.45),
        "Mustache": moustache,
        "Narrow_Eyes": get("shape", "eye-height2") + get("shape", "eye-height1") - act("eyeSquint") - act("eyeBlink")
        < -0.45,
        "No_Beard": ~(moustache | goatee | cheeks | stubble),
        "Oval_Face": get("shape", "head-oval") > 0.2,
        "Pale_Skin": get("skin", "tone") < 0.14,
        "Pointy_Nose": get("shape", "nose-point-width") - get("shape", "nose-scale-depth") < -0.45,
        "Receding_Hairline": (get("hair", "receding") > 0.5) & hairy,
        "Rosy_Cheeks": (get("skin", "blush") > 0.3) | ((get("skin", "redness") > 0.85) & (get("skin", "tone") < 0.4)),
        "Sideburns": cheeks | (male & hairy & (get("hair", "length_side") > 0.3) & (get("hair", "length_side") < 0.6)),
        "Smiling": act("mouthSmile") > 0.3,
        "Straight_Hair": hairy & (get("hair", "curl_radius") < 0.02) & ~styled("buzz"),
        "Wavy_Hair": hairy & (get("hair", "curl_radius") >= 0.02),
        "Wearing_Earrings": never,
        "Wearing_Hat": never,
        "Wearing_Lipstick": lipstick,
        "Wearing_Necklace": never,
        "Wearing_Necktie": never,
        "Young": age < 0.45,
    }
    assert set(known) == set(SYNTHETIC_ATTRIBUTES)
    unknown = torch.full_like(age, float("nan"))
    return torch.stack([known[name].float() if name in known else unknown for name in CELEBA_ATTRIBUTES], 1)
