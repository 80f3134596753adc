"""The notebooks as a reader uses them: a real JupyterLab in headless Chromium. `make check-lab`.

The profile demo gets a tiny budget, so that a table takes seconds.
"""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from urllib.request import urlopen

import nbformat
import pytest
from tiny_cells import BUDGET

from repro import paths
from repro.runs import notebooks

pytestmark = pytest.mark.browser
ERRORS = (
    "[data-mime-type='application/vnd.jupyter.error'], "
    "[data-mime-type='application/vnd.jupyter.stderr']"
)
PATIENCE = 240_000  # milliseconds until a notebook has run; a busy machine is no error
TINY_PROFILE = f"""
from dataclasses import replace
from repro.config import profiles
demo = profiles.PROFILES["demo"]
setting = profiles.override(demo.setting, {BUDGET!r})
profiles.PROFILES["demo"] = replace(demo, setting=setting)
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A JupyterLab as `make lab` starts it, with folders of its own: (address, folder, home)."""
    pytest.importorskip("jupyterlab", reason="JupyterLab is not installed; run: make check-lab")
    folder = tmp_path_factory.mktemp("lab")
    (folder / "home").mkdir()
    (folder / "sitecustomize.py").write_text(TINY_PROFILE)
    patch = pytest.MonkeyPatch()
    for name in ("CACHE", "RESULTS", "FIGURES"):
        patch.setenv(f"REPRO_{name}", str(folder / name.lower()))
    patch.delenv("REPRO_PROGRESS", raising=False)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    notebooks.working_copies(folder / "notebooks")
    words = notebooks.lab_command(folder / "notebooks", str(port))
    words += ["--no-browser", "--IdentityProvider.token=test"]
    environment = os.environ | notebooks.lab_environment()
    environment |= {"HOME": str(folder / "home"), "PYTHONPATH": f"{folder}:{paths.ROOT}"}
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(words, env=environment, stdout=log, stderr=log)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(120):
            try:
                urlopen(f"{address}/api?token=test").close()
                break
            except OSError:
                time.sleep(0.5)
        else:
            pytest.fail((folder / "log").read_text())
        yield address, folder
    finally:
        process.terminate()
        process.wait(30)
        patch.undo()


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip(
        "playwright.sync_api", reason="Playwright is not installed; run: make check-lab"
    )
    path = shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("no Chromium; on Debian: apt-get install chromium")
    with sync_api.sync_playwright() as playwright:
        program = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield program
        program.close()


class Notebook:
    """An open notebook."""

    def __init__(self, page, address, name):
        self.page = page
        page.goto(f"{address}/lab/tree/{name}.ipynb?reset&token=test")
        page.wait_for_selector(".jp-Notebook .jp-CodeCell")
        # "idle" is shown before there is a kernel too, and running a cell then asks for one
        page.wait_for_selector(".jp-KernelName >> text=Python 3")
        page.wait_for_selector(".jp-Notebook-ExecutionIndicator[data-status='idle']")

    def choose(self, menu, item):
        self.page.locator(".lm-MenuBar-itemLabel", has_text=re.compile(f"^{menu}$")).click()
        self.page.locator(".lm-Menu-itemLabel", has_text=re.compile(f"^{item}$")).first.click()

    def prompt(self):
        """The number of the last code cell's execution, as it is shown."""
        return self.page.locator(".jp-CodeCell .jp-InputPrompt").last.inner_text()

    def start(self):
        """Choose Run > Run All Cells."""
        self.before = self.prompt()
        self.choose("Run", "Run All Cells")
        self.page.wait_for_function(
            "before => { const p = [...document.querySelectorAll('.jp-CodeCell .jp-InputPrompt')]"
            ".map(e => e.innerText);"
            "return p.includes('[*]:') || (/\\d/.test(p.at(-1)) && p.at(-1) != before); }",
            arg=self.before,
        )

    def wait(self):
        """Wait until the last cell has run, or one has failed."""
        self.page.wait_for_function(
            "([before, errors]) => {"
            "const p = [...document.querySelectorAll('.jp-CodeCell .jp-InputPrompt')]"
            ".map(e => e.innerText);"
            "const done = /^\\[\\d+\\]:$/.test(p.at(-1)) && p.at(-1) != before;"
            "return !p.includes('[*]:') && (done || document.querySelector(errors)); }",
            arg=[self.before, ERRORS],
        )

    def run_all(self):
        self.start()
        self.wait()
        assert self.messages() == []

    def messages(self):
        """What is shown of errors and of warnings."""
        return self.page.locator(ERRORS).all_inner_texts()

    def set(self, name, value):
        """Change one line of the cell with the parameters, as a reader would."""
        editor = self.page.locator(".jp-CodeCell .cm-content", has_text="profile: str").first
        editor.click()
        lines = [
            re.sub("= .*", f"= {value}", line) if line.startswith(f"{name}: ") else line
            for line in editor.locator(".cm-line").all_inner_texts()
        ]
        self.page.keyboard.press("Control+a")
        self.page.keyboard.insert_text("\n".join(lines))

    def see(self, selector, text=""):
        """Scroll to an element and check that a reader sees it."""
        found = self.page.locator(selector, has_text=text).first
        found.scroll_into_view_if_needed()
        assert found.is_visible()
        return found

    def see_progress(self, text):
        """Wait for a bar with a text. It is redrawn twice a second, so nothing scrolls to it."""
        self.page.locator(".repro-progress:has(progress)", has_text=text).wait_for()


@pytest.fixture
def open_notebook(browser, server):
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(PATIENCE)
    yield lambda name: Notebook(page, server[0], name)
    page.close()


def test_a_table_is_run_changed_and_interrupted(open_notebook, server):
    notebook = open_notebook("table4")
    notebook.start()
    notebook.see_progress("elapsed")
    notebook.wait()
    notebook.run_all()
    notebook.see(".jp-RenderedHTML", "Table 4, profile demo")
    notebook.see(".jp-RenderedHTML li", "embedded miniature tasks")
    notebook.see(".jp-OutputArea-output img")
    notebook.see(".jp-RenderedMarkdown", "Nothing is changed")
    notebook.see(".jp-RenderedHTML", "Training examples of mini-RTE")

    notebook.set("overrides", '{"student.learning_rate": 3e-3}')
    notebook.run_all()
    change = notebook.see(".jp-RenderedHTML", "What the change does").inner_text()
    assert re.search(r"plain\s+changed\s+difference \[95 % interval\]", change)
    assert re.search(r"SPS-2\s+[\d.]+\s+[\d.]+\s+[+-][\d.]+ \[[+-][\d.]+, [+-][\d.]+\]", change)

    notebook.set("overrides", '{"teacher.epochs": 400}')
    notebook.start()
    notebook.see_progress("teacher on mini-RTE, seed 0: step")
    notebook.choose("Kernel", "Interrupt Kernel")
    notebook.see(ERRORS)
    (said,) = notebook.messages()
    assert re.fullmatch(r"stopped: 0 of \d+ stages .* last checkpoint", said.strip())

    copies, home = server[1] / "notebooks", server[1] / "home"
    assert list(home.iterdir()) == []
    tracked = nbformat.read(paths.NOTEBOOKS / "table4.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in tracked.cells)
    assert (copies / "table4.ipynb").exists()


def test_the_widgets_answer(open_notebook):
    notebook = open_notebook("explore")
    notebook.run_all()
    page = notebook.page
    for label in (
        "confidently correct",
        "Query and Key swapped",
        "Soft label that the student learns",
    ):
        notebook.see(".widget-html", label)
    slider = notebook.see(".widget-slider", "correct")
    shown = page.locator(".widget-html", has_text="confidently correct").first
    before = shown.inner_text()
    slider.locator(".noUi-handle").focus()
    # to the lowest threshold: this teacher's confidence is about 0.55, so one step from 0.80 on
    # changes no label
    page.keyboard.press("Home")
    page.wait_for_function("before => !document.body.innerText.includes(before)", arg=before[:40])
    text = page.locator(".widget-text input").first
    text.fill("the museum was yellow")  # words of the embedded vocabulary, which are shown whole
    notebook.see(".widget-html th", "museum")
    layers = page.locator(".widget-slider", has_text="layers")
    layers.locator(".noUi-handle").focus()
    page.keyboard.press("ArrowRight")
    notebook.see(".widget-html", "4 stored layers, 8 effective layers")


def test_python_of_the_kernel(server):
    """The kernel is of this environment."""
    assert notebooks.lab_command(server[1])[0] == sys.executable
