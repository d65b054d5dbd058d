"""Model cards: what they say of a policy's origin, and that no file of a stranger can write into them."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard, ModelCardData
from markdown_it import MarkdownIt

from tests.agents.policies.openvla_inputs import load
from ttrl_env.agents.cli import main
from ttrl_env.agents.policies.model_card import MARK, Measured, model_card, write_model_card
from ttrl_env.agents.policies.openvla.policy import AdaptedOpenVLAPolicy

DEMONSTRATIONS = {
    "suite": "libero_object",
    "task": "pick_up_the_milk",
    "num_episodes": 5,
    "init_state_ids": [4, 11],
    "mujoco": "3.3.2",
}

GREEDY = Measured(
    suite="libero_object",
    task_ids=(0, 7),
    init_states="held_out",
    temperature=0.0,
    num_episodes=20,
    success_rate=0.25,
    interval=(0.11, 0.47),
    mujoco="3.3.2",
)

HOSTILE = "x`\n---\n# <img src=x onerror=y> [a](b) | --- |\n```\nlicense: mit"


@pytest.fixture
def folder(tmp_path: Path, tiny_policy) -> Path:
    tiny_policy.config.demonstrations = [DEMONSTRATIONS]
    tiny_policy.save_pretrained(tmp_path / "tiny")
    return tmp_path / "tiny"


def test_a_saved_policy_says_what_it_was_cloned_from(folder) -> None:
    card = ModelCard.load(folder / "README.md")
    assert (card.data.library_name, card.data.pipeline_tag) == ("ttrl-env", "robotics")
    assert "libero_object" in card.data.tags
    shown = MarkdownIt().render(card.text)
    assert "Cloned from 5 demonstrations of libero_object. Tasks: pick_up_the_milk." in shown
    assert "published LIBERO (MuJoCo 3.3.2)" in shown


def test_the_commands_of_a_card_work_in_its_folder(folder, monkeypatch, capsys) -> None:
    monkeypatch.chdir(folder)
    blocks = {
        token.info: token.content for token in MarkdownIt().parse(_text(folder)) if token.type == "fence"
    }
    commands = [shlex.split(line) for line in blocks["bash"].splitlines() if line.startswith("ttrl ")]
    assert [command[1] for command in commands] == ["eval", "train"]
    for _, *arguments in commands:
        assert main([*arguments, "--cfg"]) == 0
        assert "suite: libero_object" in capsys.readouterr().out
    loaded: dict[str, Any] = {}
    exec(blocks["python"], loaded)
    assert loaded["policy"].chunk_steps == 8


def test_an_evaluation_is_in_the_metadata_with_its_interval(folder) -> None:
    card: Any = ModelCard(model_card(folder, "someone/milk", [GREEDY]))
    data = card.data
    assert isinstance(data, ModelCardData)
    (result,) = data.eval_results or []
    assert (result.dataset_type, result.dataset_split) == ("libero_object", "held_out")
    assert (result.metric_value, result.metric_name) == (0.25, "Success rate, greedy")
    assert result.metric_args is not None
    assert result.metric_args["confidence_interval_95"] == [0.11, 0.47]
    assert result.dataset_args == {"task_ids": [0, 7], "mujoco": "3.3.2"}
    assert data.model_name == "milk"
    assert "25 % | 11 to 47 %" in card.text
    assert "ttrl eval someone/milk env.suite=libero_object" in card.text


def test_text_of_a_strangers_files_is_shown_and_nothing_else(folder) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["model_type"] = HOSTILE
    config["demonstrations"] = [
        {**DEMONSTRATIONS, "suite": HOSTILE, "task": HOSTILE, "mujoco": f"3{HOSTILE}"}
    ]
    (folder / "config.json").write_text(json.dumps(config))
    measured = Measured(**{**vars(GREEDY), "suite": HOSTILE, "init_states": HOSTILE, "mujoco": HOSTILE})
    card: Any = ModelCard(model_card(folder, "someone/milk", [measured]))
    data = card.data
    assert isinstance(data, ModelCardData)
    assert data.license is None
    (result,) = data.eval_results or []
    assert result.dataset_type == HOSTILE  # as a value
    shown = MarkdownIt("gfm-like", {"linkify": False}).render(card.text.replace(MARK, ""))
    assert shown.count("<h1>") == 1
    assert not any(tag in shown for tag in ("<img", "<a ", "<hr"))
    assert shown.count("<pre>") == 2
    assert shown.count("<th>") == 7


@pytest.mark.parametrize("content", [[{"suite": 3}], [{**DEMONSTRATIONS, "num_episodes": "many"}]])
def test_a_policy_with_a_strange_record_is_saved_with_a_card_that_says_nothing_of_it(
    tiny_policy, tmp_path, content
) -> None:
    tiny_policy.config.demonstrations = content
    (tmp_path / "state.json").write_text("of another program")
    tiny_policy.save_pretrained(tmp_path / "policy")
    assert "do not say what it was trained on" in _text(tmp_path / "policy")


def test_a_card_that_somebody_wrote_is_kept(folder, tiny_policy) -> None:
    for text in ("mine", _text(folder).replace(MARK, "").replace("Cloned", "Stolen")):
        (folder / "README.md").write_text(text)
        tiny_policy.save_pretrained(folder)
        assert _text(folder) == text


def test_an_adapter_names_its_base(checkpoint, tmp_path) -> None:
    policy = load(checkpoint, lora_rank=2)
    assert isinstance(policy, AdaptedOpenVLAPolicy)
    policy.source = type(policy.source)(name="openvla/some-base@main", files=policy.source.files)
    policy.save_pretrained(tmp_path / "adapter")
    data = ModelCard.load(tmp_path / "adapter" / "README.md").data
    assert (data.base_model, data.base_model_relation) == ("openvla/some-base", "adapter")
    policy.save_pretrained(tmp_path / "merged", merge=True)
    data = ModelCard.load(tmp_path / "merged" / "README.md").data
    assert (data.base_model, data.base_model_relation) == ("openvla/some-base", "finetune")
    write_model_card(tmp_path / "merged", [GREEDY])
    assert ModelCard.load(tmp_path / "merged" / "README.md").data.base_model == "openvla/some-base"


def test_a_path_of_the_machine_that_trained_is_not_told(checkpoint, tmp_path) -> None:
    load(checkpoint).save_pretrained(tmp_path / "policy")
    text = _text(tmp_path / "policy")
    assert str(checkpoint) not in text
    assert "base_model" not in text
    assert "env.suite=libero_spatial env.image_size=256" in text


def _text(folder: Path) -> str:
    return (folder / "README.md").read_text()


def test_a_policy_of_robotwin_names_its_simulator_and_how_to_play_it(tiny_policy, tmp_path) -> None:
    folder = tmp_path / "iteration_000002" / "policy"
    tiny_policy.save_pretrained(folder)
    robotwin = {"task_config": "demo_clean", "image_width": 240, "python": "/home/me/python"}
    state: dict[str, Any] = {
        "iteration": 2,
        "groups_dealt": 2,
        "reference": None,
        "config": {"env": {"suite": "robotwin", "task_ids": [45], "robotwin": robotwin}},
        "versions": {"mujoco": "3.3.2"},
    }
    (folder.parent / "state.json").write_text(json.dumps(state))
    write_model_card(folder, [Measured(**{**vars(GREEDY), "suite": "robotwin", "mujoco": None})])
    card, text = ModelCard.load(folder / "README.md"), _text(folder)
    assert card.data.tags[2] == "robotwin"
    assert "libero" not in text.lower()
    assert "MuJoCo" not in text
    assert "/home/me" not in text
    assert "manipulation tasks of RoboTwin" in text
    assert (
        "ttrl eval . env.suite=robotwin env.robotwin.task_config=demo_clean env.robotwin.image_width=240 "
        "'env.task_ids=[45]'" in text
    )
    state["config"]["env"]["robotwin"]["task_config"] = HOSTILE
    (folder.parent / "state.json").write_text(json.dumps(state))
    assert "<img" not in model_card(folder)
