"""Time and memory of OpenVLA-OFT 7B: ``python -m benchmarks.openvla_update``.

The model has random weights of the published shapes in bfloat16, and LoRA on every linear layer; neither time
nor memory depends on the weights' values. For each batch size it measures image preprocessing and sampling a
chunk a row. It also measures an update (log-probabilities, backward pass, AdamW step), with and without
recomputing activations, and both again with compiled blocks. Prints each result and writes all to
``benchmarks/results/openvla_update.json``.

Needs a CUDA GPU with 40 GB. ``--tiny`` uses tiny shapes and runs anywhere, but only tests the script.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, models
from torch import Tensor

from benchmarks.report import machine
from benchmarks.torch_timing import timed
from ttrl_env.agents.policies.openvla.compiling import compile_blocks
from ttrl_env.agents.policies.openvla.config import OpenVLAConfig
from ttrl_env.agents.policies.openvla.lora import add_lora
from ttrl_env.agents.policies.openvla.model import OpenVLAModel
from ttrl_env.agents.policies.openvla.pixels import camera_shape
from ttrl_env.agents.policies.openvla.policy import AdaptedOpenVLAPolicy, OpenVLAPolicy
from ttrl_env.agents.policies.openvla.prompt import MAX_PROMPT_TOKENS, PromptTokenizer
from ttrl_env.agents.policies.openvla.records import ActionSpace, Source
from ttrl_env.agents.policies.openvla.statistics import ActionStatistics
from ttrl_env.agents.policies.openvla.vision import KNOWN_BACKBONES, ViTShape

PROMPT_TOKENS = 35
"""A typical LIBERO instruction."""

LORA_RANK = 32

Report = Callable[[dict[str, Any]], None]
"""Takes each figure as it is measured."""


def main() -> None:
    """Measure every requested batch size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="*", default=[1, 8, 32], help="rows of one forward pass")
    parser.add_argument("--rounds", type=int, default=10, help="timings of each")
    parser.add_argument("--tiny", action="store_true", help="tiny shapes, on a CPU if there is no GPU")
    parser.add_argument(
        "--output", type=Path, default=Path(__file__).with_name("results") / "openvla_update.json"
    )
    arguments = parser.parse_args()
    if not (torch.cuda.is_available() or arguments.tiny):
        raise SystemExit(
            "benchmarks.openvla_update needs a CUDA GPU with 40 GB; --tiny only tests the script"
        )
    if arguments.tiny:
        torch.set_num_threads(1)  # networks this small lose more to thread barriers than they gain
    report = describe(arguments)
    print(json.dumps(report, indent=1))
    report["figures"] = []

    def add_to_report(figure: dict[str, Any]) -> None:
        print(figure, flush=True)
        report["figures"].append(figure)

    measure(arguments, add_to_report)
    arguments.output.parent.mkdir(exist_ok=True)
    arguments.output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(arguments.output)


def describe(arguments: argparse.Namespace) -> dict[str, Any]:
    """The model, device and settings of the measurements."""
    packages = ("torch", "transformers", "peft", "triton")
    on_gpu = torch.cuda.is_available()
    return {
        "shapes": "tiny" if arguments.tiny else "openvla-oft-7b",
        "lora_rank": LORA_RANK,
        "prompt_tokens": PROMPT_TOKENS,
        "rounds": arguments.rounds,
        "device": torch.cuda.get_device_name() if on_gpu else "cpu",
        "machine": machine() | {package: importlib.metadata.version(package) for package in packages},
    }


def measure(arguments: argparse.Namespace, report: Report) -> None:
    """All measurements: as loaded, then recomputing activations, then with compiled blocks."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    policy = random_policy(tiny_config() if arguments.tiny else published_config(), device)
    for rows in arguments.rows:
        measure_preparation(report, policy, rows, arguments.rounds)
    for rows in arguments.rows:
        measure_sampling(report, policy, rows, arguments.rounds)
    for rows in arguments.rows:
        measure_update(report, policy, rows, arguments.rounds)
    policy.model.enable_gradient_checkpointing()
    for rows in arguments.rows:
        measure_update(report, policy, rows, arguments.rounds)
    del policy  # before the next one takes its memory
    policy = random_policy(tiny_config() if arguments.tiny else published_config(), device)
    compile_blocks(policy.model, "eager" if arguments.tiny else "inductor")
    for rows in arguments.rows:
        measure_sampling(report, policy, rows, arguments.rounds, compiled=True)
    for rows in arguments.rows:
        measure_update(report, policy, rows, arguments.rounds, compiled=True)


def measure_preparation(report: Report, policy: OpenVLAPolicy, rows: int, rounds: int) -> None:
    """Time the conversion of camera images to the policy's inputs on the CPU: JPEG, Lanczos, crop."""
    size, _ = camera_shape("LIBERO", policy.config.image_size)
    coarse = np.random.default_rng(0).integers(0, 256, (rows, size // 8, size // 8, 3), dtype=np.uint8)
    observations = {"agentview_image": coarse.repeat(8, axis=1).repeat(8, axis=2)}
    instructions = ["pick up the black bowl and place it on the plate"] * rows
    what = {"what": "prepare", "rows": rows}
    add(report, what, rounds, lambda: policy.prepare(observations, instructions))


def measure_sampling(
    report: Report, policy: OpenVLAPolicy, rows: int, rounds: int, *, compiled: bool = False
) -> None:
    """Time sampling a chunk a row from prepared inputs."""
    inputs, temperatures = random_inputs(policy, rows), torch.linspace(0.6, 1.6, rows)
    seeds = torch.arange(rows * policy.chunk_steps * 7).view(rows, -1)
    what = {"what": "sample", "rows": rows, "compiled": compiled}
    add(report, what, rounds, lambda: policy.sample(inputs, temperatures, seeds))


def measure_update(
    report: Report, policy: OpenVLAPolicy, rows: int, rounds: int, *, compiled: bool = False
) -> None:
    """Time one optimiser step on one micro-batch."""
    inputs, temperatures = random_inputs(policy, rows), torch.linspace(0.6, 1.6, rows)
    tokens = torch.randint(256, (rows, policy.chunk_steps * 7))
    optimizer = torch.optim.AdamW([each for each in policy.parameters() if each.requires_grad], lr=1e-5)

    def update() -> None:
        policy.evaluate(inputs, tokens, temperatures).logprobs.mean().backward()
        optimizer.step()
        optimizer.zero_grad()

    recompute = policy.model.gradient_checkpointing
    what = {"what": "update", "rows": rows, "recompute": recompute, "compiled": compiled}
    add(report, what, rounds, update)


def add(report: Report, what: dict[str, Any], rounds: int, call: Callable[[], Any]) -> None:
    """Median and spread of ``call``'s time, and the GPU's peak memory; running out of memory is recorded."""
    try:
        seconds, peak = timed(call, rounds)
    except torch.cuda.OutOfMemoryError:
        torch.cuda.empty_cache()
        report({**what, "out_of_memory": True})
    else:
        measured = {"median_s": statistics.median(seconds), "min_s": min(seconds), "max_s": max(seconds)}
        report({**what, **measured, "peak_gb": peak / 1e9 if peak else None})


def random_policy(config: OpenVLAConfig, device: torch.device) -> OpenVLAPolicy:
    """A policy with adapters, whose random weights are made directly on the device."""
    torch.manual_seed(0)
    with device:
        torch.set_default_dtype(torch.bfloat16)
        model = OpenVLAModel(config)
        torch.set_default_dtype(torch.float32)
    lora = add_lora(model, LORA_RANK, 32.0, seed=0)
    tokenizer = PromptTokenizer(Tokenizer(models.WordLevel({"▁": 0}, unk_token="▁")), 1, config.pad_id)
    space = ActionSpace(decoding="parallel", chunk_steps=8, unnorm_key="random")
    source = Source(name="random", files={})
    return AdaptedOpenVLAPolicy(config, model, tokenizer, space, source, lora=lora).to(device)


def random_inputs(policy: OpenVLAPolicy, rows: int) -> dict[str, Tensor]:
    """Random inputs in the format of ``prepare``, with typical prompts."""
    size = policy.config.image_size
    ids = torch.randint(3, policy.config.window[0], (rows, MAX_PROMPT_TOKENS))
    return {
        "pixels": torch.randint(256, (rows, 3, size, size), dtype=torch.uint8),
        "prompt_ids": ids,
        "prompt_lengths": torch.full((rows,), PROMPT_TOKENS),
    }


def published_config() -> OpenVLAConfig:
    """The configuration of OpenVLA-OFT on LIBERO."""
    dino, siglip = KNOWN_BACKBONES.values()
    return make_config({"vocab_size": 32064, "pad_token_id": 32000}, (dino, siglip), 224, 32000)


def tiny_config() -> OpenVLAConfig:
    """A configuration of the same structure that is small enough for any machine."""
    dino = ViTShape(
        embed_dim=16, depth=3, num_heads=2, mlp_dim=32, class_token=True, reg_tokens=4, layer_scale=True
    )
    siglip = ViTShape(embed_dim=24, depth=3, num_heads=2, mlp_dim=40, attention_pool=True)
    text = {
        "vocab_size": 576,
        "pad_token_id": 512,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
    }
    return make_config(text, (dino, siglip), 28, 512)


def make_config(
    text: dict[str, Any], backbones: tuple[ViTShape, ViTShape], image_size: int, vocab_size: int
) -> OpenVLAConfig:
    """A configuration with placeholder action statistics."""
    statistics_ = ActionStatistics(
        low=-np.ones(7), high=np.ones(7), mask=np.array([True] * 6 + [False]), minimum=None, maximum=None
    )
    return OpenVLAConfig(
        text=text,
        backbones=backbones,
        bos_id=1,
        pad_id=vocab_size,
        image_size=image_size,
        vocab_size=vocab_size,
        num_bins=256,
        pixel_means=((0.5,) * 3,) * 2,
        pixel_stds=((0.5,) * 3,) * 2,
        statistics={"random": statistics_},
    )


if __name__ == "__main__":
    main()
