"""What a wrong argument gets: an error that names it."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from ttrl_env.kernels import (
    SampledTokens,
    sample_from_hidden,
    sample_tokens,
    token_logprobs,
    token_logprobs_from_hidden,
)

NAN, INF = float("nan"), float("inf")
LOGITS = torch.zeros(4, 16)
ONES = torch.ones(4)
SEEDS = torch.arange(4)
STRIDED = dataclasses.replace(SampledTokens.empty(4), logprobs=torch.empty(8)[::2])

WRONG_CALLS = [
    (dict(logits=[[0.0]]), TypeError, "logits: expected a torch.Tensor"),
    (dict(logits=LOGITS.long()), TypeError, "logits: expected one of torch.float32"),
    (dict(logits=LOGITS.double()), TypeError, "logits: expected one of torch.float32"),
    (dict(logits=torch.zeros(2, 2, 16)), ValueError, r"logits: expected shape \[rows, vocab\].*\[2, 2, 16\]"),
    (dict(logits=torch.zeros(4, 0)), ValueError, "vocab of at least 1"),
    (dict(logits=LOGITS.to("meta")), ValueError, "logits: .*meta"),
    (dict(logits=LOGITS.to_sparse()), TypeError, r"logits: expected a dense tensor.*to_dense\(\)"),
    (dict(temperatures=1.0), TypeError, "temperatures: expected a torch.Tensor, got float"),
    (dict(temperatures=ONES.double()), TypeError, "temperatures: expected torch.float32, got torch.float64"),
    (dict(temperatures=torch.ones(3)), ValueError, r"temperatures: expected shape \[4\].*\[3\]"),
    (dict(temperatures=torch.ones(4, 1)), ValueError, r"temperatures: expected shape \[4\].*\[4, 1\]"),
    (dict(temperatures=ONES.to("meta")), ValueError, "temperatures: expected a tensor on cpu"),
    (dict(temperatures=torch.tensor([1, 1, -0.5, 1])), ValueError, "temperatures: .*got -0.5 in row 2"),
    (
        dict(temperatures=torch.tensor([1, NAN, 1, 1])),
        ValueError,
        "temperatures: .*got nan in row 1",
    ),
    (
        dict(temperatures=torch.tensor([INF, 1, 1, 1])),
        ValueError,
        "temperatures: .*got inf in row 0",
    ),
    (dict(seeds=SEEDS.int()), TypeError, "seeds: expected torch.int64"),
    (dict(seeds=torch.arange(5)), ValueError, "seeds: expected shape"),
    (dict(step=1.5), TypeError, "step: expected an int"),
    (dict(step=True), TypeError, "step: expected an int"),
    (dict(step=2**63), ValueError, "step: expected a 64-bit integer"),
    (dict(step=torch.tensor(1, dtype=torch.int32)), TypeError, "step: .*int32"),
    (dict(step=torch.tensor([1])), ValueError, r"step: .*\[1\]"),
    (dict(window=(3, 3)), ValueError, r"window: expected \(lo, hi\).*got \(3, 3\)"),
    (dict(window=(-1, 3)), ValueError, "window"),
    (dict(window=(0, 17)), ValueError, "hi <= 16"),
    (dict(window=5), TypeError, "window: expected"),
    (dict(window=(0.0, 4)), TypeError, "window: expected"),
    (dict(greedy=ONES), TypeError, "greedy: expected torch.bool"),
    (dict(greedy=torch.ones(3, dtype=torch.bool)), ValueError, "greedy: expected shape"),
    (dict(out=(1, 2)), TypeError, "out: expected SampledTokens"),
    (dict(out=SampledTokens.empty(5)), ValueError, "out.tokens: expected shape"),
    (dict(out=STRIDED), ValueError, "out.logprobs: expected a contiguous tensor"),
]


@pytest.mark.parametrize(("wrong", "error", "message"), WRONG_CALLS)
def test_sample_tokens_names_the_wrong_argument(wrong, error, message):
    arguments = {"logits": LOGITS, "temperatures": ONES, "seeds": SEEDS, **wrong}
    with pytest.raises(error, match=message):
        sample_tokens(**arguments)


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        (dict(tokens=SEEDS.int()), TypeError, "tokens: expected torch.int64"),
        (
            dict(tokens=torch.tensor([0, 1, 16, 2])),
            ValueError,
            r"tokens: expected ids in \[0, 16\).*got 16 in row 2",
        ),
        (dict(tokens=torch.tensor([0, -1, 3, 2])), ValueError, "got -1 in row 1"),
        (dict(window=(2, 8)), ValueError, r"tokens: expected ids in \[2, 8\).*got 0 in row 0"),
        (dict(temperatures=-ONES), ValueError, "temperatures"),
        (
            dict(temperatures=torch.ones(4, 9)),
            ValueError,
            r"temperatures: .*K from 1 to 8, got \[4, 9\]; split",
        ),
        (dict(temperatures=torch.ones(4, 0)), ValueError, r"temperatures: .*got \[4, 0\]"),
        (dict(temperatures=torch.ones(2, 4)), ValueError, r"temperatures: expected shape \[4\].*\[2, 4\]"),
        (dict(temperatures=torch.ones(4, 2, 1)), ValueError, "temperatures: expected shape"),
        (
            dict(temperatures=torch.tensor([[1, 1], [1, NAN], [1, -1], [1, 1]])),
            ValueError,
            "temperatures: .*got nan in row 1, column 1",
        ),
        (dict(logits=LOGITS.half().long()), TypeError, "logits"),
    ],
)
def test_token_logprobs_names_the_wrong_argument(wrong, error, message):
    arguments = {"logits": LOGITS, "tokens": SEEDS, "temperatures": ONES, **wrong}
    with pytest.raises(error, match=message):
        token_logprobs(**arguments)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (dict(head_weight=torch.zeros(0, 8)), r"head_weight: expected a vocab of at least 1.*\[0, 8\]"),
        (dict(head_weight=torch.zeros(0, 8), window=(0, 0)), "head_weight: expected a vocab of at least 1"),
        (dict(hidden=torch.zeros(4, 0)), r"hidden: expected shape \[rows, dim\] with dim of at least 1"),
        (dict(head_weight=torch.zeros(8)), r"head_weight: expected shape \[vocab, dim\]"),
        (dict(head_weight=torch.zeros(8, 16)), "pass lm_head.weight as it is, not transposed"),
    ],
)
def test_the_forms_from_hidden_states_name_the_wrong_argument(wrong, message):
    hidden, head_weight = torch.zeros(4, 8), torch.zeros(16, 8)
    arguments = {"hidden": hidden, "head_weight": head_weight, "temperatures": ONES, **wrong}
    with pytest.raises(ValueError, match=message):
        sample_from_hidden(**arguments, seeds=SEEDS)
    with pytest.raises(ValueError, match=message):
        token_logprobs_from_hidden(**arguments, tokens=SEEDS)


def test_no_rows_are_no_work_and_no_error():
    none, no_seeds, head = torch.zeros(0), torch.zeros(0, dtype=torch.int64), torch.zeros(16, 8)
    sampled = [
        sample_tokens(torch.zeros(0, 16), none, no_seeds, window=(3, 7)),
        sample_from_hidden(torch.zeros(0, 8), head, none, no_seeds, window=(3, 7)),
    ]
    assert [[len(each) for each in samples.tensors()] for samples in sampled] == [[0] * 4] * 2
    hidden = torch.zeros(0, 8, requires_grad=True)
    logprobs, entropies = token_logprobs_from_hidden(hidden, head.requires_grad_(), no_seeds, none)
    (logprobs.sum() + entropies.sum()).backward()
    assert hidden.grad is not None
    assert head.grad is not None
    assert (hidden.grad.shape, float(head.grad.abs().sum())) == ((0, 8), 0.0)


@pytest.mark.slow
def test_the_package_imports_without_triton_or_numba():
    import subprocess
    import sys

    script = (
        "import sys; sys.modules['triton'] = None; sys.modules['numba'] = None\n"
        "import ttrl_env.kernels\n"
        "assert 'ttrl_env.kernels.sampling' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
