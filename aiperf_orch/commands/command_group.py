"""The commands as a whole: in which order they are listed, and what a person is told when one fails."""

from __future__ import annotations

import sys
from typing import Any

import click

from aiperf_orch.commands.visible_output import visible_streams
from aiperf_orch.util.encoding import enter_utf8_mode, make_streams_lenient
from aiperf_orch.util.errors import AiperfError
from aiperf_orch.util.text import visible


class Commands(click.Group):
    """Lists commands in the order of their use, and turns our errors into one clear message."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  click's signature
        """As they are declared."""
        return list(self.commands)

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run a command, whatever bytes its paths are of."""
        if not args and not kwargs:  # it is the whole program
            enter_utf8_mode()
        make_streams_lenient()
        with visible_streams():
            return super().main(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; an error of ours, or of the operating system, is a line and an exit status."""
        try:
            return super().invoke(ctx)
        except AiperfError as error:
            click.echo(f"error: {error}", err=True)
            ctx.exit(error.exit_status)
        except BrokenPipeError:
            sys.stderr.close()
            ctx.exit(1)
        except OSError as error:
            where = visible(str(error.filename or "the operating system refused"))
            click.echo(f"error: {where}: {error.strerror or error}", err=True)
            ctx.exit(1)
        except KeyboardInterrupt:
            click.echo("interrupted", err=True)
            ctx.exit(130)
