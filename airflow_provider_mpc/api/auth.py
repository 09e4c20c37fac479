# SPDX-License-Identifier: Apache-2.0
"""
The ways to prove to Huawei Cloud who one is.

An authenticator puts its proof on a request (:meth:`Authenticator.authorize`) and, if it can, gets a
fresh one (:meth:`Authenticator.renew`). Tokens and temporary keys are shared by all authenticators of
the same identity in a process; of ten threads that see one refused, one asks for another.
"""

from __future__ import annotations

import copy
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Generic, Protocol, TypeVar

from airflow_provider_mpc.api import signing
from airflow_provider_mpc.api.errors import MpcAuthenticationError, MpcError


@dataclass(frozen=True)
class Request:
    """A request to be authorised; path and query are exactly what goes on the wire."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes = b""


@dataclass(frozen=True)
class Proof:
    """
    A request's headers with the proof among them.

    :param credential: what :meth:`Authenticator.renew` must replace if it is refused.
    :param secrets: what must not appear in any text.
    """

    headers: Mapping[str, str] = field(repr=False)
    credential: object = field(repr=False)
    secrets: tuple[str, ...] = field(repr=False)


@dataclass(frozen=True)
class AccessKey:
    """An access key (AK) and its secret key (SK), with a security token if they are temporary."""

    access_key: str = field(repr=False)
    secret_key: str = field(repr=False)
    security_token: str | None = field(default=None, repr=False)

    def prove(self, request: Request) -> Proof:
        """Sign a request."""
        headers = {**request.headers, signing.DATE_HEADER: signing.sdk_date()}
        if self.security_token:
            headers["X-Security-Token"] = self.security_token
        headers["Authorization"] = signing.authorization(
            self.access_key,
            self.secret_key,
            request.method,
            request.path,
            request.query,
            headers,
            request.body,
        )
        return Proof(headers, self, (self.access_key, self.secret_key, self.security_token or ""))


def prove_by_token(request: Request, token: str) -> Proof:
    """Put a token on a request."""
    return Proof({**request.headers, "X-Auth-Token": token}, token, (token,))


class Authenticator(ABC):
    """One way to prove who one is."""

    signs: ClassVar[bool] = False
    """Whether it signs requests, which fails where the clock is wrong."""

    @property
    @abstractmethod
    def method(self) -> str:
        """The way's name for people."""

    @property
    @abstractmethod
    def refused_advice(self) -> str:
        """What to do if the cloud does not accept the proof."""

    @abstractmethod
    def authorize(self, request: Request) -> Proof:
        """
        Put the proof on a request; may call IAM or the metadata service first.

        :raises MpcError: no proof is to be had.
        """

    def renew(self, rejected: Proof) -> bool:
        """Get a fresh proof after one was refused; False: there is none to be had."""
        return False

    def project_id(self) -> str | None:
        """Return the project that the credentials are bound to, if they tell."""
        return None


@dataclass(frozen=True)
class AkSkAuthenticator(Authenticator):
    """Signs each request with an access key."""

    key: AccessKey

    signs = True

    @property
    def method(self) -> str:
        return "temporary AK/SK" if self.key.security_token else "AK/SK"

    @property
    def refused_advice(self) -> str:
        check = (
            "Check that Access key (AK), Secret key (SK) and Security token of the connection belong together and "
            "have not run out."
            if self.key.security_token
            else "Check that Access key (AK) and Secret key (SK) of the connection belong together and are enabled."
        )
        return f"{check} The call is not repeated: five failures lock the key."

    def authorize(self, request: Request) -> Proof:
        return self.key.prove(request)


@dataclass(frozen=True)
class TokenAuthenticator(Authenticator):
    """Sends a token that somebody got from IAM before."""

    token: str = field(repr=False)

    @property
    def method(self) -> str:
        return "token"

    @property
    def refused_advice(self) -> str:
        return "Put a fresh token of this project and region into the connection, or use the method 'password'."

    def authorize(self, request: Request) -> Proof:
        return prove_by_token(request, self.token)


class Expiring(Protocol):
    """A credential that ends; times are seconds since the epoch."""

    @property
    def began_at(self) -> float: ...

    @property
    def ends_at(self) -> float: ...


_Credential = TypeVar("_Credential", bound=Expiring)

_RETRY_RENEWAL = 30.0
"""Seconds before a renewal that failed is tried again while the old credential still lives."""
_REFUSAL_HOLDS = 30.0
"""Seconds in which a refused log-in is not repeated with the same password: some failures lock the user."""


class _Keeper(Generic[_Credential]):
    """Holds one identity's current credential and renews it, one thread at a time."""

    def __init__(self) -> None:
        # Re-entrant, as all locks here: a task's on_kill runs in a signal handler, in the thread that may hold one.
        self._lock = threading.RLock()
        self._current: _Credential | None = None
        self._next_try = 0.0
        self._fetched = 0
        self._failure: MpcError | None = None
        self._failed_at = float("-inf")

    def get(self, fetch: Callable[[], _Credential], margin: float) -> _Credential:
        """
        Return a credential that still lives.

        :param margin: renew when fewer seconds are left, or a fifth of its life if that is less.
        """
        current = self._current
        if current is not None and not self._is_due(current, margin):
            return current
        fetched = self._fetched
        with self._lock:
            current = self._current
            if current is not None and not self._is_due(current, margin):
                return current
            try:
                self._current = self._fetch(fetch, fetched)
            except MpcError:
                # IAM may be down for a while: what still lives is good until it ends.
                if current is None or current.ends_at <= time.time():
                    raise
                self._next_try = time.time() + _RETRY_RENEWAL
                return current
            return self._current

    def replace(self, rejected: object, fetch: Callable[[], _Credential]) -> bool:
        """Fetch a new credential unless another thread has replaced the rejected one already."""
        fetched = self._fetched
        with self._lock:
            if self._current is not None and self._current != rejected:
                return True
            self._current = None
            self._current = self._fetch(fetch, fetched)
            return self._current != rejected

    def _fetch(self, fetch: Callable[[], _Credential], fetched: int) -> _Credential:
        """
        Fetch, unless another thread did so in vain while this one waited: wrong passwords lock a user.

        :param fetched: :attr:`_fetched` from before the wait.
        """
        if self._failure is not None:
            refused = isinstance(self._failure, MpcAuthenticationError)
            if fetched != self._fetched or (refused and time.time() < self._failed_at + _REFUSAL_HOLDS):
                raise copy.copy(self._failure)
        self._failure = None
        try:
            return fetch()
        except MpcError as error:
            self._failure, self._failed_at = copy.copy(error), time.time()
            raise
        finally:
            self._fetched += 1

    def _is_due(self, current: _Credential, margin: float) -> bool:
        now = time.time()
        left = current.ends_at - now
        if left <= 0:
            return True
        return now >= self._next_try and left < min(margin, (current.ends_at - current.began_at) / 5)


@dataclass(frozen=True)
class IamToken:
    """A token of IAM and the project it is good for."""

    value: str = field(repr=False)
    project_id: str | None
    began_at: float = field(compare=False)
    ends_at: float = field(compare=False)


@dataclass(frozen=True)
class TemporaryKey:
    """Temporary keys of an agency."""

    key: AccessKey
    began_at: float = field(compare=False)
    ends_at: float = field(compare=False)


@dataclass(frozen=True)
class PasswordAuthenticator(Authenticator):
    """
    Gets a token from IAM for a user name and password.

    :param identity: what tells this identity from others in this process.
    :param log_in: asks IAM for a token.
    """

    identity: object = field(repr=False)
    log_in: Callable[[], IamToken] = field(repr=False, compare=False)
    password: str = field(repr=False)

    _MARGIN = 600.0

    @property
    def method(self) -> str:
        return "IAM user and password"

    @property
    def refused_advice(self) -> str:
        return (
            "IAM gave a token for this user, but MPC does not take it: check that Region, Project ID and IAM endpoint "
            "of the connection belong together."
        )

    def authorize(self, request: Request) -> Proof:
        token = self._token()
        proof = prove_by_token(request, token.value)
        return Proof(proof.headers, token, (token.value, self.password))

    def renew(self, rejected: Proof) -> bool:
        return _keeper_of(_token_keepers, self.identity).replace(rejected.credential, self.log_in)

    def project_id(self) -> str | None:
        return self._token().project_id

    def _token(self) -> IamToken:
        return _keeper_of(_token_keepers, self.identity).get(self.log_in, self._MARGIN)


@dataclass(frozen=True)
class AgencyAuthenticator(Authenticator):
    """
    Signs with the temporary keys that an ECS server gets for its agency.

    :param identity: the address of the metadata service.
    :param fetch: asks the metadata service for keys.
    """

    identity: object
    fetch: Callable[[], TemporaryKey] = field(repr=False, compare=False)

    _MARGIN = 900.0

    signs = True

    @property
    def method(self) -> str:
        return "ECS agency"

    @property
    def refused_advice(self) -> str:
        return (
            "The keys of this server's agency are not accepted: check in IAM that the agency still exists, and that "
            "it is for this Region and Project ID."
        )

    def authorize(self, request: Request) -> Proof:
        current = _keeper_of(_key_keepers, self.identity).get(self.fetch, self._MARGIN)
        proof = current.key.prove(request)
        return Proof(proof.headers, current, proof.secrets)

    def renew(self, rejected: Proof) -> bool:
        return _keeper_of(_key_keepers, self.identity).replace(rejected.credential, self.fetch)


_token_keepers: dict[object, _Keeper[IamToken]] = {}
_key_keepers: dict[object, _Keeper[TemporaryKey]] = {}
_keepers_lock = threading.RLock()


def _keeper_of(keepers: dict[object, _Keeper[_Credential]], identity: object) -> _Keeper[_Credential]:
    with _keepers_lock:
        return keepers.setdefault(identity, _Keeper())


def forget_credentials() -> None:
    """Drop all tokens and temporary keys that this process keeps."""
    with _keepers_lock:
        _token_keepers.clear()
        _key_keepers.clear()
