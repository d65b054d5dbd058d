"""A linear layer with a LoRA adapter, computed in the type of its output."""

from __future__ import annotations

from typing import Any, cast

import torch.nn.functional as F
from peft.tuners.lora import Linear as LoraLinear
from torch import Tensor, nn


class AdaptedLinear(LoraLinear):
    """``peft``'s layer with another forward pass of the same function.

    The adapter's matrices are float32, because their updates are too small for bfloat16, and ``peft``
    computes in their type: it copies a bfloat16 input to float32, multiplies there, and adds to a float32
    copy of the output. Here the matrices are rounded to the output's type instead, as mixed precision does
    with weights, and the product with B is added to the output where that lies, accumulated in float32.
    """

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """``[..., out]`` of ``x`` ``[..., in]``, in the type that the layer without adapter gives."""
        rows = x.flatten(0, -2)
        output: Tensor = self.base_layer(rows, *args, **kwargs)
        if not (self.disable_adapters or self.merged):
            for name in self.active_adapters:
                down, up = (
                    cast(nn.Linear, matrices[name]).weight.to(output.dtype)
                    for matrices in (self.lora_A, self.lora_B)
                )
                low = F.linear(rows.to(output.dtype), down)
                output.addmm_(low, up.t(), alpha=self.scaling[name])
        return output.view(*x.shape[:-1], output.shape[-1])
