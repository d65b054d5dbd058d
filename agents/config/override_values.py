"""Values of the command line: in Hydra's grammar, or plain text that the grammar cannot parse.

A folder such as ``output_dir=~/é, 2=b`` needs no quotes besides the shell's. Text that the grammar parses
keeps the grammar's meaning of quotes, ``null`` and ``${...}``.
"""

from __future__ import annotations

import typing
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

from ttrl_env.agents.config.schema_fields import unwrap
from ttrl_env.errors import ConfigError


def literal_value(key: str, text: str, hint: Any) -> Any:
    """The value of ``key=text`` if Hydra's grammar cannot parse it, or ``None`` to leave it to Hydra.

    Args:
        key: a key of ours.
        text: the text after the first ``=``.
        hint: the key's type.

    Raises:
        ConfigError: neither Hydra's grammar nor the type allows the text.
    """
    wanted = unwrap(hint).plain
    read = _read(text)
    if wanted is str:
        return None if _is_text(read) else _literally(key, text)
    if _is_list_of_text(wanted):
        return None if _is_texts(read) else [_literally(key, each) for each in _elements(key, text)]
    if read is None:
        raise ConfigError(f"{key}={text}: cannot be read; expected {_named(wanted)}")
    if read.is_sweep_override():
        raise ConfigError(
            f"{key}={text}: expected one value, got several; run the command once for each of them"
        )
    if wanted is int and isinstance(number := read.value(), float):
        whole = f": {key}={int(number)}" if number.is_integer() else ""
        raise ConfigError(f"{key}={text}: expected an integer in digits{whole}")
    return None


def _read(text: str) -> Override | None:
    """The text parsed by Hydra; ``None`` if it is not in Hydra's grammar."""
    try:
        return OverridesParser.create().parse_override(f"key={text}")
    except HydraException:
        return None


def _is_text(read: Override | None) -> bool:
    return read is not None and not read.is_sweep_override() and isinstance(read.value(), str | None)


def _is_list_of_text(wanted: Any) -> bool:
    return typing.get_origin(wanted) is tuple and unwrap(typing.get_args(wanted)[0]).plain is str


def _is_texts(read: Override | None) -> bool:
    value = None if read is None else read.value()
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def _literally(key: str, text: str) -> str:
    if "${" in text:
        raise ConfigError(
            f"{key}={text}: Hydra's grammar cannot parse some of the characters beside ${{...}}; put "
            f"the value in quotes, '{key}=\"...\"'"
        )
    return text


def _elements(key: str, text: str) -> list[str]:
    """The elements of a list of texts that Hydra's grammar cannot parse."""
    if not (text.startswith("[") and text.endswith("]")):
        raise ConfigError(f"{key}={text}: expected a list, e.g. '{key}=[{text}]' (quoted for the shell)")
    elements = (each.strip() for each in text[1:-1].split(","))
    return [each.strip("'\"") for each in elements if each]


def _named(wanted: Any) -> str:
    if typing.get_origin(wanted) is tuple:
        return "a list, e.g. [0,1]"
    return {int: "an integer", float: "a number", bool: "true or false"}[wanted]
