"""The pages on a policy and an environment of one's own: their code and their commands run as printed."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import pytest

from tests.agents.reach import ReachEngine
from ttrl_env import vector_env
from ttrl_env.agents.cli import main
from ttrl_env.agents.common.run_folder import list_checkpoints
from ttrl_env.agents.policies import load_policy, registry

pytestmark = pytest.mark.slow

DOCS = Path(__file__).parents[2] / "docs"


def blocks(page: str, language: str) -> list[str]:
    text = (DOCS / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.M | re.S)


@pytest.fixture
def own_policy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page's module where one would save it, nothing registered yet, and a reaching task as LIBERO."""
    (tmp_path / "my_policy.py").write_text(blocks("own-policy.md", "python")[0])
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "my_policy", raising=False)
    monkeypatch.setattr(registry, "_registered", {})

    def make_engine(choice, config):
        return choice(config) if callable(choice) else ReachEngine(config)

    monkeypatch.setattr(vector_env, "make_engine", make_engine)


def test_the_policy_is_examined_trained_resumed_and_evaluated(own_policy, monkeypatch, capsys) -> None:
    exec(blocks("own-policy.md", "python")[1], {})
    export, *commands = blocks("own-policy.md", "bash")[0].splitlines()
    assert export.startswith("export TTRL_POLICIES=my_policy ")
    monkeypatch.setenv("TTRL_POLICIES", "my_policy")
    assert [shlex.split(command)[1] for command in commands] == ["doctor", "train", "eval"]
    (resuming,) = re.findall(r"`(ttrl train resume=.*?)`", (DOCS / "own-policy.md").read_text())
    for command in (*commands, resuming):
        assert main(shlex.split(command)[1:]) == 0, capsys.readouterr().out
    assert "rollout and update differ by" in capsys.readouterr().out
    last = list_checkpoints("runs/own")[-1]
    assert last.name == "iteration_000003"
    assert type(load_policy(last / "policy")).__name__ == "GlancePolicy"


def test_the_policy_of_an_installed_package_is_found_by_its_entry_point(own_policy, tmp_path) -> None:
    exec(blocks("own-policy.md", "python")[1], {})
    sys.modules.pop("my_policy")
    registry._registered.clear()
    distribution = tmp_path / "my_policy-1.0.dist-info"
    distribution.mkdir()
    (distribution / "METADATA").write_text("Metadata-Version: 2.1\nName: my-policy\nVersion: 1.0\n")
    (group, entry) = re.findall(
        r'\[project\.entry-points\."(.*?)"\]`, `(.*?) = "my_policy"`', (DOCS / "own-policy.md").read_text()
    )[0]
    (distribution / "entry_points.txt").write_text(f"[{group}]\n{entry} = my_policy\n")
    assert type(load_policy("start")).__name__ == "GlancePolicy"


def test_the_environments_policy_learns_the_shortest_way(capsys) -> None:
    (block,) = blocks("own-environment.md", "python")
    exec(block, {})
    first, *_, greedy = capsys.readouterr().out.splitlines()
    assert float(first.rpartition(" ")[2]) > 12
    assert greedy == "greedy: success 1.00, steps 4.0"
