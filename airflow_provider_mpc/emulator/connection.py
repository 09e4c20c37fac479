# SPDX-License-Identifier: Apache-2.0
"""The Airflow connection that leads to an emulator, in the forms ``AIRFLOW_CONN_…`` takes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal, get_args
from urllib.parse import quote, urlencode, urlsplit

from airflow_provider_mpc.emulator.state import Emulator

CONNECTION_TYPE = "huaweicloud_mpc"
ENVIRONMENT_VARIABLE = "AIRFLOW_CONN_MPC_DEFAULT"
Auth = Literal["aksk", "temporary", "token", "password", "agency"]


def make_connection(emulator: Emulator, url: str, auth: Auth) -> dict[str, Any]:
    """
    Return the connection's fields; a token or temporary key it needs is issued now.

    :param url: where the emulator listens.
    :param auth: how the connection authenticates.
    :raises ValueError: for an unknown way.
    """
    if auth not in get_args(Auth):
        raise ValueError(f"auth is one of {', '.join(get_args(Auth))}, not {auth!r}")
    login, password, extra = _credentials(emulator, url, auth)
    parts = urlsplit(url)
    return {
        "conn_type": CONNECTION_TYPE,
        "host": f"{parts.scheme}://{parts.hostname}",
        "port": parts.port,
        "login": login,
        "password": password,
        "extra": {"region": emulator.region, "project_id": emulator.project_id, "iam_endpoint": url, **extra},
    }


def as_json(connection: Mapping[str, Any]) -> str:
    """Return a connection as JSON."""
    return json.dumps({name: value for name, value in connection.items() if value is not None})


def as_uri(connection: Mapping[str, Any]) -> str:
    """Return a connection as a URI; the host's scheme follows the connection type, as Airflow writes it."""
    scheme, _, host = connection["host"].partition("://")
    login, password = connection["login"], connection["password"]
    user_info = "" if login is None else quote(login, safe="")
    if password is not None:
        user_info += ":" + quote(password, safe="")
    place = f"{user_info}@{host}" if user_info else host
    conn_type = connection["conn_type"].replace("_", "-")
    return f"{conn_type}://{scheme}://{place}:{connection['port']}/?{urlencode(connection['extra'])}"


def _credentials(emulator: Emulator, url: str, auth: Auth) -> tuple[str | None, str | None, dict[str, str]]:
    """Return login, password and what goes into extra; the method is found out from what is there."""
    if auth == "temporary":
        key = emulator.issue_temporary_key()
        return key.access, key.secret, {"security_token": key.security_token or ""}
    if auth == "token":
        return None, emulator.issue_token().id, {}
    if auth == "password":
        return emulator.user, emulator.password, {"domain_name": emulator.domain}
    if auth == "agency":
        return None, None, {"auth_method": "agency", "metadata_endpoint": url}
    return emulator.access_key, emulator.secret_key, {}
