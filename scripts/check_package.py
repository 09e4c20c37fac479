# SPDX-License-Identifier: Apache-2.0
"""Build wheel and sdist, look into them, and see whether a bare Airflow finds the provider in the wheel.

Run as ``python -m scripts.check_package`` in the environment of the developers' tools. It uses the folders
``dist`` and ``.venv-package``.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from collections.abc import Mapping, Sequence
from email.parser import HeaderParser
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
DIST = ROOT / "dist"
CLEAN = ROOT / ".venv-package"
PROVIDER = "airflow-provider-mpc"
PACKAGE = "airflow_provider_mpc"
CONNECTION_TYPE = "huaweicloud_mpc"
ENTRY_POINT = "[apache_airflow_provider]\nprovider_info = airflow_provider_mpc.get_provider_info:get_provider_info"
# What Airflow prints in place of a value, and what it logs.
FAILED_VALUE = re.compile(r"error when|traceback|exception", re.IGNORECASE)
COMPLAINT = re.compile(r"error|exception|traceback|warning", re.IGNORECASE)


class PackageError(AssertionError):
    """The package is not as it should be."""


def check(condition: object, words: str) -> None:
    """Raise :class:`PackageError` with these words unless the condition holds."""
    if not condition:
        raise PackageError(words)


def run(
    command: Sequence[str | Path], environment: Mapping[str, str] | None = None, folder: Path = ROOT
) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder and return its output; show the output and raise if it fails."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=folder,
        env=environment and dict(environment),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        print(done.stdout[-4000:], done.stderr[-4000:], file=sys.stderr)
        raise PackageError(f"{' '.join(done.args)} ended with {done.returncode}.")
    return done


def build() -> tuple[Path, Path]:
    """Build the sdist, and the wheel from the sdist; return the wheel and the sdist."""
    shutil.rmtree(DIST, ignore_errors=True)
    run([sys.executable, "-m", "build", "--no-isolation", "--outdir", DIST])
    (wheel,) = DIST.glob("*.whl")
    (sdist,) = DIST.glob("*.tar.gz")
    return wheel, sdist


def check_wheel(wheel: Path) -> None:
    """Look at what is in the wheel: the package alone, typed, with its entry point and metadata."""
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        texts = {name.rpartition("/")[2]: archive.read(name).decode() for name in names if ".dist-info/" in name}
    top = {name.split("/")[0] for name in names}
    check(
        {name for name in top if not name.endswith(".dist-info")} == {PACKAGE},
        f"The wheel has top-level folders {sorted(top)}; it may only have {PACKAGE}.",
    )
    for name in ("py.typed", "get_provider_info.py", "emulator/__main__.py"):
        check(f"{PACKAGE}/{name}" in names, f"The wheel lacks {PACKAGE}/{name}.")
    check(ENTRY_POINT in texts["entry_points.txt"], f"Entry points:\n{texts['entry_points.txt']}")
    check("LICENSE" in texts, "The wheel lacks its licence.")
    metadata = HeaderParser().parsestr(texts["METADATA"])
    check(metadata["Name"] == PROVIDER, f"The distribution is called {metadata['Name']}.")
    check(metadata["License-Expression"] == "Apache-2.0", "The metadata lack the licence.")
    for classifier in ("Framework :: Apache Airflow :: Provider", "Typing :: Typed"):
        check(classifier in metadata.get_all("Classifier", []), f"The metadata lack “{classifier}”.")
    check(metadata.get_payload(), "The metadata lack the README.")


def check_sdist(sdist: Path) -> None:
    """See that the sdist has what a packager needs to build and test."""
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    for name in ("pyproject.toml", "README.md", "LICENSE", "constraints.txt", f"{PACKAGE}/py.typed"):
        check(name in names, f"The sdist lacks {name}.")
    for folder in ("tests", "example_dags"):
        check(any(name.startswith(f"{folder}/") for name in names), f"The sdist lacks {folder}/.")


def install(wheel: Path, *more: str, extra: str = "") -> Path:
    """
    Install the wheel with its pinned requirements into a clean environment; return the folder of its programs.

    :param more: further distributions.
    :param extra: an extra of the provider.
    """
    venv.create(CLEAN, clear=True, with_pip=True)
    programs = CLEAN / "bin"
    pip: list[str | Path] = [programs / "python", "-m", "pip", "--disable-pip-version-check"]
    wanted = f"{wheel}[{extra}]" if extra else str(wheel)
    run([*pip, "install", "--quiet", "--no-input", "-c", ROOT / "constraints.txt", wanted, *more])
    run([*pip, "check"])
    return programs


def clean_environment(home: str | Path) -> dict[str, str]:
    """Return the environment for programs of the clean environment: nothing of this process's Airflow or Python."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("AIRFLOW", "PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "PYTEST"))
    } | {"AIRFLOW_HOME": str(home), "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}


def check_airflow(airflow: Path) -> None:
    """Ask Airflow for all it knows of the provider; it must show it everywhere and complain nowhere."""
    with tempfile.TemporaryDirectory(prefix="check-package-") as home:
        environment = clean_environment(home)

        def ask(*arguments: str) -> list[dict[str, Any]]:
            done = run([airflow, "providers", *arguments, "--output", "json"], environment)
            rows: list[dict[str, Any]] = json.loads(done.stdout)
            mine = [row for row in rows if PROVIDER in str(row) or PACKAGE in str(row) or CONNECTION_TYPE in str(row)]
            command = f"airflow providers {' '.join(arguments)}"
            check(mine, f"{command} does not show the provider.")
            for row in mine:
                check(not FAILED_VALUE.search(str(row)), f"{command}: {row}")
            for line in done.stderr.splitlines():
                ours = PROVIDER in line or PACKAGE in line or CONNECTION_TYPE in line
                check(not (ours and COMPLAINT.search(line)), f"{command}: {line}")
            print(f"  {command:<55} {len(mine)} row{'s' if len(mine) > 1 else ''}")
            return mine

        # The first command also makes Airflow's configuration file, and tells so.
        run([airflow, "version"], environment)
        ask("get", PROVIDER, "--full")
        check(
            "--watch" in run([airflow, "mpc", "jobs", "--help"], environment).stdout, "airflow mpc jobs is not there."
        )
        for listing in ("list", "hooks", "triggers", "widgets", "behaviours", "configs", "links"):
            ask(listing)


def main() -> int:
    """Do all of it; return 0 if the package is as it should be."""
    try:
        wheel, sdist = build()
        print(f"Built {wheel.name} ({wheel.stat().st_size // 1024} kB) and {sdist.name}.")
        check_wheel(wheel)
        check_sdist(sdist)
        print("Installing the wheel into a clean environment …")
        check_airflow(install(wheel) / "airflow")
    except PackageError as error:
        print(f"The package is not right: {error}", file=sys.stderr)
        return 1
    print("The package is as it should be.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
