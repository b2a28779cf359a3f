"""The pages in a real browser: nothing on the console, sorting, pointing, keyboard, phone, dark, print.

``make test-browser`` runs it; ``CHROMIUM`` names the browser where ``chromium`` is not on the path.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from slat_search.analysis.comparison import compare_runs
from slat_search.analysis.folder import make_report
from slat_search.analysis.mistakes import TestTexts, write_mistakes
from slat_search.analysis.report import analyse, illustrate
from slat_search.run_folder import RunFolder
from tests.analysis.made import made_run as made_single
from tests.analysis.test_comparison import made_run
from tests.analysis.test_pool import made_pool

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

sync_api = pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.browser
RESULTS = Path(__file__).parents[2] / "experiments" / "results"
KEPT = {"kept": "multitask_nlu_small", "studies": "sensitivity_headline"}
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    with sync_api.sync_playwright() as playwright:
        result = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield result
        result.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
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


def column(page: Page, name: str) -> list[str]:
    table = page.locator("table.sortable").first
    headers = [text.strip() for text in table.locator("thead th").all_inner_texts()]
    return table.locator(f"tbody td:nth-child({1 + headers.index(name)})").all_inner_texts()


def test_the_report_of_a_run(page: Page, run: tuple[Path, str]) -> None:
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


def test_the_report_of_several_tasks(page: Page, tmp_path: Path) -> None:
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


def test_tables_are_sorted_by_a_click_and_by_the_keyboard(page: Page, comparison: Path) -> None:
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


def test_what_is_missing_is_sorted_last(page: Page, comparison: Path) -> None:
    page.goto(f"file://{comparison}")
    button = page.get_by_role("button", name="compression").first
    for _ in range(2):
        button.click()
        assert column(page, "compression")[-1] == "-"


def test_marks_are_reached_by_the_keyboard(page: Page, comparison: Path) -> None:
    page.goto(f"file://{comparison}")
    page.locator("svg.scatter [data-tip]").first.focus()
    assert page.locator("#tip").is_visible()
    page.keyboard.press("Escape")
    assert not page.locator("#tip").is_visible()
    assert page.locator("svg.scatter [tabindex='0'][aria-label*='parameters']").count() > 10


def test_a_task_called_script_stays_text(page: Page, comparison: Path) -> None:
    page.on("dialog", lambda dialog: pytest.fail(dialog.message))
    page.goto(f"file://{comparison}")
    assert "<script>alert(1)</script>" in page.locator("thead th").all_inner_texts()
    assert page.locator("script").count() == 1


@pytest.mark.parametrize("width", [360, 1200])
def test_nothing_sticks_out_of_a_phone_or_a_desk(page: Page, comparison: Path, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 700})
    page.goto(f"file://{comparison}")
    assert page.evaluate("document.documentElement.scrollWidth") <= width


WIDTHS = (390, 820, 1440)

#: texts of the page whose contrast with what is behind them is below WCAG's AA, where that is one color
FAINT = """() => {
  const channel = (v) => v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4;
  const parts = (color) => color.match(/[\\d.]+/g).map(Number);
  const luminance = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const color = getComputedStyle(at).backgroundColor;
      if (!color.startsWith("rgb")) return null;  // mixed
      const [r, g, b, a = 1] = parts(color);
      if (a === 1) return [r, g, b];
    }
    return parts(getComputedStyle(document.body).backgroundColor);
  };
  const faint = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.textContent.trim() || element.closest("script, #tip")) continue;
    const drawn = element.closest("svg"), paper = behind(drawn || element);
    if (!paper) continue;
    const style = getComputedStyle(element);
    const [one, two] = [luminance(parts(drawn ? style.fill : style.color)), luminance(paper)];
    const ratio = (Math.max(one, two) + 0.05) / (Math.min(one, two) + 0.05);
    if (ratio < 4.5) faint.push(`${ratio.toFixed(2)} ${walker.currentNode.textContent.trim().slice(0, 40)}`);
  }
  return faint;
}"""

#: pairs of texts of one plot that cover each other, but for those that are turned
COVERED = """() => [...document.querySelectorAll("svg.drawn")].flatMap((plot) => {
  const isTurned = (text) => /rotate\\(-(?!0)/.test(text.getAttribute("transform") || "");
  const texts = [...plot.querySelectorAll("text")].filter((text) => !isTurned(text))
    .map((text) => [text.textContent.trim(), text.getBoundingClientRect()]).filter(([name]) => name);
  return texts.flatMap(([name, one], i) => texts.slice(i + 1).filter(([, two]) =>
    Math.min(one.right, two.right) - Math.max(one.left, two.left) > 1 &&
    Math.min(one.bottom, two.bottom) - Math.max(one.top, two.top) > 3).map(([other]) => `${name} / ${other}`));
})"""


@pytest.fixture(scope="module", params=["one task", "several tasks", "kept", "studies", "compared"])
def report(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, comparison: Path) -> Path:
    """A page of each kind; those of a run with texts that are wrong, and the kept one with seven methods."""
    folder = tmp_path_factory.mktemp("report") / "run"
    if request.param == "compared":
        return comparison
    if request.param in KEPT:
        shutil.copytree(RESULTS / KEPT[request.param], folder)
        return make_report(RunFolder(folder))
    folder.mkdir()
    made = made_pool(folder) if request.param == "several tasks" else made_single(folder)
    (folder / "adapters" / "lora").mkdir(parents=True)
    table, data = analyse(made)
    texts = TestTexts([(f"text {i} with {'many ' * i} words", "and its pair") for i in range(100)])
    write_mistakes(made, table, data, dict.fromkeys(data.tasks, texts))
    illustrate(made, data, table)
    return folder / "report.html"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_can_be_read_at_every_width(page: Page, report: Path, scheme: str) -> None:
    page.emulate_media(color_scheme=scheme)
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 900})
        page.goto(f"file://{report}")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate(FAINT) == []
        assert page.evaluate(COVERED) == []
        smallest = (
            "Math.min(...[...document.querySelectorAll('svg.drawn text')].map((t) => t.getBoundingClientRect().height))"
        )
        assert page.evaluate(smallest) > 9
        assert page.locator("figure:not(:has(figcaption))").count() == 0


def test_paper_has_no_cut_tables_and_no_scroll_bars(page: Page, report: Path) -> None:
    page.emulate_media(media="print")
    page.set_viewport_size({"width": 695, "height": 1000})  # A4 without its margins
    page.goto(f"file://{report}")
    cut = """() => [...document.querySelectorAll(".wide, pre, .map, figure")].filter((part) => part.offsetParent)
      .filter((part) => part.scrollWidth > 696 || getComputedStyle(part).overflowX === "auto")
      .map((part) => part.getAttribute("aria-label") || part.textContent.slice(0, 60))"""
    assert page.evaluate(cut) == []
    assert page.pdf(format="A4").startswith(b"%PDF")


def test_the_keyboard_skips_to_the_content_and_copies_a_command(page: Page, tmp_path: Path) -> None:
    folder = made_single(tmp_path)
    (folder / "adapters" / "lora").mkdir(parents=True)
    analyse(folder)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.goto(f"file://{folder / 'report.html'}")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.keyboard.press("Enter")
    assert page.url.endswith("#content")
    page.get_by_role("button", name="Copy: Label a text").click()
    page.get_by_text("Copied").wait_for()
    assert page.evaluate("navigator.clipboard.readText()").startswith("slat predict ")


def test_an_interval_is_shown_of_the_curve_that_is_pointed_at(page: Page, tmp_path: Path) -> None:
    folder = made_single(tmp_path)
    analyse(folder)
    page.goto(f"file://{folder / 'report.html'}")
    curve = page.locator("svg.curves g[data-tip]").first
    band = curve.locator(".band")
    assert band.evaluate("(part) => getComputedStyle(part).opacity") == "0"
    curve.focus()
    assert band.evaluate("(part) => getComputedStyle(part).opacity") == "1"
    assert " to " in page.locator("#tip").inner_text()


def test_both_colour_schemes_can_be_read(page: Page, comparison: Path) -> None:
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
