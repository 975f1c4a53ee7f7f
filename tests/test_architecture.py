"""The plan of the house: what may import what, and where the heavy libraries live."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import cxr
from cxr.config import PROJECT

PACKAGE = Path(cxr.__file__).parent

# From the ground up: a room may import from itself and from those before it.
ROOMS = (
    "errors", "findings", "wording", "config", "artifacts", "progress", "records", "films",
    "phantoms", "fetch", "evaluation", "modelling", "figures", "publish", "__main__",
)  # fmt: skip


def imports(path):
    """The modules that a file imports, wherever in it, such as "cxr.records.nih"."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            found |= {f"{node.module}.{name.name}" for name in node.names}
    return found


FILES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def room(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def test_every_room_is_on_the_plan():
    assert {room(path) for path in FILES} == set(ROOMS)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_down_only(path):
    here = ROOMS.index(room(path))
    used = {name.split(".")[1] for name in imports(path) if name.startswith("cxr.")}
    above = {name for name in used if ROOMS.index(name) > here}
    assert not above, f"{room(path)} imports from {above}"


def test_no_module_imports_itself_through_others():
    """Within a room, too, there is an order."""
    names = {
        ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(
            ".__init__"
        ): path
        for path in FILES
    }
    waiting = {
        name: {
            target
            for target in imports(path)
            for target in (target, target.rpartition(".")[0])
            if target in names and target != name
        }
        for name, path in names.items()
    }
    # A package's own front door names its rooms; asking for one does not need the door.
    doors = {name for name, path in names.items() if path.name == "__init__.py"}
    while waiting:
        free = {name for name, needs in waiting.items() if not (needs - doors) & waiting.keys()}
        assert free, f"these import each other: {sorted(waiting)}"
        waiting = {name: needs for name, needs in waiting.items() if name not in free}


@pytest.mark.parametrize(
    "library, homes",
    [
        ("tensorflow", {"modelling/tensors.py"}),
        ("keras", {"modelling/tensors.py"}),
        ("jax", {"modelling/tensors.py"}),
        ("playwright", {"publish/browser.py"}),
        ("requests", {"fetch/http_transfer.py"}),
        ("pydicom", {"films/dicom.py"}),
        ("imagecodecs", {"films/dicom.py"}),
    ],
)
def test_a_heavy_library_has_one_home(library, homes):
    using = {
        str(path.relative_to(PACKAGE))
        for path in FILES
        if any(name.split(".")[0] == library for name in imports(path))
    }
    assert using == homes


def test_help_loads_nothing_heavy():
    code = (
        "import sys; sys.argv = ['cxr', '--help']\n"
        "from cxr.__main__ import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print([name for name in ('tensorflow', 'pandas', 'plotly') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("[]")


LONGEST, MOST_PARAMETERS = 60, 6

# Functions that are longer or take more, each with its reason.
EXCEPTIONS = {
    "fetch/http_transfer.py download": "a file's address, place, four facts that verify it, and "
    "how to wait: all but the first two are named",
    "fetch/unpack.py unpack": "options of one pass over an archive, all named",
    "figures/localisation.py gallery": "what stands beside each film",
    "figures/panels.py add_intervals": "how one series of points looks",
    "modelling/explain.py opacities": "two models, their films, and what is known of these",
    "phantoms/packing.py pack": "what is drawn and how it is packed, the latter named",
    "publish/foreign_scores.py evaluate": "one argument for each option of the command",
}


def test_functions_are_short_and_take_few_parameters():
    odd = set()
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.FunctionDef):
                continue
            start = node.body[0].end_lineno if ast.get_docstring(node) else node.lineno - 1
            given = [*node.args.args, *node.args.kwonlyargs]
            given = [one.arg for one in given if one.arg not in ("self", "cls")]
            if node.end_lineno - start > LONGEST or len(given) > MOST_PARAMETERS:
                odd.add(f"{path.relative_to(PACKAGE)} {node.name}")
    assert odd == set(EXCEPTIONS)


PLAN = (PROJECT / "docs" / "architecture.md").read_text(encoding="utf-8")


def test_the_plan_names_every_room_in_its_order():
    _, drawing = re.findall("^```\n(.*?)^```", PLAN, re.M | re.S)
    named = re.findall(r"^ ([a-z_]+) {2,}", drawing, re.M)
    built = [name for name in reversed(ROOMS) if (PACKAGE / name).is_dir() or name == "__main__"]
    assert [name for name in named if name in ROOMS] == built


def test_every_file_and_name_on_the_plan_exists():
    table = PLAN.split("## Where to change what")[1]
    for line in table.splitlines():
        path = None
        for file, name in re.findall(r"`(?:([\w/]+\.py|[\w/]+/)|([A-Za-z_]+))`", line):
            if file:
                path = PACKAGE / file
                assert path.exists(), file
            elif path is not None and path.is_file():
                defined = rf"^(?:def {name}\(|class {name}\b|{name}\b.* = )"
                assert re.search(defined, path.read_text(encoding="utf-8"), re.M), (path, name)
