"""A linear layer with a LoRA adapter, computed in the type of its input."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from peft.tuners.lora import Linear as LoraLinear
from torch import Tensor


class AdaptedLinear(LoraLinear):
    """``peft``'s layer with a forward pass that leaves the input's type as it is.

    The adapter's matrices are float32, because their updates are too small for bfloat16, and ``peft``
    computes in their type: it copies a bfloat16 input to float32, multiplies there, and adds to a float32
    copy of the output. Here the matrices are rounded to the input's type instead, as mixed precision does
    with weights, and the product with B is added to the output while it is accumulated, in float32.
    """

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """``[..., out]`` of ``x`` ``[..., in]``, in the type of ``x``."""
        output: Tensor = self.base_layer(x, *args, **kwargs)
        if self.disable_adapters or self.merged:
            return output
        for name in self.active_adapters:
            low = F.linear(x, self.lora_A[name].weight.to(x.dtype))
            up = self.lora_B[name].weight.to(x.dtype).t()
            flat = torch.addmm(output.flatten(0, -2), low.flatten(0, -2), up, alpha=self.scaling[name])
            output = flat.view(output.shape)
        return output
