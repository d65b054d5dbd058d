"""Training processes that Ray Train starts: what they learn, what they survive, and what is refused."""

from __future__ import annotations

import importlib.util
import io
import os
import random
import shutil
from functools import partial
from pathlib import Path

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file
from torch import Tensor

from tests.agents.distributed.distributed_runs import configuration, play
from tests.agents.on_ray.engines import (
    AccidentEngine,
    InterruptedEngine,
    LostDiskEngine,
    LostNodeEngine,
    RefusingEngine,
)
from tests.agents.reach import ReachEngine
from tests.ray_cluster import NODE
from ttrl_env.agents.common.progress import Display
from ttrl_env.agents.common.run_folder import list_checkpoints
from ttrl_env.agents.on_ray.launch import raise_failure
from ttrl_env.agents.training.metrics import METRICS_FILE, read_records
from ttrl_env.agents.training.same_versions import check_same_versions
from ttrl_env.agents.training.train import train
from ttrl_env.errors import (
    CheckpointError,
    ClusterError,
    ConfigError,
    MissingDependencyError,
    UnsupportedTaskError,
    WorkersDiedError,
)

pytestmark = pytest.mark.slow  # runs of several processes

ON_RAY = ("launcher=ray", "ray.num_workers=2", "iterations=3", "eval.every=0")

MOMENTS = range(1, 14)
"""Steps of a process before one that it surely takes in a run."""


def settings(folder: Path, *overrides: str):
    return configuration(folder, "grpo", Path("unused"), *ON_RAY, *overrides)


def weights(folder: Path) -> dict[str, Tensor]:
    policy = list_checkpoints(folder / "grpo")[-1] / "policy"
    (file,) = policy.glob("*.safetensors")
    return load_file(file)


def assert_equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> None:
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), name


@pytest.fixture(scope="module")
def undisturbed(ray_cluster, tmp_path_factory) -> Path:
    """The folder of a run of two processes, which Ray copies to ``copies`` beside it."""
    folder = tmp_path_factory.mktemp("undisturbed")
    screen = io.StringIO()
    display = Display(Console(file=screen, width=200))
    train(settings(folder, f"ray.storage_path={folder / 'copies'}"), display, ReachEngine)
    (folder / "screen").write_text(screen.getvalue())
    return folder


@pytest.mark.thorough
def test_processes_that_ray_starts_learn_what_one_does(undisturbed, tmp_path) -> None:
    config = settings(tmp_path, "launcher=torchrun")
    play(config)
    one, two = weights(tmp_path), weights(undisturbed)
    distance = torch.cat([(one[name] - two[name]).flatten() for name in one]).norm()
    start = load_file(next((undisturbed / "grpo/checkpoints/iteration_000002/policy").glob("*.safetensors")))
    moved = torch.cat([(one[name] - start[name]).flatten() for name in one]).norm()
    assert distance < 2e-3 * moved


@pytest.mark.thorough
def test_the_driver_shows_what_the_first_process_says(undisturbed) -> None:
    lines = (undisturbed / "screen").read_text().splitlines()
    assert "Ray:        2 processes with 1 CPU each" in lines
    assert [line[:14] for line in lines if line.startswith("iteration")] == [
        f"iteration {number:4d}" for number in (1, 2, 3)
    ]
    assert sum(line.startswith("evaluation after") for line in lines) == 2


@pytest.mark.thorough
def test_checkpoints_are_copied_to_the_storage_path(undisturbed) -> None:
    for checkpoint in list_checkpoints(undisturbed / "grpo"):
        (copy,) = (undisturbed / "copies" / "grpo").glob(f"{checkpoint.name}_*")
        files = [file.relative_to(checkpoint) for file in checkpoint.rglob("*") if file.is_file()]
        assert files
        for file in files:
            assert (copy / file).read_bytes() == (checkpoint / file).read_bytes()


@pytest.mark.thorough
def test_a_run_whose_process_is_killed_ends_as_the_undisturbed_one(undisturbed, tmp_path) -> None:
    moment, rank = random.choice(MOMENTS), random.choice([0, 1])
    print(f"rank {rank} is killed after {moment} steps")
    accident = partial(AccidentEngine, rank=rank, after_steps=moment, mark=tmp_path / "mark")
    screen = io.StringIO()
    train(settings(tmp_path), Display(Console(file=screen, width=200)), accident)
    assert (tmp_path / "mark").exists()
    assert "Ray has started the processes again (failure 1 of at most 3)" in screen.getvalue()
    assert_equal(weights(tmp_path), weights(undisturbed))
    assert [record["iteration"] for record in read_records(tmp_path / "grpo", METRICS_FILE)] == [1, 2, 3]


@pytest.mark.thorough
@pytest.mark.parametrize("time", range(4))
def test_so_does_one_that_is_killed_at_another_moment(undisturbed, tmp_path, time) -> None:
    test_a_run_whose_process_is_killed_ends_as_the_undisturbed_one(undisturbed, tmp_path)


@pytest.mark.thorough
def test_so_does_one_whose_node_dies(undisturbed, ray_cluster, tmp_path) -> None:
    ray = pytest.importorskip("ray")
    ray_cluster.add_node(**NODE)  # so that the tests after it have two
    accident = partial(
        LostNodeEngine,
        drivers_node=ray.get_runtime_context().get_node_id(),
        after_steps=MOMENTS[-1],
        mark=tmp_path / "mark",
    )
    screen = io.StringIO()
    train(settings(tmp_path, "ray.placement=spread"), Display(Console(file=screen, width=200)), accident)
    assert (tmp_path / "mark").exists()
    assert "Ray has started the processes again (failure 1 of at most 3)" in screen.getvalue()
    assert sum(not node["Alive"] for node in ray.nodes()) == 1
    assert_equal(weights(tmp_path), weights(undisturbed))


@pytest.mark.thorough
def test_a_run_that_loses_its_folder_goes_on_from_the_storage_path(undisturbed, tmp_path) -> None:
    accident = partial(
        LostDiskEngine, rank=0, after_steps=13, mark=tmp_path / "mark", output_dir=tmp_path / "grpo"
    )
    config = settings(tmp_path, f"ray.storage_path={tmp_path / 'copies'}")
    train(config, Display(Console(quiet=True)), accident)
    assert (tmp_path / "mark").exists()
    assert read_records(tmp_path / "grpo", METRICS_FILE)[0]["iteration"] > 1  # earlier ones are lost
    assert_equal(weights(tmp_path), weights(undisturbed))


@pytest.mark.thorough
def test_so_does_a_new_run_without_a_folder(undisturbed, tmp_path) -> None:
    shutil.copytree(undisturbed / "copies", tmp_path / "copies")
    extended = ("iterations=4", "resume=auto", f"ray.storage_path={tmp_path / 'copies'}")
    last = train(settings(tmp_path, *extended), Display(Console(quiet=True)), ReachEngine)
    assert last.name == "iteration_000004"
    assert [record["iteration"] for record in read_records(tmp_path / "grpo", METRICS_FILE)] == [4]


@pytest.mark.thorough
def test_ctrl_c_ends_a_run_after_the_iteration_with_a_checkpoint(ray_cluster, tmp_path) -> None:
    interrupted = partial(
        InterruptedEngine, rank=1, after_steps=MOMENTS[-1], mark=tmp_path / "mark", driver=os.getpid()
    )
    screen = io.StringIO()
    config = settings(tmp_path, "iterations=500", "checkpoint_every=1000")
    last = train(config, Display(Console(file=screen, width=200)), interrupted)
    records = read_records(tmp_path / "grpo", METRICS_FILE)
    assert 0 < len(records) < 500
    assert last.name == f"iteration_{len(records):06d}"
    assert f"Continue with resume={last}" in screen.getvalue().replace("\n", "")


@pytest.mark.thorough
def test_an_error_of_one_process_is_raised_by_the_driver_as_its_own(ray_cluster, tmp_path) -> None:
    with pytest.raises(UnsupportedTaskError, match=r"^task 0 of libero_spatial cannot be simulated here"):
        train(settings(tmp_path), Display(Console(quiet=True)), RefusingEngine)


def test_a_folder_that_holds_a_run_is_refused_before_anything_starts(tmp_path) -> None:
    play(settings(tmp_path, "launcher=torchrun", "iterations=1"))
    with pytest.raises(CheckpointError, match="already holds a run"):
        train(settings(tmp_path), Display(Console(quiet=True)), ReachEngine)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ("env.num_groups=100", "ray.num_workers=100"),
            r"ray\.num_workers: 100 processes with 1 CPU each need 100 CPU, placed as ray\.placement=pack, "
            r"and the cluster has 8 CPU on 2 nodes; .* ray\.wait_seconds",
        ),
        (("ray.cpus_per_worker=3", "ray.placement=strict_pack", "ray.wait_seconds=1"), "no room.* in 1 s"),
        (("policy.device=cuda",), r"2 processes with 1 CPU and 1 GPU each need 2 CPU and 2 GPU.* 0 GPU"),
        (("ray.storage_path=nowhere://bucket",), r"ray\.storage_path: .* got 'nowhere://bucket'"),
        (("ray.address=127.0.0.1:1",), r"ray\.address: nothing answers at 127\.0\.0\.1:1"),
        (
            ("ray.address=cluster",),
            r"ray\.address: expected auto, host:port or .*, got 'cluster'",
        ),
    ],
)
def test_what_a_cluster_cannot_do_is_refused_at_once(ray_cluster, tmp_path, overrides, message) -> None:
    with pytest.raises((ConfigError, ClusterError), match=message):
        train(settings(tmp_path, *overrides), Display(Console(quiet=True)), ReachEngine)
    assert not (tmp_path / "grpo").exists()


def test_a_run_that_ray_gives_up_says_why_and_how_to_go_on(tmp_path) -> None:
    exceptions = pytest.importorskip("ray.train")
    config = settings(tmp_path, "ray.max_failures=1")
    (tmp_path / "grpo" / "checkpoints" / "iteration_000002").mkdir(parents=True)
    error = exceptions.WorkerGroupError("rank 1: killed, out of memory", {1: RuntimeError("killed")})
    with pytest.raises(WorkersDiedError) as caught:
        raise_failure(error, config)
    message = str(caught.value)
    assert "more often than 1 times" in message
    assert "rank 1: killed, out of memory" in message
    assert f"Continue with resume={tmp_path}/grpo/checkpoints/iteration_000002" in message


def test_a_run_whose_driver_s_node_is_lost_says_how_to_go_on(tmp_path) -> None:
    exceptions = pytest.importorskip("ray.exceptions")
    (tmp_path / "grpo" / "checkpoints" / "iteration_000002").mkdir(parents=True)
    error = exceptions.RayActorError(error_msg="Owner's node has crashed.")
    with pytest.raises(ClusterError, match="connected to is lost") as caught:
        raise_failure(error, settings(tmp_path))
    assert "Owner's node has crashed." in str(caught.value)
    assert f"Continue with resume={tmp_path}/grpo/checkpoints/iteration_000002" in str(caught.value)


def test_without_ray_the_error_says_how_to_install_it(monkeypatch, tmp_path) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "ray" else found(name, *rest)
    )
    with pytest.raises(MissingDependencyError, match=r"needs ray,.*pip install 'ttrl-env\[ray\]'"):
        train(settings(tmp_path), Display(Console(quiet=True)), ReachEngine)


def test_ray_inside_torchrun_is_refused(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="launcher: Ray starts the processes itself"):
        train(settings(tmp_path), Display(Console(quiet=True)), ReachEngine)


def test_groups_that_do_not_divide_are_refused(tmp_path) -> None:
    message = r"ray\.num_workers: .* a divisor of env\.num_groups=2, got 3; the nearest are 2$"
    with pytest.raises(ConfigError, match=message):
        settings(tmp_path, "ray.num_workers=3")


def test_machines_with_other_versions_are_refused_by_name() -> None:
    versions = {"ttrl-env": "0.2.0", "mujoco": "3.3.2"}
    same = [("alpha", versions), ("alpha", dict(versions))]
    check_same_versions(same)
    message = r"mujoco is 3\.3\.2 on alpha \(process 0\) and 3\.17\.0 on beta \(process 2\)"
    with pytest.raises(ConfigError, match=message):
        check_same_versions([*same, ("beta", {**versions, "mujoco": "3.17.0"})])
    with pytest.raises(ConfigError, match=r"ttrl-env is 0\.2\.0 on alpha .* and missing on beta"):
        check_same_versions([*same, ("beta", {"mujoco": "3.3.2"})])
