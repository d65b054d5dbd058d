"""What a maintainer's tools say of each other: versions and verbs that stand in two files."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def _text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def test_pre_commit_runs_the_pinned_ruff() -> None:
    (pinned,) = re.findall(r"^ruff==(.*)$", _text("constraints.txt"), flags=re.M)
    assert re.findall(r"ruff-pre-commit\n    rev: v(\S+)", _text(".pre-commit-config.yaml")) == [pinned]


def test_make_help_lists_every_verb() -> None:
    (line,) = re.findall(r"^\.PHONY: (.*)$", _text("Makefile"), flags=re.M)
    listed = re.findall(r'^\t@echo "make (\S+)', _text("Makefile"), flags=re.M)
    steps = {"help", "setup", "gl", "layout", "integrations-lerobot"}  # parts of other verbs
    assert sorted(listed) == sorted(set(line.split()) - steps)


def test_verbs_of_the_contributors_page_exist() -> None:
    (line,) = re.findall(r"^\.PHONY: (.*)$", _text("Makefile"), flags=re.M)
    named = re.findall(r"\bmake ([a-z][a-z-]+)`", _text("CONTRIBUTING.md"))
    assert named
    assert set(named) <= set(line.split())
