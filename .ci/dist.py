"""Build wheel and source archive for a package index, where links to files beside the README lead nowhere.

    python .ci/dist.py URL [--out dist]

URL is where the repository can be read, such as https://example.org/slat-search. Works on a copy of what git has
in its index: links of the README become absolute, and the URL enters the metadata of the project.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
_LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!https?://|#|mailto:)([^)\s]+)\)")


def absolute(text: str, url: str) -> str:
    """Make relative links of Markdown absolute: to the page of a file, and for an image to the file itself."""

    def link(found: re.Match[str]) -> str:
        mark, words, target = found.groups()
        return f"{mark}[{words}]({url}/{'raw' if mark else 'blob'}/main/{target})"

    return _LINK.sub(link, text)


def with_urls(project: str, url: str) -> str:
    """A pyproject.toml with places of the project."""
    urls = {"Homepage": url, "Documentation": f"{url}/blob/main/docs/index.md", "Issues": f"{url}/issues"}
    urls["Changelog"] = f"{url}/blob/main/CHANGELOG.md"
    table = "\n".join(["[project.urls]", *(f'{name} = "{place}"' for name, place in urls.items())])
    return project.replace("[project.scripts]\n", f"{table}\n\n[project.scripts]\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("--out", type=Path, default=ROOT / "dist")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["git", "checkout-index", "--all", f"--prefix={folder}/"], cwd=ROOT, check=True)
        for name, changed in (("README.md", absolute), ("pyproject.toml", with_urls)):
            text = Path(folder, name).read_text(encoding="utf-8")
            Path(folder, name).write_text(changed(text, options.url.rstrip("/")), encoding="utf-8")
        subprocess.run([sys.executable, "-m", "build", "--outdir", options.out.resolve(), folder], check=True)


if __name__ == "__main__":
    main()
