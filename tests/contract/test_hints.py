"""What messages tell users to do exists: commands, keys and pages."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from ttrl_env.agents.commands.table import COMMANDS, module_of
from ttrl_env.agents.config.schema_fields import walk_fields

ROOT = Path(__file__).parents[2]

SOURCES = [*sorted((ROOT / "agents").rglob("*.py")), *sorted((ROOT / "ttrl_env").rglob("*.py"))]

KEYS = {command: {key for key, _ in walk_fields(module_of(command).SCHEMA)} for command in COMMANDS}


def texts(file: Path) -> Iterator[str]:
    """The strings of a file, those of an f-string joined, with ``{}`` for what is filled in."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    parts = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in parts:
            yield node.value


TEXTS = [(file, text) for file in SOURCES for text in texts(file)]


def test_commands_of_messages_exist_and_have_the_keys() -> None:
    commands = [
        (file, found)
        for file, text in TEXTS
        for found in re.findall(r"`(ttrl [a-z][^`]*)`", text)
        if not found.startswith("ttrl COMMAND")
    ]
    assert len(commands) > 10
    for file, found in commands:
        _, name, *arguments = found.split()
        assert name in COMMANDS or name == "help", f"{file}: {found}"
        for key in (argument.strip("'").partition("=")[0] for argument in arguments if "=" in argument):
            assert key in KEYS[name] or not re.fullmatch(r"[a-z_.]+", key), f"{file}: {found} has no {key}"


def test_keys_of_messages_exist() -> None:
    known = set().union(*KEYS.values())
    groups = "|".join(sorted({key.partition(".")[0] for key in known if "." in key}))
    found = [
        (file, key)
        for file, text in TEXTS
        for key in re.findall(rf"(?<![\w./-])((?:{groups})(?:\.[a-z_]+)+)=", text)
        if "alias" not in file.name  # SimpleVLA-RL's own keys
    ]
    assert len(found) > 10
    for file, key in found:
        assert key in known, f"{file}: no such key {key}"


def test_pages_of_messages_exist() -> None:
    found = [(file, page) for file, text in TEXTS for page in re.findall(r"\bdocs/[\w/.-]+\.md\b", text)]
    assert found
    for file, page in found:
        assert (ROOT / page).is_file(), f"{file}: {page}"


def test_extras_of_messages_are_the_distributions() -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    section = project.partition("[project.optional-dependencies]")[2].partition("\n[")[0]
    extras = set(re.findall(r"^(\w+) = ", section, flags=re.M))
    found = [(file, extra) for file, text in TEXTS for extra in re.findall(r"ttrl-env\[(\w+)\]", text)]
    assert found
    for file, extra in found:
        assert extra in extras, f"{file}: {extra}"
