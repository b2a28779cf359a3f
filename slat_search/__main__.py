"""``python -m slat_search`` is ``slat``."""

from .cli import main

main(prog_name="slat")
