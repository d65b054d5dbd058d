"""Whose files a checkpoint is: what a stranger's folder links to is neither read nor passed on."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.agents.policies.openvla_inputs import load
from ttrl_env.agents.common.checkpoint_files import own_file, read_own_file, read_own_json
from ttrl_env.agents.policies import load_policy
from ttrl_env.agents.policies.finding import find_policy
from ttrl_env.errors import CheckpointError


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    file = tmp_path / "id_rsa"
    file.write_text("private")
    return file


@pytest.mark.parametrize("name", ["notes.txt", "helper.py", "tokenizer.model", "extra.json"])
def test_a_link_out_of_the_folder_is_refused_and_named(own_checkpoint, secret, name) -> None:
    (own_checkpoint / name).unlink(missing_ok=True)
    (own_checkpoint / name).symlink_to(secret)
    with pytest.raises(
        CheckpointError, match=rf"{name} leads out of its folder, to {secret}.* copy it there"
    ):
        load(own_checkpoint)


def test_links_through_a_linked_folder_and_to_the_kernels_files_are_refused(own_checkpoint, secret) -> None:
    (own_checkpoint / "sub").symlink_to(secret.parent)
    (own_checkpoint / "notes.txt").symlink_to(Path("sub") / secret.name)
    with pytest.raises(CheckpointError, match=r"notes\.txt leads out of its folder"):
        load(own_checkpoint)
    (own_checkpoint / "notes.txt").unlink()
    (own_checkpoint / "notes.txt").symlink_to("/proc/self/environ")
    with pytest.raises(CheckpointError, match=r"notes\.txt leads out of its folder"):
        load(own_checkpoint)


def test_a_pipe_is_not_waited_for_nor_a_device_read(own_checkpoint) -> None:
    os.mkfifo(own_checkpoint / "notes.txt")
    with pytest.raises(CheckpointError, match=r"notes\.txt: expected a regular file"):
        load(own_checkpoint)
    (own_checkpoint / "notes.txt").unlink()
    (own_checkpoint / "notes.txt").symlink_to("/dev/zero")
    with pytest.raises(CheckpointError, match=r"notes\.txt leads out of its folder, to /dev/zero"):
        load(own_checkpoint)


def test_a_link_in_a_circle_and_one_to_nothing_are_errors_that_name_it(own_checkpoint) -> None:
    (own_checkpoint / "notes.txt").symlink_to("notes.txt")
    with pytest.raises(CheckpointError, match=r"notes\.txt cannot be read"):
        load(own_checkpoint)
    (own_checkpoint / "notes.txt").unlink()
    (own_checkpoint / "notes.txt").symlink_to("nothing.txt")
    with pytest.raises(CheckpointError, match=r"notes\.txt cannot be read"):
        load(own_checkpoint)


@pytest.mark.parametrize(
    "elsewhere", ["../elsewhere.safetensors", "/dev/zero", "sub/../../x.safetensors", ".."]
)
def test_an_index_names_files_of_its_own_folder_only(own_checkpoint, elsewhere) -> None:
    index = own_checkpoint / "model.safetensors.index.json"
    content = json.loads(index.read_text())
    content["weight_map"]["projector.fc1.weight"] = elsewhere
    index.write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match=r"index\.json names .* expected files of its own folder only"):
        load(own_checkpoint)


def test_every_kind_of_policy_is_held_to_it(tmp_path, tiny_policy, secret) -> None:
    folder = tmp_path / "tiny"
    tiny_policy.save_pretrained(folder)
    (folder / "model.safetensors").rename(tmp_path / "elsewhere.safetensors")
    (folder / "model.safetensors").symlink_to(tmp_path / "elsewhere.safetensors")
    with pytest.raises(CheckpointError, match=r"baseline: .*model\.safetensors leads out of its folder"):
        find_policy(folder, argument="baseline")
    with pytest.raises(CheckpointError, match=r"model\.safetensors leads out of its folder"):
        load_policy(folder)


def test_links_inside_the_folder_and_into_the_hubs_store_are_followed(own_checkpoint, tmp_path) -> None:
    """The layout of the hub's cache, wherever that cache is."""
    repository = tmp_path / "hub" / "models--owner--name"
    snapshot, blobs = repository / "snapshots" / "0123abcd", repository / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for number, file in enumerate(sorted(own_checkpoint.iterdir())):
        file.rename(blobs / f"{number:040x}")
        (snapshot / file.name).symlink_to(Path("..") / ".." / "blobs" / f"{number:040x}")
    (snapshot / "LICENSE.txt").write_text("free")
    (snapshot / "license.txt").symlink_to("LICENSE.txt")
    policy = load(snapshot)
    assert policy.source.files["license.txt"] == b"free"
    assert "tokenizer.json" in policy.source.files


def test_a_linked_store_is_not_the_hubs(own_checkpoint, tmp_path, secret) -> None:
    snapshot = tmp_path / "hub" / "snapshots" / "0"
    snapshot.parent.mkdir(parents=True)
    own_checkpoint.rename(snapshot)
    (tmp_path / "hub" / "blobs").symlink_to(secret.parent)
    (snapshot / "notes.txt").symlink_to(Path("../../blobs") / secret.name)
    with pytest.raises(CheckpointError, match=r"notes\.txt leads out of its folder"):
        load(snapshot)


def test_a_folder_that_is_itself_a_link_is_fine(own_checkpoint, tmp_path) -> None:
    (tmp_path / "name").symlink_to(own_checkpoint)
    assert load(tmp_path / "name").source.files == load(own_checkpoint).source.files


def test_the_policy_of_a_checkpoint_is_not_a_link_to_another(tmp_path, tiny_policy) -> None:
    tiny_policy.save_pretrained(tmp_path / "private")
    checkpoint = tmp_path / "run" / "checkpoints" / "iteration_000001"
    checkpoint.mkdir(parents=True)
    (checkpoint / "state.json").write_text("{}")
    (checkpoint / "policy").symlink_to(tmp_path / "private")
    for name in (checkpoint, tmp_path / "run"):
        with pytest.raises(CheckpointError, match=r"policy leads out of its folder, to .*private.* name it"):
            load_policy(name)
    (checkpoint / "policy").unlink()
    tiny_policy.save_pretrained(checkpoint / "own")
    (checkpoint / "policy").symlink_to("own")
    (tmp_path / "best").symlink_to(checkpoint)  # which the user has named so
    for name in (checkpoint, tmp_path / "run", tmp_path / "best"):
        load_policy(name)


def test_folders_with_a_files_name_do_not_travel(own_checkpoint) -> None:
    (own_checkpoint / "tests.py").mkdir()
    assert "tests.py" not in load(own_checkpoint).source.files


def test_reads_are_bounded(tmp_path) -> None:
    with (tmp_path / "huge.json").open("wb") as file:
        file.truncate(2**40)  # sparse: a terabyte that fits into an archive of a few bytes
    with pytest.raises(CheckpointError, match=r"huge\.json: expected at most 32 MiB, got 1048576 MiB"):
        read_own_json(tmp_path, "huge.json")
    (tmp_path / "small.txt").write_bytes(b"1234")
    assert read_own_file(tmp_path, "small.txt", limit=4) == b"1234"
    with pytest.raises(CheckpointError, match=r"policy\.path: .*small\.txt"):
        read_own_file(tmp_path, "small.txt", limit=3)


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"\xff\xfe", b"[" * 200_000])
def test_json_that_is_none_is_an_error_that_names_the_file(tmp_path, text) -> None:
    (tmp_path / "config.json").write_bytes(text)
    with pytest.raises(CheckpointError, match=r"checkpoint: .*config\.json"):
        read_own_json(tmp_path, "config.json", argument="checkpoint")


def test_an_absent_file_is_named(tmp_path) -> None:
    with pytest.raises(CheckpointError, match=r"config\.json cannot be read"):
        own_file(tmp_path, "config.json")
