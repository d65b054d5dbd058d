"""What ``ttrl push`` sends to the hub, whose part a server of this process plays."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import ModelCard, ModelCardData

from tests.agents.policies.openvla_inputs import load
from tests.agents.reach import load_tiny_policy
from ttrl_env.agents.cli import main
from ttrl_env.agents.common.training_state import TrainingState
from ttrl_env.agents.evaluation.intervals import wilson_interval
from ttrl_env.agents.evaluation.reports.measured import measured_in_training
from ttrl_env.agents.training import publishing


def episodes(successes: int) -> list[dict]:
    """Ten episodes, each from a state of its own."""
    return [
        {"task_id": 0, "init_state_id": 40 + k, "repeat": 0, "success": k < successes, "finish_step": 9}
        for k in range(10)
    ]


EVALUATION = {
    "suite": "libero_spatial",
    "init_states": "held_out",
    "temperature": 0.0,
    "num_episodes": 10,
    "success_rate": 0.5,
    "success_rate_interval_95": [0.24, 0.76],
    "episodes": episodes(5),
    "tasks": {"0": {}},
}


class FakeHub:
    """Takes repositories and commits as the hub's API does, and keeps them."""

    def __init__(self) -> None:
        self.created: list[dict] = []
        self.files: dict[str, bytes] = {}
        self.refuses = False
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                status, answer = hub.answer(self.path, body)
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.end_headers()
                self.wfile.write(json.dumps(answer).encode())

            def log_message(self, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}"

    def answer(self, path: str, body: bytes) -> tuple[int, dict]:
        if self.refuses:
            return 403, {"error": "you may not write here"}
        if path == "/api/repos/create":
            self.created.append(json.loads(body))
            return 200, {"url": f"{self.address}/me/milk"}
        if path.endswith("/preupload/main"):
            asked = json.loads(body)["files"]
            return 200, {
                "files": [
                    {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False} for file in asked
                ]
            }
        if path.startswith("/api/models/me/milk/commit/main"):
            for line in map(json.loads, body.decode().splitlines()):
                if line["key"] == "file":
                    value = line["value"]
                    self.files[value["path"]] = base64.b64decode(value["content"])
            return 200, {
                "success": True,
                "commitOid": "0" * 40,
                "commitUrl": f"{self.address}/me/milk/commit/0",
            }
        return 200, {"errors": [], "warnings": []}  # the check of a card's metadata


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    fake = FakeHub()
    thread = threading.Thread(target=fake.server.serve_forever, args=(0.02,))
    thread.start()
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", fake.address)
    monkeypatch.setattr(publishing, "get_token", lambda: "hf_test")
    yield fake
    fake.server.shutdown()
    thread.join()
    fake.server.server_close()


@pytest.fixture
def folder(tmp_path: Path, tiny_policy) -> Path:
    tiny_policy.save_pretrained(tmp_path / "tiny")
    return tmp_path / "tiny"


@pytest.fixture
def run(tmp_path: Path, tiny_policy) -> Path:
    """A run's folder with a checkpoint after three iterations and the evaluation made then."""
    checkpoint = tmp_path / "run" / "checkpoints" / "iteration_000003"
    tiny_policy.save_pretrained(checkpoint / "policy")
    state = TrainingState(
        iteration=3, groups_dealt=3, reference=None, config={}, versions={"mujoco": "3.3.2"}
    )
    (checkpoint / "state.json").write_text(json.dumps(vars(state)))
    records = [{"iteration": number, **EVALUATION} for number in (0, 3)]
    lines = "".join(json.dumps(record) + "\n" for record in records)
    (tmp_path / "run" / "evaluations.jsonl").write_text(lines)
    return tmp_path / "run"


def test_a_dry_run_shows_files_sizes_card_and_address_and_asks_nobody(folder, hub, capsys) -> None:
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    hub.refuses = True
    assert main(["push", str(folder), "me/milk"]) == 0
    shown = capsys.readouterr().out
    assert f"To {hub.address}/me/milk:" in shown
    assert "kB  model.safetensors" in shown
    assert "library_name: ttrl-env" in shown
    assert "ttrl eval me/milk" in shown
    assert "Nothing is uploaded" in shown
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before


def test_what_is_uploaded_is_the_policy(folder, hub, capsys, tmp_path) -> None:
    assert main(["push", str(folder), "me/milk", "dry_run=false", "private=true"]) == 0
    assert f"Uploaded: {hub.address}/me/milk/commit/0" in capsys.readouterr().out
    assert hub.created[0]["name"] == "milk"
    assert hub.created[0].get("private") is True or hub.created[0].get("visibility") == "private"
    for name, content in hub.files.items():
        (tmp_path / "there").mkdir(exist_ok=True)
        (tmp_path / "there" / name).write_bytes(content)
    downloaded = load_tiny_policy(tmp_path / "there").state_dict()
    assert all(downloaded[key].equal(each) for key, each in load_tiny_policy(folder).state_dict().items())


def test_files_of_others_stay_here(own_checkpoint, tmp_path, hub, capsys) -> None:
    folder = tmp_path / "openvla"
    load(own_checkpoint).save_pretrained(folder)
    for name in (".env", "notes.txt", "secrets.json"):
        (folder / name).write_text("{}")
    assert main(["push", str(folder), "me/milk", "dry_run=false"]) == 0
    assert "Left out: .env, modeling_prismatic.py, notes.txt, secrets.json" in capsys.readouterr().out
    assert not {".env", "modeling_prismatic.py", "notes.txt", "secrets.json"} & hub.files.keys()
    uploaded = tmp_path / "there"
    uploaded.mkdir()
    for name, content in hub.files.items():
        (uploaded / name).write_bytes(content)
    assert load(uploaded).action_space == load(own_checkpoint).action_space


def test_a_run_is_its_last_checkpoint_with_what_it_measured(run, hub) -> None:
    assert main(["push", str(run), "me/milk", "dry_run=false"]) == 0
    assert set(hub.files) == {"config.json", "model.safetensors", "README.md"}
    card: Any = ModelCard(hub.files["README.md"].decode())
    assert isinstance(card.data, ModelCardData)
    (result,) = card.data.eval_results or []
    assert result.metric_args is not None
    assert (result.metric_value, result.metric_args["confidence_interval_95"]) == (0.5, [0.2366, 0.7634])
    assert "Iterations: 3." in card.text
    assert "test-time-reinforcement-learning" in (card.data.tags or [])


@pytest.mark.parametrize("successes", [0, 10])
def test_a_rate_at_the_end_of_its_range_is_taken(successes) -> None:
    limits = list(wilson_interval(successes, 10))
    record = {
        "iteration": 1,
        **EVALUATION,
        "success_rate": successes / 10,
        "episodes": episodes(successes),
    }
    (measured,) = measured_in_training([record], 1, {})
    assert measured.interval == pytest.approx(limits)


def test_intervals_of_earlier_versions_are_made_anew() -> None:
    repeated = [{**each, "repeat": repeat} for repeat in range(3) for each in episodes(5)]
    before = list(wilson_interval(15, 30))  # as if thirty episodes from ten states were independent
    record = {"iteration": 1, **EVALUATION, "success_rate_interval_95": before, "episodes": repeated}
    (measured,) = measured_in_training([record], 1, {})
    assert measured.interval == pytest.approx(wilson_interval(5, 10))


def _write_report(folder: Path, policy: Path) -> None:
    (folder / "videos").mkdir(parents=True)
    protocol = {"suite": "libero_goal", "task_ids": [7], "init_states": "all", "mujoco": "3.3.2"}
    figures = {key: value for key, value in EVALUATION.items() if key not in ("suite", "init_states")}
    content = {
        "checkpoints": {"checkpoint": {"policy": str(policy.resolve())}},
        "protocol": protocol,
        "evaluations": [
            {**figures, "checkpoint": "baseline"},
            {**figures, "checkpoint": "checkpoint", "success_rate": 0.6, "episodes": episodes(6)},
        ],
    }
    (folder / "report.json").write_text(json.dumps(content))
    (folder / "report.md").write_text("# Evaluation")
    (folder / "videos" / "success_T0_task7_state40_episode0.mp4").write_bytes(b"video")
    (folder / "videos" / "holiday.mp4").write_bytes(b"mine")


def test_a_report_brings_its_figures_text_and_videos(folder, hub, tmp_path) -> None:
    _write_report(tmp_path / "report", folder)
    assert main(["push", str(folder), "me/milk", f"report={tmp_path / 'report'}", "dry_run=false"]) == 0
    assert {name for name in hub.files if name.startswith("evaluation/")} == {
        "evaluation/report.md",
        "evaluation/videos/success_T0_task7_state40_episode0.mp4",
    }
    data = ModelCard(hub.files["README.md"].decode()).data
    assert isinstance(data, ModelCardData)
    (result,) = data.eval_results or []
    assert (result.dataset_type, result.dataset_split, result.metric_value) == ("libero_goal", "all", 0.6)


def test_a_report_of_another_policy_is_refused(folder, tmp_path, capsys) -> None:
    _write_report(tmp_path / "report", tmp_path / "another")
    assert main(["push", str(folder), "me/milk", f"report={tmp_path / 'report'}"]) == 2
    assert "is of the policy in" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "path: name what to upload and where to"),
        (["runs/x"], "repo: name what to upload and where to"),
        (["{folder}", "milk"], "repo: expected owner/name, got 'milk'"),
        (["{folder}", "me/mi lk"], "repo: expected owner/name, got 'me/mi lk'"),
        (["{folder}", "me/milk", "dry_run=false"], "`hf auth login`, or set HF_TOKEN"),
        (["nowhere", "me/milk"], "path: there is no folder 'nowhere'"),
        (["owner/other", "me/milk"], "what is on the hub is there already"),
        (["{folder}/..", "me/milk"], "has no config.json and no checkpoints"),
        (["{folder}", "me/milk", "report={folder}"], "report.json cannot be read"),
    ],
)
def test_a_mistake_is_told_before_anything_is_done(folder, arguments, message, capsys, monkeypatch) -> None:
    monkeypatch.setattr(publishing, "get_token", lambda: None)
    monkeypatch.setattr(publishing, "HfApi", lambda: pytest.fail("the hub was asked"))
    assert main(["push", *(argument.format(folder=folder) for argument in arguments)]) == 2
    assert message in capsys.readouterr().err


def test_a_policy_with_damaged_weights_is_not_uploaded(folder, capsys) -> None:
    (folder / "model.safetensors").write_bytes(b"half of it")
    assert main(["push", str(folder), "me/milk"]) == 2
    assert "model.safetensors cannot be read" in capsys.readouterr().err


def test_an_adapter_whose_base_is_a_folder_is_not_uploaded(own_checkpoint, tmp_path, capsys) -> None:
    load(own_checkpoint, lora_rank=2).save_pretrained(tmp_path / "adapter")
    assert main(["push", str(tmp_path / "adapter"), "me/milk"]) == 2
    assert f"belongs to {own_checkpoint}, which nobody else has" in capsys.readouterr().err


def test_what_the_hub_refuses_is_an_error_and_not_a_traceback(folder, hub, capsys) -> None:
    hub.refuses = True
    assert main(["push", str(folder), "me/milk", "dry_run=false"]) == 2
    assert "repo: me/milk cannot be uploaded: " in capsys.readouterr().err
    hub.server.server_close()
    assert main(["push", str(folder), "me/milk", "dry_run=false"]) == 2
    assert "repo: me/milk cannot be uploaded: " in capsys.readouterr().err
