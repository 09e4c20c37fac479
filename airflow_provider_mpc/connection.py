# SPDX-License-Identifier: Apache-2.0
"""
The fields of a ``huaweicloud_mpc`` connection, declared once: the form that Airflow shows, the parser
that reads a connection, the words of its errors and the reference in the docs are all made from this.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from airflow_provider_mpc.api.client import MpcClient, RetryPolicy

CONNECTION_TYPE = "huaweicloud_mpc"
HOOK_NAME = "Huawei Cloud MPC"
DEFAULT_CONNECTION_ID = "mpc_default"
HOOK_CLASS = "airflow_provider_mpc.hooks.mpc.MpcHook"

AUTH_METHODS = {
    "aksk": "aksk: access key and secret key",
    "token": "token: a ready X-Auth-Token",
    "password": "password: IAM user and password",
    "agency": "agency: keys of the ECS server",
}
# huaweicloudsdkmpc/v1/region/mpc_region.py
_REGIONS = ("cn-north-4", "cn-north-1", "cn-east-2", "cn-east-3", "cn-south-1", "ap-southeast-3")

# huaweicloudsdkmpc/v1/region/mpc_region.py: the one region whose address does not follow the pattern.
_ENDPOINTS = {"cn-north-1": "https://mts.cn-north-1.myhuaweicloud.com"}
_REGIONS_IN_EU = ("eu-west-101",)
_TRUE = frozenset({"true", "t", "yes", "y", "on", "1"})
_FALSE = frozenset({"false", "f", "no", "n", "off", "0"})


@dataclass(frozen=True)
class Field:
    """
    One field of the connection.

    :param name: its name in the connection, or in the connection's extra.
    :param label: what the form calls it.
    :param help: a sentence or two under the field.
    :param placeholder: an example shown in the empty field.
    :param in_extra: whether it lives in extra; the others are Airflow's own fields.
    :param secret: whether the form hides it.
    :param choices: the only values it takes, each with the words that the form shows for it.
    :param examples: values that the form offers, beside any other. A field in extra shows no placeholder otherwise.
    :param in_form: whether the form shows it.
    """

    name: str
    label: str
    help: str
    placeholder: str = ""
    in_extra: bool = True
    secret: bool = False
    choices: Mapping[str, str] = field(default_factory=dict)
    examples: tuple[str, ...] = ()
    in_form: bool = True


FIELDS = (
    Field(
        "login",
        "Access key (AK) or IAM user",
        "With the method aksk the Access Key ID, with password the IAM user's name; empty with token and agency.",
        "Access Key ID, or IAM user name",
        in_extra=False,
    ),
    Field(
        "password",
        "Secret key (SK), password or token",
        "With aksk the Secret Access Key, with password the IAM user's password, with token an X-Auth-Token.",
        "Secret Access Key, IAM password, or X-Auth-Token",
        in_extra=False,
        secret=True,
    ),
    Field(
        "host",
        "Endpoint",
        "Only for an endpoint of your own, such as https://mpc.example.com; normally it follows from the region. "
        "Without a scheme it is https.",
        "Empty: follows from the region",
        in_extra=False,
    ),
    Field(
        "port",
        "Port",
        # Airflow 3.3.2's page sends 0 for none, takes that for a change, and refuses to test.
        "443, or the port of an endpoint of your own. The Test button of Airflow 3.3 refuses a connection without one.",
        "443; the Test button needs it",
        in_extra=False,
    ),
    Field(
        "auth_method",
        "Authentication method",
        "aksk: access key, with a security token if temporary. token: a ready X-Auth-Token. password: an IAM user. "
        "agency: the keys of the ECS server that Airflow runs on. Empty: found out from the other fields.",
        choices=AUTH_METHODS,
    ),
    Field(
        "region",
        "Region",
        "The region of the jobs and their buckets, such as cn-north-4.",
        "cn-north-4",
        examples=_REGIONS,
    ),
    Field(
        "project_id",
        "Project ID",
        "The project of the region: 32 hexadecimal digits (console: My Credentials, API Credentials). "
        "Empty: looked up by the region's name.",
        "32 hexadecimal digits",
    ),
    Field(
        "domain_name",
        "Account name (domain)",
        "The account that the IAM user belongs to; for the method password.",
        "Account name",
    ),
    Field(
        "security_token",
        "Security token",
        "Belongs to temporary access keys; for the method aksk.",
        secret=True,
    ),
    Field(
        "iam_endpoint",
        "IAM endpoint",
        "Only for an IAM of your own, such as https://iam.example.com. Empty: follows from the region.",
        "https://iam.cn-north-4.myhuaweicloud.com",
    ),
    Field(
        "verify",
        "Verify TLS",
        "true, false, or the path of a CA bundle on all machines of Airflow. Empty: true.",
        "true",
        examples=("true", "false"),
    ),
    Field("timeout", "Timeout", "Seconds that one call to MPC may take in all. Empty: 30.", "30"),
    Field(
        "metadata_endpoint",
        "Metadata endpoint",
        "Where an ECS server's metadata service is; for tests of the method agency.",
        "http://169.254.169.254",
        in_form=False,
    ),
)

_LABELS = {one.name: one.label for one in FIELDS}


def conn_fields() -> dict[str, dict[str, Any]]:
    """Return ``conn-fields`` for provider info: the form's extra fields (read by Airflow 3.2 and newer)."""
    fields: dict[str, dict[str, Any]] = {}
    for one in FIELDS:
        if not (one.in_extra and one.in_form):
            continue
        schema: dict[str, Any] = {"type": ["string", "null"]}
        if one.choices:
            # A null among the choices would be shown as one; an empty choice is "not chosen".
            schema["enum"] = list(one.choices)
            schema["values_display"] = dict(one.choices)
        if one.examples:
            schema["examples"] = list(one.examples)
        if one.secret:
            schema["format"] = "password"
        fields[one.name] = {"label": one.label, "description": one.help, "schema": schema}
    return fields


def ui_field_behaviour() -> dict[str, Any]:
    """Return ``ui-field-behaviour`` for provider info: how Airflow's own fields are named here."""
    own = [one for one in FIELDS if not one.in_extra]
    return {
        "hidden-fields": ["schema"],
        "relabeling": {one.name: one.label for one in own},
        "placeholders": {one.name: one.placeholder for one in FIELDS if one.placeholder and one.in_form},
    }


def mpc_endpoint(region: str) -> str:
    """Return MPC's address in a region."""
    return _ENDPOINTS.get(region, f"https://mpc.{region}.myhuaweicloud.{_top_level(region)}")


def iam_endpoint(region: str) -> str:
    """Return IAM's address in a region."""
    return f"https://iam.{region}.myhuaweicloud.{_top_level(region)}"


def _top_level(region: str) -> str:
    return "eu" if region in _REGIONS_IN_EU else "com"


@dataclass(frozen=True)
class ConnectionSettings:
    """
    A connection, read and checked. Equal settings are one identity: they share a poller and a token.

    :param timeout: seconds for one call; None: the default.
    """

    endpoint: str
    iam_endpoint: str
    auth_method: str
    region: str | None
    project_id: str | None
    login: str | None = field(repr=False)
    password: str | None = field(repr=False)
    domain_name: str | None
    security_token: str | None = field(repr=False)
    metadata_endpoint: str | None
    verify: bool | str
    timeout: float | None

    def client(self, *, calls_per_minute: float, retry: RetryPolicy | None = None) -> MpcClient:
        """
        Return a client for this connection. Makes no call.

        :param calls_per_minute: limit of the process for this endpoint and project.
        :param retry: how queries are repeated.
        """
        from airflow_provider_mpc.api.client import MpcClient, RetryPolicy, Target
        from airflow_provider_mpc.api.transport import DEFAULT_TIMEOUT, Transport

        transport = Transport(verify=self.verify, timeout=self.timeout or DEFAULT_TIMEOUT)
        return MpcClient(
            target=Target(self.endpoint, self.iam_endpoint, self.region, self.project_id),
            authenticator=self._authenticator(transport),
            transport=transport,
            calls_per_minute=calls_per_minute,
            retry=retry or RetryPolicy(),
        )

    def _authenticator(self, transport: Any) -> Any:
        from airflow_provider_mpc.api import auth, iam

        if self.auth_method == "token":
            return auth.TokenAuthenticator(self.password or "")
        if self.auth_method == "password":
            return auth.PasswordAuthenticator(
                identity=self,
                password=self.password or "",
                log_in=lambda: iam.log_in(
                    transport,
                    self.iam_endpoint,
                    user=self.login or "",
                    password=self.password or "",
                    domain=self.domain_name or "",
                    project_id=self.project_id,
                    project_name=self.region,
                ),
            )
        if self.auth_method == "agency":
            address = self.metadata_endpoint or iam.METADATA_ENDPOINT
            return auth.AgencyAuthenticator(address, lambda: iam.agency_keys(transport, address))
        return auth.AkSkAuthenticator(
            auth.AccessKey(self.login or "", self.password or "", self.security_token or None)
        )


def read_connection(
    *,
    login: str | None,
    password: str | None,
    host: str | None,
    port: int | None,
    extra: Any,
) -> ConnectionSettings:
    """
    Read and check a connection's fields; makes no call.

    :raises MpcConfigurationError: a field is missing, contradicts another, or has no sense. It names
        the field as the form does.
    """
    if not isinstance(extra, Mapping):
        from airflow_provider_mpc.api.errors import MpcConfigurationError

        raise MpcConfigurationError(
            f"The connection's extra is a JSON {type(extra).__name__}", advice='It must be an object: {"region": "…"}.'
        )
    given = _Given({**extra, "login": login, "password": password, "host": host, "port": port})
    method = _auth_method(given)
    _require_for_method(given, method)
    region = (given.text("region") or "").lower() or None
    own_endpoint = given.text("host")
    if not region and not own_endpoint:
        raise given.error("region", "is empty", "Fill it in (such as cn-north-4), or give an endpoint of your own.")
    if region and not all(part.isalnum() for part in region.split("-")):
        raise given.error("region", f"is {region!r}", "A region id looks like cn-north-4 or ap-southeast-3.")
    own_iam = given.text("iam_endpoint")
    project_id = given.text("project_id")
    if not project_id and not region:
        raise given.error("project_id", "is empty, and there is no region to find it by", "Fill in one of the two.")
    endpoint = _address(given, "host", own_endpoint or mpc_endpoint(region or ""), given.port())
    iam = "https://iam.myhuaweicloud.com"
    if own_iam:
        iam = _address(given, "iam_endpoint", own_iam, None)
    elif region:
        iam = iam_endpoint(region)
    metadata = given.text("metadata_endpoint")
    return ConnectionSettings(
        endpoint=endpoint,
        iam_endpoint=iam,
        auth_method=method,
        region=region,
        project_id=project_id,
        login=given.text("login"),
        password=given.text("password"),
        domain_name=given.text("domain_name"),
        security_token=given.text("security_token"),
        metadata_endpoint=_address(given, "metadata_endpoint", metadata, None) if metadata else None,
        verify=given.verify(),
        timeout=given.timeout(),
    )


def misspelt(extra: Any) -> list[tuple[str, str]]:
    """Return the names in a connection's extra that are nearly one of the fields', each with that field's."""
    names = [one.name for one in FIELDS if one.in_extra]
    unknown = [name for name in extra if name not in names] if isinstance(extra, Mapping) else []
    if not unknown:
        return []
    import difflib

    near = ((name, difflib.get_close_matches(str(name).lower(), names, n=1, cutoff=0.8)) for name in unknown)
    return [(name, matches[0]) for name, matches in near if matches]


class _Given:
    """The raw values of a connection; all may be text, as forms and URIs send them."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values

    def error(self, name: str, problem: str, advice: str) -> Exception:
        from airflow_provider_mpc.api.errors import MpcConfigurationError

        where = f"'{_LABELS[name]}' ({name})"
        return MpcConfigurationError(f"The connection's field {where} {problem}", advice=advice)

    def text(self, name: str) -> str | None:
        value = self._values.get(name)
        if value is None:
            return None
        if not isinstance(value, (str, int, float, bool)):
            raise self.error(name, f"is a {type(value).__name__}", "It must be text.")
        text = str(value).strip()
        if not text.isprintable():
            raise self.error(name, "holds a line break or another unprintable character", "Copy its value again.")
        return text or None

    def port(self) -> int | None:
        text = self.text("port")
        if text is None:
            return None
        if not text.isdecimal() or not 0 < int(text) < 65536:
            raise self.error("port", f"is {text!r}", "A port is a number from 1 to 65535.")
        return int(text)

    def verify(self) -> bool | str:
        text = self.text("verify")
        if text is None or text.lower() in _TRUE:
            return True
        if text.lower() in _FALSE:
            return False
        if not os.path.exists(text):
            raise self.error(
                "verify",
                f"is {text!r}, which is neither true nor false nor a file on this machine",
                "Give true, false, or the path of a CA bundle that all machines of Airflow have.",
            )
        if os.path.isfile(text):
            import ssl

            try:
                ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(text)
            except OSError:
                raise self.error(
                    "verify", f"is {text!r}, which holds no certificates", "Give a file in PEM format."
                ) from None
        return text

    def timeout(self) -> float | None:
        text = self.text("timeout")
        if text is None:
            return None
        try:
            seconds = float(text)
        except ValueError:
            seconds = -1.0
        if not 0 < seconds <= 600:
            raise self.error("timeout", f"is {text!r}", "Give seconds, more than 0 and at most 600.")
        return seconds


def _auth_method(given: _Given) -> str:
    chosen = given.text("auth_method")
    if chosen is not None:
        if chosen.lower() not in AUTH_METHODS:
            raise given.error("auth_method", f"is {chosen!r}", f"It is one of {', '.join(AUTH_METHODS)}.")
        return chosen.lower()
    login, password = given.text("login"), given.text("password")
    if given.text("security_token"):
        return "aksk"
    if login and password:
        return "password" if given.text("domain_name") else "aksk"
    if login:
        return "aksk"
    if password:
        return "password" if given.text("domain_name") else "token"
    raise given.error(
        "login",
        "is empty, and so is the one for the secret",
        "Fill in access key and secret key, or choose an authentication method (agency needs neither).",
    )


_NEEDED = {
    "aksk": ("login", "password"),
    "token": ("password",),
    "password": ("login", "password", "domain_name"),
}
_FORBIDDEN = {
    "token": ("login", "security_token"),
    "password": ("security_token",),
    "agency": ("login", "password", "security_token"),
}
_IN_HEADERS = {
    "aksk": ("login", "security_token", "project_id"),
    "token": ("password", "project_id"),
    "password": ("project_id",),
    "agency": ("project_id",),
}


def _require_for_method(given: _Given, method: str) -> None:
    for name in _NEEDED.get(method, ()):
        if not given.text(name):
            raise given.error(name, "is empty", f"The authentication method {method} needs it.")
    for name in _IN_HEADERS.get(method, ()):
        if not (given.text(name) or "").isascii():
            raise given.error(name, "holds a character that is not ASCII", "Copy its value again.")
    for name in _FORBIDDEN.get(method, ()):
        if given.text(name):
            raise given.error(
                name,
                f"is filled in, but the authentication method is {method}",
                "Empty it or change the method.",
            )


def _address(given: _Given, name: str, text: str, port: int | None) -> str:
    """Return scheme, host and port of an address, which may come without scheme."""
    try:
        url = urlsplit(text if "://" in text else f"https://{text}")
        own_port = url.port
        sound = url.scheme in ("http", "https") and bool(url.hostname) and own_port != 0 and " " not in url.netloc
    except ValueError:
        sound = False
    if not sound:
        raise given.error(
            name, f"is {_without_login(text)!r}", "Give a host name, or https://host, or https://host:port."
        )
    if url.username or url.password or url.query or url.fragment:
        raise given.error(name, "holds more than an address", "Give only scheme, host and port.")
    if own_port is not None and port is not None and own_port != port:
        raise given.error("port", f"is {port}, but the endpoint has port {own_port}", "Give it once.")
    chosen = own_port if own_port is not None else port
    host = f"[{url.hostname}]" if ":" in (url.hostname or "") else url.hostname
    default = {"http": 80, "https": 443}[url.scheme]
    return f"{url.scheme}://{host}{'' if chosen in (None, default) else f':{chosen}'}{url.path.rstrip('/')}"


def _without_login(text: str) -> str:
    return text.rpartition("@")[2]
