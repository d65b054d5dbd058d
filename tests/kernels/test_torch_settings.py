"""What a program sets in PyTorch for itself changes nothing that the public functions return."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from ttrl_env.kernels import (
    products,
    sample_from_hidden,
    sample_tokens,
    token_logprobs,
    token_logprobs_from_hidden,
)

WINDOW = (5, 69)


@contextlib.contextmanager
def default_dtype(dtype):
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextlib.contextmanager
def matmul_precision(precision):
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


@contextlib.contextmanager
def deterministic_algorithms():
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


SETTINGS: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "default dtype bfloat16": lambda: default_dtype(torch.bfloat16),
    "default dtype float64": lambda: default_dtype(torch.float64),
    "default device": lambda: torch.device("meta"),
    "autocast to bfloat16": lambda: torch.autocast("cpu", torch.bfloat16),
    "autocast to float16": lambda: torch.autocast("cpu", torch.float16),
    "matmul precision": lambda: matmul_precision("medium"),
    "deterministic algorithms": deterministic_algorithms,
    "detect anomaly": lambda: torch.autograd.detect_anomaly(check_nan=False),
}

WITHOUT_GRADIENT: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "no_grad": torch.no_grad,
    "inference mode": torch.inference_mode,
}


def make_arguments(dtype):
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(7, 48, generator=generator).to(dtype)
    weight = (torch.randn(80, 48, generator=generator) / 4).to(dtype)
    temperatures = 0.3 + torch.rand(7, generator=generator)
    temperatures[3] = 0.0
    return hidden, weight, temperatures, torch.arange(7)


def sample(hidden, weight, temperatures, seeds):
    """Every number that sampling gives."""
    logits = torch.randn(7, 80, generator=torch.Generator().manual_seed(1), dtype=torch.float32, device="cpu")
    sampled = [
        *sample_tokens(logits, temperatures, seeds, 2, window=WINDOW).tensors(),
        *sample_from_hidden(hidden, weight, temperatures, seeds, 2, window=WINDOW).tensors(),
    ]
    return [*sampled, *token_logprobs(logits, sampled[0], temperatures, window=WINDOW)]


def weigh(hidden, weight, temperatures, seeds):
    """Every number that log-probs and their gradients give."""
    hidden, weight = hidden.clone().requires_grad_(), weight.clone().requires_grad_()
    logits = hidden.detach()[:, :16].clone().requires_grad_()
    exact = logits.detach().double().requires_grad_()
    found = [
        *token_logprobs_from_hidden(hidden, weight, seeds + 5, temperatures, window=WINDOW),
        *token_logprobs(logits, seeds, temperatures),
        *token_logprobs(logits, seeds, torch.stack([temperatures, temperatures * 2], dim=1)),
        *token_logprobs(exact, seeds, temperatures),
    ]
    tensors = (hidden, weight, logits, exact)
    ones = [torch.full_like(each, 0.5) for each in found]
    regular = [torch.where(each.isfinite(), each, 0.0) for each in found]
    return [*found, *torch.autograd.grad(regular, tensors, ones)]


def assert_same(got, want):
    for ours, theirs in zip(got, want, strict=True):
        assert ours.dtype == theirs.dtype
        assert ours.device == theirs.device
        assert torch.equal(ours, theirs)


@pytest.mark.filterwarnings("ignore:Anomaly Detection")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("setting", SETTINGS)
def test_no_setting_of_pytorch_changes_a_result(setting, dtype):
    arguments = make_arguments(dtype)
    sampled, weighed = sample(*arguments), weigh(*arguments)
    with SETTINGS[setting]():
        assert_same(sample(*arguments), sampled)
        assert_same(weigh(*arguments), weighed)


@pytest.mark.parametrize("mode", WITHOUT_GRADIENT)
def test_samples_and_logprobs_are_the_same_without_gradients(mode):
    arguments = make_arguments(torch.float32)
    sampled = sample(*arguments)
    with WITHOUT_GRADIENT[mode]():
        assert_same(sample(*arguments), sampled)


def test_products_are_made_in_full_precision_and_the_setting_comes_back():
    class Products(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            if function.overloadpacket is torch.ops.aten.mm:
                seen.append(set(products._precision()))
            return function(*args, **(kwargs or {}))

    seen: list[set[str]] = []
    with matmul_precision("medium"), Products():
        for dtype in (torch.float32, torch.bfloat16):
            hidden, weight, temperatures, seeds = make_arguments(dtype)
            sample_from_hidden(hidden, weight, temperatures, seeds)
            hidden.requires_grad_()
            weight.requires_grad_()
            token_logprobs_from_hidden(hidden, weight, seeds, temperatures)[0].sum().backward()
        assert torch.get_float32_matmul_precision() == "medium"
    assert len(seen) >= 10
    assert all(each <= {"ieee", "highest"} for each in seen)


def test_a_setting_that_several_threads_suspend_comes_back_with_the_last_of_them():
    cpu = torch.device("cpu")
    with matmul_precision("high"):
        first, second = products.plain_products(cpu), products.plain_products(cpu)
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        inside = set(products._precision())
        second.__exit__(None, None, None)
        assert inside <= {"ieee", "highest"}
        assert torch.get_float32_matmul_precision() == "high"
