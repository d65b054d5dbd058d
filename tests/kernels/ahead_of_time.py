"""Compiles the Triton kernels for GPUs that need not be there, and prints what the machine code costs.

Run as a script, since the interpreter that the other tests use cannot be turned off again in a process:
``python tests/kernels/ahead_of_time.py 80 90 100`` prints one JSON object a kernel and architecture.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from ttrl_env.kernels import logprobs_triton, sampling_triton

TOOLS = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
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
}


def kernels_to_compile():
    """``(name, kernel, compile-time options, logits a thread handles in the hot part)``."""
    large = sampling_triton.many_chunks_options(32064)
    small = sampling_triton.one_chunk_options(256)
    forward = logprobs_triton.block_options(32064, logprobs_triton.FORWARD_BLOCK)
    backward = logprobs_triton.block_options(32064, logprobs_triton.BACKWARD_BLOCK)
    return [
        (
            "sample_many_chunks",
            sampling_triton._sample_many_chunks,
            large,
            large["TILE_CHUNKS"] * large["CHUNK"],
        ),
        ("sample_one_chunk", sampling_triton._sample_one_chunk, small, small["BLOCK"]),
        ("logprobs_forward", logprobs_triton._forward, forward, forward["BLOCK"]),
        ("logprobs_backward", logprobs_triton._backward, backward, backward["BLOCK"]),
    ]


def compile_kernel(kernel, dtype, architecture, options):
    options = dict(options)
    to_compiler = ("num_warps", "maxnreg", "enable_fp_fusion")
    compile_options = {key: options.pop(key) for key in to_compiler if key in options}
    signature, constants, attributes = {}, {}, {}
    for index, name in enumerate(kernel.arg_names):
        key = (index,)
        if name in ("logits", "grad_logits"):
            signature[name] = f"*{dtype}"
        elif name in POINTERS:
            signature[name] = POINTERS[name]
        elif name in options or name in ("greedy", "STEP_IN_MEMORY") or name.endswith("stride"):
            signature[name] = "constexpr"
            constants[key] = options.get(name, {"greedy": None, "STEP_IN_MEMORY": False}.get(name, 1))
        else:
            signature[name] = "i32"
        if name.endswith("row_stride"):
            del constants[key]
            signature[name] = "i32"
        if signature[name].startswith("*") or name in (
            "width",
            "logits_row_stride",
            "grad_logits_row_stride",
        ):
            attributes[key] = [["tt.divisibility", 16]]
    source = ASTSource(fn=kernel, signature=signature, constexprs=constants, attrs=attributes)
    return triton.compile(source, target=GPUTarget("cuda", architecture, 32), options=compile_options)


def measure(compiled, elements, threads):
    """Registers, stack bytes and instructions an element, of the hot loop or else of the whole kernel."""
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
    wide_loads = [text for text in instructions[hot] if re.search(r"\bLDG\.E\.(\w+\.)*128", text)]
    return {
        "registers": int(fields["REG"]),
        "stack_bytes": int(fields["STACK"]) + int(fields["LOCAL"]),
        "instructions_per_element": len(instructions[hot]) * threads / elements,
        "is_loop": hot != slice(None),
        "loads_of_16_bytes": len(wide_loads),
    }


def parse(listing):
    """The instructions, and the spans of them that a backward branch repeats."""
    instructions, labels = [], {}
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


def count_exponentials(instructions):
    return sum("MUFU.EX2" in text for text in instructions)


def run_tool(name, *arguments):
    return subprocess.run([TOOLS / name, *arguments], check=True, capture_output=True, text=True).stdout


def main(architectures):
    for name, kernel, options, elements in kernels_to_compile():
        for architecture in architectures:
            for dtype in ("bf16", "fp32") if architecture == 90 else ("bf16",):
                compiled = compile_kernel(kernel, dtype, architecture, options)
                numbers = measure(compiled, elements, 32 * options["num_warps"])
                print(json.dumps({"kernel": name, "dtype": dtype, "sm": architecture, **numbers}), flush=True)


if __name__ == "__main__":
    main([int(argument) for argument in sys.argv[1:]])
