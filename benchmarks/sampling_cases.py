"""Cases of the GPU benchmark: our kernels and baselines, on shapes of VLA policies and language models."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from benchmarks import sampling_baselines
from benchmarks.sampling_timing import Variants
from ttrl_env.kernels import (
    SampledTokens,
    sample_from_hidden,
    sample_tokens,
    token_logprobs,
    token_logprobs_from_hidden,
)
from ttrl_env.kernels.head import head_logits
from ttrl_env.kernels.sampling_reference import sample_tokens_reference

Window = tuple[int, int] | None
REFERENCE_ROWS = 256
"""Rows that the float64 reference processes at once."""


@dataclass(frozen=True, kw_only=True)
class Shapes:
    """Rows, vocabulary and window; after the rows hidden states' dimensions, or a ladder's temperatures."""

    sampling: tuple[tuple[int, int, Window], ...]
    graphs: tuple[tuple[int, int, Window], ...]
    training: tuple[tuple[int, int, Window], ...]
    ladders: tuple[tuple[int, int, int, Window], ...]
    hidden: tuple[tuple[int, int, int, Window], ...]
    hidden_graphs: tuple[tuple[int, int, int, Window], ...]
    hidden_training: tuple[tuple[int, int, int, Window], ...]


ACTIONS = (31744, 32000)
# VLA action heads (8 environments of 56 tokens), their whole vocabulary, a language model's
SHAPES = Shapes(
    sampling=(
        (448, 256, None),
        (4096, 256, None),
        (448, 32064, ACTIONS),
        (448, 32064, None),
        (4096, 32064, None),
        (256, 128256, None),
    ),
    graphs=((448, 256, None),),
    training=((448, 256, None), (448, 32064, ACTIONS), (4096, 32064, None)),
    ladders=((448, 4, 256, None), (448, 8, 256, None), (448, 4, 32064, None), (448, 8, 32064, None)),
    hidden=(
        (56, 4096, 32064, ACTIONS),
        (448, 4096, 32064, ACTIONS),
        (4096, 4096, 32064, ACTIONS),
        (448, 512, 256, None),
        (448, 4096, 32064, None),
    ),
    hidden_graphs=((448, 4096, 32064, ACTIONS), (448, 512, 256, None)),
    hidden_training=((448, 4096, 32064, ACTIONS), (3584, 4096, 32064, ACTIONS), (448, 4096, 32064, None)),
)
DRY_SHAPES = Shapes(
    sampling=((4, 64, None), (4, 300, (40, 104))),
    graphs=((4, 64, None),),
    training=((4, 300, (40, 104)),),
    ladders=((4, 3, 300, (40, 104)),),
    hidden=((4, 32, 300, (40, 104)),),
    hidden_graphs=((4, 32, 64, None),),
    hidden_training=((4, 32, 300, (40, 104)),),
)
DTYPES = (torch.bfloat16, torch.float32)


@dataclass(frozen=True, kw_only=True)
class Case:
    """One shape, with the variants that are timed on it."""

    bytes_moved: int
    """Least number of bytes to transfer: reading the inputs, and writing the gradients."""
    variants: Variants
    in_graph: bool = False
    """Whether to replay variants as CUDA graphs, for shapes where launching costs more than computing."""


@dataclass(frozen=True, kw_only=True)
class CaseSpec:
    """A case to be made later, so that only one is in memory at a time."""

    name: str
    make: Callable[[], Case]


def all_cases(shapes: Shapes, device: str) -> list[CaseSpec]:
    """All cases, the most important first."""
    kinds: list[tuple[str, Callable[..., Case], tuple[tuple[Any, ...], ...]]] = [
        ("sample", sampling_case, shapes.sampling),
        ("sample in a CUDA graph", graph_case, shapes.graphs),
        ("sample from hidden states", hidden_case, shapes.hidden),
        ("sample from hidden states in a CUDA graph", hidden_graph_case, shapes.hidden_graphs),
        ("log-probs", forward_case, shapes.training),
        ("log-probs and gradient", training_case, shapes.training),
        ("log-probs and gradient at several temperatures", ladder_case, shapes.ladders),
        ("log-probs from hidden states and gradient", hidden_training_case, shapes.hidden_training),
    ]
    return [
        CaseSpec(name=f"{kind} {shape_name(shape, dtype)}", make=partial(make, *shape, dtype, device))
        for kind, make, shapes_of_kind in kinds
        for shape in shapes_of_kind
        for dtype in DTYPES
    ]


def sampling_case(rows: int, vocab: int, window: Window, dtype: torch.dtype, device: str) -> Case:
    """Sampling: ours gives token, log-probability and entropy; baselines may give less."""
    logits, temperatures, seeds = make_inputs(rows, vocab, dtype, device)
    lo, hi = window or (0, vocab)
    check_tokens(
        sample_tokens(logits, temperatures, seeds, 1, window=window), logits, temperatures, seeds, lo, hi
    )
    out = SampledTokens.empty(rows, device, width=hi - lo)
    compiled = compile_for(sampling_baselines.torch_gumbel, device)
    variants: Variants = {
        "ours": lambda: sample_tokens(logits, temperatures, seeds, 1, window=window, out=out),
        "torch multinomial": lambda: sampling_baselines.torch_multinomial(logits, temperatures, (lo, hi)),
        "torch Gumbel, compiled, token only": lambda: compiled(logits, temperatures, (lo, hi)),
        "SimpleVLA-RL style": lambda: sampling_baselines.simplevla_rl(logits, temperatures, (lo, hi)),
        "RLinf style": lambda: sampling_baselines.rlinf(logits, temperatures, (lo, hi)),
    }
    if window is None:
        from benchmarks.gumbel_kernel import gumbel_sample

        variants["vLLM style, token only"] = lambda: gumbel_sample(logits, temperatures, seeds)
    if window is None and is_installed("flashinfer"):
        as_float = logits.float()
        variants["FlashInfer, float32, token only, no temperature"] = lambda: sampling_baselines.flashinfer(
            as_float
        )
        variants["divided by temperatures, then FlashInfer, token only"] = lambda: (
            sampling_baselines.divided_flashinfer(logits, temperatures)
        )
    return Case(bytes_moved=rows * (hi - lo) * logits.element_size(), variants=variants)


def graph_case(rows: int, vocab: int, window: Window, dtype: torch.dtype, device: str) -> Case:
    """Sampling in CUDA graphs; ours reads the step from memory, so each replay samples new tokens."""
    logits, temperatures, seeds = make_inputs(rows, vocab, dtype, device)
    out = SampledTokens.empty(rows, device, width=vocab)
    step = torch.zeros((), dtype=torch.int64, device=device)
    variants: Variants = {
        "ours": lambda: sample_tokens(logits, temperatures, seeds, step, window=window, out=out),
        "torch Gumbel, token only": lambda: sampling_baselines.torch_gumbel(logits, temperatures, (0, vocab)),
    }
    return Case(bytes_moved=rows * vocab * logits.element_size(), variants=variants, in_graph=True)


def hidden_case(rows: int, dim: int, vocab: int, window: Window, dtype: torch.dtype, device: str) -> Case:
    """Head product and sampling in one kernel, against PyTorch's product followed by sampling."""
    hidden, weight, temperatures, seeds = make_head(rows, dim, vocab, dtype, device)
    lo, hi = window or (0, vocab)
    sampled = sample_from_hidden(hidden, weight, temperatures, seeds, 1, window=window)
    check_tokens_of_head(sampled, hidden, weight, temperatures, seeds, lo, hi)
    out = SampledTokens.empty(rows, device, width=hi - lo)

    def matmul_then_ours() -> SampledTokens:
        logits = head_logits(hidden, weight[lo:hi])
        return sample_tokens(logits, temperatures, seeds, 1, out=out)

    def matmul_then_multinomial() -> Any:
        logits = hidden @ weight[lo:hi].t()
        return sampling_baselines.torch_multinomial(logits, temperatures, (0, hi - lo))

    variants: Variants = {
        "ours": lambda: sample_from_hidden(hidden, weight, temperatures, seeds, 1, window=window, out=out),
        "torch matmul to float32, then ours": matmul_then_ours,
        "torch matmul, softmax, multinomial": matmul_then_multinomial,
    }
    size = (rows + hi - lo) * dim * hidden.element_size()
    return Case(bytes_moved=size, variants=variants)


def hidden_graph_case(
    rows: int, dim: int, vocab: int, window: Window, dtype: torch.dtype, device: str
) -> Case:
    """Head product and sampling, replayed as CUDA graphs."""
    hidden, weight, temperatures, seeds = make_head(rows, dim, vocab, dtype, device)
    lo, hi = window or (0, vocab)
    out = SampledTokens.empty(rows, device, width=hi - lo)
    step = torch.zeros((), dtype=torch.int64, device=device)

    def matmul_then_ours() -> SampledTokens:
        return sample_tokens(head_logits(hidden, weight[lo:hi]), temperatures, seeds, step, out=out)

    variants: Variants = {
        "ours": lambda: sample_from_hidden(hidden, weight, temperatures, seeds, step, window=window, out=out),
        "torch matmul to float32, then ours": matmul_then_ours,
    }
    size = (rows + hi - lo) * dim * hidden.element_size()
    return Case(bytes_moved=size, variants=variants, in_graph=True)


def forward_case(rows: int, vocab: int, window: Window, dtype: torch.dtype, device: str) -> Case:
    """Log-probabilities and entropies of given tokens."""
    logits, variants = logprob_variants(rows, vocab, window, dtype, device)
    lo, hi = window or (0, vocab)
    return Case(bytes_moved=rows * (hi - lo) * logits.element_size(), variants=variants)


def training_case(rows: int, vocab: int, window: Window, dtype: torch.dtype, device: str) -> Case:
    """Log-probabilities and entropies of given tokens, and the gradient of both."""
    logits, forward = logprob_variants(rows, vocab, window, dtype, device)
    return Case(bytes_moved=bytes_with_gradient(logits, window), variants=with_gradient(logits, forward))


def hidden_training_case(
    rows: int, dim: int, vocab: int, window: Window, dtype: torch.dtype, device: str
) -> Case:
    """Head product, log-probabilities and entropies, and the gradient of the hidden states: a frozen head."""
    hidden, weight, temperatures, seeds = make_head(rows, dim, vocab, dtype, device)
    lo, hi = window or (0, vocab)
    tokens, of_window = seeds % (hi - lo), weight[lo:hi]

    def torch_alone() -> tuple[Tensor, Tensor]:
        logits = (hidden @ of_window.t()).float()
        return sampling_baselines.torch_logprobs(logits, tokens, temperatures, (0, hi - lo))

    def matmul_then_ours() -> tuple[Tensor, Tensor]:
        return token_logprobs(hidden @ of_window.t(), tokens, temperatures)

    variants: Variants = {
        "ours": lambda: token_logprobs_from_hidden(hidden, weight, tokens + lo, temperatures, window=window),
        "torch matmul, then ours": matmul_then_ours,
        "torch": torch_alone,
    }
    if is_installed("trl"):
        variants["TRL's chunks, no temperatures"] = lambda: sampling_baselines.trl_logprobs_from_hidden(
            hidden, of_window, tokens
        )
    if is_installed("liger_kernel"):
        variants["Liger, no temperatures"] = lambda: sampling_baselines.liger_logprobs_from_hidden(
            hidden, of_window, tokens
        )
    size = (3 * rows + 2 * (hi - lo)) * dim * hidden.element_size()
    return Case(bytes_moved=size, variants=with_gradient(hidden, variants))


def ladder_case(rows: int, count: int, vocab: int, window: Window, dtype: torch.dtype, device: str) -> Case:
    """Log-probabilities and entropies at several temperatures, with the gradient, in one read or in many."""
    logits, _, seeds = make_inputs(rows, vocab, dtype, device)
    lo, hi = window or (0, vocab)
    tokens = lo + seeds % (hi - lo)
    ladder = 0.5 + torch.rand(rows, count, device=device)
    columns = [column.contiguous() for column in ladder.unbind(1)]

    def one_read() -> Any:
        return token_logprobs(logits, tokens, ladder, window=window)

    def a_call_each() -> Any:
        return [output for one in columns for output in token_logprobs(logits, tokens, one, window=window)]

    logprobs, entropies = one_read()
    torch.testing.assert_close([*logprobs.t(), *entropies.t()], [*a_call_each()[::2], *a_call_each()[1::2]])
    variants = with_gradient(logits, {"ours": one_read, "ours, a call for each": a_call_each})
    return Case(bytes_moved=bytes_with_gradient(logits, window), variants=variants)


def with_gradient(inputs: Tensor, forward: Variants) -> Variants:
    """Variants that also compute the gradient of their outputs with respect to ``inputs``."""
    inputs.requires_grad_()

    def with_backward(function: Callable[[], Any]) -> Callable[[], None]:
        def run() -> None:
            outputs = function()
            torch.autograd.grad(outputs, inputs, [torch.ones_like(output) for output in outputs])

        return run

    return {name: with_backward(run) for name, run in forward.items()}


def bytes_with_gradient(logits: Tensor, window: Window) -> int:
    """Forward reads the logits; backward reads them again and writes a gradient of the whole vocabulary."""
    rows, vocab = logits.shape
    lo, hi = window or (0, vocab)
    return (2 * rows * (hi - lo) + rows * vocab) * logits.element_size()


def logprob_variants(
    rows: int, vocab: int, window: Window, dtype: torch.dtype, device: str
) -> tuple[Tensor, Variants]:
    """Random logits, and the variants that compute log-probabilities and entropies from them."""
    logits, temperatures, seeds = make_inputs(rows, vocab, dtype, device)
    bounds = window or (0, vocab)
    tokens = sample_tokens(logits, temperatures, seeds, window=window).tokens
    compiled = compile_for(sampling_baselines.torch_logprobs, device)
    ours = token_logprobs(logits, tokens, temperatures, window=window)
    theirs = sampling_baselines.torch_logprobs(logits, tokens, temperatures, bounds)
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, atol=1e-4, rtol=1e-4)
    variants: Variants = {
        "ours": lambda: token_logprobs(logits, tokens, temperatures, window=window),
        "torch": lambda: sampling_baselines.torch_logprobs(logits, tokens, temperatures, bounds),
        "torch, compiled": lambda: compiled(logits, tokens, temperatures, bounds),
    }
    if is_installed("trl"):
        variants["TRL's kernel, no temperatures"] = lambda: sampling_baselines.trl_logprobs(
            logits, tokens, bounds
        )
    return logits, variants


def is_installed(package: str) -> bool:
    """Whether a baseline of another project can be timed."""
    return importlib.util.find_spec(package) is not None


def compile_for(function: Callable[..., Any], device: str) -> Callable[..., Any]:
    """Compile a function with PyTorch; on a CPU without the C++ compiler, for a dry run."""
    return torch.compile(function, dynamic=False, backend="inductor" if device == "cuda" else "aot_eager")


def make_inputs(rows: int, vocab: int, dtype: torch.dtype, device: str) -> tuple[Tensor, Tensor, Tensor]:
    """Random logits, temperatures and seeds."""
    logits = (torch.randn(rows, vocab, device=device) * 2.0).to(dtype)
    return logits, 0.5 + torch.rand(rows, device=device), torch.arange(rows, device=device)


def make_head(
    rows: int, dim: int, vocab: int, dtype: torch.dtype, device: str
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Random hidden states, a head whose logits have standard deviation 2, temperatures and seeds."""
    hidden = torch.randn(rows, dim, device=device).to(dtype)
    weight = (torch.randn(vocab, dim, device=device) * (2.0 / dim**0.5)).to(dtype)
    return hidden, weight, 0.5 + torch.rand(rows, device=device), torch.arange(rows, device=device)


def check_tokens(
    got: SampledTokens, logits: Tensor, temperatures: Tensor, seeds: Tensor, lo: int, hi: int
) -> None:
    """Raise if a kernel's tokens at step 1 differ from the reference's; its time is then not reported."""
    for start in range(0, len(seeds), REFERENCE_ROWS):
        rows = slice(start, start + REFERENCE_ROWS)
        want, logprobs, entropies, _ = sample_tokens_reference(
            logits[rows, lo:hi], temperatures[rows], seeds[rows], 1, None
        )
        torch.testing.assert_close(got.tokens[rows], want + lo)
        torch.testing.assert_close(got.logprobs[rows], logprobs.float(), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(got.entropies[rows], entropies.float(), atol=1e-5, rtol=1e-5)


def check_tokens_of_head(
    got: SampledTokens, hidden: Tensor, weight: Tensor, temperatures: Tensor, seeds: Tensor, lo: int, hi: int
) -> None:
    """The same with float64 logits. Float32 products are rounded, so a few tokens may differ."""
    different = 0
    for start in range(0, len(seeds), REFERENCE_ROWS):
        rows = slice(start, start + REFERENCE_ROWS)
        logits = hidden[rows].double() @ weight[lo:hi].double().t()
        want, logprobs, entropies, _ = sample_tokens_reference(
            logits, temperatures[rows], seeds[rows], 1, None
        )
        same = got.tokens[rows] == want + lo
        different += int((~same).sum())
        torch.testing.assert_close(got.logprobs[rows][same], logprobs.float()[same], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(got.entropies[rows], entropies.float(), atol=1e-4, rtol=1e-4)
    if different > max(1, len(seeds) // 100):
        raise AssertionError(f"{different} of {len(seeds)} tokens differ from those of float64 logits")


def shape_name(shape: tuple[Any, ...], dtype: torch.dtype) -> str:
    """A name such as ``448 x 256 of 32064 bfloat16``; the hidden dimension, if any, is in the middle."""
    *sizes, vocab, window = shape
    width = f"{vocab}" if window is None else f"{window[1] - window[0]} of {vocab}"
    return " x ".join([*map(str, sizes), width]) + f" {str(dtype).removeprefix('torch.')}"
