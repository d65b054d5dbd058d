"""The parts that need GPUs or a network. None has been measured yet: each is arithmetic, and says which.

``python -m benchmarks.gpu`` measures those of the GPU; :mod:`benchmarks.scaling.gpu_results` takes them over.
"""

from __future__ import annotations

from benchmarks.scaling.parts import Part

POSITIONS = 347
"""Of one row: 256 patches, a prompt of 35 tokens, 56 action tokens."""
PARAMETERS = 7.5e9
EFFICIENCY = 0.4
"""Share of the peak that such products commonly reach."""
PEAK_FLOPS = 989e12
"""H100 SXM, dense bfloat16, by its data sheet."""
MEMORY_BYTES_PER_S = 3.35e12
"""H100 SXM, by its data sheet."""
LORA_PARAMETERS = 110e6
"""Rank 32 on every linear layer: 32 (inputs + outputs) for each."""

_FORWARD = 2 * PARAMETERS * POSITIONS / (EFFICIENCY * PEAK_FLOPS)
_HOW = (
    f"2 x {PARAMETERS / 1e9:.1f}e9 parameters x {POSITIONS} positions at {EFFICIENCY:.0%} of "
    f"{PEAK_FLOPS / 1e12:.0f} TFLOP/s (H100 SXM, dense bfloat16)"
)


def _assumed(value: float, unit: str, source: str) -> Part:
    return Part(value=value, unit=unit, source=source, measured=False)


OPENVLA_LORA = {
    "sample_pass": _assumed(
        2 * PARAMETERS / MEMORY_BYTES_PER_S, "s", "reading 15 GB of bfloat16 weights at 3.35 TB/s (H100 SXM)"
    ),
    "sample_row": _assumed(_FORWARD, "s", _HOW),
    "update_chunk": _assumed(
        3 * _FORWARD,
        "s",
        "3 forward passes: forward, recomputed activations, their gradients; weights are frozen",
    ),
    "update_step": _assumed(
        LORA_PARAMETERS * 28 / MEMORY_BYTES_PER_S,
        "s",
        "AdamW reads and writes 28 bytes of each of 110 million weights",
    ),
    "message_bytes": _assumed(256 * 256 * 3, "bytes", "an image of 256 x 256; instructions are sent once"),
    "network": _assumed(25e9 / 8, "bytes/s", "Ethernet of 25 Gbit/s to each GPU"),
    "latency": _assumed(1e-3, "s", "a remote call and its answer within a data centre, software included"),
    "gradient_bytes": _assumed(
        4 * LORA_PARAMETERS, "bytes", "110 million float32 gradients of LoRA, rank 32"
    ),
    "interconnect": _assumed(50e9, "bytes/s", "InfiniBand of 400 Gbit/s between nodes; NVLink is faster"),
}
"""OpenVLA-OFT 7B on H100s, adapters of rank 32, activations recomputed."""
