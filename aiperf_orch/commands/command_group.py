"""Group of all commands: `--help` by audience, options that each of them has, and errors as messages."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import Any, Final

import click

from aiperf_orch.commands import messages
from aiperf_orch.commands.audiences import AUDIENCES
from aiperf_orch.commands.completed_words import VARIABLE
from aiperf_orch.commands.escaped_output import visible_streams
from aiperf_orch.commands.examples import EXAMPLES
from aiperf_orch.util.encoding import enter_utf8_mode, make_streams_lenient, open_missing_streams
from aiperf_orch.util.errors import AiperfError
from aiperf_orch.util.text import visible

_log: Final = logging.getLogger(__name__)
_LOGGING: Final = "aiperf_orch.logging"
_MARGIN: Final = 6  # columns before and between the columns of a list, as click has them


class Commands(click.Group):
    """Lists commands by audience, and turns errors of the program into one message."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params += _logging_options()

    def add_command(self, cmd: click.Command, name: str | None = None) -> None:
        """Add a command, and to it the options of logging and its examples."""
        cmd.params += _logging_options()
        if lines := EXAMPLES.get(name or cmd.name or ""):
            cmd.epilog = "\n".join(
                ["\b", "Example:" if len(lines) == 1 else "Examples:", *(f"  {line}" for line in lines)]
            )
        super().add_command(cmd, name)

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  click's signature
        """Names of the commands in the order of `--help`."""
        return [name for names in AUDIENCES.values() for name in names]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002  click's
        """Write a section of commands for each audience, with the same columns."""
        width = max(map(len, self.commands))
        room = formatter.width - width - _MARGIN
        for title, names in AUDIENCES.items():
            with formatter.section(title):
                formatter.write_dl(
                    [(name.ljust(width), self.commands[name].get_short_help_str(room)) for name in names]
                )

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run a command; paths may be of any bytes."""
        open_missing_streams()
        if not args and not kwargs:  # the whole program, not a test
            enter_utf8_mode()
        make_streams_lenient()
        if VARIABLE in os.environ:
            from aiperf_orch.commands.completion import register

            register()
        with visible_streams():
            messages.configure()
            return super().main(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; an error of ours or of the operating system becomes one message and an exit status."""
        try:
            return super().invoke(ctx)
        except AiperfError as error:
            _log.error("%s", error)
            ctx.exit(error.exit_status)
        except BrokenPipeError:
            sys.stderr.close()
            ctx.exit(1)
        except OSError as error:
            where = visible(str(error.filename or "the operating system refused"))
            _log.error("%s: %s", where, error.strerror or error)
            ctx.exit(1)
        except KeyboardInterrupt:
            _log.info("interrupted")
            ctx.exit(130)


def _logging_options() -> list[click.Parameter]:
    return [
        click.Option(
            ["-v", "--verbose"],
            is_flag=True,
            expose_value=False,
            callback=_configure,
            help="Show debug messages: each scheduler command with its duration, exit status and output.",
        ),
        click.Option(
            ["--log-file"],
            type=click.Path(path_type=Path, dir_okay=False),
            metavar="FILE",
            expose_value=False,
            callback=_configure,
            help="Append all messages, debug messages too, to this file.",
        ),
    ]


def _configure(ctx: click.Context, option: click.Parameter, value: bool | Path | None) -> None:
    """Set up logging as soon as an option of it is read, before or after the command's name."""
    if not value or ctx.resilient_parsing:
        return
    given: dict[str, Any] = ctx.find_root().meta.setdefault(_LOGGING, {})
    given[option.name or ""] = value
    try:
        messages.configure(**given)
    except AiperfError as error:
        _log.error("%s", error)
        ctx.exit(error.exit_status)
