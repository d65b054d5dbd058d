"""Write ``golden_vision.json``: what timm's towers compute with formula weights on a formula image.

pip install timm torchvision    # of the builds that match torch
python -m tests.agents.policies.make_vision_golden
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

GOLDEN = Path(__file__).with_name("golden_vision.json")

TOWERS: dict[str, dict[str, Any]] = {
    "dino": {
        "embed_dim": 16,
        "depth": 3,
        "num_heads": 2,
        "mlp_ratio": 2.0,
        "init_values": 1e-5,
        "reg_tokens": 4,
        "no_embed_class": True,
    },
    "siglip": {
        "embed_dim": 24,
        "depth": 4,
        "num_heads": 3,
        "mlp_ratio": 1.5,
        "class_token": False,
        "global_pool": "map",
    },
}
"""timm's arguments: those of the published towers, with smaller numbers."""


def formula_image() -> Tensor:
    return torch.sin(torch.arange(3 * 28 * 28, dtype=torch.float64) * 0.37).view(1, 3, 28, 28).float()


def fill(module: nn.Module) -> None:
    """Weights that depend on their name and index alone (timm's LayerScale gamma goes by scale_factor)."""
    for name, parameter in module.named_parameters():
        name = name.replace(".gamma", ".scale_factor")
        phase = sum(ord(character) * (index + 1) for index, character in enumerate(name)) % 1000
        values = torch.sin(torch.arange(parameter.numel(), dtype=torch.float64) * 0.73 + phase)
        one = 1.0 if ("norm" in name and name.endswith("weight")) or "scale_factor" in name else 0.0
        with torch.no_grad():
            parameter.copy_((one + 0.3 * values).view_as(parameter))


def main() -> None:
    import timm
    from timm.models.vision_transformer import VisionTransformer

    golden: dict[str, Any] = {"timm": timm.__version__, "features": {}}
    for name, arguments in TOWERS.items():
        tower = VisionTransformer(img_size=28, patch_size=14, num_classes=0, **arguments).eval()
        fill(tower)
        with torch.no_grad():
            (features,) = tower.get_intermediate_layers(formula_image(), n={arguments["depth"] - 2})
        golden["features"][name] = [[round(value, 6) for value in token] for token in features[0].tolist()]
    GOLDEN.write_text(json.dumps(golden) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
