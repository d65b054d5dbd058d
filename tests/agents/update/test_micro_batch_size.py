from __future__ import annotations

import pytest
import torch

from ttrl_env.agents.update.micro_batch_size import fitting_chunks
from ttrl_env.errors import ConfigError


def _loss_of(weight: torch.nn.Parameter):
    def loss(chunks: int) -> torch.Tensor:
        hidden = torch.ones(chunks, 1000) * weight  # the product keeps the ones: 4,000 bytes a chunk
        return hidden.sum()

    return loss


@pytest.mark.parametrize(("kilobytes", "expected"), [(4, 1), (7.9, 1), (8, 2), (41, 10), (1000, 64)])
def test_the_budget_is_filled_and_not_exceeded(kilobytes, expected) -> None:
    weight = torch.nn.Parameter(torch.ones(1000))
    chunks = fitting_chunks(
        _loss_of(weight), torch.device("cpu"), gigabytes=kilobytes * 1e-6 + 1e-12, limit=64
    )
    assert chunks == expected


def test_a_chunk_that_does_not_fit_is_refused() -> None:
    weight = torch.nn.Parameter(torch.ones(1000))
    with pytest.raises(ConfigError, match=r"needs 4e-06 GB, got a budget of 1e-06 GB"):
        fitting_chunks(_loss_of(weight), torch.device("cpu"), gigabytes=1e-6, limit=64)
