from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.agents.policies.conftest import load, observations
from tests.agents.policies.tiny_openvla import read_tensors
from ttrl_env.errors import CheckpointError

TEMPERATURES = torch.tensor([1.6, 0.3])


def _evaluate(policy, tokens=None):
    inputs = policy.prepare(observations(2), ["open", "close the drawer"])
    tokens = torch.full((2, policy.chunk_steps * 7), 100) if tokens is None else tokens
    return policy.evaluate(inputs, tokens, TEMPERATURES).logprobs


@pytest.fixture
def trained(checkpoint):
    """A policy with an adapter that has taken a few steps."""
    policy = load(checkpoint, lora_rank=4, lora_alpha=8.0)
    optimizer = torch.optim.SGD([p for p in policy.parameters() if p.requires_grad], lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        (-_evaluate(policy).mean()).backward()
        optimizer.step()
    return policy


def test_a_new_adapter_changes_nothing_and_only_it_trains(checkpoint) -> None:
    plain, adapted = load(checkpoint), load(checkpoint, lora_rank=4)
    assert torch.equal(_evaluate(plain), _evaluate(adapted))
    _evaluate(adapted).sum().backward()
    trainable = {name for name, parameter in adapted.named_parameters() if parameter.requires_grad}
    assert trainable
    assert all(".lora_A." in name or ".lora_B." in name for name in trainable)
    for name, parameter in adapted.named_parameters():
        assert (parameter.grad is not None) == (name in trainable), name


def test_every_linear_layer_that_matters_is_adapted(checkpoint) -> None:
    policy = load(checkpoint, lora_rank=4)
    adapted = {
        name.removeprefix("model.").split(".lora_A")[0]
        for name, _ in policy.named_parameters()
        if ".lora_A." in name
    }
    expected = {"projector.fc1", "projector.fc2", "projector.fc3"}
    for tower in ("featurizer", "fused_featurizer"):
        for block in (0, 1):  # of three: the last never runs
            for layer in ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2"):
                expected.add(f"vision_backbone.{tower}.blocks.{block}.{layer}")
    for block in (0, 1):
        for layer in ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"):
            expected.add(f"language_model.model.layers.{block}.{layer}")
        for layer in ("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"):
            expected.add(f"language_model.model.layers.{block}.{layer}")
    assert adapted == expected


def test_old_and_new_log_probabilities_are_equal_to_the_bit(trained) -> None:
    inputs = trained.prepare(observations(2), ["open", "close the drawer"])
    sampled = trained.sample(inputs, TEMPERATURES, torch.arange(112).view(2, 56))
    evaluated = trained.evaluate(inputs, sampled.tokens, TEMPERATURES)
    assert torch.equal(evaluated.logprobs, sampled.logprobs)


def test_new_adapters_follow_the_seed_and_leave_the_global_one_alone(checkpoint) -> None:
    state = torch.get_rng_state()
    first, same, other = (load(checkpoint, lora_rank=4, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    key = "projector.fc1"
    a, b, c = (policy.model.get_submodule(key).lora_A["default"].weight for policy in (first, same, other))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


def test_adapters_are_float32_on_bfloat16_weights(checkpoint) -> None:
    policy = load(checkpoint, lora_rank=4, dtype="bfloat16")
    for name, parameter in policy.named_parameters():
        assert parameter.dtype == (torch.float32 if ".lora_" in name else torch.bfloat16), name
    _evaluate(policy).sum().backward()


def test_gradient_checkpointing_trains_adapters_too(checkpoint) -> None:
    policy = load(checkpoint, lora_rank=4, gradient_checkpointing=True)
    plain = load(checkpoint, lora_rank=4)
    for each in (policy, plain):
        _evaluate(each).sum().backward()
    for (name, one), other in zip(policy.named_parameters(), plain.parameters(), strict=True):
        if one.requires_grad:
            torch.testing.assert_close(one.grad, other.grad, msg=name)


def test_without_its_adapter_a_policy_is_what_it_was(checkpoint, trained) -> None:
    before, after = _evaluate(load(checkpoint)), _evaluate(trained)
    assert (before - after).abs().max() > 1e-3
    with trained.disable_adapter():
        assert torch.equal(_evaluate(trained), before)
    assert torch.equal(_evaluate(trained), after)
    assert any(parameter.requires_grad for parameter in trained.parameters())
    assert not hasattr(load(checkpoint), "disable_adapter")


def test_a_saved_adapter_comes_back_on_its_base(checkpoint, trained, tmp_path) -> None:
    trained.save_pretrained(tmp_path)
    assert [file.name for file in tmp_path.glob("*.safetensors")] == ["adapter_model.safetensors"]
    recorded = json.loads((tmp_path / "adapter_config.json").read_text())
    assert recorded["base_model_name_or_path"] == str(checkpoint)
    assert (recorded["r"], recorded["lora_alpha"], recorded["lora_dropout"]) == (4, 8.0, 0.0)
    again = load(tmp_path, decoding=None)
    assert torch.equal(_evaluate(again), _evaluate(trained))
    assert [p.requires_grad for p in again.parameters()] == [p.requires_grad for p in trained.parameters()]


def test_a_merged_checkpoint_is_an_ordinary_one(checkpoint, trained, tmp_path) -> None:
    trained.save_pretrained(tmp_path, merge=True)
    assert not (tmp_path / "adapter_config.json").exists()
    assert read_tensors(tmp_path).keys() == read_tensors(checkpoint).keys()
    merged = load(tmp_path, decoding=None)
    assert not hasattr(merged, "disable_adapter")
    torch.testing.assert_close(_evaluate(merged), _evaluate(trained), atol=1e-4, rtol=0)


def test_peft_itself_reads_a_saved_adapter(checkpoint, trained, tmp_path) -> None:
    from peft import PeftModel

    trained.save_pretrained(tmp_path)
    base = load(checkpoint)
    PeftModel.from_pretrained(base.model, str(tmp_path))
    torch.testing.assert_close(_evaluate(base), _evaluate(trained), atol=1e-5, rtol=0)


def test_adapters_that_do_not_fit_are_refused(trained, tmp_path) -> None:
    trained.save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match=r"policy\.lora_rank: the adapter .* has rank 4, got 8"):
        load(tmp_path, decoding=None, lora_rank=8)
    tensors = load_file(tmp_path / "adapter_model.safetensors")
    removed = sorted(tensors)[0]
    del tensors[removed]
    save_file(tensors, tmp_path / "adapter_model.safetensors")
    with pytest.raises(CheckpointError, match=f"missing {removed.removeprefix('base_model.model.')}"):
        load(tmp_path, decoding=None)


def test_an_adapter_whose_base_is_gone_says_so(trained, tmp_path) -> None:
    trained.save_pretrained(tmp_path)
    for base, message in ((str(tmp_path / "gone"), "which is not there"), (None, "does not name its base")):
        content = json.loads((tmp_path / "adapter_config.json").read_text())
        content["base_model_name_or_path"] = base
        (tmp_path / "adapter_config.json").write_text(json.dumps(content))
        with pytest.raises(CheckpointError, match=message):
            load(tmp_path, decoding=None)


def test_an_adapter_without_files_of_its_own_takes_its_bases(checkpoint, trained, tmp_path) -> None:
    trained.save_pretrained(tmp_path)
    for file in tmp_path.iterdir():
        if not file.name.startswith("adapter_"):
            file.unlink()
    assert torch.equal(_evaluate(load(tmp_path, "parallel")), _evaluate(trained))


def test_an_adapter_on_the_head_is_refused(trained, tmp_path) -> None:
    """The head's rows are multiplied by a kernel, which would silently leave its adapter out."""
    trained.save_pretrained(tmp_path)
    content = json.loads((tmp_path / "adapter_config.json").read_text())
    content["target_modules"].append("lm_head")
    (tmp_path / "adapter_config.json").write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match="changes the head"):
        load(tmp_path, decoding=None)


def test_an_adapter_and_a_model_never_share_a_folder(trained, tmp_path) -> None:
    trained.save_pretrained(tmp_path / "adapter")
    with pytest.raises(CheckpointError, match=r"has adapter_config\.json already"):
        trained.save_pretrained(tmp_path / "adapter", merge=True)
    trained.save_pretrained(tmp_path / "merged", merge=True)
    with pytest.raises(CheckpointError, match=r"has model\.safetensors already"):
        trained.save_pretrained(tmp_path / "merged")


def test_an_adapter_of_a_hub_checkpoint_names_the_repository(checkpoint, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: str(checkpoint))
    load("owner/openvla@v2", lora_rank=2).save_pretrained(tmp_path)
    recorded = json.loads((tmp_path / "adapter_config.json").read_text())
    assert recorded["base_model_name_or_path"] == "owner/openvla@v2"
    load(tmp_path, decoding=None)
