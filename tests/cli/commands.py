"""Commands in this process."""

from __future__ import annotations

from click.testing import CliRunner, Result

from slat_search.cli import main


def slat(*arguments: object, given: str | None = None) -> Result:
    """Run a command; ``given`` is what stands on its standard input."""
    return CliRunner().invoke(main, [*map(str, arguments)], input=given)
