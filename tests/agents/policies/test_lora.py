from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load as load_file_of
from safetensors.torch import load_file, save_file
from torch import Tensor

from tests.agents.policies.openvla_inputs import load, observations
from tests.agents.policies.tiny_openvla import read_tensors
from ttrl_env.agents.policies.openvla.policy import AdaptedOpenVLAPolicy, OpenVLAPolicy
from ttrl_env.errors import CheckpointError

pytestmark = pytest.mark.slow

TEMPERATURES = torch.tensor([1.6, 0.3])


def _evaluate(policy: OpenVLAPolicy, tokens: Tensor | None = None) -> Tensor:
    inputs = policy.prepare(observations(2), ["open", "close the drawer"])
    tokens = torch.full((2, policy.chunk_steps * 7), 100) if tokens is None else tokens
    return policy.evaluate(inputs, tokens, TEMPERATURES).logprobs


def _load_adapted(folder: Path, **options: Any) -> AdaptedOpenVLAPolicy:
    policy = load(folder, **options)
    assert isinstance(policy, AdaptedOpenVLAPolicy)
    return policy


@pytest.fixture
def trained(checkpoint: Path) -> AdaptedOpenVLAPolicy:
    """A policy with an adapter that has taken a few steps."""
    policy = _load_adapted(checkpoint, lora_rank=4, lora_alpha=8.0)
    optimizer = torch.optim.SGD([p for p in policy.parameters() if p.requires_grad], lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        (-_evaluate(policy).mean()).backward()
        optimizer.step()
    return policy


@pytest.fixture
def adapter_folder(checkpoint: Path, tmp_path: Path) -> Path:
    """One that a test may break, of an adapter that is new."""
    load(checkpoint, lora_rank=4).save_pretrained(tmp_path / "adapter")
    return tmp_path / "adapter"


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
    key = "model.projector.fc1.lora_A.default.weight"
    a, b, c = (policy.get_parameter(key) for policy in (first, same, other))
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
    expected = r"policy\.openvla\.lora_rank: the adapter .* has rank 4, got 8"
    with pytest.raises(CheckpointError, match=expected):
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


def _edit_config(folder, **changes) -> None:
    content = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps({**content, **changes}))


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("use_dora", True),
        ("lora_bias", True),
        ("bias", "all"),
        ("bias", "lora_only"),
        ("fan_in_fan_out", True),
        ("modules_to_save", ["projector.fc1"]),
        ("trainable_token_indices", [1, 2]),
        ("target_parameters", ["projector.fc1.weight"]),
        ("layer_replication", [[0, 2], [1, 2]]),
        ("alora_invocation_tokens", [1]),
        ("use_qalora", True),
        ("megatron_config", {"a": 1}),
        ("arrow_config", {"top_k": 2}),
        ("a_variant_that_peft_does_not_know_yet", {"rank": 3}),
        ("init_lora_weights", "pissa"),
        ("init_lora_weights", "olora"),
        ("init_lora_weights", "corda"),
        ("init_lora_weights", "eva"),
        ("init_lora_weights", "loftq"),
        ("init_lora_weights", ["gaussian"]),
    ],
)
def test_a_variant_of_lora_that_is_not_implemented_is_refused_by_name(adapter_folder, option, value) -> None:
    _edit_config(adapter_folder, **{option: value})
    with pytest.raises(CheckpointError, match=rf"adapter_config\.json: .*{option}=.*merge_and_unload"):
        load(adapter_folder, decoding=None)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("peft_type", "VERA"),
        ("r", 0),
        ("r", 10**9),
        ("r", True),
        ("r", None),
        ("lora_alpha", float("nan")),
        ("lora_alpha", "8"),
        ("lora_dropout", 1.5),
        ("target_modules", "(a+)+$"),
        ("target_modules", []),
        ("target_modules", [["fc1"]]),
        ("exclude_modules", "(a+)+$"),
        ("use_rslora", "true"),
        ("rank_pattern", {"(a+)+": 2}),
        ("rank_pattern", {"fc1": -2}),
        ("alpha_pattern", {"fc1": float("inf")}),
        ("layers_to_transform", "0"),
        ("layers_pattern", ["(a+)+"]),
        ("base_model_name_or_path", ["owner/name"]),
        ("revision", 3),
    ],
)
def test_an_adapters_options_are_checked_by_name(adapter_folder, option, value) -> None:
    _edit_config(adapter_folder, **{option: value})
    with pytest.raises(CheckpointError, match=rf"adapter_config\.json: {option}: expected "):
        load(adapter_folder, decoding=None)


def test_no_module_that_an_adapter_names_is_imported(adapter_folder, tmp_path, monkeypatch) -> None:
    (tmp_path / "hostile_core.py").write_text("raise SystemExit('code of a checkpoint was run')\n")
    monkeypatch.syspath_prepend(tmp_path)
    hostile = {"megatron_core": "hostile_core", "megatron_config": {"a": 1}}
    _edit_config(adapter_folder, **hostile)
    with pytest.raises(CheckpointError, match="megatron_core='hostile_core'"):
        load(adapter_folder, decoding=None)
    mapping = {"base_model_class": "Model", "parent_library": "hostile_core"}
    _edit_config(adapter_folder, megatron_core="megatron.core", megatron_config=None, auto_mapping=mapping)
    load(adapter_folder, decoding=None)


@pytest.mark.parametrize(
    "options",
    [
        {"use_rslora": True},
        {"rank_pattern": {"fc1": 2, "q_proj": 3}, "alpha_pattern": {"fc2": 24.0}},
        {"layers_to_transform": [1], "layers_pattern": "layers"},
        {"exclude_modules": ["v_proj"], "init_lora_weights": "orthogonal"},
    ],
    ids=lambda options: next(iter(options)),
)
def test_scales_ranks_and_places_are_those_of_peft(checkpoint, tmp_path, options) -> None:
    """What peft computes and merges is what is computed here, and what the base was is what it is without."""
    from peft import LoraConfig, get_peft_model

    base = load(checkpoint)
    before = _evaluate(base).detach()
    names = ["q_proj", "v_proj"] if "layers_to_transform" in options else ["q_proj", "v_proj", "fc1", "fc2"]
    settings = {"r": 4, "lora_alpha": 8, "target_modules": names, "init_lora_weights": False} | options
    torch.manual_seed(0)
    wrapped = get_peft_model(base.model, LoraConfig(**settings, base_model_name_or_path=str(checkpoint)))
    with torch.no_grad():
        for name, parameter in wrapped.named_parameters():
            if ".lora_" in name:
                parameter.normal_(std=0.3)
    expected = _evaluate(base).detach()
    wrapped.peft_config["default"].base_model_name_or_path = str(checkpoint)
    wrapped.save_pretrained(str(tmp_path / "adapter"))
    loaded = _load_adapted(tmp_path / "adapter")
    torch.testing.assert_close(_evaluate(loaded), expected, atol=1e-5, rtol=1e-5)
    assert (expected - before).abs().max() > 1e-2
    with loaded.disable_adapter():
        assert torch.equal(_evaluate(loaded), before)
    loaded.save_pretrained(tmp_path / "merged", merge=True)
    torch.testing.assert_close(_evaluate(load(tmp_path / "merged", None)), expected, atol=1e-3, rtol=0)
    loaded.save_pretrained(tmp_path / "again")
    assert torch.equal(_evaluate(load(tmp_path / "again", None)), _evaluate(loaded))


def test_loading_an_adapter_of_another_rank_than_it_says_allocates_nothing(
    adapter_folder, monkeypatch
) -> None:
    _edit_config(adapter_folder, r=2**16)
    stock = torch.Tensor.normal_

    def only_on_meta(tensor, *arguments, **options):
        assert tensor.is_meta, "weights were made"
        return stock(tensor, *arguments, **options)

    monkeypatch.setattr(torch.Tensor, "normal_", only_on_meta)
    with pytest.raises(CheckpointError, match=r"lora_A.weight: expected \[65536, "):
        load(adapter_folder, decoding=None)


def test_damaged_adapters_are_named(adapter_folder) -> None:
    file = adapter_folder / "adapter_model.safetensors"
    content = file.read_bytes()
    for damaged in (b"", content[:4], content[:1000], content[:-1], b"\xff" * 100):
        file.write_bytes(damaged)
        with pytest.raises(CheckpointError, match=rf"{file} cannot be read .*: a damaged file"):
            load(adapter_folder, decoding=None)
    save_file({key: tensor.to(torch.int8) for key, tensor in load_file_of(content).items()}, file)
    with pytest.raises(CheckpointError, match=r"expected tensors of F64, F32, F16, BF16, got .* \(I8\)"):
        load(adapter_folder, decoding=None)
    file.rename(adapter_folder / "adapter_model.bin")
    with pytest.raises(CheckpointError, match=r"has no adapter_model\.safetensors"):
        load(adapter_folder, decoding=None)


def test_a_revision_of_the_base_is_kept(checkpoint, adapter_folder, monkeypatch) -> None:
    asked: dict[str, Any] = {}

    def snapshot(repo_id, **arguments) -> str:
        asked.update(arguments, repo_id=repo_id)
        return str(checkpoint)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot)
    _edit_config(adapter_folder, base_model_name_or_path="owner/openvla", revision="v3")
    assert load(adapter_folder, decoding=None).source.name == "owner/openvla@v3"
    assert asked["revision"] == "v3"


def test_an_adapter_beside_whole_weights_is_ambiguous(checkpoint, adapter_folder) -> None:
    (adapter_folder / "model.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"has weights of its own beside adapter_config\.json"):
        load(adapter_folder, decoding=None)
