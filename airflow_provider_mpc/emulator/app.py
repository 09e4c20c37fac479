# SPDX-License-Identifier: Apache-2.0
"""The routes of the emulator: one port plays the hosts of MPC, IAM and the metadata service."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.routing import Route

from airflow_provider_mpc.emulator import admin, iam, metadata_service, mpc
from airflow_provider_mpc.emulator.calls import OTHER
from airflow_provider_mpc.emulator.gateway import Handler, endpoint, no_such_api
from airflow_provider_mpc.emulator.state import Emulator

ALL_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
ROUTES: list[tuple[str, str, str, Handler]] = [
    ("GET", "/v2/{project_id}/editing/jobs", "list", mpc.list_jobs),
    ("POST", "/v2/{project_id}/editing/jobs", "create", mpc.create_job),
    ("DELETE", "/v2/{project_id}/editing/jobs/{job_id:path}", "delete", mpc.delete_job),
    ("POST", "/v3/auth/tokens", "token", iam.create_token),
    ("GET", "/v3/projects", "projects", iam.list_projects),
    ("GET", "/v3/auth/projects", "auth_projects", iam.list_auth_projects),
    ("PUT", "/meta-data/latest/api/token", "metadata_token", metadata_service.create_metadata_token),
    ("GET", "/openstack/latest/securitykey", "security_key", metadata_service.security_key),
]


def make_app(emulator: Emulator) -> Starlette:
    """Return the ASGI application of an emulator."""
    routes = [Route(path, endpoint(emulator, api, call), methods=[method]) for method, path, api, call in ROUTES]
    rest = Route("/{path:path}", endpoint(emulator, OTHER, no_such_api), methods=ALL_METHODS)
    return Starlette(routes=[*admin.routes(emulator), *routes, rest])
