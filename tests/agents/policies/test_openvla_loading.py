"""Strict loading: every way to be wrong is named, what is right goes round unchanged."""

from __future__ import annotations

import json
import resource
from typing import Any

import pytest
import torch

from tests.agents.policies.openvla_inputs import load, observations
from tests.agents.policies.tiny_openvla import (
    Size,
    edit_json,
    random_tensors,
    read_tensors,
    tiny_tokenizer,
    write_checkpoint,
    write_shards,
)
from ttrl_env.agents.policies import PolicyOptions, load_policy
from ttrl_env.errors import CheckpointError


def _error(folder, **options) -> str:
    with pytest.raises(CheckpointError) as caught:
        load(folder, **options)
    assert str(folder) in str(caught.value) or "policy." in str(caught.value)
    return str(caught.value)


def _edit_text_config(folder, **changes) -> None:
    text = json.loads((folder / "config.json").read_text())["text_config"]
    edit_json(folder / "config.json", text_config={**text, **changes})


def _rewrite(folder, edit) -> None:
    tensors = read_tensors(folder)
    edit(tensors)
    write_shards(folder, tensors)


def test_every_tensor_is_loaded_as_stored(checkpoint) -> None:
    stored, loaded = read_tensors(checkpoint), load(checkpoint).model.state_dict()
    assert stored.keys() == loaded.keys()
    assert all(torch.equal(stored[key], loaded[key]) for key in stored)


def test_missing_unexpected_and_misshaped_tensors_are_all_listed(own_checkpoint) -> None:
    def edit(tensors) -> None:
        del tensors["projector.fc2.bias"]
        del tensors["vision_backbone.fused_featurizer.attn_pool.latent"]
        tensors["surplus.weight"] = torch.zeros(2)
        tensors["language_model.lm_head.weight"] = tensors["language_model.lm_head.weight"][:-64].clone()

    _rewrite(own_checkpoint, edit)
    message = _error(own_checkpoint)
    for line in (
        "missing projector.fc2.bias [32]",
        "missing vision_backbone.fused_featurizer.attn_pool.latent [1, 1, 24]",
        "unexpected surplus.weight [2]",
        "language_model.lm_head.weight: expected [576, 32], got [512, 32]",
        "Likely cause: another vocabulary",
    ):
        assert line in message


def _rename(old: str, new: str):
    def edit(tensors) -> None:
        for key in [key for key in tensors if old in key]:
            tensors[key.replace(old, new)] = tensors.pop(key)

    return edit


def _drop(part: str):
    def edit(tensors) -> None:
        for key in [key for key in tensors if part in key]:
            del tensors[key]

    return edit


def _unmerged(tensors) -> None:
    tensors["projector.fc1.lora_A.default.weight"] = torch.zeros(4, 40)


def _regression(tensors) -> None:
    tensors["action_head.model.fc1.weight"] = torch.zeros(4, 40)


def _other_image_size(tensors) -> None:
    key = "vision_backbone.featurizer.pos_embed"
    tensors[key] = tensors[key].repeat(1, 4, 1)


@pytest.mark.parametrize(
    ("edit", "cause"),
    [
        (_unmerged, "a LoRA adapter that was not merged"),
        (_regression, "OpenVLA-OFT with a regression head"),
        (_drop(".fused_featurizer."), "one vision backbone where two are expected"),
        (_rename(".scale_factor", ".gamma"), "timm's names of LayerScale"),
        (_other_image_size, "vision towers of another image size"),
        (_drop("language_model.lm_head"), "an incomplete checkpoint"),
    ],
)
def test_the_likely_cause_is_named(own_checkpoint, edit, cause) -> None:
    _rewrite(own_checkpoint, edit)
    assert f"Likely cause: {cause}" in _error(own_checkpoint)


def test_a_regression_head_beside_the_weights_is_refused(own_checkpoint) -> None:
    (own_checkpoint / "action_head--150000_checkpoint.pt").write_bytes(b"")
    assert "no distribution over action tokens" in _error(own_checkpoint)


def test_incomplete_and_damaged_files_are_named(own_checkpoint) -> None:
    shard = own_checkpoint / "model-00002-of-00002.safetensors"
    content = shard.read_bytes()
    shard.write_bytes(b"version https://git-lfs.github.com/spec/v1")
    assert "Git LFS pointer" in _error(own_checkpoint)
    shard.write_bytes(content[: len(content) // 2])
    assert shard.name in _error(own_checkpoint)
    shard.unlink()
    assert f"lacks {shard.name}" in _error(own_checkpoint)
    (own_checkpoint / "model.safetensors.index.json").write_text("{}")
    assert "index.json cannot be read" in _error(own_checkpoint)
    (own_checkpoint / "model.safetensors.index.json").unlink()
    assert "has neither" in _error(own_checkpoint)


@pytest.mark.parametrize(
    ("file", "changes", "message"),
    [
        ("config.json", {"arch_specifier": "gelu-mlp"}, "arch_specifier: expected 'no-align+fused-gelu-mlp'"),
        ("config.json", {"use_fused_vision_backbone": False}, "use_fused_vision_backbone: expected true"),
        ("config.json", {"image_sizes": [28, 56]}, "image_sizes: expected the same size twice"),
        ("config.json", {"text_config": {}}, r"text_config.vocab_size: expected an int"),
        (
            "config.json",
            {"text_config": {"vocab_size": 576, "attention_dropout": 0.1}},
            "expected no attention_dropout",
        ),
        ("config.json", {"n_action_bins": None}, "n_action_bins: expected a int"),
        ("config.json", {"n_action_bins": 128}, "n_action_bins: expected 256"),
        ("config.json", {"pad_to_multiple_of": -64}, "pad_to_multiple_of: expected 0 or more"),
        ("config.json", {"pad_to_multiple_of": True}, "pad_to_multiple_of: expected a int"),
        (
            "config.json",
            {"pad_token_id": 576},
            "pad_token_id: expected an id below text_config.vocab_size=576",
        ),
        ("config.json", {"image_sizes": [0, 0]}, "image_sizes: expected the same size twice"),
        ("config.json", {"image_sizes": [30, 30]}, "image_sizes: expected a multiple of the patches' [14]"),
        ("config.json", {"image_sizes": [14e6, 14e6]}, "image_sizes: expected the same size twice"),
        (
            "config.json",
            {"quantization_config": {"load_in_4bit": True}},
            "quantization_config: expected none",
        ),
        ("config.json", {"timm_model_args": [{}]}, "timm_model_args: expected two"),
        ("preprocessor_config.json", {"tvf_normalize_params": None}, "tvf_normalize_params: expected a list"),
        (
            "preprocessor_config.json",
            {"tvf_normalize_params": [{"mean": [0.5] * 3, "std": [0.5] * 3}]},
            "tvf_normalize_params: expected two backbones",
        ),
        (
            "preprocessor_config.json",
            {"tvf_normalize_params": [{"mean": [0.5] * 3, "std": [float("nan")] * 3}] * 2},
            "tvf_normalize_params: expected two backbones",
        ),
        (
            "dataset_statistics.json",
            {"libero_goal": {"action": {"q01": [float("nan")] * 7, "q99": [1.0] * 7}}},
            "libero_goal.action.q01: expected 7 numbers",
        ),
        (
            "dataset_statistics.json",
            {"libero_goal": {"action": {"q01": [1.0] * 7, "q99": [0.0] * 7}}},
            "libero_goal.action: expected q01 of at most q99",
        ),
        ("dataset_statistics.json", {"libero_goal": {"action": [1.0]}}, "libero_goal.action: expected q01"),
        ("dataset_statistics.json", {"libero_goal": {"action": {}}}, "libero_goal.action: expected q01"),
        (
            "dataset_statistics.json",
            {"libero_goal": {"action": {"q01": [0.0], "q99": [1.0] * 7}}},
            "libero_goal.action.q01: expected 7 numbers",
        ),
    ],
)
def test_what_the_json_files_must_say(own_checkpoint, file, changes, message) -> None:
    edit_json(own_checkpoint / file, **changes)
    error = _error(own_checkpoint)
    assert message in error
    assert file in error


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("quantization_config", {"quant_method": "bitsandbytes"}),
        ("vocab_size", 2**40),
        ("hidden_size", 0),
        ("hidden_size", "32"),
        ("num_hidden_layers", 10**7),
        ("num_attention_heads", 5),
        ("num_key_value_heads", 0),
        ("hidden_act", "gelu"),
        ("rms_norm_eps", float("nan")),
        ("rope_theta", 0),
        ("rope_scaling", {"rope_type": "yarn", "factor": 4.0}),
        ("rope_parameters", {"rope_type": "linear", "factor": 4.0}),
        ("bos_token_id", 10**6),
        ("eos_token_id", [1, 2]),
        ("eos_token_id", None),
        ("attention_bias", "no"),
    ],
)
def test_what_a_language_model_cannot_be_is_refused_by_its_key(own_checkpoint, key, value) -> None:
    _edit_text_config(own_checkpoint, **{key: value})
    assert f"config.json: text_config.{key}: expected " in _error(own_checkpoint)


@pytest.mark.parametrize(
    "shape", [{"depth": 10**7}, {"num_heads": 0}, {"patch_size": 0}, {"class_token": "no"}]
)
def test_what_a_vision_tower_cannot_be_is_refused(own_checkpoint, shape) -> None:
    file = own_checkpoint / "config.json"
    towers = json.loads(file.read_text())["timm_model_args"]
    edit_json(file, timm_model_args=[towers[0] | shape, towers[1]])
    assert "config.json: timm_model_args: expected two ViTShape objects" in _error(own_checkpoint)


@pytest.mark.parametrize(
    ("changes", "tensor"),
    [
        ({"hidden_size": 2**20}, "projector.fc3.weight: expected [1048576, 1048576], got [32, 32]"),
        ({"vocab_size": 10**6}, "lm_head.weight: expected [1000000, 32], got [576, 32]"),
        ({"num_hidden_layers": 40}, "missing language_model.model.layers.39.mlp.up_proj.weight [48, 32]"),
    ],
)
def test_a_config_that_does_not_fit_its_weights_takes_no_memory(own_checkpoint, changes, tensor) -> None:
    _edit_text_config(own_checkpoint, **changes)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert tensor in _error(own_checkpoint)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kilobytes


def test_nothing_that_a_checkpoint_names_is_run_or_taken_from_the_hub(
    own_checkpoint, tmp_path, monkeypatch
) -> None:
    expected = load(own_checkpoint).model.state_dict()
    for where in (own_checkpoint, tmp_path):
        (where / "hostile.py").write_text("raise SystemExit('code of a checkpoint was run')\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(
        "huggingface_hub.snapshot_download", lambda *_, **__: pytest.fail("the hub was asked")
    )
    hostile = {
        "auto_map": {"AutoConfig": "hostile.Config", "AutoModelForVision2Seq": "hostile.Model"},
        "trust_remote_code": True,
        "attn_implementation": "hostile/kernel",
        "_attn_implementation": "hostile/kernel",
        "torch_dtype": "hostile",
        "dtype": "hostile",
        "output_attentions": True,
    }
    for name in ("config.json", "preprocessor_config.json", "tokenizer_config.json"):
        edit_json(own_checkpoint / name, **hostile)
    _edit_text_config(own_checkpoint, **hostile)
    policy = load(own_checkpoint)
    assert all(torch.equal(expected[key], tensor) for key, tensor in policy.model.state_dict().items())
    policy.prepare(observations(1), ["open"])


def test_a_published_language_model_written_out_in_full_is_the_same(own_checkpoint) -> None:
    """transformers 4 saves nested configurations whole, transformers 5 with other names."""
    before = load(own_checkpoint).model.language_model.config
    _edit_text_config(own_checkpoint, **before.to_dict(), rope_theta=10000.0, rope_scaling=None, top_k=50)
    after = load(own_checkpoint).model.language_model.config
    assert after.to_dict() == before.to_dict()


def test_files_that_simplevla_rl_leaves_out_are_told(own_checkpoint) -> None:
    (own_checkpoint / "preprocessor_config.json").unlink()
    message = _error(own_checkpoint)
    assert "SimpleVLA-RL saves lack it, and dataset_statistics.json. Copy both from the checkpoint" in message


def test_a_tokenizer_of_another_model_is_refused(own_checkpoint) -> None:
    tiny_tokenizer(600).save(str(own_checkpoint / "tokenizer.json"))
    assert "tokenizer.json has ids up to 599, but embeddings end at 575" in _error(own_checkpoint)


def test_weights_that_are_there_twice_are_refused(own_checkpoint) -> None:
    (own_checkpoint / "model.safetensors").write_bytes(b"")
    assert "has both model.safetensors.index.json and model.safetensors" in _error(own_checkpoint)
    (own_checkpoint / "model.safetensors").unlink()
    first = own_checkpoint / "model-00001-of-00002.safetensors"
    (own_checkpoint / "model-00002-of-00002.safetensors").write_bytes(first.read_bytes())
    assert "which another file has too" in _error(own_checkpoint)


def test_what_is_wrong_is_said_before_weights_are_read(own_checkpoint, monkeypatch) -> None:
    monkeypatch.setattr(
        "ttrl_env.agents.policies.openvla.loading.read_weights",
        lambda *_: pytest.fail("weights were read"),
    )
    (own_checkpoint / "tokenizer.json").write_text("{}")
    assert "tokenizer.json is no tokenizer" in _error(own_checkpoint)


def test_known_towers_go_by_their_timm_ids(own_checkpoint) -> None:
    edit_json(own_checkpoint / "config.json", timm_model_ids=["vit_tiny", "vit_so400m_patch14_siglip_224"])
    content = json.loads((own_checkpoint / "config.json").read_text())
    del content["timm_model_args"]
    (own_checkpoint / "config.json").write_text(json.dumps(content))
    assert "timm_model_ids: expected two of vit_large_patch14_reg4" in _error(own_checkpoint)


def test_absent_files_are_named(own_checkpoint) -> None:
    for name in ("tokenizer.json", "preprocessor_config.json"):
        (own_checkpoint / name).unlink()
        assert name in _error(own_checkpoint)


def test_statistics_beside_the_weights_replace_those_of_the_config(own_checkpoint) -> None:
    assert load(own_checkpoint).action_space.unnorm_key == "libero_spatial_no_noops"
    (own_checkpoint / "dataset_statistics.json").unlink()
    assert load(own_checkpoint).action_space.unnorm_key == "bridge_orig"
    assert "It has: bridge_orig" in _error(own_checkpoint, unnorm_key="libero_spatial")
    edit_json(own_checkpoint / "config.json", norm_stats=None)
    assert "norm_stats: expected action statistics" in _error(own_checkpoint)


def test_the_decoding_must_be_said(checkpoint) -> None:
    assert "policy.openvla.decoding=parallel" in _error(checkpoint, decoding=None)
    assert load(checkpoint, "parallel").chunk_steps == 8
    assert load(checkpoint, "autoregressive").chunk_steps == 1
    with pytest.raises(ValueError, match=r"^decoding: no such name"):
        PolicyOptions(decoding="paralel")  # type: ignore[arg-type]


def test_another_kind_of_policy_than_asked_for_is_refused(checkpoint) -> None:
    with pytest.raises(CheckpointError, match=r"policy\.kind: expected a tiny_vla checkpoint"):
        load_policy(checkpoint, PolicyOptions(kind="tiny_vla"))


def test_a_hub_repository_that_cannot_be_reached_says_what_to_do(monkeypatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(CheckpointError, match="give the path of a downloaded copy"):
        load_policy("owner/no-such-openvla@main")


def test_a_hub_repository_is_loaded_from_its_snapshot(checkpoint, monkeypatch) -> None:
    asked: dict[str, Any] = {}

    def snapshot(repo_id, **arguments) -> str:
        asked.update(arguments, repo_id=repo_id)
        return str(checkpoint)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot)
    load("owner/openvla-oft@v2")
    assert (asked["repo_id"], asked["revision"]) == ("owner/openvla-oft", "v2")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_saved_checkpoint_has_every_tensor_and_file_of_the_one_it_came_from(tmp_path, dtype) -> None:
    first, second = write_checkpoint(tmp_path / "first", dtype=dtype), tmp_path / "second"
    load(first, unnorm_key="libero_spatial").save_pretrained(second)
    before, after = read_tensors(first), read_tensors(second)
    assert before.keys() == after.keys()
    assert all(before[key].dtype == after[key].dtype == dtype for key in before)
    assert all(torch.equal(before[key], after[key]) for key in before)
    for file in first.glob("*"):
        if "safetensors" not in file.name:
            assert (second / file.name).read_bytes() == file.read_bytes()


def test_a_saved_checkpoint_remembers_how_it_acts_and_computes_the_same(tmp_path, policy) -> None:
    policy.save_pretrained(tmp_path)
    again = load(tmp_path, decoding=None)
    assert again.action_space == policy.action_space
    inputs = policy.prepare(observations(1), ["open"])
    arguments = (inputs, torch.ones(1), torch.arange(policy.chunk_steps * 7).view(1, -1))
    assert torch.equal(policy.sample(*arguments).logprobs, again.sample(*arguments).logprobs)


def test_what_was_recorded_cannot_be_contradicted_or_garbled(tmp_path, checkpoint) -> None:
    load(checkpoint, "parallel").save_pretrained(tmp_path)
    assert "policy.openvla.decoding: " in _error(tmp_path, decoding="autoregressive")
    assert "was trained with 8, got 4" in _error(tmp_path, chunk_steps=4)
    (tmp_path / "ttrl_policy.json").write_text('{"decoding": "parallel"')
    assert "ttrl_policy.json cannot be read" in _error(tmp_path)


def test_large_checkpoints_are_written_in_shards(tmp_path, checkpoint, monkeypatch) -> None:
    monkeypatch.setattr("ttrl_env.agents.policies.openvla.weights.SHARD_SIZE", "60KB")
    load(checkpoint).save_pretrained(tmp_path)
    assert len(list(tmp_path.glob("model-*-of-*.safetensors"))) > 2
    assert (tmp_path / "model.safetensors.index.json").is_file()
    assert load(tmp_path, decoding=None).model.state_dict().keys() == read_tensors(checkpoint).keys()


def test_weights_are_converted_where_asked(checkpoint) -> None:
    policy = load(checkpoint, dtype="bfloat16")
    assert {parameter.dtype for parameter in policy.parameters()} == {torch.bfloat16}
    expected = random_tensors(Size(), torch.float32, 0)["projector.fc1.weight"].bfloat16()
    assert torch.equal(policy.model.projector.fc1.weight, expected)


def test_autocast_needs_float32_weights(tmp_path) -> None:
    folder = write_checkpoint(tmp_path, dtype=torch.bfloat16)
    assert "policy.openvla.autocast: expected float32 weights" in _error(folder, autocast=True)
    with pytest.raises(ValueError, match=r"policy\.openvla\.autocast"):
        PolicyOptions(autocast=True, dtype="bfloat16")
