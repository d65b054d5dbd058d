"""A gradient that cannot be differentiated again, and says so."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def differentiable_once(gradient: Tensor | None, inputs: Sequence[Tensor | None]) -> Tensor | None:
    """``gradient``, which raises where it is differentiated with respect to what it was computed from.

    PyTorch's own ``once_differentiable`` looks at the incoming gradients alone: with respect to the logits a
    second derivative would silently be zero.
    """
    if gradient is None or not torch.is_grad_enabled():  # the usual case: nobody asks for a second one
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
