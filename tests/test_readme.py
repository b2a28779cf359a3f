"""What README and docs show runs, and where they lead there is something."""

from __future__ import annotations

import importlib
import re
from copy import deepcopy
from pathlib import Path

import pytest
import torch
import yaml
from torch import Tensor, nn

from slat_search.config import Config
from slat_search.structure import Structure

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("**/*.md"))]


def block(page: str, language: str, holds: str) -> str:
    """The one example of a page in a language that holds some text."""
    text = (ROOT / page).read_text(encoding="utf-8")
    (result,) = [code for code in re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL) if holds in code]
    return result


def test_the_python_example(backbone: nn.Module, batch: dict[str, Tensor], capsys: pytest.CaptureFixture[str]) -> None:
    names = {
        "torch": torch,
        "model": deepcopy(backbone),
        "loader": [batch] * 4,
        "task_loss": lambda model, batch: model(**batch).last_hidden_state[:, 0].square().mean(),
    }
    exec(block("docs/engine.md", "python", "Supernet("), names)
    assert re.match(r"[\d,]+ parameters: (lora|serial|bias) \d+", capsys.readouterr().out)
    assert isinstance(names["left"], Structure)
    assert {m.kind for m in names["left"].modules} <= {"serial", "bias"}


def test_the_yaml_example() -> None:
    config = Config.model_validate(yaml.safe_load(block("README.md", "yaml", "category")))
    assert config.task.label == "category"
    several = Config.model_validate(yaml.safe_load(block("docs/several-tasks.md", "yaml", "sharing")))
    assert [task.name for task in several.tasks] == ["bbc-headline", "bbc-topic", "bbc-match"]
    baselines = Config.model_validate(yaml.safe_load(block("docs/baselines.md", "yaml", "adalora"))).baselines
    assert len(baselines) > 15


def test_the_search_of_the_page_on_ray() -> None:
    text = (ROOT / "docs" / "ray.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    assert Config.model_validate(yaml.safe_load(shown)).search.space.budget is not None


@pytest.mark.parametrize("name", re.findall(r"^::: (\S+)", (ROOT / "docs" / "api.md").read_text("utf-8"), re.MULTILINE))
def test_what_the_reference_lists_is_there_and_documented(name: str) -> None:
    module, _, attribute = name.rpartition(".")
    assert getattr(importlib.import_module(module), attribute).__doc__


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_exist(page: Path) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in set(re.findall(r"(?:`|^)make ([a-z][a-z_/-]+)", page.read_text("utf-8"), re.MULTILINE)):
        folder, _, name = target.partition("/")
        if target.endswith("/"):  # with NAME
            continue
        there = {"results": ROOT / f"experiments/{name}.yaml", "bench": ROOT / f"experiments/benchmarks/{name}.py"}
        assert re.search(rf"^{target}:", makefile, re.MULTILINE) or there[folder].is_file(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files_and_headings(page: Path) -> None:
    for target in re.findall(r"\]\((?!http)([^)]+)\)", page.read_text(encoding="utf-8")):
        path, _, heading = target.partition("#")
        to = page.parent / path if path else page
        assert to.exists(), target
        if heading:
            result = re.findall(r"^#+ (.*)", to.read_text(encoding="utf-8"), re.MULTILINE)
            assert heading in {re.sub(r"[^\w -]", "", name.lower()).replace(" ", "-") for name in result}, target
