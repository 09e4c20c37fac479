# SPDX-License-Identifier: Apache-2.0
"""The parts of IAM a client needs: tokens and projects."""

from __future__ import annotations

import json
from typing import Any

from starlette.responses import JSONResponse, Response

from airflow_provider_mpc.emulator.accounts import Account, Token, iso_time
from airflow_provider_mpc.emulator.calls import Call
from airflow_provider_mpc.emulator.replies import keystone_error
from airflow_provider_mpc.emulator.state import Emulator
from airflow_provider_mpc.emulator.verification import check_caller

CATALOGUE_SERVICES = 60


async def create_token(emulator: Emulator, call: Call) -> Response:
    """``POST /v3/auth/tokens``, by password."""
    account = emulator.account
    try:
        auth = json.loads(call.body)["auth"]
        identity = auth["identity"]
        methods, user = identity["methods"], identity["password"]["user"]
        name, password, domain = user["name"], user["password"], user["domain"]["name"]
        project_id = _scope(auth.get("scope") or {}, account)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise keystone_error(400, "The request body is invalid.") from None
    if methods != ["password"]:
        raise keystone_error(400, "Only the method password is played here.")
    known = (name, domain) == (account.user, account.domain)
    if not known or password != account.password:
        raise keystone_error(401, "The username or password is wrong.")
    if project_id is not None and project_id not in account.projects.values():
        raise keystone_error(404, "Could not find the project of the scope.")
    with_catalogue = ("nocatalog", "true") not in call.query
    token = account.issue_token(project_id, with_catalogue)
    body = {"token": _describe(token, account, with_catalogue)}
    return JSONResponse(body, 201, {"X-Subject-Token": token.id})


async def list_projects(emulator: Emulator, call: Call) -> Response:
    """``GET /v3/projects?name=…``, signed or with a token."""
    check_caller(call, emulator.account, emulator.variant)
    wanted = [value for name, value in call.query if name == "name"]
    return _projects(emulator.account, wanted)


async def list_auth_projects(emulator: Emulator, call: Call) -> Response:
    """``GET /v3/auth/projects``: those the caller may use."""
    check_caller(call, emulator.account, emulator.variant)
    return _projects(emulator.account, [])


def _scope(scope: dict[str, Any], account: Account) -> str | None:
    project = scope.get("project")
    if project is None:
        return None
    if "id" in project:
        return str(project["id"])
    return account.projects.get(project["name"], "unknown")


def _projects(account: Account, names: list[str]) -> Response:
    projects = [
        {
            "id": project_id,
            "name": name,
            "domain_id": account.domain_id,
            "parent_id": account.domain_id,
            "enabled": True,
            "is_domain": False,
            "description": "",
            "links": {"self": f"/v3/projects/{project_id}"},
        }
        for name, project_id in account.projects.items()
        if not names or name in names
    ]
    return JSONResponse({"links": {"self": "/v3/projects", "next": None, "previous": None}, "projects": projects})


def _describe(token: Token, account: Account, with_catalogue: bool) -> dict[str, Any]:
    domain = {"id": account.domain_id, "name": account.domain}
    described: dict[str, Any] = {
        "expires_at": iso_time(token.expires_at),
        "issued_at": iso_time(token.issued_at),
        "methods": ["password"],
        "user": {
            "id": account.domain_id[::-1],
            "name": account.user,
            "domain": domain,
            "password_expires_at": "",
        },
        "roles": [{"id": "0", "name": "te_admin"}],
    }
    if token.project_id is None:
        described["domain"] = domain
    else:
        name = next(name for name, project_id in account.projects.items() if project_id == token.project_id)
        described["project"] = {"id": token.project_id, "name": name, "domain": domain}
    if with_catalogue:
        described["catalog"] = [_service(number, account.region) for number in range(CATALOGUE_SERVICES)]
    return described


def _service(number: int, region: str) -> dict[str, Any]:
    name = f"service{number}"
    endpoint = {
        "id": f"{number:032x}",
        "interface": "public",
        "region": region,
        "region_id": region,
        "url": f"https://{name}.{region}.myhuaweicloud.com/v1.0",
    }
    return {"id": f"{number + 1000:032x}", "name": name, "type": name, "endpoints": [endpoint]}
