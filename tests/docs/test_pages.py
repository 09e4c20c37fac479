# SPDX-License-Identifier: Apache-2.0
"""What the pages tell from the code is current, and all that there is has a page."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
import yaml

from airflow_provider_mpc import __version__, connection
from airflow_provider_mpc.api import replies
from airflow_provider_mpc.operators import mpc as operators
from scripts import make_docs

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.glob("*.md"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_is_made_from_the_code_is_current(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert make_docs.made(text) == text, "run python -m scripts.make_docs"


def test_every_part_that_can_be_made_is_on_a_page() -> None:
    texts = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    assert set(re.findall(r"<!-- made: ([\w-]+) -->", texts)) == set(make_docs._PARTS)


def test_every_field_of_the_connection_is_told() -> None:
    text = (DOCS / "connection.md").read_text(encoding="utf-8")
    for field in connection.FIELDS:
        assert f"`{field.name}`" in text or f"| {field.name} |" in text
        assert field.help in text


def test_every_code_that_the_client_knows_has_a_cure() -> None:
    text = (DOCS / "troubleshooting.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("|")]
    for code in replies._CLASS_BY_CODE:
        (row, *_) = [line for line in rows if code in line.split("|")[1]]
        assert row.split("|")[4].strip(), f"{code} has no cure"


def test_every_operator_has_a_page() -> None:
    texts = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    for name in vars(operators):
        if name.startswith("Mpc") and name.endswith("Operator"):
            assert name in texts, name


def test_every_page_is_in_the_navigation() -> None:
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    listed = re.findall(r"[\w-]+\.md", str(yaml.safe_load(text)["nav"]))
    assert sorted(listed) == [page.name for page in PAGES]


def test_the_changelog_tells_of_this_version() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(rf"^## {re.escape(__version__)}\b", text, re.MULTILINE)


def test_the_picture_is_a_picture_that_tells_what_it_shows() -> None:
    root = ET.fromstring((DOCS / "architecture.svg").read_text(encoding="utf-8"))
    svg = "{http://www.w3.org/2000/svg}"
    assert root.tag == f"{svg}svg"
    assert root.find(f"{svg}title") is not None
    width = float(root.attrib["width"])
    for box in root.iter(f"{svg}rect"):
        assert float(box.get("x", 0)) + float(box.attrib["width"]) <= width
