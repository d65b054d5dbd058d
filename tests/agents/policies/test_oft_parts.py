"""OpenVLA-OFT with parts beside its weights computes something else than the weights alone: refused."""

from __future__ import annotations

import pytest

from tests.agents.policies.openvla_inputs import load
from ttrl_env.agents import cli
from ttrl_env.agents.policies.finding import _FILES
from ttrl_env.errors import CheckpointError

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("action_head--150000_checkpoint.pt", "no distribution over action tokens"),
        ("noisy_action_projector--150000_checkpoint.pt", "a diffusion head"),
        ("vision_backbone--150000_checkpoint.pt", "FiLM"),
        ("state_encoder--150000_checkpoint.pt", "a further part"),
    ],
)
def test_a_part_beside_the_weights_is_refused_by_name(own_checkpoint, capsys, name, said) -> None:
    (own_checkpoint / name).write_bytes(b"")
    with pytest.raises(CheckpointError, match=f"{name}, {said}|{name}, a .*{said}"):
        load(own_checkpoint)
    assert (
        cli.main(["doctor", str(own_checkpoint), "policy.openvla.decoding=parallel", "policy.device=cpu"])
        == 1
    )
    assert "That is not implemented here" in capsys.readouterr().out


def test_parts_of_an_adapters_run_or_base_count_too(own_checkpoint) -> None:
    adapter = own_checkpoint.parent / "run" / "lora_adapter"
    load(own_checkpoint, lora_rank=2).save_pretrained(adapter)
    load(adapter, None)
    for folder in (adapter, adapter.parent, own_checkpoint):
        part = folder / "vision_backbone--10_checkpoint.pt"
        part.write_bytes(b"")
        with pytest.raises(CheckpointError, match="FiLM"):
            load(adapter, None)
        part.unlink()


def test_parts_are_downloaded_from_the_hub_to_be_refused() -> None:
    for part in ("action_head", "noisy_action_projector", "proprio_projector", "vision_backbone"):
        assert f"{part}--*" in _FILES
