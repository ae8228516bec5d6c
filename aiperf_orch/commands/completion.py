"""`completion`: the script with which a shell completes commands, options, campaign directories and keys of settings.

The scripts are those of click with two changes: no blank follows `KEY=`, and names may contain blanks. click finds the
classes here once they are registered.
"""

from __future__ import annotations

from typing import Final

from click import Command
from click.shell_completion import BashComplete, FishComplete, ShellComplete, ZshComplete, add_completion_class

from aiperf_orch.commands.command_output import CommandOutput
from aiperf_orch.commands.completed_words import VARIABLE

_BASH: Final = r"""
%(complete_func)s() {
    local IFS=$'\n' completion type value
    local program=${1/#\~/$HOME}
    for completion in $(
        env COMP_WORDS="${COMP_WORDS[*]}" COMP_CWORD=$COMP_CWORD %(complete_var)s=bash_complete "$program" 2>/dev/null
    ); do
        IFS=',' read -r type value <<< "$completion"
        case $type in
            dir) compopt -o dirnames ;;
            file) compopt -o default ;;
            plain)
                printf -v value %%q "$value"
                COMPREPLY+=("$value")
                [[ $value == *= ]] && compopt -o nospace
                ;;
        esac
    done
    return 0
}
complete -o nosort -F %(complete_func)s %(prog_name)s
"""
_ZSH: Final = r"""#compdef %(prog_name)s
%(complete_func)s() {
    local -a words_described words_plain keys response
    local type key descr
    response=("${(@f)$(
        env COMP_WORDS="${words[*]}" COMP_CWORD=$((CURRENT-1)) %(complete_var)s=zsh_complete %(prog_name)s 2>/dev/null
    )}")
    for type key descr in ${response}; do
        if [[ $type == dir ]]; then
            _path_files -/
        elif [[ $type == file ]]; then
            _path_files -f
        elif [[ $key == *= ]]; then
            keys+=("$key")
        elif [[ $descr == _ ]]; then
            words_plain+=("$key")
        else
            words_described+=("$key:$descr")
        fi
    done
    (( $#words_described )) && _describe -V unsorted words_described -U
    (( $#words_plain )) && compadd -U -V unsorted -a words_plain
    (( $#keys )) && compadd -U -S '' -V unsorted -a keys
    return 0
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    %(complete_func)s "$@"
else
    compdef %(complete_func)s %(prog_name)s
fi
"""


class _Bash(BashComplete):
    source_template = _BASH.lstrip("\n")

    def get_completion_args(self) -> tuple[list[str], str]:
        """The words before the cursor, and that at it. Bash divides words at `=`; they are joined again."""
        args, incomplete = super().get_completion_args()
        joined: list[str] = []
        for word in [*args, incomplete]:
            if joined and (word == "=" or joined[-1].endswith("=")):
                joined[-1] += word
            else:
                joined.append(word)
        return joined[:-1], joined[-1]


class _Zsh(ZshComplete):
    source_template = _ZSH


_CLASSES: Final[dict[str, type[ShellComplete]]] = {"bash": _Bash, "zsh": _Zsh, "fish": FishComplete}


def register() -> None:
    """Let click use the scripts here in place of its own."""
    for name, shell in _CLASSES.items():
        add_completion_class(shell, name)


def completion_script(shell: str, program: Command) -> CommandOutput:
    """The script of a shell (`bash`, `zsh` or `fish`) for the program's commands."""
    return CommandOutput(_CLASSES[shell](program, {}, "aiperf-orch", VARIABLE).source())
