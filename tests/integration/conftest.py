# SPDX-License-Identifier: Apache-2.0
"""No proxy, CA bundle or netrc of the machine, and no credentials of another test."""

from __future__ import annotations

import os

import pytest

from airflow_provider_mpc.api import auth, budget


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch, tmp_path):
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NETRC"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture(autouse=True)
def _own_memory(monkeypatch):
    auth.forget_credentials()
    monkeypatch.setattr(budget, "_budgets", {})
    yield
    auth.forget_credentials()
