"""A policy's weights, gradients and optimiser state over several processes.

Where all weights are trained they are sharded (PyTorch's ``fully_shard``, FSDP2: every process keeps a
slice of each tensor, and blocks are put together one at a time while they compute). Where adapters
alone are trained every process keeps the whole policy, and the adapters' gradients are averaged.

A checkpoint holds whole tensors either way, so that any number of processes can go on from it.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Iterable, Mapping
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ttrl_env.agents.distributed.processes import World
from ttrl_env.agents.policies.conformance import check_policy
from ttrl_env.agents.policies.protocol import TokenEvaluation, TokenPolicy, UpdatedPolicy
from ttrl_env.agents.policies.reference import uses_adapters
from ttrl_env.errors import ConfigError


def share_policy(policy: UpdatedPolicy, world: World, *, bfloat16: bool = False) -> None:
    """Make ``policy``, in main memory and the same in every process, ready for training by all of them.

    Args:
        policy: changed in place and put on ``world.device``; left as it is if the process is alone.
        world: the processes.
        bfloat16: put blocks together in bfloat16; their slices and the sums of gradients stay float32.

    Raises:
        ConfigError: the policy is compiled and would be sharded: that is not tried.
    """
    if world.alone:
        return
    check_policy(policy, ("sharding_units",))
    assert isinstance(policy, nn.Module)
    if not uses_adapters(policy):
        if any(module._compiled_call_impl is not None for module in policy.modules()):
            raise ConfigError(
                "policy.openvla.compile: expected false where several processes divide all weights, got "
                "true; leave it out, or train adapters (policy.openvla.lora_rank)"
            )
        _shard(policy, world, bfloat16)
    nn.Module.to(policy, world.device)  # what is not sharded: adapters' policies, buffers


def is_sharded(policy: TokenPolicy) -> bool:
    """Whether :func:`share_policy` has sharded it."""
    return any(_is_slice(parameter) for parameter in policy.parameters())


def clip_gradients(parameters: Iterable[nn.Parameter], max_norm: float, world: World) -> float:
    """The norm of the gradients over all processes, scaled down to ``max_norm`` where it is larger."""
    parameters = list(parameters)
    if not world.alone:
        _average(parameter.grad for parameter in parameters if not _is_slice(parameter))
    norm: Any = torch.nn.utils.clip_grad_norm_(parameters, max_norm)
    return float(norm.full_tensor() if _is_slice(norm) else norm)


def all_finite(policy: TokenPolicy, world: World) -> bool:
    """Whether every weight is a finite number."""
    slices = (_local(parameter) for parameter in policy.parameters())
    return all(world.gather(all(bool(torch.isfinite(each).all()) for each in slices)))


def whole_weights(policy: TokenPolicy, world: World) -> dict[str, Tensor] | None:
    """The whole ``state_dict`` of a sharded policy, in the main process; else ``None``."""
    if not is_sharded(policy):
        return None
    return whole(cast(nn.Module, policy).state_dict(), world)


def whole(state: Any, world: World) -> Any:
    """``state``, nested as it is, with its sharded tensors whole in the main process's memory.

    Elsewhere they are ``None``, as nobody needs them there. All processes must call it.
    """
    if _is_slice(state):
        tensor = state.detach().full_tensor()
        return tensor.to("cpu", copy=True) if world.is_main else None  # a copy: it may be a padded one's view
    if isinstance(state, Mapping):
        return {key: whole(value, world) for key, value in state.items()}
    if isinstance(state, list):
        return [whole(value, world) for value in state]
    return state


def slice_like_parameters(state: dict[str, Any], optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """An optimiser's state of whole tensors, cut as its parameters are."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    cut = {
        index: {name: _slice_like(value, parameters[index]) for name, value in moments.items()}
        for index, moments in state["state"].items()
    }
    return {**state, "state": cut}


def _shard(policy: nn.Module, world: World, bfloat16: bool) -> None:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method

    settings: dict[str, Any] = {
        "mesh": init_device_mesh(world.device.type, (world.size,)),
        "reshard_after_forward": True,  # the root too: a step must never meet weights from before it
        "mp_policy": MixedPrecisionPolicy(
            param_dtype=torch.bfloat16 if bfloat16 else None,
            reduce_dtype=torch.float32 if bfloat16 else None,
            cast_forward_inputs=False,  # temperatures are inputs too, and have to stay exact
        ),
    }
    _show_outputs_to_autograd_hooks()
    # a warning about tensors that must not be changed in place: they never are
    warnings.filterwarnings("ignore", ".*FSDP2-wrapped module .* returned a view tensor")
    for unit in cast(TokenPolicy, policy).sharding_units():
        fully_shard(unit, **settings)
    fully_shard(policy, **settings)
    for method in ("sample", "evaluate"):
        register_fsdp_forward_method(policy, method)


@functools.cache
def _show_outputs_to_autograd_hooks() -> None:
    """Let ``fully_shard`` find the tensors in what ``evaluate`` returns (newer versions do by themselves)."""
    from torch.export import register_dataclass

    register_dataclass(TokenEvaluation)


def _average(gradients: Iterable[Tensor | None]) -> None:
    """Average over processes, all in one message; where one process has no gradient, none has."""
    present = [gradient for gradient in gradients if gradient is not None]
    if not present:
        return
    joined = torch.cat([gradient.flatten() for gradient in present])
    dist.all_reduce(joined)
    joined /= dist.get_world_size()
    for gradient, averaged in zip(present, joined.split([each.numel() for each in present]), strict=True):
        gradient.copy_(averaged.view_as(gradient))


def _slice_like(value: Any, parameter: nn.Parameter) -> Any:
    """A whole tensor of a sharded parameter's shape cut like it; anything else as it is."""
    if not (_is_slice(parameter) and isinstance(value, Tensor) and value.shape == parameter.shape):
        return value
    from torch.distributed.tensor import distribute_tensor

    sharded: Any = parameter
    # every process has the whole tensor (memory mapped) and takes its slice: nothing is sent
    return distribute_tensor(value, sharded.device_mesh, sharded.placements, src_data_rank=None)


def _is_slice(value: Any) -> bool:
    """Whether it is a distributed tensor, without importing their module where there are none."""
    return isinstance(value, Tensor) and hasattr(value, "full_tensor")


def _local(tensor: Any) -> Tensor:
    return tensor.to_local() if _is_slice(tensor) else tensor
