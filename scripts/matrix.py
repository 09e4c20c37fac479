# SPDX-License-Identifier: Apache-2.0
"""
Run the tests on every Airflow that the package supports, each in an environment of its own.

``python -m scripts.matrix [ROW ...]``; without rows all. A row is left out, and said so, where its Python is missing.
``FULL=1`` runs the whole table of outcomes too, which takes some minutes for each row.
"""

from __future__ import annotations

import glob
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HOME = ROOT / ".venv-matrix"
TESTS = ("tests/unit", "tests/integration", "tests/polling", "tests/clips", "tests/airflow")
LONG = "tests/airflow/test_outcomes.py"


@dataclass(frozen=True)
class Row:
    """
    One combination.

    :param name: what it is called.
    :param python: the version of Python.
    :param constraints: the file with all versions.
    """

    name: str
    python: str
    constraints: str


ROWS = (
    Row("lowest", "3.11", "constraints/lowest.txt"),
    Row("3.1", "3.11", "constraints/airflow-3.1.txt"),
    Row("3.2", "3.12", "constraints/airflow-3.2.txt"),
    Row("3.3", "3.11", "constraints.txt"),
    Row("3.3-python-3.13", "3.13", "constraints/airflow-3.3-python-3.13.txt"),
)


def find_python(version: str) -> str | None:
    """Return an interpreter of a version, from the path or from pyenv."""
    found = shutil.which(f"python{version}")
    root = os.environ.get("PYENV_ROOT", os.path.expanduser("~/.pyenv"))
    for candidate in [found, *sorted(glob.glob(f"{root}/versions/{version}.*/bin/python"), reverse=True)]:
        # pyenv's shims are there for versions that are not switched on, and fail.
        if candidate and subprocess.run([candidate, "-c", ""], capture_output=True, check=False).returncode == 0:
            return candidate
    return None


def install(row: Row, python: str) -> Path:
    """Make the row's environment, unless it is there and current; return its interpreter."""
    folder = HOME / row.name
    inside = folder / "bin" / "python"
    stamp = folder / ".ready"
    wanted = "\n".join(
        (ROOT / name).read_text() for name in (row.constraints, "pyproject.toml", "scripts/requirements-matrix.txt")
    )
    if stamp.is_file() and stamp.read_text() == wanted:
        return inside
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([python, "-m", "venv", str(folder)], check=True)
    pip = [str(inside), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    what = ["-c", row.constraints, "-e", ".[emulator]", "-r", "scripts/requirements-matrix.txt"]
    with (folder / "pip.log").open("wb") as log:
        ended = subprocess.run([*pip, *what], cwd=ROOT, stdout=log, stderr=log, check=False)
    if ended.returncode:
        raise SystemExit(f"pip could not install the row {row.name}; what it said is in {folder / 'pip.log'}")
    stamp.write_text(wanted)
    return inside


def run(row: Row) -> str:
    """Run a row; return how it ended."""
    python = find_python(row.python)
    if python is None:
        return f"not run: no Python {row.python} here"
    began = time.monotonic()
    inside = install(row, python)
    left_out = [] if os.environ.get("FULL") else [f"--ignore={LONG}"]
    tests = [str(inside), "-m", "pytest", "-q", "-p", "no:cacheprovider", *left_out, *TESTS]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
    environment["AIRFLOW_HOME"] = str(HOME / row.name / "airflow")
    ended = subprocess.run(tests, cwd=ROOT, env=environment, check=False)
    return f"{'passed' if ended.returncode == 0 else 'FAILED'} in {time.monotonic() - began:.0f} s"


def main(names: list[str]) -> int:
    """Run the rows; return the exit code."""
    unknown = set(names) - {row.name for row in ROWS}
    if unknown:
        print(f"No row {', '.join(sorted(unknown))}; there are {', '.join(row.name for row in ROWS)}.")
        return 2
    results: dict[str, str] = {}
    for row in ROWS:
        if not names or row.name in names:
            print(f"== {row.name}: Python {row.python}, {row.constraints}", flush=True)
            results[row.name] = run(row)
    print("\n".join(f"{name:<18} {result}" for name, result in results.items()))
    return 0 if all(result.startswith("passed") for result in results.values()) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
