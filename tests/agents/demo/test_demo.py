"""``ttrl demo`` on a stand-in for the simulator: what it leaves, going on, and what it refuses."""

from __future__ import annotations

import json
from dataclasses import asdict
from functools import partial

import imageio.v3 as imageio
import pytest

from tests.agents.reach import ReachEngine
from ttrl_env.agents.cli import main
from ttrl_env.agents.common.run_folder import list_checkpoints
from ttrl_env.agents.common.training_state import TrainingState
from ttrl_env.agents.config.saved_config import saved_config
from ttrl_env.agents.config.schema import PPOConfig, TrainConfig
from ttrl_env.agents.demo import run as demo
from ttrl_env.agents.demo.config import DemoConfig
from ttrl_env.agents.demo.folder import LOCK, RECORD, REPORT
from ttrl_env.agents.training.metrics import EVALUATIONS_FILE, METRICS_FILE, read_records
from ttrl_env.agents.training.train import train
from ttrl_env.machine.folder_lock import folder_lock

pytestmark = pytest.mark.libero  # it reads the task's scene


@pytest.fixture(autouse=True)
def short(monkeypatch) -> None:
    monkeypatch.setattr(demo, "MAX_STEPS", 16)
    monkeypatch.setattr(demo, "NUM_GROUPS", 2)


def play(output, *settings: str, engine=ReachEngine) -> int:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo, "run_demo", partial(demo.run_demo, engine=engine))
        return main(["demo", f"output_dir={output}", "iterations=2", "n_samples=2", *settings])


def test_it_leaves_a_report_a_video_a_curve_and_a_run_to_go_on_from(tmp_path, capsys) -> None:
    assert play(tmp_path / "demo") == 0
    report = json.loads((tmp_path / "demo/report.json").read_text())
    assert report["changes"] == "green bbq sauce for bbq sauce and red basket for basket"
    assert report["settings"]["policy"] == "tiny-vla-libero-object-four"
    for when in ("before", "after"):
        assert report[when]["greedy"]["num_episodes"] == 10
        assert report[when]["sampled"]["num_episodes"] == 30
    evaluations = read_records(tmp_path / "demo", EVALUATIONS_FILE)
    assert report["after"]["sampled"]["success_rate"] == evaluations[-1]["success_rate"]
    assert report["filmed_init_state"] in range(40, 50)
    assert report["training_episodes"] == 2 * 2 * 2
    frames = imageio.imread(tmp_path / "demo/before_and_after.mp4")
    assert frames.shape[1:] == (128, 2 * 128, 3)
    assert imageio.imread(tmp_path / "demo/curve.png").std() > 1
    assert list_checkpoints(tmp_path / "demo")[-1].name == "iteration_000002"
    said = capsys.readouterr().out
    assert "red basket for basket" in said
    assert "95 % interval" in said


def test_an_interrupted_demo_goes_on(tmp_path, monkeypatch, capsys) -> None:

    def interrupted(config, *rest):
        train(config, *rest)
        raise KeyboardInterrupt  # trained, nothing plotted yet

    monkeypatch.setattr(demo, "train", interrupted)
    assert play(tmp_path / "demo") == 130
    assert "Run it again to go on from" in capsys.readouterr().out
    record = (tmp_path / "demo/demo.json").read_text()
    metrics = read_records(tmp_path / "demo", METRICS_FILE)
    monkeypatch.setattr(demo, "train", train)
    assert play(tmp_path / "demo", "seed=1") == 2
    assert "unfinished demo with other values of seed" in capsys.readouterr().err
    assert play(tmp_path / "demo") == 0
    assert (tmp_path / "demo/demo.json").read_text() == record
    assert read_records(tmp_path / "demo", METRICS_FILE) == metrics


def test_two_demos_do_not_share_a_folder(tmp_path, capsys) -> None:
    with folder_lock(tmp_path / "demo", "output_dir", LOCK):
        assert play(tmp_path / "demo") == 2
    assert "demo: output_dir: another process is writing to" in capsys.readouterr().err


def test_a_damaged_record_and_a_file_in_the_folders_place_are_named(tmp_path, capsys) -> None:
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "demo.json").write_text("{")
    assert play(tmp_path / "demo") == 2
    assert "demo.json cannot be read" in capsys.readouterr().err
    assert play(tmp_path / "demo" / "demo.json") == 2
    assert "output_dir: expected a folder" in capsys.readouterr().err


def test_replacing_a_finished_demo_follows_no_links(tmp_path, monkeypatch) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "kept").touch()
    (tmp_path / "real").mkdir()
    for name in (RECORD, REPORT):
        (tmp_path / "real" / name).write_text("{}")
    (tmp_path / "real" / "checkpoints").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "demo").symlink_to(tmp_path / "real")

    def cleared(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "_introduce", cleared)
    assert play(tmp_path / "demo") == 130
    assert [path.name for path in (tmp_path / "real").iterdir()] == [LOCK]
    assert (tmp_path / "elsewhere" / "kept").is_file()


def test_the_checkpoints_of_a_finished_demo_are_not_read(tmp_path, monkeypatch) -> None:
    checkpoint = tmp_path / "checkpoints/iteration_000009"
    checkpoint.mkdir(parents=True)
    for file in (tmp_path / RECORD, tmp_path / REPORT, checkpoint / "state.json"):
        file.write_text("{")

    def cleared(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "_introduce", cleared)
    assert play(tmp_path) == 130
    assert not checkpoint.exists()


def test_a_mistake_in_the_settings_removes_nothing(tmp_path, capsys) -> None:
    for file in (tmp_path / RECORD, tmp_path / REPORT):
        file.write_text("{}")
    assert play(tmp_path, "n_samples=100000000") == 2
    assert "env.n_samples" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == [RECORD, REPORT]


@pytest.mark.thorough
def test_the_filmed_state_is_the_first_that_was_failed_from(tmp_path) -> None:
    class From43(ReachEngine):
        """Succeeds at once from states below 43, never from the others."""

        def reset(self, rows, task_ids, init_state_ids) -> None:
            super().reset(rows, task_ids, init_state_ids)
            self.position[rows] = [100.0 if state < 43 else -100.0 for state in init_state_ids]

    assert play(tmp_path / "demo", engine=From43) == 0
    record = json.loads((tmp_path / "demo/demo.json").read_text())
    assert record["greedy"]["num_successes"] == 3
    assert record["filmed_init_state"] == 43


def test_the_folder_of_something_else_is_left_alone(tmp_path, capsys) -> None:
    (tmp_path / "thesis.tex").touch()
    assert play(tmp_path) == 2
    assert "holds something else than a demo" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_finished_demo_is_replaced_and_files_of_others_stay(tmp_path, capsys) -> None:
    own = ["demo.json", "report.json", "checkpoints/iteration_000009/state.json", "metrics.jsonl"]
    own += ["tensorboard/events.out.tfevents.1.host"]
    foreign = ["thesis.tex", "evaluation/report.md", "checkpoints/notes.txt", "tensorboard/notes.txt"]
    for name in [*own, *foreign]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("{}")
    config = TrainConfig(ppo=PPOConfig(learning_rate=0.5))  # as if `ttrl train` had gone on with the run
    state = TrainingState(iteration=9, groups_dealt=0, reference=None, config=asdict(config), versions={})
    (tmp_path / own[2]).write_text(json.dumps(asdict(state)))
    assert play(tmp_path) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "which is replaced; evaluation, thesis.tex there stays as it is" in said
    assert [(tmp_path / name).read_text() for name in foreign] == ["{}"] * len(foreign)
    assert json.loads((tmp_path / "report.json").read_text())["settings"]
    checkpoint = list_checkpoints(tmp_path)[-1]
    assert checkpoint.name == "iteration_000002"
    assert saved_config(checkpoint).ppo.learning_rate == demo._configuration(DemoConfig()).ppo.learning_rate
    assert not (tmp_path / own[-1]).exists()
