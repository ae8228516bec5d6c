"""The page of all commands, from click."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping, Sequence
from typing import Final

import click

from aiperf_orch.cli import main
from aiperf_orch.commands.audiences import AUDIENCES
from aiperf_orch.commands.examples import EXAMPLES
from documentation.markdown import block, code, page, table, words

EXIT_STATUSES: Final[Mapping[int, str]] = {
    0: "done",
    1: "failed",
    2: "wrong use or configuration",
    3: "the scheduler does not answer",
    4: "not finished yet: the campaign runs, or was stopped and can be resumed",
    130: "interrupted",
}
_GUIDES: Final[Mapping[str, str]] = {
    "init": "[Slurm](../guides/slurm.md), [PBS](../guides/pbs.md), "
    "[questionnaire](../guides/committee.md#questionnaire)",
    "explain": "[The site file](../guides/site-file.md)",
    "completion": "[Shell completion](../guides/running.md#shell-completion)",
    "data": "[Pack it](../guides/data.md#pack-it)",
    "run": "[Run, stop and resume](../guides/running.md)",
    "tick": "[Run, stop and resume](../guides/running.md)",
    "status": "[Status](../guides/running.md#status)",
    "stop": "[Run, stop and resume](../guides/running.md#stop-and-resume)",
    "score": "[Results](../guides/results.md)",
    "report": "[The report](../guides/results.md#the-report)",
    "package": "[Packages](../guides/committee.md#packages)",
    "mail": "[Mail](../guides/committee.md#mail)",
    "verify": "[Verification](../guides/committee.md#verification)",
    "evaluate": "[Evaluate](../guides/committee.md#evaluate)",
    "rank": "[Rank](../guides/committee.md#rank)",
    "scaling": "[Scaling](../guides/committee.md#scaling)",
    "compare": "[Compare](../guides/committee.md#compare)",
    "agent": "[Agents that you start](../guides/allocations.md#agents-that-you-start)",
    "render": "[Campaigns in few allocations](../guides/allocations.md)",
    "ops": "[Counting operations](../benchmark/counting.md)",
    "trial": "[A trial without a campaign](../guides/running.md#a-trial-without-a-campaign)",
}
_OUTPUT: Final = """
- Data goes to standard output, messages to standard error. Control characters in names and messages are shown as codes.
- `--format csv`: a cell that a spreadsheet would take for a formula begins with an apostrophe.
"""
_EXIT_STATUS: Final = re.compile(r"(?:^|\s)(Exit status:? .*)", re.DOTALL)


def commands_page() -> str:
    """The page `reference/commands.md`."""
    context = click.Context(main, info_name="aiperf-orch")
    parts = [
        "`aiperf-orch COMMAND --help` prints the same of one command.",
        *(_list_of(title, names) for title, names in AUDIENCES.items()),
        "## All commands",
        _options([option for option in main.params if _is_shared(option)], context),
        _OUTPUT,
        table(("exit status", "meaning"), ((code(status), text) for status, text in EXIT_STATUSES.items())),
    ]
    for name in main.list_commands(context):
        parts += _section(name, main.commands[name], context)
    return page("Commands", *parts)


def _list_of(title: str, names: Sequence[str]) -> str:
    rows = ((f"[`aiperf-orch {name}`](#{name})", _purpose(main.commands[name])) for name in names)
    return table((title, "purpose"), rows)


def _section(name: str, command: click.Command, parent: click.Context) -> list[str]:
    context = click.Context(command, info_name=name, parent=parent)
    arguments = " ".join(command.collect_usage_pieces(context))
    paragraphs = inspect.cleandoc(command.help or "").split("\n\n")
    about = [words(paragraph) for paragraph in paragraphs]
    exits = [match[1] for text in about if (match := _EXIT_STATUS.search(text))]
    texts = [text for text in (_EXIT_STATUS.sub("", each) for each in about) if text]
    own = [option for option in command.params if isinstance(option, click.Option) and not _is_shared(option)]
    parts = [f"## {name}", block(f"aiperf-orch {name} {arguments}"), *texts]
    parts += [
        f"**{text.partition(':')[0]}**: {text.partition(':')[2].strip()}" if ":" in text else text for text in exits
    ]
    parts += [_options(own, context)] if own else []
    if isinstance(command, click.Group):
        for each in command.commands.values():
            parts += _subcommand(name, each, context)
    parts += [f"For example:\n\n{block(*EXAMPLES[name])}"] if name in EXAMPLES else []
    parts += [f"Guide: {_GUIDES[name]}"] if name in _GUIDES else []
    return parts


def _subcommand(group: str, command: click.Command, parent: click.Context) -> list[str]:
    context = click.Context(command, info_name=command.name, parent=parent)
    usage = " ".join(["aiperf-orch", group, str(command.name), *command.collect_usage_pieces(context)])
    own = [option for option in command.params if isinstance(option, click.Option)]
    return [block(usage), words(command.help or ""), *([_options(own, context)] if own else [])]


def _options(options: list[click.Parameter] | list[click.Option], context: click.Context) -> str:
    rows = []
    for option in options:
        record = option.get_help_record(context)
        if record is None:
            continue
        names, text = record
        rows.append((code(names.replace("|", ", ")), _plain(text)))  # a `|` would need an escape that code shows
    return table(("option", "meaning"), rows)


def _plain(text: str) -> str:
    """The help of an option; its notes, such as the default, are in brackets at the end."""
    return words(text).replace("[required]", "[is required]")


def _purpose(command: click.Command) -> str:
    return words((command.help or "").split("\n\n")[0])


def _is_shared(option: click.Parameter) -> bool:
    return option.name in ("verbose", "log_file", "help")
