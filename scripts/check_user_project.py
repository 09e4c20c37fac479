# SPDX-License-Identifier: Apache-2.0
"""Test a user's project with the wheel: the one that ``docs/testing.md`` shows, file by file.

Run as ``python -m scripts.check_user_project`` in the environment of the developers' tools. It uses the folders
``dist`` and ``.venv-package``.
"""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path

from scripts.check_package import ROOT, PackageError, build, check, clean_environment, install, run

PAGE = ROOT / "docs" / "testing.md"
_FILE = re.compile(r"^\*\*`(?P<path>[\w./-]+)`\*\*\n\n```\w*\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


def files_of(page: str) -> dict[str, str]:
    """Return the files that a page shows: a code block below a line with a path in bold."""
    return {found["path"]: found["text"] for found in _FILE.finditer(page)}


def write_project(folder: Path) -> None:
    """Write the page's project into a folder."""
    files = files_of(PAGE.read_text(encoding="utf-8"))
    check(any(path.startswith("tests/test_") for path in files), f"{PAGE.name} shows no test.")
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")


def main() -> int:
    """Build, install, run the project's tests; return 0 if they pass."""
    try:
        wheel, _ = build()
        print(f"Installing {wheel.name} and pytest into a clean environment …")
        programs = install(wheel, "pytest", extra="emulator")
        with tempfile.TemporaryDirectory(prefix="user-project-") as folder:
            write_project(Path(folder))
            done = run([programs / "python", "-m", "pytest", "-ra"], clean_environment(folder), Path(folder))
        summary = done.stdout.splitlines()[-1].strip("= ")
        check(re.match(r"\d+ passed", summary) and "skipped" not in summary, f"pytest says: {summary}")
    except PackageError as error:
        print(f"The project of {PAGE.name} does not work: {error}", file=sys.stderr)
        return 1
    print(f"The project of {PAGE.name} works as a user would have it: {summary}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
