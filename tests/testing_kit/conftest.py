# SPDX-License-Identifier: Apache-2.0
"""The fixtures to be tested; a project of its own would name the plugin in ``pytest_plugins``."""

from __future__ import annotations

from airflow_provider_mpc.testing import mpc_connection, mpc_emulator, mpc_media, mpc_server

__all__ = ["mpc_connection", "mpc_emulator", "mpc_media", "mpc_server"]
