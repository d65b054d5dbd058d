"""GPU timings of token sampling and its training twin: ``python -m benchmarks.sampling``.

Checks the tokens against the reference, then times every variant of a case in turn, round after round, so
that all of them see the same clocks; before each timing the L2 cache is overwritten. Writes a JSON file and a
plot to ``benchmarks/results``. Needs a CUDA GPU with 40 GB and takes less than 8 minutes.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from benchmarks import sampling_baselines
from ttrl_env.kernels import SampledTokens, sample_tokens, token_logprobs
from ttrl_env.kernels.sampling_reference import sample_tokens_reference

Variants = dict[str, Callable[[], Any]]

# rows, vocabulary, window: VLA action heads, their whole vocabulary, a language model's
SAMPLING_SHAPES = [
    (448, 256, None),
    (4096, 256, None),
    (448, 32064, (31744, 32000)),
    (448, 32064, None),
    (4096, 32064, None),
    (256, 128256, None),
]
TRAINING_SHAPES = [(448, 256, None), (448, 32064, (31744, 32000)), (4096, 32064, None)]
DTYPES = [torch.bfloat16, torch.float32]
L2_BYTES = 256 * 2**20
"""More than any GPU's second-level cache."""


@dataclass(kw_only=True)
class Case:
    """One shape, with everything that is timed on it."""

    name: str
    bytes_moved: int
    """The least that has to cross the memory bus: logits read, and gradients written."""
    variants: Variants
    in_graph: bool = False
    """Replay each variant as a CUDA graph: for shapes where launching costs more than computing."""
    results: dict[str, dict[str, float]] = field(default_factory=dict)


def main() -> None:
    """Parse the arguments, run every case, write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path(__file__).with_name("results"))
    parser.add_argument("--rounds", type=int, default=50, help="timings of each variant")
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("benchmarks.sampling needs a CUDA GPU; on a CPU run benchmarks/test_sampling.py")
    torch.manual_seed(0)
    started = time.monotonic()
    report = {"machine": describe_machine(), "rounds": arguments.rounds, "cases": []}
    copy_bytes_per_s = report["machine"]["copy_bytes_per_s"]
    for make_case, shape, dtype in all_cases():
        case = make_case(*shape, dtype)
        time_interleaved(case, arguments.rounds)
        print_case(case, copy_bytes_per_s)
        report["cases"].append({"name": case.name, "bytes": case.bytes_moved, "results": case.results})
        case.variants.clear()
        torch.cuda.empty_cache()
    report["seconds"] = time.monotonic() - started
    write_report(report, arguments.output)


def all_cases() -> list[tuple[Callable[..., Case], tuple[Any, ...], torch.dtype]]:
    """Every case still to be made, so that only one is in memory at a time."""
    graph_shapes = [shape for shape in SAMPLING_SHAPES if shape[:2] == (448, 256)]
    shapes = [
        *((sampling_case, shape) for shape in SAMPLING_SHAPES),
        *((graph_case, shape) for shape in graph_shapes),
        *((forward_case, shape) for shape in TRAINING_SHAPES),
        *((training_case, shape) for shape in TRAINING_SHAPES),
    ]
    return [(make_case, shape, dtype) for make_case, shape in shapes for dtype in DTYPES]


def sampling_case(rows: int, vocab: int, window: tuple[int, int] | None, dtype: torch.dtype) -> Case:
    """Token, log-prob and entropy by ours; as much of that as each baseline gives."""
    from benchmarks.gumbel_kernel import gumbel_sample

    logits, temperatures, seeds = make_inputs(rows, vocab, dtype)
    lo, hi = window or (0, vocab)
    check_tokens(logits, temperatures, seeds, window)
    out = SampledTokens.empty(rows, "cuda")
    compiled = torch.compile(sampling_baselines.torch_gumbel, dynamic=False)
    variants: Variants = {
        "ours": lambda: sample_tokens(logits, temperatures, seeds, 1, window=window, out=out),
        "torch multinomial": lambda: sampling_baselines.torch_multinomial(logits, temperatures, (lo, hi)),
        "torch Gumbel, compiled, token only": lambda: compiled(logits, temperatures, (lo, hi)),
        "SimpleVLA-RL style": lambda: sampling_baselines.simplevla_rl(logits, temperatures, (lo, hi)),
        "RLinf style": lambda: sampling_baselines.rlinf(logits, temperatures, (lo, hi)),
    }
    if window is None:
        variants["vLLM style, token only"] = lambda: gumbel_sample(logits, temperatures, seeds)
        add_flashinfer(variants, logits)
    size = rows * (hi - lo) * logits.element_size()
    return Case(name=f"sample {shape_name(rows, vocab, window, dtype)}", bytes_moved=size, variants=variants)


def graph_case(rows: int, vocab: int, window: tuple[int, int] | None, dtype: torch.dtype) -> Case:
    """Ours with the step in memory, so that one captured graph draws anew at each replay."""
    logits, temperatures, seeds = make_inputs(rows, vocab, dtype)
    out = SampledTokens.empty(rows, "cuda")
    step = torch.zeros((), dtype=torch.int64, device="cuda")
    variants: Variants = {
        "ours": lambda: sample_tokens(logits, temperatures, seeds, step, window=window, out=out),
        "torch Gumbel, token only": lambda: sampling_baselines.torch_gumbel(logits, temperatures, (0, vocab)),
    }
    name = f"sample in a CUDA graph {shape_name(rows, vocab, window, dtype)}"
    size = rows * vocab * logits.element_size()
    return Case(name=name, bytes_moved=size, variants=variants, in_graph=True)


def forward_case(rows: int, vocab: int, window: tuple[int, int] | None, dtype: torch.dtype) -> Case:
    """Log-probs and entropies of given tokens."""
    name = f"log-probs {shape_name(rows, vocab, window, dtype)}"
    logits, variants = logprob_variants(rows, vocab, window, dtype)
    lo, hi = window or (0, vocab)
    return Case(name=name, bytes_moved=rows * (hi - lo) * logits.element_size(), variants=variants)


def training_case(rows: int, vocab: int, window: tuple[int, int] | None, dtype: torch.dtype) -> Case:
    """Log-probs and entropies, then the gradient of both."""
    logits, forward = logprob_variants(rows, vocab, window, dtype)
    logits.requires_grad_()

    def with_backward(function: Callable[[], Any]) -> Callable[[], None]:
        def run() -> None:
            outputs = function()
            torch.autograd.grad(outputs, logits, [torch.ones_like(output) for output in outputs])

        return run

    lo, hi = window or (0, vocab)
    # Forward reads the logits; backward reads them again and writes a gradient as large as the vocabulary.
    size = (2 * rows * (hi - lo) + rows * vocab) * logits.element_size()
    name = f"log-probs and gradient {shape_name(rows, vocab, window, dtype)}"
    variants: Variants = {name: with_backward(function) for name, function in forward.items()}
    return Case(name=name, bytes_moved=size, variants=variants)


def logprob_variants(
    rows: int, vocab: int, window: tuple[int, int] | None, dtype: torch.dtype
) -> tuple[torch.Tensor, Variants]:
    """The logits, and the ways to get their log-probs and entropies."""
    logits, temperatures, seeds = make_inputs(rows, vocab, dtype)
    bounds = window or (0, vocab)
    tokens = sample_tokens(logits, temperatures, seeds, window=window).tokens
    compiled = torch.compile(sampling_baselines.torch_logprobs, dynamic=False)
    return logits, {
        "ours": lambda: token_logprobs(logits, tokens, temperatures, window=window),
        "torch": lambda: sampling_baselines.torch_logprobs(logits, tokens, temperatures, bounds),
        "torch, compiled": lambda: compiled(logits, tokens, temperatures, bounds),
    }


def make_inputs(rows: int, vocab: int, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    logits = (torch.randn(rows, vocab, device="cuda") * 2.0).to(dtype)
    temperatures = 0.5 + torch.rand(rows, device="cuda")
    return logits, temperatures, torch.arange(rows, device="cuda")


def check_tokens(
    logits: torch.Tensor, temperatures: torch.Tensor, seeds: torch.Tensor, window: tuple[int, int] | None
) -> None:
    """No timing is reported for a kernel that draws other tokens than the reference."""
    lo, hi = window or (0, logits.shape[1])
    got = sample_tokens(logits, temperatures, seeds, 1, window=window)
    for start in range(0, len(seeds), 256):
        rows = slice(start, start + 256)
        want, logprobs, entropies, _ = sample_tokens_reference(
            logits[rows, lo:hi], temperatures[rows], seeds[rows], 1, None
        )
        torch.testing.assert_close(got.tokens[rows], want + lo)
        torch.testing.assert_close(got.logprobs[rows], logprobs.float(), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(got.entropies[rows], entropies.float(), atol=1e-5, rtol=1e-5)


def add_flashinfer(variants: Variants, logits: torch.Tensor) -> None:
    """FlashInfer's sampler if it is installed. It has no temperature a row, so it is timed without any."""
    try:
        from flashinfer.sampling import sampling_from_logits
    except ImportError:
        return
    as_float = logits.float()
    variants["FlashInfer, float32, token only, no temperature"] = lambda: sampling_from_logits(as_float)


def time_interleaved(case: Case, rounds: int) -> None:
    """Fill ``case.results`` with the median and spread of each variant in microseconds."""
    launches = {name: count_launches(function) for name, function in case.variants.items()}
    timed = case.variants
    if case.in_graph:
        timed = {name: captured(function) for name, function in case.variants.items()}
    scratch = torch.empty(L2_BYTES // 4, dtype=torch.int32, device="cuda")
    cold: dict[str, list[float]] = {name: [] for name in timed}
    warm: dict[str, list[float]] = {name: [] for name in timed}
    for _ in range(rounds):
        for name, function in timed.items():
            scratch.zero_()
            cold[name].append(microseconds(function))
            warm[name].append(microseconds(function))
    for name in timed:
        deciles = statistics.quantiles(cold[name], n=10)
        case.results[name] = {
            "median_us": statistics.median(cold[name]),
            "p10_us": deciles[0],
            "p90_us": deciles[-1],
            "warm_median_us": statistics.median(warm[name]),
            "launches": launches[name],
        }


def microseconds(function: Callable[[], Any]) -> float:
    """GPU time of one call; the GPU is kept busy meanwhile, so that launching is not waited for."""
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    torch.cuda._sleep(200_000)
    start.record()
    function()
    end.record()
    end.synchronize()
    return start.elapsed_time(end) * 1e3


def count_launches(function: Callable[[], Any]) -> int:
    """Kernels that one call runs, after two calls that compile."""
    for _ in range(3):
        function()
    torch.cuda.synchronize()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profiler:
        function()
        torch.cuda.synchronize()
    on_gpu = [event for event in profiler.events() if event.device_type == torch.autograd.DeviceType.CUDA]
    return len(on_gpu)


def captured(function: Callable[[], Any]) -> Callable[[], None]:
    """The function as a CUDA graph."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        function()
    return graph.replay


def describe_machine() -> dict[str, Any]:
    """What the numbers hold for, with the bandwidth of a plain copy as the yardstick."""
    import triton

    source = torch.empty(2**30, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    target.copy_(source)
    best = min(microseconds(lambda: target.copy_(source)) for _ in range(20))
    return {
        "gpu": torch.cuda.get_device_name(),
        "cuda": torch.version.cuda,
        "torch": torch.__version__,
        "triton": triton.__version__,
        "python": platform.python_version(),
        "copy_bytes_per_s": 2 * source.numel() / (best * 1e-6),
    }


def print_case(case: Case, copy_bytes_per_s: float) -> None:
    """A table: median, ratio to ours, share of the copy bandwidth, launches."""
    first = next(iter(case.results.values()))["median_us"]
    print(f"\n{case.name}")
    for name, numbers in case.results.items():
        share = case.bytes_moved / (numbers["median_us"] * 1e-6) / copy_bytes_per_s
        spread = f"p10 {numbers['p10_us']:.1f}, p90 {numbers['p90_us']:.1f}"
        print(
            f"  {name:48s} {numbers['median_us']:9.1f} us  x{numbers['median_us'] / first:6.2f}"
            f"  {share:6.1%} of copy  {numbers['launches']:3.0f} launches"
            f"  ({spread}, warm {numbers['warm_median_us']:.1f})"
        )


def write_report(report: dict[str, Any], folder: Path) -> None:
    """``sampling-GPU.json`` and the same as a bar chart."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    folder.mkdir(parents=True, exist_ok=True)
    stem = "sampling-" + report["machine"]["gpu"].lower().replace(" ", "-")
    (folder / f"{stem}.json").write_text(json.dumps(report, indent=2) + "\n")
    cases = report["cases"]
    figure, axes = pyplot.subplots(len(cases), 1, figsize=(9, 1.6 * len(cases)), layout="constrained")
    for axis, case in zip(axes, cases, strict=True):
        names = list(case["results"])
        axis.barh(names, [case["results"][name]["median_us"] for name in names])
        axis.set_xscale("log")
        axis.invert_yaxis()
        axis.set_title(case["name"], fontsize=9, loc="left")
        axis.tick_params(labelsize=7)
    axes[-1].set_xlabel(f"median microseconds on {report['machine']['gpu']}")
    figure.savefig(folder / f"{stem}.png", dpi=120)
    print(f"\nwrote {folder / stem}.json and .png in {report['seconds']:.0f} s")


def shape_name(rows: int, vocab: int, window: tuple[int, int] | None, dtype: torch.dtype) -> str:
    width = f"{vocab}" if window is None else f"{window[1] - window[0]} of {vocab}"
    return f"{rows} x {width} {str(dtype).removeprefix('torch.')}"


if __name__ == "__main__":
    main()
