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

pytest.importorskip("triton")

# (kernel, dtype): most instructions an element, or None where there is no loop to count
INSTRUCTIONS_PER_ELEMENT = {
    ("sample_many_chunks", "bf16"): 15,
    ("sample_many_chunks", "fp32"): 15,
    ("sample_one_chunk", "bf16"): None,
    ("sample_one_chunk", "fp32"): None,
    ("logprobs_forward", "bf16"): 14,
    ("logprobs_forward", "fp32"): 14,
    ("logprobs_backward", "bf16"): 27,
    ("logprobs_backward", "fp32"): 27,
}
REGISTERS = {
    "sample_many_chunks": 80,
    "sample_one_chunk": 96,
    "logprobs_forward": 64,
    "logprobs_backward": 64,
}
ARCHITECTURES = [80, 90, 100]


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    environment = {
        **os.environ,
        "TRITON_INTERPRET": "0",
        "TRITON_CACHE_DIR": str(tmp_path_factory.mktemp("triton")),
    }
    script = Path(__file__).with_name("ahead_of_time.py")
    command = [sys.executable, str(script), *map(str, ARCHITECTURES)]
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    return {(row["kernel"], row["dtype"], row["sm"]): row for row in rows}


@pytest.mark.parametrize(
    ("kernel", "dtype", "architecture"),
    [
        (kernel, dtype, architecture)
        for kernel, dtype in INSTRUCTIONS_PER_ELEMENT
        for architecture in (ARCHITECTURES if dtype == "bf16" else [90])
    ],
)
def test_kernel_keeps_to_its_budget(measured, kernel, dtype, architecture):
    row = measured[kernel, dtype, architecture]
    assert row["stack_bytes"] == 0, "registers spill"
    assert row["registers"] <= REGISTERS[kernel]
    assert row["loads_of_16_bytes"] > 0, "logits are not read in 16-byte loads"
    budget = INSTRUCTIONS_PER_ELEMENT[kernel, dtype]
    if budget is not None:
        assert row["instructions_per_element"] <= budget
