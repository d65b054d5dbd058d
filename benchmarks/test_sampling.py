"""CPU timings of token sampling: ``python -m pytest benchmarks/test_sampling.py``.

The table gives each median and its ratio to the fastest of its group. Correctness is checked before anything
is timed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks import sampling_baselines
from ttrl_env.kernels import SampledTokens, sample_from_hidden, sample_tokens, token_logprobs
from ttrl_env.kernels.logprobs_reference import token_logprobs_reference
from ttrl_env.kernels.sampling_reference import sample_tokens_reference

SHAPES = [(448, 256), (448, 32064)]
WINDOW = (31744, 32000)
BASELINES = {
    "torch_multinomial": sampling_baselines.torch_multinomial,
    "torch_gumbel": sampling_baselines.torch_gumbel,
    "simplevla_rl": sampling_baselines.simplevla_rl,
}


def make_inputs(rows: int, vocab: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(rows, vocab, generator=generator) * 2.0
    return logits, 0.5 + torch.rand(rows, generator=generator), torch.arange(rows)


def run(benchmark: BenchmarkFixture, group: str, function: Callable[[], Any], rows: int, vocab: int) -> None:
    benchmark.group = group
    rounds = 30 if rows * vocab < 2**20 else 5
    benchmark.pedantic(function, rounds=rounds, iterations=1, warmup_rounds=2)


@pytest.mark.parametrize(("rows", "vocab"), SHAPES)
def test_sample_tokens(benchmark: BenchmarkFixture, rows: int, vocab: int) -> None:
    logits, temperatures, seeds = make_inputs(rows, vocab)
    got = sample_tokens(logits, temperatures, seeds)
    assert torch.equal(got.tokens, sample_tokens_reference(logits, temperatures, seeds, 0, None)[0])
    out = SampledTokens.empty(rows)
    group = f"sample {rows}x{vocab}"
    run(benchmark, group, lambda: sample_tokens(logits, temperatures, seeds, out=out), rows, vocab)


@pytest.mark.parametrize(("rows", "vocab"), SHAPES)
@pytest.mark.parametrize("name", BASELINES)
def test_baseline(benchmark: BenchmarkFixture, name: str, rows: int, vocab: int) -> None:
    logits, temperatures, _ = make_inputs(rows, vocab)
    group = f"sample {rows}x{vocab}"
    run(benchmark, group, lambda: BASELINES[name](logits, temperatures, (0, vocab)), rows, vocab)


def test_sample_tokens_in_a_window(benchmark: BenchmarkFixture) -> None:
    logits, temperatures, seeds = make_inputs(448, 32064)
    out = SampledTokens.empty(448)
    group = "sample 448x256 of 32064"
    run(
        benchmark, group, lambda: sample_tokens(logits, temperatures, seeds, window=WINDOW, out=out), 448, 256
    )


@pytest.mark.parametrize("name", ["simplevla_rl", "rlinf"])
def test_baseline_in_a_window(benchmark: BenchmarkFixture, name: str) -> None:
    logits, temperatures, _ = make_inputs(448, 32064)
    baseline = getattr(sampling_baselines, name)
    group = "sample 448x256 of 32064"
    run(benchmark, group, lambda: baseline(logits, temperatures, WINDOW), 448, 32064)


@pytest.mark.parametrize("dim", [256, 4096])
@pytest.mark.parametrize("name", ["sample_from_hidden", "matmul_then_multinomial", "matmul_alone"])
def test_sampling_from_hidden_states(benchmark: BenchmarkFixture, name: str, dim: int) -> None:
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(448, dim, generator=generator)
    weight = torch.randn(256, dim, generator=generator) * (2 / dim**0.5)
    temperatures, seeds = 0.5 + torch.rand(448, generator=generator), torch.arange(448)
    got = sample_from_hidden(hidden, weight, temperatures, seeds)
    logits = hidden @ weight.t()
    assert torch.equal(got.tokens, sample_tokens_reference(logits, temperatures, seeds, 0, None)[0])
    out = SampledTokens.empty(448)
    functions = {
        "sample_from_hidden": lambda: sample_from_hidden(hidden, weight, temperatures, seeds, out=out),
        "matmul_then_multinomial": lambda: sampling_baselines.torch_multinomial(
            hidden @ weight.t(), temperatures, (0, 256)
        ),
        "matmul_alone": lambda: hidden @ weight.t(),
    }
    run(benchmark, f"sample 448x256 from hidden states of {dim}", functions[name], 448, 256)


@pytest.mark.parametrize(("rows", "vocab"), SHAPES)
@pytest.mark.parametrize("name", ["ours", "torch_logprobs"])
def test_logprobs_and_their_gradient(benchmark: BenchmarkFixture, name: str, rows: int, vocab: int) -> None:
    logits, temperatures, seeds = make_inputs(rows, vocab)
    tokens = sample_tokens(logits, temperatures, seeds).tokens
    logits.requires_grad_()

    def ours() -> tuple[torch.Tensor, torch.Tensor]:
        return token_logprobs(logits, tokens, temperatures)

    def theirs() -> tuple[torch.Tensor, torch.Tensor]:
        return sampling_baselines.torch_logprobs(logits, tokens, temperatures, (0, vocab))

    for mine, other, exact in zip(
        ours(), theirs(), token_logprobs_reference(logits.detach(), tokens, temperatures), strict=True
    ):
        torch.testing.assert_close(mine.double(), exact, atol=3e-6, rtol=3e-6)
        torch.testing.assert_close(other.double(), exact, atol=1e-4, rtol=1e-4)  # PyTorch sums in float32
    forward = {"ours": ours, "torch_logprobs": theirs}[name]

    def forward_and_backward() -> None:
        logprobs, entropies = forward()
        torch.autograd.grad(logprobs.sum() + entropies.sum(), logits)

    run(benchmark, f"log-probs and gradient {rows}x{vocab}", forward_and_backward, rows, vocab)


@pytest.mark.parametrize(("rows", "vocab"), SHAPES)
@pytest.mark.parametrize("count", [4, 8])
@pytest.mark.parametrize("with_gradient", [False, True], ids=["values", "gradient"])
@pytest.mark.parametrize("name", ["one_read", "a_call_each"])
def test_several_temperatures(
    benchmark: BenchmarkFixture, name: str, with_gradient: bool, count: int, rows: int, vocab: int
) -> None:
    logits, _, seeds = make_inputs(rows, vocab)
    tokens = seeds % vocab
    ladder = 0.5 + torch.rand(rows, count, generator=torch.Generator().manual_seed(1))
    columns = [column.contiguous() for column in ladder.unbind(1)]
    together = token_logprobs(logits, tokens, ladder)[0]
    for k, column in enumerate(columns):
        assert torch.equal(together[:, k], token_logprobs(logits, tokens, column)[0])
    logits.requires_grad_(with_gradient)

    def score() -> None:
        calls = [ladder] if name == "one_read" else columns
        outputs = [each for one in calls for each in token_logprobs(logits, tokens, one)]
        if with_gradient:
            torch.autograd.grad([each.sum() for each in outputs], logits)

    kind = "values and gradient" if with_gradient else "values"
    run(benchmark, f"{count} temperatures, {kind} {rows}x{vocab}", score, rows, vocab)
