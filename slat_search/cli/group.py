"""The group of all commands, and how their errors end."""

from __future__ import annotations

import errno
import sys
from typing import Any

import click

from .. import __version__
from ..errors import SlatError
from .terminal import hold_every_sign, messages

_STORAGE_ERRNOS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES}


_SECTIONS = {
    "Before a run": ("doctor", "tasks", "init", "schema"),
    "Train": ("run", "search", "baselines", "sensitivity", "add-task"),
    "Look": ("list", "show", "report", "compare"),
    "Use": ("predict", "export"),
}


class _Commands(click.Group):
    """Prints a ``SlatError``, or storage that cannot be written, as one sentence and exits with code 2."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        width = max(map(len, self.commands))
        for title, names in _SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name.ljust(width), self.commands[name].get_short_help_str()) for name in names])

    def invoke(self, ctx: click.Context) -> Any:
        hold_every_sign()
        try:
            with messages():
                return super().invoke(ctx)
        except SlatError as error:
            click.echo(f"error: {error}", err=True)
        except OSError as error:
            if error.errno not in _STORAGE_ERRNOS:
                raise
            where = f"{error.filename}: " if error.filename else ""
            click.echo(f"error: {where}{error.strerror}; everything finished is kept", err=True)
        sys.exit(2)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="slat")
def main() -> None:
    """Find, by gradient, the best small adapter structure for a frozen transformer.

    \b
    Example:
        slat run experiments/quickstart.yaml
        slat predict runs/quickstart --text "Markets fall after rate rise"
    """
