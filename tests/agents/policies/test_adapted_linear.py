from __future__ import annotations

import copy

import pytest
import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import Linear as LoraLinear
from torch import Tensor, nn

from ttrl_env.agents.policies.openvla.adapted_linear import AdaptedLinear


@pytest.fixture
def layer() -> AdaptedLinear:
    """A float32 layer with a trained adapter."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 48))
    config = LoraConfig(r=4, lora_alpha=6, target_modules=["0"], init_lora_weights=False)
    config._register_custom_module({nn.Linear: AdaptedLinear})
    inject_adapter_in_model(config, model)
    layer = model[0]
    assert isinstance(layer, AdaptedLinear)
    return layer


def in_bfloat16(layer: AdaptedLinear) -> AdaptedLinear:
    """The layer with a bfloat16 base and the same adapter."""
    layer = copy.deepcopy(layer)
    layer.base_layer.to(torch.bfloat16)
    return layer


def with_gradients(layer: nn.Module, x: Tensor, forward=None) -> list[Tensor]:
    """Output, and the gradients of input and adapter."""
    x = x.clone().requires_grad_()
    output = layer(x) if forward is None else forward(layer, x)
    adapter = [parameter for name, parameter in layer.named_parameters() if "lora_" in name]
    return [output, *torch.autograd.grad(output.float().square().sum(), [x, *adapter])]


def relative_error(got: Tensor, want: Tensor) -> float:
    return float((got.detach().float() - want.float()).norm() / want.detach().float().norm())


def test_it_is_pefts_layer_in_float32(layer) -> None:
    x = torch.randn(3, 5, 64)
    for ours, theirs in zip(
        with_gradients(layer, x), with_gradients(layer, x, LoraLinear.forward), strict=True
    ):
        assert relative_error(ours, theirs) < 1e-6


def test_in_bfloat16_it_is_right_up_to_rounding(layer) -> None:
    x = torch.randn(256, 64).bfloat16()
    exact = with_gradients(layer.double(), x.double())
    ours = with_gradients(in_bfloat16(layer.float()), x)
    assert ours[0].dtype == torch.bfloat16
    assert all(relative_error(mine, want) < 2**-7 for mine, want in zip(ours, exact, strict=True))


def test_nothing_of_the_size_of_the_input_is_kept_in_float32(layer) -> None:
    saved: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        saved.append(tensor)
        return tensor

    x = torch.randn(256, 64, dtype=torch.bfloat16, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        in_bfloat16(layer)(x)
    assert saved
    assert not [tensor.shape for tensor in saved if tensor.dtype == torch.float32 and len(tensor) == len(x)]


def test_under_autocast_it_computes_in_autocasts_type(layer) -> None:
    x = torch.randn(7, 64)
    with torch.autocast("cpu", torch.bfloat16):
        output = layer(x)
    assert output.dtype == torch.bfloat16
    assert relative_error(output, layer(x)) < 0.01


def test_without_its_adapter_it_is_the_base(layer) -> None:
    x = torch.randn(2, 64)
    layer.enable_adapters(False)
    assert torch.equal(layer(x), layer.base_layer(x))
