"""The pages in a real browser: nothing on the console, sorting, pointing, keyboard, phone, dark, print.

``make test-browser`` runs it; ``CHROMIUM`` names the browser where ``chromium`` is not on the path.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from slat_search.analysis.comparison import compare_runs
from slat_search.analysis.report import analyse, illustrate
from tests.analysis.test_comparison import made_run
from tests.analysis.test_pool import made_pool

sync_api = pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.browser
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]


@pytest.fixture(scope="module")
def browser() -> Iterator[sync_api.Browser]:
    path = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    with sync_api.sync_playwright() as playwright:
        result = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield result
        result.close()


@pytest.fixture
def page(browser: sync_api.Browser) -> Iterator[sync_api.Page]:
    """A page whose console must stay empty, and that asks nothing of the network."""
    complaints: list[str] = []
    opened = browser.new_page(viewport={"width": 1200, "height": 900})
    opened.on("console", lambda message: complaints.append(message.text))
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on("request", lambda r: complaints.append(r.url) if not r.url.startswith(("file:", "data:")) else None)
    yield opened
    opened.close()
    assert complaints == []


@pytest.fixture(scope="module")
def comparison(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("compared")
    tasks = {"one": 0.7, "<script>alert(1)</script>": 0.8}
    runs = [made_run(folder / f"run-{level}", task, level) for task, level in tasks.items()]
    return compare_runs(runs, folder / "out")


def column(page: sync_api.Page, name: str) -> list[str]:
    table = page.locator("table.sortable").first
    headers = [text.strip() for text in table.locator("thead th").all_inner_texts()]
    return table.locator(f"tbody td:nth-child({1 + headers.index(name)})").all_inner_texts()


def test_the_report_of_a_run(page: sync_api.Page, run: tuple[Path, str]) -> None:
    page.goto(f"file://{run[0] / 'report.html'}")
    assert page.locator("svg.scatter").count() == 2
    mark = page.locator("svg.scatter a").first
    mark.locator("use").hover()
    tip = page.locator("#tip")
    assert tip.is_visible()
    assert "parameters" in tip.inner_text()
    mark.locator("use").click()
    target = mark.get_attribute("href")
    assert target is not None
    part = page.locator(target)
    assert part.get_attribute("open") is not None
    assert '"modules"' in part.inner_text()
    assert page.locator("svg.history").count() == 2
    for plot, words in (("svg.gates", "block"), ("svg.history", "trial")):
        page.locator(f"{plot} [data-tip]").first.focus()
        assert words in tip.inner_text()


def test_the_report_of_several_tasks(page: sync_api.Page, tmp_path: Path) -> None:
    folder = made_pool(tmp_path)
    table, data = analyse(folder)
    illustrate(folder, data, table)
    for width in (360, 1200):
        page.set_viewport_size({"width": width, "height": 800})
        page.goto(f"file://{folder / 'report.html'}")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator("svg.gates").count() == 3
    page.locator("svg.gates [data-tip] .field").first.hover()
    assert "LoRA rank" in page.locator("#tip").inner_text()
    assert page.locator("script").count() == 1


def test_tables_are_sorted_by_a_click_and_by_the_keyboard(page: sync_api.Page, comparison: Path) -> None:
    page.goto(f"file://{comparison}")
    button = page.get_by_role("button", name="parameters").first
    button.click()
    sizes = [float(cell.replace(",", "")) for cell in column(page, "parameters")]
    assert sizes == sorted(sizes)
    button.focus()
    page.keyboard.press("Enter")
    sizes = [float(cell.replace(",", "")) for cell in column(page, "parameters")]
    assert sizes == sorted(sizes, reverse=True)
    assert page.locator("th[aria-sort=descending]").count() == 1


def test_what_is_missing_is_sorted_last(page: sync_api.Page, comparison: Path) -> None:
    page.goto(f"file://{comparison}")
    button = page.get_by_role("button", name="compression").first
    for _ in range(2):
        button.click()
        assert column(page, "compression")[-1] == "-"


def test_marks_are_reached_by_the_keyboard(page: sync_api.Page, comparison: Path) -> None:
    page.goto(f"file://{comparison}")
    page.locator("svg.scatter [data-tip]").first.focus()
    assert page.locator("#tip").is_visible()
    page.keyboard.press("Escape")
    assert not page.locator("#tip").is_visible()
    assert page.locator("svg.scatter [tabindex='0'][aria-label*='parameters']").count() > 10


def test_a_task_called_script_stays_text(page: sync_api.Page, comparison: Path) -> None:
    page.on("dialog", lambda dialog: pytest.fail(dialog.message))
    page.goto(f"file://{comparison}")
    assert "<script>alert(1)</script>" in page.locator("thead th").all_inner_texts()
    assert page.locator("script").count() == 1


@pytest.mark.parametrize("width", [360, 1200])
def test_nothing_sticks_out_of_a_phone_or_a_desk(page: sync_api.Page, comparison: Path, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 700})
    page.goto(f"file://{comparison}")
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_both_colour_schemes_can_be_read(page: sync_api.Page, comparison: Path) -> None:
    """Contrast of text, labels and both families of marks with the paper: 4.5 of WCAG AA, 3 for marks."""
    page.goto(f"file://{comparison}")
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        colours = {
            name: page.evaluate(f"getComputedStyle(document.documentElement).getPropertyValue('--{name}').trim()")
            for name in ("paper", "ink", "soft", "found", "base")
        }
        for name, least in (("ink", 7), ("soft", 4.5), ("found", 3), ("base", 3)):
            assert contrast(colours[name], colours["paper"]) >= least, (scheme, name)


def contrast(one: str, two: str) -> float:
    """Ratio of relative luminances, as WCAG 2 defines it."""

    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    brighter, darker = sorted((luminance(one), luminance(two)), reverse=True)
    return (brighter + 0.05) / (darker + 0.05)
