"""A random OpenVLA checkpoint in the published layout, with every tensor and tiny widths.

Names and shapes are spelled out here once more, independently of the loader they test.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, normalizers, processors
from torch import Tensor

Shapes = dict[str, tuple[int, ...]]

LIBERO_STATISTICS: dict[str, Any] = {
    "q01": [-0.5, -0.6, -0.7, -0.1, -0.2, -0.3, 0.0],
    "q99": [0.8, 0.7, 0.6, 0.3, 0.2, 0.1, 1.0],
    "min": [-0.9, -0.9, -0.9, -0.3, -0.3, -0.3, 0.0],
    "max": [0.9, 0.9, 0.9, 0.3, 0.3, 0.3, 1.0],
    "mask": [True] * 6 + [False],
}

LIBERO_STATE = {
    "q01": [-0.5, -0.4, 0.8, -3.0, -3.0, -3.0, 0.0, -0.04],
    "q99": [0.5, 0.4, 1.4, 3.0, 3.0, 3.0, 0.04, 0.0],
}
"""``proprio`` of a LIBERO dataset, which has no mask."""

ROBOTWIN_STATISTICS: dict[str, Any] = {
    "q01": [-9.0] * 14,
    "q99": [9.0] * 14,
    "min": [-2.0, -1.5, -1.0, -0.5, -2.5, -3.0, 0.0] * 2,
    "max": [2.0, 1.0, 1.5, 2.5, 0.5, 3.0, 1.0] * 2,
    "mask": [True] * 14,
}
"""Actions and state of a RoboTwin dataset; its quantiles must not be used."""


@dataclass(frozen=True, kw_only=True)
class Tower:
    width: int
    depth: int
    heads: int
    mlp: int


@dataclass(frozen=True, kw_only=True)
class Size:
    """Widths of a checkpoint; everything else is fixed by the format."""

    dino: Tower = Tower(width=16, depth=3, heads=2, mlp=32)
    siglip: Tower = Tower(width=24, depth=3, heads=2, mlp=40)
    image: int = 28
    hidden: int = 32
    intermediate: int = 48
    layers: int = 2
    heads: int = 4
    vocab: int = 512
    """Without padding; the last 256 are action tokens."""


PUBLISHED = Size(
    dino=Tower(width=1024, depth=24, heads=16, mlp=4096),
    siglip=Tower(width=1152, depth=27, heads=16, mlp=4304),
    image=224,
    hidden=4096,
    intermediate=11008,
    layers=32,
    heads=32,
    vocab=32000,
)


def write_checkpoint(
    folder: Path, *, size: Size | None = None, dtype: torch.dtype = torch.float32, seed: int = 0
) -> Path:
    """Write config, statistics, preprocessor, tokenizer and two shards of weights into ``folder``."""
    size = Size() if size is None else size
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "config.json", model_config(size))
    write_json(folder / "dataset_statistics.json", {"libero_spatial_no_noops": {"action": LIBERO_STATISTICS}})
    write_json(folder / "preprocessor_config.json", preprocessor_config(size.image))
    tiny_tokenizer(size.vocab).save(str(folder / "tokenizer.json"))
    write_json(folder / "tokenizer_config.json", {"tokenizer_class": "LlamaTokenizer"})
    (folder / "modeling_prismatic.py").write_text("raise SystemExit('remote code was run')\n")
    write_shards(folder, random_tensors(size, dtype, seed))
    return folder


def write_state_checkpoint(
    folder: Path, world: str, *, place: str = "proprio_projector--150000_checkpoint.pt", prefix: str = ""
) -> Path:
    """A checkpoint that sees the robot's state; its projector is in the file ``place``, or "weights"."""
    write_checkpoint(folder)
    name, action, state, width = {
        "LIBERO": ("libero_spatial_no_noops", LIBERO_STATISTICS, LIBERO_STATE, 8),
        "RoboTwin": ("stack_blocks_two", ROBOTWIN_STATISTICS, ROBOTWIN_STATISTICS, 14),
    }[world]
    write_json(folder / "dataset_statistics.json", {name: {"action": action, "proprio": state}})
    projector = projector_tensors(width)
    if place == "weights":
        named = {f"proprio_projector.{key}": tensor for key, tensor in projector.items()}
        write_shards(folder, {**read_tensors(folder), **named})
    elif place:
        torch.save({f"{prefix}{key}": tensor for key, tensor in projector.items()}, folder / place)
    return folder


def projector_tensors(state_dim: int, hidden: int = Size.hidden) -> dict[str, Tensor]:
    """Random weights of a projector of the robot's state, under their published names."""
    generator = torch.Generator().manual_seed(state_dim)
    shapes = {**_linear("fc1", state_dim, hidden), **_linear("fc2", hidden, hidden)}
    return {key: torch.randn(shape, generator=generator) for key, shape in shapes.items()}


def write_shards(folder: Path, tensors: dict[str, Tensor], shards: int = 2) -> None:
    names = sorted(tensors)
    weight_map: dict[str, str] = {}
    for shard in range(shards):
        file = f"model-{shard + 1:05d}-of-{shards:05d}.safetensors"
        part = {name: tensors[name] for name in names[shard::shards]}
        save_file(part, folder / file, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(part, file)
    write_json(folder / "model.safetensors.index.json", {"metadata": {}, "weight_map": weight_map})


def read_tensors(folder: Path) -> dict[str, Tensor]:
    """Every tensor of a folder, from however many files."""
    files = folder.glob("*.safetensors")  # load_file maps them, and a test may rewrite them: copies
    return {name: tensor.clone() for file in files for name, tensor in load_file(file).items()}


def write_json(file: Path, content: Any) -> None:
    file.write_text(json.dumps(content, indent=1), encoding="utf-8")


def edit_json(file: Path, **changes: Any) -> None:
    write_json(file, {**json.loads(file.read_text(encoding="utf-8")), **changes})


def tensor_shapes(size: Size) -> Shapes:
    """Name and shape of every tensor of a published checkpoint."""
    vision = size.dino.width + size.siglip.width
    shapes = {
        **_tower("vision_backbone.featurizer", size.dino, size.image, dino=True),
        **_tower("vision_backbone.fused_featurizer", size.siglip, size.image, dino=False),
        **_linear("projector.fc1", vision, 4 * vision),
        **_linear("projector.fc2", 4 * vision, size.hidden),
        **_linear("projector.fc3", size.hidden, size.hidden),
        "language_model.model.embed_tokens.weight": (size.vocab + 64, size.hidden),
        "language_model.model.norm.weight": (size.hidden,),
        "language_model.lm_head.weight": (size.vocab + 64, size.hidden),
    }
    for layer in range(size.layers):
        prefix = f"language_model.model.layers.{layer}"
        for name in "qkvo":
            shapes[f"{prefix}.self_attn.{name}_proj.weight"] = (size.hidden, size.hidden)
        shapes[f"{prefix}.mlp.gate_proj.weight"] = (size.intermediate, size.hidden)
        shapes[f"{prefix}.mlp.up_proj.weight"] = (size.intermediate, size.hidden)
        shapes[f"{prefix}.mlp.down_proj.weight"] = (size.hidden, size.intermediate)
        for name in ("input_layernorm", "post_attention_layernorm"):
            shapes[f"{prefix}.{name}.weight"] = (size.hidden,)
    return shapes


def random_tensors(size: Size, dtype: torch.dtype, seed: int) -> dict[str, Tensor]:
    """Weights large enough that image, text and position all show in the output."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, shape in sorted(tensor_shapes(size).items()):
        noise = torch.randn(shape, generator=generator)
        is_scale = len(shape) == 1 and not name.endswith("bias")
        scale = 0.1 if len(shape) == 1 else 1.5 / np.sqrt(np.prod(shape[1:]))
        if "embed" in name and "patch" not in name:
            scale = 1.0
        tensors[name] = (noise * scale + (1.0 if is_scale else 0.0)).to(dtype)
    return tensors


def model_config(size: Size) -> dict[str, Any]:
    """``config.json``, with the towers' shapes where they are not the published ones."""
    config: dict[str, Any] = {
        "model_type": "openvla",
        "architectures": ["OpenVLAForActionPrediction"],
        "auto_map": {"AutoModelForVision2Seq": "modeling_prismatic.OpenVLAForActionPrediction"},
        "arch_specifier": "no-align+fused-gelu-mlp",
        "image_resize_strategy": "resize-naive",
        "image_sizes": [size.image, size.image],
        "llm_backbone_id": "llama2-7b-pure",
        "n_action_bins": 256,
        "norm_stats": {"bridge_orig": {"action": {**LIBERO_STATISTICS, "q99": [1.0] * 7}}},
        "pad_to_multiple_of": 64,
        "pad_token_id": size.vocab,
        "timm_model_ids": ["vit_large_patch14_reg4_dinov2.lvd142m", "vit_so400m_patch14_siglip_224"],
        "timm_override_act_layers": [None, None],
        "use_fused_vision_backbone": True,
        "vision_backbone_id": "dinosiglip-vit-so-224px",
        "text_config": {"model_type": "llama", "pad_token_id": size.vocab, "vocab_size": size.vocab + 64},
    }
    if size != PUBLISHED:
        config["text_config"] |= {
            "hidden_size": size.hidden,
            "intermediate_size": size.intermediate,
            "num_hidden_layers": size.layers,
            "num_attention_heads": size.heads,
        }
        dino, siglip = (
            {"embed_dim": tower.width, "depth": tower.depth, "num_heads": tower.heads, "mlp_dim": tower.mlp}
            for tower in (size.dino, size.siglip)
        )
        dino |= {"class_token": True, "reg_tokens": 4, "layer_scale": True}
        config["timm_model_args"] = [dino, siglip | {"attention_pool": True}]
    return config


def preprocessor_config(image: int) -> dict[str, Any]:
    return {
        "processor_class": "PrismaticProcessor",
        "image_resize_strategy": "resize-naive",
        "input_sizes": [[3, image, image], [3, image, image]],
        "tvf_normalize_params": [
            {
                "inplace": False,
                "mean": [0.484375, 0.455078125, 0.40625],
                "std": [0.228515625, 0.2236328125, 0.224609375],
            },
            {"inplace": False, "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]},
        ],
    }


def tiny_tokenizer(vocab: int) -> Tokenizer:
    """Llama's kind of tokenizer (BPE over characters, spaces as U+2581) without any merges."""
    characters = ["▁", "\n", *(chr(code) for code in range(33, 127))]
    tokens = ["<unk>", "<s>", "</s>", *characters]
    tokens += [f"<filler{index}>" for index in range(vocab - len(tokens))]
    ids = {token: index for index, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.BPE(vocab=ids, merges=[], unk_token="<unk>", fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Replace("▁", " ")
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return tokenizer


def _tower(prefix: str, tower: Tower, image: int, *, dino: bool) -> Shapes:
    width = tower.width
    shapes: Shapes = {
        f"{prefix}.pos_embed": (1, (image // 14) ** 2, width),
        f"{prefix}.patch_embed.proj.weight": (width, 3, 14, 14),
        f"{prefix}.patch_embed.proj.bias": (width,),
        **_norm(f"{prefix}.norm", width),
    }
    for block in range(tower.depth):
        name = f"{prefix}.blocks.{block}"
        shapes |= _norm(f"{name}.norm1", width) | _norm(f"{name}.norm2", width)
        shapes |= _linear(f"{name}.attn.qkv", width, 3 * width) | _linear(f"{name}.attn.proj", width, width)
        shapes |= _linear(f"{name}.mlp.fc1", width, tower.mlp) | _linear(f"{name}.mlp.fc2", tower.mlp, width)
        if dino:
            shapes |= {f"{name}.ls1.scale_factor": (width,), f"{name}.ls2.scale_factor": (width,)}
    if dino:
        shapes |= {f"{prefix}.cls_token": (1, 1, width), f"{prefix}.reg_token": (1, 4, width)}
        return shapes
    pool = f"{prefix}.attn_pool"
    shapes |= {f"{pool}.latent": (1, 1, width), **_norm(f"{pool}.norm", width)}
    shapes |= _linear(f"{pool}.q", width, width) | _linear(f"{pool}.kv", width, 2 * width)
    shapes |= _linear(f"{pool}.proj", width, width)
    shapes |= _linear(f"{pool}.mlp.fc1", width, tower.mlp) | _linear(f"{pool}.mlp.fc2", tower.mlp, width)
    return shapes


def _linear(name: str, inputs: int, outputs: int) -> Shapes:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def _norm(name: str, width: int) -> Shapes:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}
