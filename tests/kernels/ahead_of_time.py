"""Compiles the Triton kernels for GPUs that need not be there, and prints what the machine code costs.

Run as a script, since the interpreter that the other tests use cannot be turned off again in a process:
``python tests/kernels/ahead_of_time.py 80-bf16 90-bf16 90-fp32`` prints one JSON object a kernel and target.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from ttrl_env.kernels import (
    head_triton,
    logprobs_triton,
    sampling_hidden_triton,
    sampling_hidden_wide_triton,
    sampling_triton,
    sampling_wide_triton,
)

TOOLS = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
TO_COMPILER = ("num_warps", "num_stages", "maxnreg", "enable_fp_fusion")
"""Options that are not arguments of the kernel."""
INPUTS = ("logits", "grad_logits", "hidden", "weight")
"""Arguments of the dtype that a kernel is compiled for."""
POINTERS = {
    "temperatures": "*fp32",
    "seeds": "*i64",
    "tokens": "*i64",
    "logprobs": "*fp32",
    "entropies": "*fp32",
    "valids": "*i1",
    "kept": "*fp32",
    "grad_logprobs": "*fp32",
    "grad_entropies": "*fp32",
    "partials": "*fp32",
    "sums": "*fp32",
    "arrivals": "*i32",
    "tile_sums": "*fp32",
    "block_weights": "*fp32",
}
IN_MEMORY = {"greedy": "*i1", "step": "*i64"}
"""Where a mask says which rows are greedy and a CUDA graph advances the step."""
TENSOR_CORE = re.compile(r"\b(HMMA|HGMMA|UTCHMMA|UTCQMMA)\b")
"""mma.sync, wgmma and tcgen05 as machine code calls them."""
DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}


def kernels_to_compile(dtype):
    """``(name, kernel, compile-time options, logits a program handles, dtype)`` of all kernels."""
    wide = sampling_wide_triton.wide_options(32064, DTYPES[dtype].itemsize)
    small = sampling_triton.one_chunk_options(256)
    split = sampling_triton.one_chunk_options(256, 8)
    window = sampling_hidden_triton.window_options(256, DTYPES[dtype])
    partial = head_triton.partial_options(DTYPES[dtype])
    tiles = sampling_hidden_wide_triton.tile_options(DTYPES[dtype])
    sample = sampling_hidden_wide_triton.sample_options(32064, DTYPES[dtype])
    per_tile = [options["TILE_ROWS"] * options["TILE_TOKENS"] for options in (window, partial, tiles)]
    one, many = sampling_triton._sample_one_chunk, sampling_wide_triton._sample_wide
    return [
        ("sample_wide", many, wide, wide["TILE_CHUNKS"] * wide["CHUNK"], dtype),
        ("sample_one_chunk", one, small, small["BLOCK"], dtype),
        ("sample_eight_splits", one, split, split["BLOCK"], "fp32"),
        *logprobs_kernels(dtype),
        ("sample_window", sampling_hidden_triton._sample_window, window, per_tile[0], dtype),
        ("partial_logits", head_triton._partial_logits, partial, per_tile[1], dtype),
        ("sum_tiles", sampling_hidden_wide_triton._sum_tiles, tiles, per_tile[2], dtype),
        ("sample_in_tiles", sampling_hidden_wide_triton._sample_in_tiles, sample, sample["BLOCK"], dtype),
    ]


def logprobs_kernels(dtype):
    """Both passes at 1, 4 and 8 temperatures a row."""
    for k in (1, 4, 8):
        forward = logprobs_triton.forward_options(32064, DTYPES[dtype].itemsize, k)
        backward = logprobs_triton.backward_options(32064, k)
        tile = forward["STEPS"] * forward["LANES"] * forward["VECTOR"]
        suffix = "" if k == 1 else f"_{k}_temperatures"
        yield "logprobs_forward" + suffix, logprobs_triton._forward, forward, tile, dtype
        yield "logprobs_backward" + suffix, logprobs_triton._backward, backward, backward["BLOCK"], dtype


def compile_kernel(kernel, dtype, architecture, options, in_memory=False):
    """Compiled for contiguous rows of a multiple of 16 elements, as PyTorch would call it."""
    pointers = {**POINTERS, **IN_MEMORY} if in_memory else POINTERS
    known = {"greedy": None, "STEP_IN_MEMORY": in_memory, "UPCAST": False, **options}
    compile_options = {key: value for key, value in options.items() if key in TO_COMPILER}
    signature, constants, attributes = {}, {}, {}
    for index, name in enumerate(kernel.arg_names):
        is_unit = name.endswith("_stride") and not name.endswith(("row_stride", "split_stride"))
        if name in INPUTS:
            signature[name] = f"*{dtype}"
        elif name in pointers:
            signature[name] = pointers[name]
        elif is_unit or name in known:
            signature[name] = "constexpr"
            constants[(index,)] = known.get(name, 1)
        else:
            signature[name] = "i32"
        is_multiple = name in ("width", "dim") or name.endswith("row_stride")
        if signature[name].startswith("*") or (is_multiple and signature[name] != "constexpr"):
            attributes[(index,)] = [["tt.divisibility", 16]]
    source = ASTSource(fn=kernel, signature=signature, constexprs=constants, attrs=attributes)
    return triton.compile(source, target=GPUTarget("cuda", architecture, 32), options=compile_options)


def measure(compiled, elements, threads):
    """Registers, stack and shared bytes; instructions an element, of the hot loop or of the whole kernel."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(compiled.asm["cubin"])
        file.flush()
        usage = run_tool("cuobjdump", "--dump-resource-usage", file.name)
        listing = run_tool("nvdisasm", "-c", file.name)
    fields = dict(re.findall(r"(REG|STACK|LOCAL|SHARED):(\d+)", usage))
    instructions, loops = parse(listing)
    hot = max(loops, key=lambda span: count_exponentials(instructions[span]), default=slice(None))
    if count_exponentials(instructions[hot]) < elements // threads:
        hot = slice(None)
    wide_loads = [text for text in instructions if re.search(r"\b(LDG|LDGSTS)\.E\.(\w+\.)*128|UTMALDG", text)]
    return {
        "registers": int(fields["REG"]),
        "stack_bytes": int(fields["STACK"]) + int(fields["LOCAL"]),
        "shared_bytes": compiled.metadata.shared,
        "instructions": len(instructions),
        "instructions_per_element": len(instructions[hot]) * threads / elements,
        "is_loop": hot != slice(None),
        "barriers": sum("BAR.SYNC" in text for text in instructions[hot]),
        "instructions_from_load_to_use": load_to_use(instructions[hot]),
        "loads_of_16_bytes": len(wide_loads),
        "tensor_core_instructions": sum(bool(TENSOR_CORE.search(text)) for text in instructions),
    }


def parse(listing):
    """The instructions, and the spans of them that a backward branch repeats."""
    instructions: list[str] = []
    labels: dict[str, int] = {}
    for line in listing.splitlines():
        if label := re.match(r"\s*(\.L_x_\d+):", line):
            labels[label[1]] = len(instructions)
        elif instruction := re.match(r"\s+/\*[0-9a-f]{4,}\*/\s+(.+?);", line):
            instructions.append(instruction[1])
    loops = []
    for index, text in enumerate(instructions):
        target = re.search(r"\bBRA\b.*?(\.L_x_\d+)", text)
        if target and labels.get(target[1], index + 1) <= index:
            loops.append(slice(labels[target[1]], index + 1))
    return instructions, loops


def load_to_use(loop):
    """The fewest instructions of a loop between a 16-byte load and the first that names what it loaded."""
    distances = []
    for index, text in enumerate(loop):
        if load := re.search(r"\bLDG\.E\.(?:\w+\.)*128\S* R(\d+),", text):
            loaded = {f"R{int(load[1]) + k}" for k in range(4)}
            following = loop[index + 1 :] + loop[: index + 1]
            uses = (k for k, other in enumerate(following) if loaded & set(re.findall(r"\bR\d+\b", other)))
            distances.append(next(uses))
    return min(distances, default=0)


def count_exponentials(instructions):
    return sum("MUFU.EX2" in text for text in instructions)


def run_tool(name, *arguments):
    return subprocess.run([TOOLS / name, *arguments], check=True, capture_output=True, text=True).stdout


def main(targets):
    for architecture, dtype in (target.split("-") for target in targets):
        for name, kernel, options, elements, input_dtype in kernels_to_compile(dtype):
            # The two differ little, so each dtype is compiled in one of them.
            in_memory = dtype == "fp32"
            compiled = compile_kernel(kernel, input_dtype, int(architecture), options, in_memory)
            numbers = measure(compiled, elements, 32 * options["num_warps"])
            print(json.dumps({"kernel": name, "dtype": dtype, **numbers}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
