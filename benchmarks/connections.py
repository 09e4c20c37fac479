# SPDX-License-Identifier: Apache-2.0
"""The connections of the triggerers under test; imports no Airflow."""

from __future__ import annotations

import json

OURS_CONNECTION = "bench_mpc"
PEER_CONNECTION = "bench_dbt"


def connections(port: int) -> dict[str, str]:
    """Return the environment variables that define the connections to a server on loopback."""
    ours = {
        "conn_type": "huaweicloud_mpc",
        "host": "http://127.0.0.1",
        "port": port,
        "login": "BENCHMARKACCESSKEYID",
        "password": "benchmark-secret-access-key-of-40-chars",
        "extra": {"auth_method": "aksk", "project_id": "0123456789abcdef0123456789abcdef"},
    }
    peer = {"conn_type": "dbt_cloud", "host": f"127.0.0.1:{port}", "login": "1", "password": "benchmark-api-token"}
    return {
        f"AIRFLOW_CONN_{OURS_CONNECTION.upper()}": json.dumps(ours),
        f"AIRFLOW_CONN_{PEER_CONNECTION.upper()}": json.dumps(peer),
    }
