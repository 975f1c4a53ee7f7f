"""Execute the four notebooks in order, and check the committed copies."""

import datetime
import hashlib
import json
import os
import re
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from pathlib import Path

import nbclient
import nbformat
import plotly.graph_objects as go

from cxr import artifacts, progress
from cxr.config import PROJECT, Config
from cxr.errors import InputError
from cxr.figures import display

STAGES = {
    "000": "000-data_download.ipynb",
    "100": "100-data_cleaning_eda.ipynb",
    "200": "200-modeling.ipynb",
    "300": "300-evaluation.ipynb",
}


# The variable in which `python -m cxr run` hands on what its rehearsal said.
REHEARSED = "REHEARSED"

_ANSI = re.compile(r"\x1b\[[0-9;]*m")


class CellError(Exception):
    """A cell of a notebook failed; the message names it and carries the cell's own error."""


def stages(first: str = "000", last: str = "300") -> list[str]:
    """The stages from `first` to `last`, both included.

    Raises:
        InputError: for an unknown stage or an empty range.
    """
    for name in (first, last):
        if name not in STAGES:
            raise InputError(f"unknown stage '{name}'; known are {', '.join(STAGES)}.")
    chosen = [name for name in STAGES if first <= name <= last]
    if not chosen:
        raise InputError(f"there is no stage from {first} to {last}.")
    return chosen


def execute(
    config: Config, names: list[str], environment: dict[str, str], *, folder: Path | None = None
) -> None:
    """Run notebooks in order, each in a kernel of its own, and save the executed copies.

    Args:
        config: decides where copies and the log go: `<root>/runs/notebooks`.
        names: keys of `STAGES`.
        environment: what the kernels see, beside the process's own variables.
        folder: where the notebooks lie; the project by default.

    Raises:
        CellError: at the first failing cell. Its notebook is saved up to there.
    """
    copies = config.runs / "notebooks"
    width = max(len(STAGES[name]) for name in names)
    for name in names:
        notebook = nbformat.read((folder or PROJECT) / STAGES[name], as_version=4)
        cells = sum(cell.cell_type == "code" for cell in notebook.cells)
        log = Log(copies / "run.log", STAGES[name])
        with progress.Bars() as bars:
            bar = bars.add(STAGES[name].ljust(width), total=cells, unit="cells")
            client = nbclient.NotebookClient(
                notebook,
                timeout=None,
                kernel_name="python3",
                # Kernels warn that they talk over an unencrypted, local connection.
                extra_arguments=["--IPKernelApp.log_level=ERROR"],
                resources={"metadata": {"path": str(folder or PROJECT)}},
                on_cell_start=log.starts,
                on_cell_executed=lambda cell, cell_index, execute_reply, bar=bar, log=log: (
                    bar.advance() if cell.cell_type == "code" else None,
                    log.ends(cell_index),
                ),
            )
            log.write("starts")
            try:
                client.execute(env=os.environ | environment)
            except nbclient.exceptions.CellExecutionError as error:
                message = _explain(notebook, STAGES[name], error)
                log.write(message)
                raise CellError(message) from None
            finally:
                artifacts.write_text(copies / STAGES[name], nbformat.writes(notebook))
            log.write("done")


class Log:
    """One line per event, written at once: it survives a closed browser or terminal."""

    def __init__(self, path: Path, name: str):
        self._path, self._name, self._began = path, name, time.monotonic()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        except OSError as error:
            raise InputError(
                f"{path} cannot be written ({error.strerror}); choose a folder that you may "
                "write to with CXR_ROOT."
            ) from None

    def write(self, event: str) -> None:
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        with self._path.open("a", encoding="utf-8") as file:
            file.write(f"{now}  {self._name}  {event}\n")

    def starts(self, cell, cell_index) -> None:
        self._began = time.monotonic()
        if cell.cell_type == "code" and cell.source:
            self.write(f"cell {cell_index}: {cell.source.splitlines()[0][:60]}")

    def ends(self, cell_index: int) -> None:
        seconds = time.monotonic() - self._began
        if seconds >= 10:
            self.write(f"cell {cell_index} took {progress.duration(seconds)}")


def _explain(notebook, name: str, error: nbclient.exceptions.CellExecutionError) -> str:
    """The failing cell's own error: one sentence for bad input, a traceback for a fault."""
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    failed = next(
        number
        for number, cell in enumerate(code, start=1)
        if any(output.output_type == "error" for output in cell.outputs)
    )
    if error.ename == InputError.__name__:
        return f"{name}, code cell {failed}: {error.evalue}"
    output = next(o for o in code[failed - 1].outputs if o.output_type == "error")
    trace = _ANSI.sub("", "\n".join(output.traceback))
    return f"{name}, code cell {failed} failed:\n\n{code[failed - 1].source}\n\n{trace}"


def rehearse(config: Config) -> str:
    """What `python -m cxr preflight` says of the training to come; "" where nothing is fetched.

    In a process of its own, which gives the devices back; once, where a run hands on `REHEARSED`.

    Raises:
        InputError: if the training could not be done: with the reason and the remedy.
    """
    if config.phantoms or config.images is not None:
        return ""
    if os.environ.get(REHEARSED):
        return os.environ[REHEARSED]
    command = [sys.executable, "-m", "cxr", "preflight", "--profile", config.profile]
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    if told.returncode:
        reason = told.stderr.strip().splitlines() or [f"exit code {told.returncode}"]
        raise InputError(
            f"the training that follows would fail: {reason[-1].removeprefix('cxr: ')}"
        )
    return told.stdout.strip()


def provenance(config: Config) -> str:
    """What a notebook's results came from: versions, profile, split, seed and commit."""
    packages = "  ".join(f"{name} {version}" for name, version in artifacts.versions().items())
    return (
        f"{packages}\nprofile {config.profile}  split {config.split}  seed {config.seed}  "
        f"commit {artifacts.commit()}"
    )


def repository() -> str | None:
    """The published repository's address, which pyproject.toml alone holds; None until known."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return project.get("urls", {}).get("Repository")


def publish(config: Config, environment: dict[str, str], *, folder: Path | None = None) -> None:
    """Execute all notebooks and write them back, without what differs from run to run.

    All figures gain a static picture, for readers whose viewer
    runs no scripts.

    Args:
        config, environment: as for `execute`.
        folder: where the notebooks lie and are written back to; the project by default.

    Raises:
        CellError: at the first failing cell.
        InputError: where no browser is installed to draw the pictures.
    """
    from cxr.publish import browser

    folder = folder or PROJECT
    browser.require()
    execute(config, list(STAGES), environment, folder=folder)
    for name in STAGES.values():
        notebook = clean(_executed(config, name), config.root)
        add_pictures(notebook, browser.pictures)
        artifacts.write_text(folder / name, nbformat.writes(notebook) + "\n")


def executed(config: Config) -> dict[str, nbformat.NotebookNode]:
    """The executed notebooks of a profile, by stage.

    Raises:
        InputError: if one was not executed yet, or is not readable.
    """
    return {stage: _executed(config, name) for stage, name in STAGES.items()}


def _executed(config: Config, name: str) -> nbformat.NotebookNode:
    path = config.runs / "notebooks" / name
    if not path.exists():
        raise InputError(f"{path} does not exist; execute the notebooks first, with `make run`.")
    try:
        return nbformat.read(path, as_version=4)
    except (nbformat.reader.NotJSONError, nbformat.ValidationError):
        raise InputError(f"{path} is not a readable notebook; remove it and `make run`.") from None


HEADLINE = "headline"


def figures_of(cell: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    """The outputs of a cell that hold a figure."""
    return [o for o in cell.get("outputs", []) if display.PLOTLY_TYPE in o.get("data", {})]


def add_pictures(
    notebook: nbformat.NotebookNode, draw: Callable[[list[go.Figure]], list[bytes]]
) -> None:
    """Give every figure a static picture, in place.

    Only those of headline cells hold it as an output of its own, too: notebooks stay small.

    Args:
        notebook: executed; cells tagged "headline" hold the figures that answer it.
        draw: figures to PNG files, as `browser.pictures`.
    """
    outputs = [output for cell in notebook.cells for output in figures_of(cell)]
    headlines = [
        HEADLINE in c.metadata.get("tags", []) for c in notebook.cells for _ in figures_of(c)
    ]
    drawn = [go.Figure(output.data[display.PLOTLY_TYPE]) for output in outputs]
    for output, leads, figure, picture in zip(outputs, headlines, drawn, draw(drawn), strict=True):
        (name,) = re.findall(r'id="(figure-\d+)-', output.data["text/html"])[:1]
        formats = display.bundle(figure, name, picture=picture)
        if not leads:
            del formats["image/png"]
        output.data = nbformat.from_dict(formats)


def code_checksum(notebook: nbformat.NotebookNode) -> str:
    """SHA-256 of the sources of all code cells, in order."""
    sources = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    return hashlib.sha256(json.dumps(sources).encode()).hexdigest()


# Durations, rates and the commit are true of one run only.
_VOLATILE = (
    (re.compile(r"commit [0-9a-f]{7,}\+?"), "commit (masked)"),
    (re.compile(r"\d[\d,.]* (?:[kMG]?B|\w+)/s"), "–/s"),
    (re.compile(r"\b\d+ (?:h \d\d min|min(?: \d\d s)?|s)\b"), "– s"),
)


def clean(notebook: nbformat.NotebookNode, root: Path) -> nbformat.NotebookNode:
    """Take out run times, the commit, the paths below `root` and execution metadata.

    What the code was that made the outputs is kept, as a checksum in the metadata.
    """
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if "outputs" in cell:
            cell.outputs = _joined(cell.outputs)
        for output in cell.get("outputs", []):
            if output.get("metadata"):
                output.metadata.clear()
            if "text" in output:
                output.text = _mask(output.text, root)
            for kind in ("text/plain", "text/markdown"):
                if kind in output.get("data", {}):
                    output.data[kind] = _mask(output.data[kind], root)
            if "<table" in output.get("data", {}).get("text/html", ""):
                output.data["text/html"] = _without_times(output.data["text/html"])
                output.data["text/plain"] = _without_times_in_text(output.data["text/plain"])
    language = notebook.metadata.get("language_info", {})
    notebook.metadata = nbformat.from_dict(
        {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": language.get("name", "python")},
            "cxr": {"executed_code_sha256": code_checksum(notebook)},
        }
    )
    return notebook


def _joined(outputs: list[nbformat.NotebookNode]) -> list[nbformat.NotebookNode]:
    """Printed text in one piece: how a kernel cuts it is a matter of timing."""
    joined: list[nbformat.NotebookNode] = []
    for output in outputs:
        last = joined[-1] if joined else None
        if last and output.output_type == "stream" and last.get("name") == output.name:
            last.text += output.text
        else:
            joined.append(output)
    return joined


# Columns of tables that hold times or rates.
_TIMES = re.compile(r"\b\w*seconds?\b")


def _without_times(table: str) -> str:
    """A frame's HTML, with a dash for each value below a header that speaks of seconds."""
    head, end, body = table.partition("</thead>")
    headers = re.findall("<th>(.*?)</th>", head)
    if not any(_TIMES.fullmatch(header) for header in headers):
        return table

    def mask(row: re.Match) -> str:
        # Labels of rows stand in <th>, so the values' headers are the last ones.
        names = iter(headers[len(headers) - row[0].count("<td>") :])
        return re.sub(
            "<td>.*?</td>",
            lambda cell: "<td>–</td>" if _TIMES.fullmatch(next(names)) else cell[0],
            row[0],
        )

    return head + end + re.sub("<tr>.*?</tr>", mask, body, flags=re.DOTALL)


def _without_times_in_text(table: str) -> str:
    """The same for a frame's plain text, whose values end where their headers end."""
    lines, ends = [], []
    for line in table.split("\n"):
        headers = list(_TIMES.finditer(line))
        if headers or not line.strip():
            ends = [header.end() for header in headers]
        elif ends:
            for end in ends:
                kept = re.sub(r"\S*$", "", line[:end])
                line = kept + "–".rjust(len(line[:end]) - len(kept)) + line[end:]
        lines.append(line)
    return "\n".join(lines)


def _mask(text: str, root: Path) -> str:
    text = text.replace(str(root), "demo").replace(str(PROJECT), "<project>")
    for pattern, replacement in _VOLATILE:
        text = pattern.sub(replacement, text)
    return text
