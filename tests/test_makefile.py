"""What `make` does before Python can: refuse, list, and clean."""

import re
import shutil
import stat
import subprocess
import sys

import pytest

from cxr import config

pytestmark = pytest.mark.skipif(not shutil.which("make"), reason="make is not installed")


@pytest.fixture
def project(tmp_path):
    """The files that the set-up reads, and nothing that it made."""
    names = ("requirements.txt", "requirements-jax.txt", "constraints.txt", "pyproject.toml")
    for name in ("Makefile", *names):
        shutil.copy(config.PROJECT / name, tmp_path)
    return tmp_path


def make(folder, *arguments):
    command = ["make", "--no-print-directory", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def interpreter(folder, body):
    """A stand-in for an interpreter, as a shell script."""
    path = folder / "some-python"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def refusal(answer):
    """The one line that says why; make adds its own below."""
    assert answer.returncode != 0
    lines = [line for line in answer.stderr.splitlines() if not line.startswith("make")]
    assert len(lines) == 1
    return lines[0]


@pytest.mark.parametrize("version", ["3.10.13", "3.14.0", "2.7.18"])
def test_another_python_is_refused_before_anything_is_made(project, version):
    old = interpreter(project, f'case "$1" in --version) echo Python {version};; *) exit 1;; esac')
    words = refusal(make(project, "run", f"PYTHON={old}"))
    assert "needs Python 3.11 to 3.13" in words
    assert f"is Python {version}" in words
    assert "make PYTHON=python3.12 run" in words
    assert not (project / ".venv").exists()


def test_an_absent_python_is_refused(project):
    words = refusal(make(project, "run", "PYTHON=no-such-python"))
    assert "no-such-python is not installed" in words


def test_a_missing_venv_module_is_refused_with_what_to_install(project):
    bare = interpreter(
        project, f'case "$*" in *ensurepip*) exit 1;; esac\nexec {sys.executable} "$@"'
    )
    words = refusal(make(project, "test", f"PYTHON={bare}"))
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    assert (
        f"has no venv module; install it (on Debian and Ubuntu: apt install python{version}-venv)"
        in words
    )
    assert not (project / ".venv").exists()


def test_make_alone_lists_every_target(project):
    listed = make(project).stdout
    declared = re.search(r"^\.PHONY: (.*)$", (project / "Makefile").read_text(), re.MULTILINE)
    for target in declared[1].split():
        assert re.search(rf"^{target} ", listed, re.MULTILINE), target


def test_clean_never_touches_data_or_runs(project):
    kept = [
        project / folder / "kept.txt"
        for root in ("", "demo")
        for folder in (f"{root}/{name}".lstrip("/") for name in ("data", "subset", "runs"))
    ]
    for path in [*kept, project / "presentation/results/kept.csv", project / ".venv/made"]:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    for name in ("src", "tests", "benchmarks"):
        (project / name).mkdir()
    assert make(project, "clean").returncode == 0
    assert not (project / ".venv").exists()
    assert all(path.exists() for path in kept)
    assert (project / "presentation/results/kept.csv").exists()
