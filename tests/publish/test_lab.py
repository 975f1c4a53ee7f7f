"""JupyterLab as `make lab` starts it: a reader opens each notebook, runs it, sees figures."""

import contextlib
import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import time
import urllib.request

import nbformat
import pytest
from playwright.sync_api import TimeoutError

from cxr import config
from cxr.publish import browser, notebooks

pytestmark = [
    pytest.mark.soak,
    pytest.mark.skipif(not browser.path(), reason="no Chromium is installed to open JupyterLab"),
]

# A tiny demo: what is tested is what a reader sees, not what the models learn.
TINY = {"CXR_SAMPLE": "150", "CXR_EPOCHS": "2", "CXR_REPLICATES": "100"}

# Every code cell has run: its prompt shows a number, neither "[ ]" nor "[*]".
DONE = r"""(cells) => {
  if (document.querySelector(".jp-OutputArea-output[data-mime-type*=error]")) return true;
  const prompts = [...document.querySelectorAll(".jp-CodeCell .jp-InputArea-prompt")];
  return prompts.length === cells && prompts.every((one) => /\d/.test(one.textContent));
}"""

# At least one cell runs or has run.
BEGUN = r"""() => [...document.querySelectorAll(".jp-CodeCell .jp-InputArea-prompt")].some(
  (one) => /[\d*]/.test(one.textContent))"""

DRAWN = """(figures) => {
  const drawn = [...document.querySelectorAll(".jp-OutputArea .js-plotly-plot")];
  return drawn.length === figures &&
    drawn.every((one) => one.querySelector(".main-svg .trace, .main-svg image"));
}"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """JupyterLab's address, on copies of the notebooks, since it saves what it runs."""
    folder = tmp_path_factory.mktemp("project")
    for name in notebooks.STAGES.values():
        book = nbformat.read(config.PROJECT / name, as_version=4)
        for cell in book.cells:
            if cell.cell_type == "code":
                cell.outputs, cell.execution_count = [], None
        nbformat.write(book, folder / name)
    # Cells that are out of sight are taken off the page by default, and could not be counted.
    settings = folder / "settings/@jupyterlab/notebook-extension/tracker.jupyterlab-settings"
    news = folder / "settings/@jupyterlab/apputils-extension/notification.jupyterlab-settings"
    for path, value in ((settings, {"windowingMode": "none"}), (news, {"fetchNews": "false"})):
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(value))
    environment = {n: text for n, text in os.environ.items() if not n.startswith("CXR_")}
    environment |= TINY | {
        "CXR_PROFILE": "demo",
        "CXR_ROOT": str(folder / "root"),
        "JUPYTERLAB_SETTINGS_DIR": str(folder / "settings"),
        "JUPYTER_CONFIG_DIR": str(folder / "config"),
        "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
        "JUPYTER_DATA_DIR": str(folder / "share"),
    }
    token = secrets.token_hex(8)
    command = [sys.executable, "-m", "jupyter", "lab", "--no-browser", "--allow-root"]
    command += ["--port=0", f"--IdentityProvider.token={token}", "--log-level=WARN"]
    with (folder / "lab.log").open("w") as log:
        server = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
    try:
        yield folder, _address(folder / "runtime", server), token
    finally:
        # It also ends the kernels that it started.
        server.terminate()
        try:
            server.wait(30)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _address(runtime, server):
    """Wait until the server has told where it listens, and answers."""
    for _ in range(240):
        assert server.poll() is None, "JupyterLab ended"
        for told in runtime.glob("jpserver-*.json"):
            try:
                address = json.loads(told.read_text())["url"]
                urllib.request.urlopen(f"{address}api", timeout=5).close()
                return address
            except (OSError, ValueError, KeyError):
                continue
        time.sleep(0.5)
    raise AssertionError("JupyterLab did not start within two minutes")


def _run_all(tab):
    """Run all cells from the menu; again, if the kernel was not listening yet."""
    for _ in range(5):
        tab.get_by_role("menuitem", name="Run", exact=True).click()
        tab.get_by_role("menuitem", name="Run All Cells", exact=True).click()
        with contextlib.suppress(TimeoutError):
            tab.wait_for_function(BEGUN, timeout=10_000)
            return
    raise AssertionError("no cell began to run")


def _saved_figures(tab, path):
    """Save the notebook, and count the figures in what was written."""
    for _ in range(30):
        tab.keyboard.press("Control+s")
        tab.wait_for_timeout(1000)
        cells = nbformat.read(path, as_version=4).cells
        if all(cell.execution_count for cell in cells if cell.cell_type == "code"):
            return sum(len(notebooks.figures_of(cell)) for cell in cells)
    raise AssertionError(f"{path.name} was not saved after it ran")


def test_each_notebook_runs_in_jupyterlab_and_shows_its_figures(lab, tmp_path):
    folder, address, token = lab
    with browser.opened() as chromium:
        for name in notebooks.STAGES.values():
            tab = chromium.new_page(viewport={"width": 1440, "height": 900})
            errors = []
            tab.on("pageerror", lambda error, errors=errors: errors.append(str(error)))
            tab.goto(f"{address}lab/tree/{name}?token={token}&reset")
            tab.locator(".jp-Notebook .jp-CodeCell").first.wait_for(timeout=90_000)
            cells = nbformat.read(folder / name, as_version=4).cells
            code = sum(cell.cell_type == "code" for cell in cells)
            tab.get_by_text("Python 3 (ipykernel) | Idle").wait_for(timeout=90_000)
            _run_all(tab)
            tab.wait_for_function(DONE, arg=code, timeout=600_000)
            assert tab.locator(".jp-OutputArea-output[data-mime-type*=error]").count() == 0
            expected = _saved_figures(tab, folder / name)
            assert expected > 0
            tab.wait_for_function(DRAWN, arg=expected, timeout=60_000)
            shown = tab.locator(".jp-Notebook").inner_text()
            assert "not a medical device" in shown
            if name.startswith(("000", "200")):
                # Progress was shown, and ended where it should.
                assert re.search(r"\[#+\] 100%", shown), name
            tab.locator(".js-plotly-plot").first.scroll_into_view_if_needed()
            tab.screenshot(path=tmp_path / f"{name}.png")
            assert errors == []
            tab.close()
