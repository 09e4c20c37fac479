# SPDX-License-Identifier: Apache-2.0
"""The code blocks of README and docs."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_FENCE = re.compile(r"^```(?P<kind>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Sample:
    """
    A code block.

    :param line: of its first line of code, counted from 1.
    """

    page: str
    line: int
    kind: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def samples() -> list[Sample]:
    """Return all code blocks."""
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
    return [
        Sample(
            page.relative_to(ROOT).as_posix(),
            text.count("\n", 0, found.start("text")) + 1,
            found["kind"],
            found["text"],
        )
        for page in pages
        for text in [page.read_text(encoding="utf-8")]
        for found in _FENCE.finditer(text)
    ]


def of_kind(kind: str) -> list[Sample]:
    """Return the code blocks of a language."""
    return [sample for sample in samples() if sample.kind == kind]


def commands_of(sample: Sample) -> list[tuple[str, str]]:
    """Return the commands of a ``console`` or ``bash`` block, each with the output shown."""
    if sample.kind == "bash":
        return [(line, "") for line in sample.text.splitlines() if line.strip()]
    shown: list[tuple[str, str]] = []
    prompts = "$ " in sample.text
    for line in sample.text.splitlines():
        if line.startswith("$ ") or not prompts:
            shown.append((line.removeprefix("$ "), ""))
        else:
            command, output = shown.pop()
            shown.append((command, f"{output}{line}\n"))
    return shown
