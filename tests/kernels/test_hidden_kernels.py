"""The Triton kernels that multiply hidden states with a head and sample, held to the reference.

Where hidden states and weights are small integers, logits are exact in float32 whatever the order of sums, so
that tokens can be compared without a tolerance.
"""

from __future__ import annotations

import warnings

import pytest
import torch

from tests.kernels.boundaries import bell, head_and_plateau, million_uniforms, nearest_to_boundaries
from tests.kernels.chi_squared import chi_squared_p_value, probabilities_of
from tests.kernels.sampling_paths import HAS_GPU, poisoned
from ttrl_env.kernels import SampledTokens
from ttrl_env.kernels.sampling_reference import sample_tokens_reference
from ttrl_env.kernels.sampling_types import SamplingInputs

pytest.importorskip("triton")

from ttrl_env.kernels import sampling_hidden_triton, sampling_hidden_wide_triton

pytestmark = pytest.mark.slow  # Triton's interpreter

LO = 100
# rows, dim, width: each of the three ways, at and around its borders
SHAPES = [
    *((rows, dim, width) for rows, dim in [(1, 1), (3, 63), (17, 64)] for width in (1, 2, 255, 256)),
    *((17, dim, 256) for dim in (65, 256, 1024, 1025)),
    (3, 1100, 63),
    *((3, dim, width) for dim, width in [(1, 257), (63, 1000), (65, 1024), (256, 1025), (64, 3000)]),
    (66, 64, 257),
]


def sample_from_hidden_by_triton(hidden, weight, temperatures, seeds, step=0, greedy=None):
    """The launcher itself, into poisoned outputs; on CPU tensors it runs in the interpreter."""
    device = "cuda" if HAS_GPU else "cpu"
    out = poisoned(hidden.shape[0], device)
    arguments = (hidden, weight, temperatures, seeds, step, greedy)
    hidden, weight, *sample = [x.to(device) if isinstance(x, torch.Tensor) else x for x in arguments]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # NumPy's, for rows of NaN and -inf
        sampling_hidden_triton.launch_sample_from_hidden(hidden, weight, SamplingInputs(*sample), LO, out)
    return SampledTokens(
        tokens=out.tokens.cpu() - LO,
        logprobs=out.logprobs.cpu(),
        entropies=out.entropies.cpu(),
        valid=out.valid.cpu(),
    )


def make_integers(rows, dim, width, dtype=torch.float32):
    """Hidden states and weights whose products are exact, temperatures that keep many tokens likely."""
    generator = torch.Generator().manual_seed(rows * dim + width)
    hidden = torch.randint(-3, 4, (rows, dim), generator=generator).to(dtype)
    weight = torch.randint(-3, 4, (width, dim), generator=generator).to(dtype)
    temperatures = dim**0.5 * (0.5 + 2 * torch.rand(rows, generator=generator))
    seeds = torch.randint(-(2**63), 2**63 - 1, (rows,), generator=generator)
    return hidden, weight, temperatures, seeds


def one_dimension(logits, rows):
    """Hidden states and weights whose logits are ``logits`` ``[width]`` in each of ``rows``."""
    return torch.ones(rows, 1), logits[:, None].contiguous(), torch.ones(rows)


def assert_equals_reference(got, logits, temperatures, seeds, step=0, greedy=None):
    tokens, logprobs, entropies, valid = sample_tokens_reference(logits, temperatures, seeds, step, greedy)
    assert got.tokens.tolist() == tokens.tolist()
    assert got.valid.tolist() == valid.tolist()
    torch.testing.assert_close(got.logprobs.double(), logprobs, atol=3e-6, rtol=3e-6)
    torch.testing.assert_close(got.entropies.double(), entropies, atol=3e-6, rtol=3e-6)


@pytest.mark.parametrize(("rows", "dim", "width"), SHAPES)
@pytest.mark.usefixtures("poisoned_memory")
def test_every_shape_samples_the_token_of_the_reference(rows, dim, width):
    dtype = [torch.float32, torch.bfloat16, torch.float16][(rows + dim + width) % 3]
    hidden, weight, temperatures, seeds = make_integers(rows, dim, width, dtype)
    greedy = torch.arange(rows) % 5 == 2
    got = sample_from_hidden_by_triton(hidden, weight, temperatures, seeds, 2**40 + 3, greedy)
    logits = hidden.float() @ weight.float().t()
    assert_equals_reference(got, logits, temperatures, seeds, 2**40 + 3, greedy)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize(("dim", "width"), [(96, 256), (1500, 256), (96, 1300)])
def test_every_dtype_on_real_values(dtype, dim, width):
    generator = torch.Generator().manual_seed(dim)
    hidden = torch.randn(20, dim, generator=generator).to(dtype)
    weight = (torch.randn(width, dim, generator=generator) * 2 / dim**0.5).to(dtype)
    temperatures = 0.5 + torch.rand(20, generator=generator)
    seeds = torch.arange(20)
    got = sample_from_hidden_by_triton(hidden, weight, temperatures, seeds, torch.tensor(7))
    logits = hidden.double() @ weight.double().t()
    tokens, logprobs, entropies, _ = sample_tokens_reference(logits, temperatures, seeds, 7, None)
    assert got.tokens.tolist() == tokens.tolist()
    tolerance = 1e-4 if HAS_GPU else 1e-5  # tensor cores round their sums downwards
    torch.testing.assert_close(got.logprobs.double(), logprobs, atol=tolerance, rtol=tolerance)
    torch.testing.assert_close(got.entropies.double(), entropies, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize(("dim", "width"), [(48, 256), (1100, 200), (48, 600)])
def test_any_strides_and_nothing_outside_the_window_is_read(dim, width):
    hidden, weight, temperatures, seeds = make_integers(5, dim, width)
    want = sample_from_hidden_by_triton(hidden, weight, temperatures, seeds)
    head = torch.full((width + 40, dim), float("nan"))
    head[20:-20] = weight
    spaced = torch.full((10, 3 * dim), float("nan"))[::2, 1::3]
    spaced.copy_(hidden)
    repeated = torch.full((5, 2), float("nan"))
    repeated[:, 1] = temperatures
    for states, weights in (
        (spaced, head[20:-20]),
        (hidden.t().contiguous().t(), weight.t().contiguous().t()),
    ):
        got = sample_from_hidden_by_triton(states, weights, repeated[:, 1], seeds)
        assert got.tokens.tolist() == want.tokens.tolist()
        torch.testing.assert_close(got.logprobs, want.logprobs, atol=1e-6, rtol=1e-6)
        assert got.valid.all()


@pytest.mark.parametrize(("dim", "width"), [(8, 200), (1100, 200), (8, 2100)])
def test_broken_rows_are_marked_and_leave_their_neighbours_alone(dim, width):
    hidden, weight, temperatures, seeds = make_integers(6, dim, width)
    weight[:, 0], hidden[:, 0] = 0.0, 0.0
    weight[1::2, 0] = -1e20  # a large state makes every second logit -inf
    hidden[4, 0] = 1e30
    hidden[1, 3] = float("nan")
    hidden[3, 2] = torch.inf  # +inf, -inf and NaN among the logits
    greedy = torch.arange(6) == 1
    got = sample_from_hidden_by_triton(hidden, weight, temperatures, seeds, greedy=greedy)
    assert_equals_reference(got, hidden @ weight.t(), temperatures, seeds, greedy=greedy)
    assert got.valid.tolist() == [True, False, True, False, True, True]
    assert got.tokens[[1, 3]].tolist() == [0, 0]
    assert got.tokens[4] % 2 == 0


@pytest.mark.parametrize(("dim", "width"), [(1, 200), (1100, 200), (1, 2100)])
def test_a_row_of_nothing_but_minus_infinity_and_senseless_temperatures(dim, width):
    hidden, weight = torch.ones(4, dim), torch.ones(width, dim)
    hidden[0] = -torch.inf
    temperatures = torch.tensor([1.0, -1.0, float("nan"), 1.0])
    got = sample_from_hidden_by_triton(hidden, weight, temperatures, torch.arange(4))
    assert got.valid.tolist() == [False, False, False, True]
    assert got.tokens[:3].tolist() == [0, 0, 0]
    assert got.logprobs[:3].tolist() == [-torch.inf] * 3
    assert got.entropies[:3].tolist() == [0.0] * 3


@pytest.mark.parametrize(("dim", "width"), [(4, 250), (1040, 250), (4, 2500)])
def test_greedy_rows_take_the_first_of_the_best(dim, width):
    hidden, weight, temperatures, seeds = make_integers(4, dim, width)
    hidden[:, 0], weight[:, 0] = 1.0, 0.0
    best = width // 3
    weight[best] = weight[best + 1] = weight[-1] = 0.0
    weight[[best, best + 1, width - 1], 0] = 1e4
    temperatures[::2] = 0.0
    got = sample_from_hidden_by_triton(hidden, weight, temperatures, seeds, greedy=torch.arange(4) % 2 == 1)
    assert got.tokens.tolist() == [best] * 4
    assert got.logprobs.tolist() == [0.0] * 4
    assert got.entropies.tolist() == [0.0] * 4


@pytest.mark.parametrize(("dim", "width"), [(40, 256), (1100, 256), (40, 1500)])
def test_a_sample_depends_only_on_its_own_row(dim, width):
    """Of whole numbers, whose products are exact: an interpreter's BLAS rounds others by a row's position."""
    generator = torch.Generator().manual_seed(0)
    hidden, weight = (torch.randint(-3, 4, (rows, dim), generator=generator).float() for rows in (21, width))
    temperatures, seeds = 4 * dim**0.5 * (0.5 + torch.rand(21, generator=generator)), torch.arange(21)
    whole = sample_from_hidden_by_triton(hidden, weight, temperatures, seeds)
    order = torch.randperm(21, generator=generator)[:18]
    for rows in (order, slice(5, 6)):
        part = sample_from_hidden_by_triton(hidden[rows], weight, temperatures[rows], seeds[rows])
        assert part.tokens.tolist() == whole.tokens[rows].tolist()
        assert part.logprobs.tolist() == whole.logprobs[rows].tolist()
        assert part.entropies.tolist() == whole.entropies[rows].tolist()


@pytest.mark.parametrize("make_logits", [bell, head_and_plateau])
@pytest.mark.parametrize(("width", "rows"), [(40, 6), (256, 20)])
def test_samples_next_to_a_boundary_take_the_token_of_the_reference(make_logits, width, rows):
    logits = make_logits(width)
    seeds, picked = nearest_to_boundaries(logits, rows)
    hidden, weight, temperatures = one_dimension(logits, rows)
    got = sample_from_hidden_by_triton(hidden, weight, temperatures, seeds)
    assert got.tokens.tolist() == picked.tolist()


def test_samples_follow_the_softmax():
    samples = 1000  # of the widest windows too few are sampled in an interpreter's time
    logits = torch.randn(60, generator=torch.Generator().manual_seed(0)) * 1.5
    hidden, weight, temperatures = one_dimension(logits, samples)
    got = sample_from_hidden_by_triton(hidden, weight, temperatures * 1.3, torch.arange(samples), 5)
    p_value = chi_squared_p_value(got.tokens, probabilities_of(logits, 1.3))
    assert p_value > 1e-4, f"p = {p_value}: biased samples (blocks of 16, the uniform)"


@pytest.mark.parametrize("width", [256, 2000])
def test_the_tail_keeps_its_mass(width):
    """Samples from the last third of the tail, which one seed in 20,000 reaches, find its tokens."""
    logits = torch.full((width,), -16.0)
    logits[17] = 0.0
    tail = 1 - probabilities_of(logits, 1.0)[17].item()
    seeds, chunk, token = million_uniforms()
    seeds = seeds[(token if width <= 1024 else chunk) > 1 - tail / 3][:8]
    hidden, weight, temperatures = one_dimension(logits, len(seeds))
    got = sample_from_hidden_by_triton(hidden, weight, temperatures, seeds)
    assert len(seeds) >= 8
    assert_equals_reference(got, logits.expand(len(seeds), -1), temperatures, seeds)
    assert (got.tokens > 17).all()


def test_too_wide_a_window_is_refused(monkeypatch):
    monkeypatch.setattr(sampling_hidden_wide_triton, "LARGEST_WIDTH", 500)
    with pytest.raises(
        ValueError, match="head_weight: expected a window of at most 500 tokens on a GPU, got 600"
    ):
        sample_from_hidden_by_triton(torch.ones(1, 2), torch.ones(600, 2), torch.ones(1), torch.arange(1))
