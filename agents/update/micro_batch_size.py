"""How many chunks fit into a memory budget, found by measuring one and two of them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ttrl_env.errors import ConfigError


def fitting_chunks(
    loss_of: Callable[[int], Tensor], device: torch.device, *, gigabytes: float, limit: int
) -> int:
    """The largest micro-batch, at most ``limit`` chunks, whose forward and backward pass fits.

    Memory is taken to grow linearly: what two chunks need more than one is what each further one
    needs. On a GPU it is the allocator's peak over both passes; on a CPU, which has no such counter,
    the bytes that the forward pass keeps for the backward pass, the greater part of it.

    Args:
        loss_of: a scalar loss of that many chunks; its gradients are left in place.
        device: where it is computed.
        gigabytes: the budget, on top of what is already allocated.
        limit: never return more.

    Raises:
        ConfigError: a single chunk needs more than the budget.
    """
    measure = _peak_bytes if device.type == "cuda" else _kept_bytes
    if device.type == "cuda":
        loss_of(1).backward()  # libraries allocate their workspaces once
    one, two = measure(loss_of, 1), measure(loss_of, 2)
    budget, each = gigabytes * 1e9, max(two - one, 1)
    if one > budget:
        raise ConfigError(
            f"ppo.memory_gigabytes: one chunk's forward and backward pass needs {one / 1e9:.3g} GB, got a "
            f"budget of {gigabytes:g} GB; raise it, or set policy.openvla.gradient_checkpointing=true"
        )
    return min(limit, 1 + int((budget - one) // each))


def _peak_bytes(loss_of: Callable[[int], Tensor], chunks: int) -> int:
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    loss_of(chunks).backward()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


def _kept_bytes(loss_of: Callable[[int], Tensor], chunks: int) -> int:
    """Bytes of the distinct storages kept for the backward pass, parameters left out."""
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        if not isinstance(tensor, torch.nn.Parameter):
            storage = tensor.untyped_storage()
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = loss_of(chunks)
        total = sum(kept.values())  # while the graph still holds every one of them
    loss.backward()
    return total
