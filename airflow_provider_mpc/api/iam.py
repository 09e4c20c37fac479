# SPDX-License-Identifier: Apache-2.0
"""The calls to IAM (api-iam) and to an ECS server's metadata service that authentication needs."""

from __future__ import annotations

import json
import time
from typing import Any
from urllib.parse import urlsplit

import pendulum

from airflow_provider_mpc.api import signing
from airflow_provider_mpc.api.auth import AccessKey, Authenticator, IamToken, Request, TemporaryKey
from airflow_provider_mpc.api.errors import (
    MpcAuthenticationError,
    MpcConfigurationError,
    MpcError,
    MpcProtocolError,
    MpcTransportError,
)
from airflow_provider_mpc.api.models import parse_object
from airflow_provider_mpc.api.redaction import Redactor
from airflow_provider_mpc.api.replies import AGENCY_ADVICE, IAM, METADATA, error_from, unexpected
from airflow_provider_mpc.api.transport import Reply, Transport

METADATA_ENDPOINT = "http://169.254.169.254"
_METADATA_TIMEOUT = 3.0
_METADATA_TOKEN_SECONDS = "21600"
_UNKNOWN_LIFE = 3600.0
"""Seconds a credential is taken to live if nobody told."""


def log_in(
    transport: Transport,
    iam_endpoint: str,
    *,
    user: str,
    password: str,
    domain: str,
    project_id: str | None,
    project_name: str | None,
) -> IamToken:
    """
    Get a project's token for a user and password (KeystoneCreateUserTokenByPassword).

    :raises MpcAuthenticationError: wrong user name, password or domain.
    """
    project = {"id": project_id} if project_id else {"name": project_name}
    account = {"name": user, "password": password, "domain": {"name": domain}}
    body = {
        "auth": {
            "identity": {"methods": ["password"], "password": {"user": account}},
            "scope": {"project": project},
        }
    }
    # Without nocatalog the token lists all services and outgrows the headers that proxies let through.
    reply = transport.send(
        "POST",
        f"{iam_endpoint}/v3/auth/tokens?nocatalog=true",
        headers={"Content-Type": "application/json;charset=utf8"},
        body=json.dumps(body).encode(),
        redact=Redactor((password,)),
    )
    if not reply.ok:
        raise _log_in_error(reply, error_from(reply, doing="log in to IAM", service=IAM))
    token = reply.headers.get("x-subject-token", "").strip()
    if not token:
        raise unexpected(reply, MpcProtocolError("IAM's reply has no token (X-Subject-Token)"))
    told = parse_object(reply.body).get("token")
    told = told if isinstance(told, dict) else {}
    bound_to = told.get("project")
    bound_id = bound_to.get("id") if isinstance(bound_to, dict) else None
    began_at, ends_at = _life(told.get("expires_at"))
    return IamToken(token, bound_id if isinstance(bound_id, str) else None, began_at, ends_at)


def _log_in_error(reply: Reply, error: MpcError) -> MpcError:
    # IAM says in JSON what it does not know: a project, a domain. A page, or the gateway's code, is not IAM's.
    from_gateway = (error.error_code or "").startswith("APIGW.")
    from_iam = bool(error.error_code or error.error_msg) and reply.body.lstrip()[:1] == b"{" and not from_gateway
    if error.status != 401 and not (from_iam and error.status in (400, 403, 404)):
        return error
    return MpcAuthenticationError(
        "IAM does not accept the user",
        status=error.status,
        error_code=error.error_code,
        error_msg=error.error_msg,
        request_id=error.request_id,
        advice=(
            "Check IAM user name, password, Account name (domain) and Region or Project ID of the connection. It must "
            "be an IAM user with programmatic access; a HUAWEI ID cannot log in here."
        ),
    )


def find_project(transport: Transport, iam_endpoint: str, name: str, authenticator: Authenticator) -> str:
    """
    Return the id of the project with a name (KeystoneListProjects); a region's main project has its name.

    :raises MpcConfigurationError: there is none, or more than one.
    """
    url = urlsplit(iam_endpoint)
    query = signing.canonical_query([("name", name)])
    path = f"{url.path.rstrip('/')}/v3/projects"
    request = Request("GET", path, query, {"Host": url.netloc, "Content-Type": "application/json"})
    address = f"{url.scheme}://{url.netloc}{path}?{query}"
    advice = "Put the Project ID into the connection (console: My Credentials, API Credentials)."
    renewed = False
    while True:
        proof = authenticator.authorize(request)
        reply = transport.send("GET", address, headers=proof.headers, redact=Redactor(proof.secrets))
        if reply.ok:
            break
        error = error_from(reply, doing=f"find the project of {name}", service=IAM, asker=authenticator)
        curable = isinstance(error, MpcAuthenticationError) and error.renewable and not renewed
        if not curable or not authenticator.renew(proof):
            raise error.with_advice(advice) if error.status == 403 else error
        renewed = True
    projects = parse_object(reply.body).get("projects")
    if not isinstance(projects, list):
        raise unexpected(reply, MpcProtocolError("IAM's reply has no list of projects"))
    ids = [
        project["id"]
        for project in projects
        if isinstance(project, dict) and project.get("name") == name and isinstance(project.get("id"), str)
    ]
    if len(ids) != 1:
        raise MpcConfigurationError(
            f"IAM knows {len(ids) or 'no'} project{'s'[: len(ids)]} named {name}", advice=advice
        )
    return str(ids[0])


def agency_keys(transport: Transport, metadata_endpoint: str) -> TemporaryKey:
    """
    Get temporary keys from the metadata service of the ECS server that this runs on.

    Version 2 of the service wants a token of its own; where it is not offered, version 1 goes without.

    :raises MpcAuthenticationError: the server has no agency, or this is no ECS server.
    """
    redact = Redactor()
    headers: dict[str, str] = {}

    def call(method: str, path: str, headers: dict[str, str]) -> Any:
        return transport.send(
            # Past any proxy: it would see the keys, and get those of its own server.
            method,
            metadata_endpoint + path,
            headers=headers,
            redact=redact,
            timeout=_METADATA_TIMEOUT,
            direct=True,
        )

    try:
        session = call(
            "PUT",
            "/meta-data/latest/api/token",
            {"X-Metadata-Token-Ttl-Seconds": _METADATA_TOKEN_SECONDS},
        )
        if session.ok:
            token = session.body.decode("ascii", "replace").strip()
            if not (token.isascii() and token.isprintable()):
                raise MpcProtocolError("The metadata service's reply is no token", status=session.status)
            headers, redact = {"X-Metadata-Token": token}, Redactor((token,))
        elif session.status not in (404, 405, 503):
            raise error_from(session, doing="open a session with the metadata service", service=METADATA)
        reply = call("GET", "/openstack/latest/securitykey", headers)
    except MpcTransportError as unreachable:
        raise MpcTransportError(
            f"The metadata service of this server does not answer: {unreachable.what}",
            advice="The method 'agency' works on a Huawei Cloud ECS server only; elsewhere choose another one.",
        ) from unreachable
    if not reply.ok:
        error = error_from(reply, doing="get keys for the agency", service=METADATA)
        if not error.retryable:
            error = MpcAuthenticationError(
                "The metadata service gives no keys",
                status=error.status,
                error_code=error.error_code,
                error_msg=error.error_msg,
                advice=AGENCY_ADVICE,
            )
        raise error
    credential = parse_object(reply.body).get("credential")
    credential = credential if isinstance(credential, dict) else {}
    parts = [credential.get(name) for name in ("access", "secret", "securitytoken")]
    if not all(isinstance(part, str) and part for part in parts):
        raise MpcProtocolError("The metadata service's reply has no keys")
    began_at, ends_at = _life(credential.get("expires_at"))
    return TemporaryKey(AccessKey(*map(str, parts)), began_at, ends_at)


def _life(expires_at: Any) -> tuple[float, float]:
    now = time.time()
    try:
        ends = pendulum.parse(expires_at) if isinstance(expires_at, str) else None
    except ValueError:
        ends = None
    # An end that has passed already tells of a wrong clock; a log-in at each call would not set it right.
    if isinstance(ends, pendulum.DateTime) and ends.timestamp() > now:
        return now, ends.timestamp()
    return now, now + _UNKNOWN_LIFE
