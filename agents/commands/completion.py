"""``ttrl completion``: completion of commands, keys and values in the shell, made from the schemas.

The shell's script holds every word itself, so completing starts no Python. Libraries for this task read
``argparse`` parsers, and ``ttrl`` has none: its grammar is ``key=value``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from ttrl_env.agents.commands.arguments import read_arguments
from ttrl_env.agents.commands.table import COMMANDS, module_of
from ttrl_env.agents.config.schema_fields import type_of, unwrap, walk_fields
from ttrl_env.errors import ConfigError
from ttrl_env.tasks import SUITES

Shell = Literal["bash", "zsh"]


@dataclass(frozen=True, kw_only=True)
class CompletionConfig:
    """Shell completion: add `eval "$(ttrl completion bash)"` to ~/.bashrc; for zsh likewise to ~/.zshrc."""

    shell: Shell | None = None
    """The shell whose script is printed."""


SCHEMA = CompletionConfig

_BASH = """\
_ttrl() {{
    local candidates word=${{COMP_LINE:0:COMP_POINT}}
    word=${{word##*[[:space:]]}}
    case $COMP_CWORD:${{COMP_WORDS[1]}} in
        1:* | 2:help) candidates='{commands}' ;;
{cases}
    esac
    mapfile -t COMPREPLY < <(compgen -W "$candidates" -- "$word")
    [[ ${{#COMPREPLY[@]}} == 1 && ${{COMPREPLY[0]}} == *= ]] && compopt -o nospace
    # bash replaces only what follows the last "="
    local key=${{word%"${{word##*=}}"}}
    [[ $COMP_WORDBREAKS == *=* ]] && COMPREPLY=("${{COMPREPLY[@]#"$key"}}")
    return 0
}}
complete -o default -F _ttrl ttrl
"""

_ZSH = """\
#compdef ttrl
(( $+functions[compdef] )) || {{ autoload -Uz compinit && compinit }}
_ttrl() {{
    local -a candidates
    case $CURRENT:${{words[2]}} in
        2:* | 3:help) candidates=({commands}) ;;
{cases}
    esac
    compadd -S '' -- ${{(M)candidates:#*=}}
    compadd -- ${{candidates:#*=}}
    # files where nothing else fits, as in bash
    (( compstate[nmatches] )) || {{ compset -P '*='; _files }}
}}
# as a file of $fpath this is the function's body; evaluated, it defines the function
if [[ ${{funcstack[1]}} == _ttrl ]]; then _ttrl "$@"; else compdef _ttrl ttrl; fi
"""

_TEMPLATES = {
    "bash": (_BASH, "        *:{command}) candidates='{words}' ;;"),
    "zsh": (_ZSH, "        *:{command}) candidates=({words}) ;;"),
}
"""The script of each shell, and the line of a command in it."""


def run(arguments: Sequence[str]) -> int:
    """Print the script of a shell."""
    config = read_arguments("completion", arguments, SCHEMA)
    if config is None:
        return 0
    if config.shell is None:
        raise ConfigError(f"shell: name it, e.g. `ttrl completion {get_args(Shell)[0]}`")
    script, case = _TEMPLATES[config.shell]
    cases = [case.format(command=command, words=" ".join(_words(command))) for command in COMMANDS]
    print(script.format(commands=" ".join([*COMMANDS, "help"]), cases="\n".join(cases)), end="")
    return 0


def _words(command: str) -> Iterator[str]:
    """The words that may follow a command: flags, its subjects, and keys with their known values."""
    schema, subjects = module_of(command).SCHEMA, COMMANDS[command].subjects
    yield from ("--help", "--cfg")
    for key, _ in walk_fields(schema):
        values = _values(schema, key)
        if key in subjects:
            yield from values
        yield from (f"{key}={value}" for value in values or [""])


def _values(schema: type[Any], key: str) -> Sequence[str]:
    """The known values of a key; empty for numbers, paths and lists, which the shell's quotes are for."""
    type_ = unwrap(type_of(schema, key))
    if type_.plain is bool:
        return ("true", "false")
    if key.rpartition(".")[2] == "suite":
        return tuple(SUITES)
    if key in ("policy.path", "checkpoint", "baseline", "path"):
        from ttrl_env.agents.policies.finding import shipped_policies

        return shipped_policies()
    if key == "preset":
        from ttrl_env.agents.config.loading import preset_names

        return preset_names()
    return type_.choices
