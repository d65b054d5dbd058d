"""Translates SimpleVLA-RL's configuration keys, and our former ones, to our keys.

Each key of a SimpleVLA-RL command line has one of three treatments. A *renamed* key has the same meaning as
one of ours; its value is converted if the units differ. A *stated* key is for behaviour that is fixed here;
any other value is an error. A *refused* key is for something that does not exist here; the error gives the
reason. Every accepted key has its effect. ``docs/migration.md`` shows the table.

The keys and their meaning are from SimpleVLA-RL's ``ppo_trainer.yaml``, its scripts for LIBERO and RoboTwin,
and the test-time-RL patch of the same code base.
"""

from __future__ import annotations

import copy
import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from ttrl_env.agents.config.alias_table import ALIASES, FORMER_KEYS, REFUSED_PREFIXES, SHORT_KEYS
from ttrl_env.agents.config.alias_treatments import Refused, Renamed, Stated
from ttrl_env.errors import ConfigError

_TYPING_ERROR = 0.95
"""Similarity from which an unknown key of SimpleVLA-RL's groups counts as a misspelt one of the table."""


_OURS = {**FORMER_KEYS, **SHORT_KEYS}
"""Other names of our keys."""


def is_alias(key: str) -> bool:
    """Whether ``key`` is another name of one of ours, or one of SimpleVLA-RL's that differs from ours."""
    if key in ALIASES or key in _OURS:
        return True
    mistyped = difflib.get_close_matches(key, ALIASES, n=1, cutoff=_TYPING_ERROR)
    return key.startswith(tuple(REFUSED_PREFIXES)) and not mistyped


@dataclass(frozen=True)
class _Setting:
    """A value for one of our keys, and what the user wrote."""

    ours: str
    value: str
    given_as: str
    given: str
    implied: Mapping[str, str] = field(default_factory=dict)
    """Further keys of ours that the user's key implies, unless the command sets them."""


def translate(settings: Sequence[tuple[str, str]], known: Callable[[str], bool]) -> list[tuple[str, str]]:
    """Replace SimpleVLA-RL's keys and our former ones in ``(key, value)`` pairs; our keys stay unchanged.

    Args:
        settings: keys and values as given, in Hydra's grammar, without ``+``.
        known: tells whether the current command has one of our keys.

    Raises:
        ConfigError: keys without a counterpart (all of them are listed), values that cannot be
            converted, or two names of one key with different values.
    """
    translated: list[_Setting] = []
    problems: list[str] = []
    for key, value in settings:
        if not is_alias(key):
            translated.append(_Setting(key, value, key, value))
            continue
        try:
            for ours, converted in _counterparts(key, value):
                if not known(ours):
                    whose = "the former" if key in FORMER_KEYS else "SimpleVLA-RL's"
                    raise ConfigError(f"{key}: {whose} name of {ours}, which this command does not have")
                translated.append(_Setting(ours, converted, key, value, _implied_by(key, value)))
        except ConfigError as error:
            problems.append(str(error))
    problems += _conflicts(translated)
    if problems:
        raise ConfigError("\n  ".join(["keys that cannot be translated:", *problems]))
    return [*_implied(translated).items(), *((each.ours, each.value) for each in translated)]


def in_todays_groups(saved: Mapping[str, Any]) -> dict[str, Any]:
    """A checkpoint's nested configuration, with former keys under their current names."""
    values = copy.deepcopy(dict(saved))
    for former, current in FORMER_KEYS.items():
        group, name = former.split(".")
        _, *inner, new_name = current.split(".")
        holder = values.get(group)
        if not isinstance(holder, dict) or name not in holder:
            continue
        value = holder.pop(name)
        for each in inner:
            holder = holder.setdefault(each, {})
        holder[new_name] = value
    return values


def _counterparts(key: str, value: str) -> list[tuple[str, str]]:
    """The keys of ours that an alias sets, with their values."""
    if key in _OURS:
        return [(_OURS[key], value)]
    treatment = ALIASES.get(key) or Refused(
        next(reason for prefix, reason in REFUSED_PREFIXES.items() if key.startswith(prefix))
    )
    if isinstance(treatment, Refused):
        raise ConfigError(
            f"{key}: known to SimpleVLA-RL, has no counterpart here: {treatment.because}; remove it"
        )
    if isinstance(treatment, Stated):
        if not treatment.holds(_parsed(value)):
            raise ConfigError(f"{key}={value}: here it is always {treatment.values[0]}: {treatment.because}")
        return []
    return [(treatment.ours, treatment.converted(key, value))]


def _conflicts(settings: Sequence[_Setting]) -> list[str]:
    """Error texts for names of one key with different values; SimpleVLA-RL repeats the suite, for example."""
    problems = []
    first: dict[str, _Setting] = {}
    for each in settings:
        earlier = first.setdefault(each.ours, each)
        differ = _parsed(earlier.value) != _parsed(each.value)
        if earlier.implied and each.implied:
            differ |= earlier.implied != each.implied
        if differ and earlier.given_as != each.given_as:
            problems.append(
                f"{earlier.given_as}={earlier.given} and {each.given_as}={each.given} both set {each.ours}; "
                f"give one of them"
            )
    return problems


def _implied_by(key: str, value: str) -> Mapping[str, str]:
    """Further keys of ours that a key of SimpleVLA-RL's implies."""
    treatment = ALIASES.get(key)
    if not isinstance(treatment, Renamed) or treatment.implies is None:
        return {}
    return treatment.implies(value)


def _implied(settings: Sequence[_Setting]) -> dict[str, str]:
    """What the settings imply, unless the command sets it."""
    given = {each.ours for each in settings}
    return {key: value for each in settings for key, value in each.implied.items() if key not in given}


def _parsed(value: str) -> Any:
    """A value parsed with Hydra's grammar; the text itself if that fails."""
    try:
        return OverridesParser.create().parse_override(f"key={value}").value()
    except HydraException:
        return value  # composing the configuration reports the error
