"""The machine code for three GPU generations keeps to its budgets; no GPU is needed to compile it.

A GPU that copies 4.3 TB/s with 3e13 lane-instructions/s has about 14 instructions for a bfloat16 element it
reads, twice as many for a float32 one, and twice as many again where it writes one as well. Beyond that a
kernel is bound by its instructions and no longer by memory.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow  # Triton's compiler

pytest.importorskip("triton")

# Most instructions an element, or None where there is no loop over them
INSTRUCTIONS_PER_ELEMENT = {
    "sample_wide": 9.25,
    "sample_one_chunk": None,
    "sample_eight_splits": None,
    "logprobs_forward": 9.25,
    "logprobs_forward_4_temperatures": 24,
    "logprobs_forward_8_temperatures": 42,
    "logprobs_backward": 18,
    "logprobs_backward_4_temperatures": 42,
    "logprobs_backward_8_temperatures": 74,
}
# Kernels that multiply: shared bytes, at most what any GPU since sm_80 lets one block have
PRODUCTS = {
    "sample_window": 99 * 1024,
    "partial_logits": 99 * 1024,
    "sum_tiles": 160 * 1024,
    "sample_in_tiles": 99 * 1024,
}
REGISTERS = {
    "sample_wide": 104,
    "sample_one_chunk": 96,
    "sample_eight_splits": 96,
    "logprobs_forward": 80,
    "logprobs_forward_4_temperatures": 128,
    "logprobs_forward_8_temperatures": 208,
    "logprobs_backward": 80,
    "logprobs_backward_4_temperatures": 128,
    "logprobs_backward_8_temperatures": 128,
    "sample_window": 192,
    "partial_logits": 255,
    "sum_tiles": 255,
    "sample_in_tiles": 80,
}
TARGETS = [
    "90-bf16",
    *(pytest.param(each, marks=pytest.mark.thorough) for each in ("90-fp32", "80-bf16", "100-bf16")),
]
"""GPU generations and dtypes; float32 is compiled for one generation alone."""


@pytest.fixture(scope="module", params=TARGETS, ids=lambda target: f"sm_{target}")
def measured(request, tmp_path_factory):
    """What the compiler made for one target, by kernel."""
    environment = {
        **os.environ,
        "TRITON_INTERPRET": "0",
        "TRITON_CACHE_DIR": str(tmp_path_factory.mktemp("triton")),
    }
    command = [sys.executable, str(Path(__file__).with_name("ahead_of_time.py")), request.param]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 0, "see the compiler's message above"
    return {row["kernel"]: row for row in map(json.loads, done.stdout.splitlines())}


@pytest.mark.parametrize("kernel", INSTRUCTIONS_PER_ELEMENT)
def test_kernel_keeps_to_its_budget(measured, kernel):
    row = measured[kernel]
    assert row["stack_bytes"] == 0, "registers spill"
    assert row["registers"] <= REGISTERS[kernel]
    assert row["loads_of_16_bytes"] > 0, "logits are not read in 16-byte loads"
    budget = INSTRUCTIONS_PER_ELEMENT[kernel]
    if budget is not None:
        assert row["instructions_per_element"] <= budget


@pytest.mark.parametrize(
    "kernel", [name for name in INSTRUCTIONS_PER_ELEMENT if "wide" in name or "forward" in name]
)
def test_a_loop_over_a_row_hardly_waits_for_other_warps_or_memory(measured, kernel):
    row = measured[kernel]
    assert row["barriers"] <= (1 if kernel == "sample_wide" else 0)  # none from Triton 3.9 on
    assert row["instructions_from_load_to_use"] >= (80 if kernel == "sample_wide" else 20)


@pytest.mark.parametrize("kernel", PRODUCTS)
def test_kernel_that_multiplies_keeps_to_its_budget(measured, kernel):
    row = measured[kernel]
    assert row["stack_bytes"] == 0, "registers spill"
    assert row["registers"] <= REGISTERS[kernel]
    assert row["shared_bytes"] <= PRODUCTS[kernel]
    assert row["loads_of_16_bytes"] > 0, "weights are not read 16 bytes at a time"
    if row["dtype"] == "bf16":
        assert row["tensor_core_instructions"] > 0
    else:
        assert row["tensor_core_instructions"] == 0, "float32 is rounded to TF32 on the way"
