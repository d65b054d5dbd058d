"""Shell completion: the script that bash reads offers commands, subjects, keys and values."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from ttrl_env.agents.cli import main
from ttrl_env.agents.commands.table import COMMANDS

pytestmark = pytest.mark.slow

ASK = """
{script}
compopt() {{ printf 'nospace\\n'; }}
COMP_LINE={line!r} COMP_POINT=${{#COMP_LINE}}
COMP_WORDS=({words}) COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
_ttrl
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


def script_of(shell: str, capsys) -> str:
    assert main(["completion", shell]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("line", "words", "offered"),
    [
        ("ttrl ta", "ttrl ta", ["tasks"]),
        ("ttrl train env.n_sam", "ttrl train env.n_sam", ["nospace", "env.n_samples="]),
        # bash takes "=" as a word of its own and replaces only what follows it
        ("ttrl train ppo.advantage=r", "ttrl train ppo.advantage = r", ["rloo"]),
        (
            "ttrl eval checkpoint=tiny-vla-libero-object-f",
            "ttrl eval checkpoint = tiny",
            ["tiny-vla-libero-object-four"],
        ),
        *(
            pytest.param(*further, marks=pytest.mark.thorough)
            for further in (
                ("ttrl tasks libero_goal_s", "ttrl tasks libero_goal_s", ["libero_goal_swap"]),
                ("ttrl train test_time_rl=", "ttrl train test_time_rl = ''", ["true", "false"]),
                (
                    "ttrl doctor preset=simple",
                    "ttrl doctor preset = simple",
                    ["simplevla-rl", "simplevla-rl-robotwin"],
                ),
                ("ttrl robotwin ch", "ttrl robotwin ch", ["check"]),
                ("ttrl cache cl", "ttrl cache cl", ["clear=true", "clear=false"]),
            )
        ),
    ],
)
def test_bash_completes(line, words, offered, capsys) -> None:
    asked = ASK.format(script=script_of("bash", capsys), line=line, words=words)
    done = subprocess.run(["bash", "-c", asked], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert done.stdout.split() == offered


@pytest.mark.skipif(shutil.which("zsh") is None, reason="needs zsh")
def test_zsh_reads_its_script(capsys) -> None:
    done = subprocess.run(
        ["zsh", "-n"], input=script_of("zsh", capsys), capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_every_command_is_completed(capsys) -> None:
    for shell in ("bash", "zsh"):
        script = script_of(shell, capsys)
        assert all(f"{command})" in script for command in COMMANDS)
    assert main(["completion"]) == 2
    assert "shell: name it, e.g. `ttrl completion bash`" in capsys.readouterr().err
    assert main(["completion", "fish"]) == 2
