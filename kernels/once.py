"""Gradients that raise an error if they are differentiated a second time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def differentiable_once(gradient: Tensor | None, inputs: Sequence[Tensor | None]) -> Tensor | None:
    """``gradient``, made to raise ``RuntimeError`` if it is differentiated with respect to ``inputs``.

    PyTorch's own ``once_differentiable`` only checks the incoming gradients. A second derivative with respect
    to the logits would silently be zero.
    """
    if gradient is None or not torch.is_grad_enabled():  # the usual case: no second derivative is needed
        return gradient
    return _Once.apply(gradient, *inputs)


class _Once(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gradient: Tensor, *inputs: Tensor | None) -> Tensor:
        return gradient.view_as(gradient)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        raise RuntimeError(
            "token_logprobs, token_logprobs_from_hidden: differentiable once, and a second "
            "derivative was asked for; float64 logits in token_logprobs have one"
        )
