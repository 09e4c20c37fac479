# SPDX-License-Identifier: Apache-2.0
"""
Airflow's own page in a browser. ``make browser-test`` runs these; ``make test`` leaves them out.

With ``SCREENSHOTS=1`` the pictures in the docs are taken anew.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_mpc.emulator import Emulator, EmulatorServer

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from scripts.live_airflow import ROOT, LiveAirflow

collect_ignore_glob = [] if os.environ.get("BROWSER") else ["test_*.py"]

SCREENSHOTS = ROOT / "docs" / "screenshots"
IN_DOCS = (
    "connection-form",
    "connection-form-extra",
    "task-deferred",
    "task-succeeded",
    "task-xcom",
    "test-button-works",
    "test-button-wrong-secret",
)
# The rest are switches that keep Chromium from calling home.
CHROMIUM = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SLOW_MACHINE = 60_000


@pytest.fixture(scope="session")
def emulator() -> Emulator:
    """Return MPC's stand-in."""
    return Emulator(calls_per_minute=100)


@pytest.fixture(scope="session")
def emulator_server(emulator: Emulator) -> Iterator[EmulatorServer]:
    """Serve it."""
    with EmulatorServer(emulator) as server:
        yield server


@pytest.fixture(scope="session")
def airflow() -> Iterator[LiveAirflow]:
    """Run Airflow with an empty list of connections."""
    with LiveAirflow(dags=[ROOT / "example_dags" / "example_mpc_pipeline.py"]) as airflow:
        yield airflow


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Start Chromium with a profile of its own."""
    from playwright.sync_api import sync_playwright

    executable = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    assert executable, "Chromium is missing. On Debian: apt-get install chromium"
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile, sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            profile,
            executable_path=executable,
            args=CHROMIUM,
            headless=True,
            locale="en-US",
            color_scheme="light",
            timezone_id="UTC",
            viewport={"width": 1280, "height": 1000},
        )
        context.set_default_timeout(SLOW_MACHINE)
        yield context
        context.close()


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """Open a page."""
    page = browser.new_page()
    yield page
    page.close()


@pytest.fixture
def shoot(tmp_path: Path) -> Callable[..., None]:
    """Return what takes a picture of a page or a part of it."""

    def take(what: Any, name: str, **options: Any) -> None:
        folder = SCREENSHOTS if os.environ.get("SCREENSHOTS") and name in IN_DOCS else tmp_path
        folder.mkdir(parents=True, exist_ok=True)
        what.screenshot(path=folder / f"{name}.png", animations="disabled", **options)

    return take
