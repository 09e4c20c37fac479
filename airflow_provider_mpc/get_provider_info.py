# SPDX-License-Identifier: Apache-2.0
"""
What Airflow reads when it starts. Imports nothing heavy: it is loaded in each of Airflow's processes.

A key that is not needed is left out: one null breaks Airflow's provider manager for all providers.
"""

from __future__ import annotations

from typing import Any

from airflow_provider_mpc import __version__, configuration, connection

_INTEGRATION = "Huawei Cloud MPC"


def get_provider_info() -> dict[str, Any]:
    """Return the provider's description, in the shape of Airflow's ``provider_info.schema.json``."""
    return {
        "package-name": "airflow-provider-mpc",
        "name": "Huawei Cloud MPC",
        "description": "Huawei Cloud MPC (Media Processing Center): query, await and use clipping tasks.",
        "versions": [__version__],
        "integrations": [
            {
                "integration-name": _INTEGRATION,
                "external-doc-url": "https://support.huaweicloud.com/intl/en-us/mpc/",
                "tags": ["service"],
            }
        ],
        "connection-types": [
            {
                "connection-type": connection.CONNECTION_TYPE,
                "hook-class-name": connection.HOOK_CLASS,
                "hook-name": connection.HOOK_NAME,
                # Read by Airflow 3.2 and newer; 3.1 has no form for fields in extra and ignores the keys.
                "conn-fields": connection.conn_fields(),
                "ui-field-behaviour": connection.ui_field_behaviour(),
            }
        ],
        "hooks": [{"integration-name": _INTEGRATION, "python-modules": ["airflow_provider_mpc.hooks.mpc"]}],
        "sensors": [{"integration-name": _INTEGRATION, "python-modules": ["airflow_provider_mpc.sensors.mpc"]}],
        "operators": [{"integration-name": _INTEGRATION, "python-modules": ["airflow_provider_mpc.operators.mpc"]}],
        "triggers": [{"integration-name": _INTEGRATION, "python-modules": ["airflow_provider_mpc.triggers.mpc"]}],
        "extra-links": ["airflow_provider_mpc.links.mpc.MpcClipLink"],
        "asset-uris": [{"schemes": ["obs"], "handler": "airflow_provider_mpc.assets.sanitize_uri"}],
        # Read by Airflow 3.2 and newer.
        "cli": ["airflow_provider_mpc.cli.definition.get_mpc_cli_commands"],
        "config": configuration.config_section(),
    }
