"""No kernel's loop has a bound that an enclosing loop assigns: Triton 3.6 would keep the first value."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import ttrl_env.kernels

KERNELS = sorted(Path(ttrl_env.kernels.__path__[0]).glob("*_triton.py"))
AS_COMPILED_WRONG = """
start = full
for attempt in range(0, 2):
    for block in range(start, blocks):
        add(block)
    start = where(again, 0, blocks)
"""


def carried_bounds(tree: ast.AST) -> Iterator[str]:
    """Names in the bounds of inner loops that the loop around them assigns."""
    for outer in ast.walk(tree):
        if not isinstance(outer, ast.For | ast.While):
            continue
        assigned = {
            name.id
            for node in ast.walk(ast.Module(outer.body, []))
            for name in ast.walk(node)
            if isinstance(name, ast.Name) and isinstance(name.ctx, ast.Store)
        }
        for inner in ast.walk(ast.Module(outer.body, [])):
            if isinstance(inner, ast.For):
                used = {name.id for name in ast.walk(inner.iter) if isinstance(name, ast.Name)}
                yield from sorted(used & assigned)


def test_the_rule_sees_the_loop_that_was_compiled_wrong() -> None:
    assert list(carried_bounds(ast.parse(AS_COMPILED_WRONG))) == ["start"]


@pytest.mark.parametrize("file", KERNELS, ids=lambda file: file.stem)
def test_no_loop_has_a_bound_that_the_loop_around_it_assigns(file) -> None:
    assert list(carried_bounds(ast.parse(file.read_text(encoding="utf-8")))) == []
