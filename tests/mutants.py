"""How many small changes of the code do the tests notice? Mutation testing of a sample, through mutmut.

    python -m tests.mutants [--sample 20] [--seed 0] [--folder build/mutants]

For each module that ``[tool.mutmut]`` in pyproject.toml names, a sample of its mutants is drawn by the seed, and each
is run against the tests that reach its function. Prints a table of modules, and names what survived; ``mutmut show
NAME`` in the folder shows a mutant. What was run stays in the folder, so that another sample adds to it.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from mutmut.stats import status_by_exit_code

ROOT = Path(__file__).parent.parent
NOTICED = ("killed", "timeout", "segfault")


def copied(folder: Path) -> Path:
    """A copy of what git tracks, which mutmut may change."""
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in names.strip("\0").split("\0"):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder


def mutmut(folder: Path, *arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "mutmut", *arguments], cwd=folder, check=True)


def outcomes(folder: Path) -> dict[str, dict[str, str]]:
    """Module -> mutant -> what mutmut calls its outcome; ``not checked`` where it was not run."""
    found = {}
    for path in sorted(folder.glob("mutants/**/*.meta")):
        codes = json.loads(path.read_text(encoding="utf-8"))["exit_code_by_key"]
        if codes:
            module = str(path.relative_to(folder / "mutants")).removesuffix(".meta")
            found[module] = {name: status_by_exit_code[code] for name, code in codes.items()}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sample", type=int, default=20, help="mutants of each module")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "mutants")
    options = parser.parse_args()
    folder = copied(options.folder.resolve())
    if not (folder / "mutants").is_dir():  # some few: this makes all mutants and finds which tests reach them
        mutmut(folder, "run", "slat_search.structure.stored.*mutmut_1", "--max-children", "2")
    dice = random.Random(options.seed)
    drawn = []
    for mutants in outcomes(folder).values():
        drawn += dice.sample(sorted(mutants), min(options.sample, len(mutants)))
    before = {name: outcome for mutants in outcomes(folder).values() for name, outcome in mutants.items()}
    if wanted := [name for name in drawn if before[name] == "not checked"]:
        mutmut(folder, "run", *wanted, "--max-children", "2")
    show(outcomes(folder))


def show(found: dict[str, dict[str, str]]) -> None:
    print("| module | mutants | tried | noticed | share |\n|---|---:|---:|---:|---:|")
    total = Counter[str]()
    for module, mutants in found.items():
        tried = Counter(outcome for outcome in mutants.values() if outcome != "not checked")
        counts = {"mutants": len(mutants), "tried": tried.total(), "noticed": sum(tried[name] for name in NOTICED)}
        total.update(counts)
        print(_row(f"`{module.removeprefix('slat_search/')}`", counts))
    print(_row("**all**", total))
    for mutants in found.values():
        for name, outcome in mutants.items():
            if outcome not in (*NOTICED, "not checked"):
                print(f"{outcome}: {name}")


def _row(name: str, counts: Mapping[str, int]) -> str:
    share = f"{counts['noticed'] / counts['tried']:.0%}" if counts["tried"] else "-"
    return f"| {name} | {counts['mutants']:,} | {counts['tried']:,} | {counts['noticed']:,} | {share} |"


if __name__ == "__main__":
    main()
