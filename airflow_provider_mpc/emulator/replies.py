# SPDX-License-Identifier: Apache-2.0
"""Error replies in the three shapes Huawei Cloud uses: MPC's own, the API gateway's, and Keystone's (IAM)."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from http import HTTPStatus

from starlette.responses import JSONResponse, Response

# The gateway's texts all begin with this when a caller cannot be told.
UNAUTHENTICATED = "Incorrect IAM authentication information: "

GATEWAY_STATUSES = {
    "APIGW.0101": 404,
    "APIGW.0103": 404,
    "APIGW.0104": 400,
    "APIGW.0201": 504,
    "APIGW.0301": 401,
    "APIGW.0302": 403,
    "APIGW.0307": 401,
    "APIGW.0308": 429,
    "APIGW.0310": 403,
    "APIGW.0501": 405,
    "APIGW.0601": 500,
    "APIGW.0602": 400,
    "APIGW.0610": 502,
    "APIGW.0613": 503,
}
MPC_ERRORS = {
    "MPC.10202": (400, "Invalid request parameter."),
    "MPC.10203": (401, "Identity authentication failed."),
    "MPC.10204": (400, "Invalid request method."),
    "MPC.10205": (400, "Invalid content type."),
    "MPC.10206": (401, "The account is not real-name verified."),
    "MPC.10207": (401, "The account is in an abnormal state."),
    "MPC.10208": (401, "Tenant ID verification failed."),
    "MPC.10209": (403, "Invalid input or output OBS path."),
    "MPC.10211": (403, "The task does not exist."),
    "MPC.10212": (403, "Operation failed."),
    "MPC.10213": (403, "The task is not in a final state."),
    "MPC.10050": (406, "System error."),
}


class ApiError(Exception):
    """
    An error that ends a call.

    :param status: the HTTP status.
    :param body: the JSON body.
    """

    def __init__(self, status: int, body: Mapping[str, object], headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status, body)
        self.status = status
        self.body = body
        self.headers = dict(headers or {})

    def response(self) -> Response:
        """Return the error as a reply."""
        return JSONResponse(self.body, self.status, self.headers)


def gateway_error(
    code: str, message: str, status: int | None = None, headers: Mapping[str, str] | None = None
) -> ApiError:
    """Return an error of the API gateway; its body carries a ``request_id``."""
    body = {"error_msg": message, "error_code": code, "request_id": uuid.uuid4().hex}
    return ApiError(status or GATEWAY_STATUSES.get(code, 400), body, headers)


def unauthenticated(reason: str, code: str = "APIGW.0301") -> ApiError:
    """Return the gateway's error for credentials it does not take."""
    return gateway_error(code, UNAUTHENTICATED + reason, 401)


def mpc_error(code: str, message: str | None = None, status: int | None = None) -> ApiError:
    """Return an error of MPC itself."""
    usual_status, usual_message = MPC_ERRORS.get(code, (400, "Operation failed."))
    return ApiError(status or usual_status, {"error_code": code, "error_msg": message or usual_message})


def keystone_error(status: int, message: str) -> ApiError:
    """Return an error of IAM v3."""
    title = HTTPStatus(status).phrase
    return ApiError(status, {"error": {"code": status, "message": message, "title": title}})
