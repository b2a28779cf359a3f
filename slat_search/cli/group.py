"""The group of all commands, and how their errors end."""

from __future__ import annotations

import errno
import sys
import traceback
from typing import Any

import click

from .. import __version__
from ..errors import SlatError
from ..redaction import redact
from .terminal import messages, reconfigure_streams

#: the disk is full, cannot be written, or holds something else in the place of a file or folder
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.ESTALE}
_TAKEN = {errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENOTEMPTY, errno.ENAMETOOLONG, errno.ELOOP}
_STORAGE_ERRNOS = _FULL | _TAKEN


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
        reconfigure_streams()
        try:
            with messages():
                return super().invoke(ctx)
        except SlatError as error:
            click.echo(f"error: {error}", err=True)
        except click.ClickException as error:
            if redact(error.message) == error.message:
                raise
            raise click.UsageError(redact(error.message), getattr(error, "ctx", None)) from error
        except (click.Abort, click.exceptions.Exit):
            raise
        except Exception as error:
            if not (isinstance(error, OSError) and error.errno in _STORAGE_ERRNOS):  # a fault of ours, or of a library
                click.echo(redact(traceback.format_exc()), err=True, nl=False)
                sys.exit(1)
            where = f"{error.filename}: " if error.filename else ""
            click.echo(f"error: {redact(where)}{error.strerror}; everything finished is kept", err=True)
        sys.exit(2)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="slat")
def main() -> None:
    """Find, by gradient, the best small adapter structure for a frozen transformer.

    \b
    Example:
        slat run experiments/headline.yaml
        slat predict runs/headline --text "Markets fall after rate rise"
    """
