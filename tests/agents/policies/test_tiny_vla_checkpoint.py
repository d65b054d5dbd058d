"""A TinyVLA's folder that a stranger made, or that was damaged: an error that names the file, at once."""

from __future__ import annotations

import json
import pickle
import resource
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.agents.policies.tiny_openvla import edit_json, write_json
from ttrl_env.agents import cli
from ttrl_env.agents.policies import load_policy
from ttrl_env.agents.policies.loading import read_cameras
from ttrl_env.agents.policies.tiny_vla_checkpoint import load_tiny_vla
from ttrl_env.errors import CheckpointError

WEIGHTS = "model.safetensors"


@pytest.fixture
def folder(tmp_path: Path, tiny_policy) -> Path:
    """One that a test may break."""
    tiny_policy.save_pretrained(tmp_path / "tiny")
    return tmp_path / "tiny"


class _Hostile:
    """What a pickle may do."""

    def __reduce__(self):
        return pytest.fail, ("code of a checkpoint was run",)


def _truncated(content: bytes) -> bytes:
    return content[: len(content) // 2]


def _longer_than_the_file(content: bytes) -> bytes:
    return (2**40).to_bytes(8, "little") + content[8:]


def _tensors_beyond_the_end(content: bytes) -> bytes:
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    header["head.weight"] |= {"shape": [2**30, 2**10], "data_offsets": [0, 2**42]}
    changed = json.dumps(header).encode()
    return len(changed).to_bytes(8, "little") + changed + content[8 + length :]


DAMAGES = [
    lambda content: b"",
    lambda content: content[:5],
    _truncated,
    lambda content: content[:-1],
    _longer_than_the_file,
    _tensors_beyond_the_end,
    lambda content: b"\x00" * len(content),
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_weights_are_named(folder, damage) -> None:
    file = folder / WEIGHTS
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(CheckpointError, match=rf"{WEIGHTS} cannot be read .*a damaged file; download"):
        load_policy(folder)


def test_an_lfs_pointer_says_what_to_run(folder, capsys) -> None:
    (folder / WEIGHTS).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    with pytest.raises(CheckpointError, match="a Git LFS pointer, not the weights; run `git lfs pull`"):
        load_policy(folder)
    assert cli.main(["doctor", str(folder), "policy.device=cpu"]) == 1
    assert "FAILED  checkpoint: " in capsys.readouterr().out


@pytest.mark.parametrize("content", ["", "{", "[]", "null", "[" * 100_000, "\x00", '{"model_type": 3}'])
def test_a_damaged_config_is_named(folder, content) -> None:
    (folder / "config.json").write_text(content)
    with pytest.raises(ValueError, match=r"config\.json"):
        load_policy(folder)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("hidden_size", 0),
        ("hidden_size", -16),
        ("hidden_size", 40),
        ("hidden_size", "32"),
        ("hidden_size", 2**40),
        ("num_heads", 3),
        ("num_heads", 0),
        ("num_layers", 10**7),
        ("num_layers", 1.5),
        ("image_size", 17),
        ("image_size", None),
        ("chunk_steps", 10**9),
        ("max_words", 10**9),
        ("word_buckets", 0),
        ("word_buckets", True),
        ("camera", "sideview"),
        ("camera", ["agentview"]),
        ("wrist_camera", "false"),
        ("demonstrations", "many"),
        ("quantization_config", {"quant_method": "bitsandbytes", "load_in_8bit": True}),
    ],
)
def test_what_no_tiny_vla_can_be_is_refused_by_its_key(folder, key, value) -> None:
    edit_json(folder / "config.json", **{key: value})
    for read in (load_policy, read_cameras):
        with pytest.raises(CheckpointError, match=rf"config\.json: {key}: (expected |no such name )"):
            read(folder)


@pytest.mark.parametrize(
    ("key", "value", "tensor"),
    [
        ("hidden_size", 20_000, "head.weight: expected [256, 20000], got [256, 32]"),
        ("word_buckets", 10**7, "words.weight: expected [10000001, 32], got [1025, 32]"),
        ("image_size", 4096, "grid_position: expected [65536, 32], got [1, 32]"),
        ("num_layers", 64, "missing decoder.63.norms.2.weight [32]"),
        ("wrist_camera", True, "missing wrist_position [1, 32]"),
    ],
)
def test_a_config_that_does_not_fit_its_weights_takes_no_memory(folder, key, value, tensor) -> None:
    edit_json(folder / "config.json", **{key: value})
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(CheckpointError) as error:
        load_policy(folder)
    assert tensor in str(error.value)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kilobytes


def test_pickled_weights_are_never_read(folder) -> None:
    (folder / WEIGHTS).unlink()
    for name in ("pytorch_model.bin", "model.pt"):
        (folder / name).write_bytes(pickle.dumps(_Hostile()))
    write_json(folder / "pytorch_model.bin.index.json", {"weight_map": {"head.weight": "pytorch_model.bin"}})
    with pytest.raises(CheckpointError, match=r"expected safetensors weights; model\.pt is a pickle"):
        load_policy(folder)


def test_a_pickle_under_the_name_of_weights_is_not_run(folder) -> None:
    torch.save({"head.weight": _Hostile()}, folder / WEIGHTS)
    with pytest.raises(CheckpointError, match="a damaged file"):
        load_policy(folder)


def test_code_that_a_config_names_is_not_run(folder, tmp_path, monkeypatch, tiny_policy) -> None:
    for where in (folder, tmp_path):
        (where / "hostile.py").write_text("raise SystemExit('code of a checkpoint was run')\n")
    monkeypatch.syspath_prepend(tmp_path)
    edit_json(
        folder / "config.json",
        auto_map={"AutoConfig": "hostile.Config", "AutoModel": "hostile.Model"},
        trust_remote_code=True,
        attn_implementation="hostile/kernel",
        _attn_implementation="hostile/kernel",
        dtype="hostile.dtype",
        custom_pipelines={"hostile": {"impl": "hostile.Pipeline"}},
        _name_or_path="hostile",
    )
    loaded = load_policy(folder)
    assert all(torch.equal(a, b) for a, b in zip(loaded.parameters(), tiny_policy.parameters(), strict=True))


def test_a_stray_adapter_is_refused(folder) -> None:
    write_json(folder / "adapter_config.json", {"peft_type": "LORA", "base_model_name_or_path": "owner/x"})
    with pytest.raises(CheckpointError, match=r"has adapter_config\.json: TinyVLA has no adapters"):
        load_policy(folder)


def test_quantised_weights_and_several_types_are_refused(folder) -> None:
    tensors = load_file(folder / WEIGHTS)
    save_file(tensors | {"norm.weight": tensors["norm.weight"].to(torch.int8)}, folder / WEIGHTS)
    with pytest.raises(CheckpointError, match=r"norm\.weight \(I8\); quantised weights are not read"):
        load_policy(folder)
    save_file(tensors | {"norm.weight": tensors["norm.weight"].half()}, folder / WEIGHTS)
    with pytest.raises(CheckpointError, match="of several types, F16, F32"):
        load_policy(folder)


def test_weights_of_half_precision_are_loaded_as_what_can_be_trained(folder, tiny_policy) -> None:
    tiny_policy.half().save_pretrained(folder)
    assert {parameter.dtype for parameter in load_tiny_vla(folder).parameters()} == {torch.float32}
