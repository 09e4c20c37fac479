# SPDX-License-Identifier: Apache-2.0
"""The command is known to Airflow, and costs next to nothing when another one is run."""

from __future__ import annotations

import subprocess
import sys

from airflow_provider_mpc.get_provider_info import get_provider_info

PROBE = """
import sys
from airflow.cli import cli_parser
loaded = set(sys.modules)
print("mpc" in cli_parser.ALL_COMMANDS_DICT, sorted(
    name for name in loaded
    if name in ("requests", "pydantic_core._airflow") or name.startswith("airflow_provider_mpc.") and name.split(".")[1]
    not in ("cli", "connection", "configuration", "get_provider_info")
))
"""


def test_the_command_is_there_and_loads_nothing_of_the_provider() -> None:
    done = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "True []", done.stdout


def test_provider_info_names_functions_that_exist() -> None:
    from importlib import import_module

    info = get_provider_info()
    paths = [*info["cli"], *(entry["handler"] for entry in info["asset-uris"])]
    for path in paths:
        module, _, name = path.rpartition(".")
        assert callable(getattr(import_module(module), name))
