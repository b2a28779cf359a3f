"""What a package index shows: links of the README lead somewhere, and the project has places."""

from __future__ import annotations

import importlib.util
import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
URL = "https://example.org/slat-search"
_spec = importlib.util.spec_from_file_location("dist", ROOT / ".ci" / "dist.py")
assert _spec is not None
assert _spec.loader is not None
dist = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(dist)


def links(text: str) -> list[str]:
    return re.findall(r"\]\(([^)]+)\)", text)


def test_every_link_of_the_readme_is_absolute_and_leads_to_a_file_that_is_there() -> None:
    before = (ROOT / "README.md").read_text(encoding="utf-8")
    after = dist.absolute(before, URL)
    assert len(links(before)) == len(links(after)) > 20
    assert all(link.startswith("https://") for link in links(after))
    for link in links(after):
        if link.startswith(URL):
            kind, _, path = link.removeprefix(f"{URL}/").split("#")[0].split("/", 2)
            assert (ROOT / path).exists(), link
            assert (kind == "raw") == path.endswith((".png", ".svg")), link
    assert dist.absolute(after, URL) == after


def test_the_project_has_places() -> None:
    project = tomllib.loads(dist.with_urls((ROOT / "pyproject.toml").read_text(encoding="utf-8"), URL))["project"]
    assert project["urls"]["Homepage"] == URL
    assert project["scripts"]
