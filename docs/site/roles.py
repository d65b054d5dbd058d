"""Docstrings as Markdown: their cross-references and literal blocks are reStructuredText's."""

from __future__ import annotations

import re
from typing import Any

import griffe

ROLE = re.compile(r":(?:attr|class|data|func|meth|mod):`~?([\w.]+)`")


class Roles(griffe.Extension):
    """Turns a role into code, and into a link if the site has a page on its target."""

    def on_instance(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Rewrite the docstring of a module, class, function or attribute."""
        if obj.docstring is not None:
            text = ROLE.sub(_link, obj.docstring.value)
            obj.docstring.value = re.sub(r"::$", ":", text, flags=re.M)


def _link(role: re.Match[str]) -> str:
    target = role[1]
    name = target.rpartition(".")[2]
    return f'<autoref identifier="{target}" optional><code>{name}</code></autoref>'
