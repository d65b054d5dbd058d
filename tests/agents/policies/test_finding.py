"""What a policy may be called by: paths, the names of shipped policies, hub repositories."""

from __future__ import annotations

import pytest
import torch

from tests.agents.reach import load_tiny_policy
from ttrl_env.agents import cli
from ttrl_env.agents.policies import load_policy
from ttrl_env.agents.policies.finding import SHIPPED, find_policy, shipped_policies
from ttrl_env.errors import CheckpointError

NAME = "tiny-vla-libero-object"


def test_the_shipped_policy_is_found_by_name_wherever_one_works(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert NAME in shipped_policies()
    assert find_policy(NAME) == SHIPPED / NAME
    policy = load_policy(NAME)
    assert all(bool(torch.isfinite(weights).all()) for weights in policy.parameters())


def test_a_folder_of_that_name_comes_first(tmp_path, monkeypatch, tiny_policy) -> None:
    monkeypatch.chdir(tmp_path)
    tiny_policy.save_pretrained(NAME)
    assert find_policy(NAME).resolve() == tmp_path / NAME
    assert load_tiny_policy(NAME).config.hidden_size == tiny_policy.config.hidden_size


def test_runs_and_training_checkpoints_mean_their_policy(tmp_path, tiny_policy, monkeypatch) -> None:
    for iteration in (1, 12):
        checkpoint = tmp_path / f"run/checkpoints/iteration_{iteration:06d}"
        tiny_policy.save_pretrained(checkpoint / "policy")
        (checkpoint / "state.json").touch()
    last = tmp_path / "run/checkpoints/iteration_000012"
    for name in (tmp_path / "run", last, last / "policy"):
        assert find_policy(name) == last / "policy"
    monkeypatch.chdir(last / "policy")
    assert find_policy(".") == last / "policy"


def test_a_slip_of_the_pen_is_answered_with_the_name(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError) as error:
        find_policy("tiny-vla-libero-objet", argument="baseline")
    assert "baseline: there is no folder 'tiny-vla-libero-objet'" in str(error.value)
    assert f"Did you mean '{NAME}'?" in str(error.value)
    assert f"one of: {', '.join(shipped_policies())}" in str(error.value)


@pytest.mark.parametrize("name", ["runs/a--b", "runs/-x", "runs/a..b", "runs/x.git", "runs/x-"])
def test_a_mistyped_path_that_can_be_no_repository_is_not_asked_for(tmp_path, monkeypatch, name) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        "huggingface_hub.snapshot_download", lambda *_, **__: pytest.fail("the hub was asked")
    )
    (tmp_path / "runs" / "a-b").mkdir(parents=True)
    with pytest.raises(CheckpointError, match=f"there is no folder '{name}'"):
        find_policy(name)


def test_a_mistyped_run_is_answered_with_its_neighbour_and_the_hub_is_not_asked(
    tmp_path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    asked: list[str] = []

    def download(repo_id: str, **_: object) -> str:
        asked.append(repo_id)
        return str(SHIPPED / NAME)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    (tmp_path / "runs" / "ttrl").mkdir(parents=True)
    with pytest.raises(
        CheckpointError, match=r"no 'runs/ttl' in the folder 'runs'\. Did you mean 'runs/ttrl'\?"
    ) as error:
        find_policy("runs/ttl")
    assert asked == []
    assert "write hf:runs/ttl" in str(error.value)
    assert find_policy("hf:runs/ttl") == find_policy("elsewhere/ttl") == SHIPPED / NAME
    assert asked == ["runs/ttl", "elsewhere/ttl"]


def test_a_repository_is_described_without_its_weights(monkeypatch, tmp_path) -> None:
    monkeypatch.chdir(tmp_path)
    wanted: list[list[str]] = []

    def download(repo_id: str, *, allow_patterns: list[str], **_: object) -> str:
        wanted.append(allow_patterns)
        return str(SHIPPED / NAME)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    find_policy("owner/name", described=True)
    find_policy("owner/name")
    assert wanted[0] == ["*.json"]
    assert "*.safetensors" in wanted[1]


def test_a_folder_without_a_policy_says_what_is_missing(tmp_path) -> None:
    with pytest.raises(CheckpointError, match=r"checkpoint: .* has no config\.json and no checkpoints"):
        find_policy(tmp_path, argument="checkpoint")


def test_the_doctor_examines_it_by_name(capsys) -> None:
    arguments = ["env.suite=libero_object", "policy.device=cpu", "ppo.micro_batch_chunks=2"]
    assert cli.main(["doctor", NAME, *arguments]) == 0
    assert "TinyVLA, every tensor fits" in capsys.readouterr().out
