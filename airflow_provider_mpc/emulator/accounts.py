# SPDX-License-Identifier: Apache-2.0
"""Who may call: an account with its keys, temporary keys, tokens and projects, all made up."""

from __future__ import annotations

import base64
import secrets
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

FAILURES_BEFORE_LOCK = 5
LOCK_SECONDS = 300.0
COMPACT_TOKEN_BYTES = 1200
CATALOGUE_TOKEN_BYTES = 9100


def iso_time(when: float) -> str:
    """Return an epoch time as IAM writes it."""
    return datetime.fromtimestamp(when, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _random_text(length: int) -> str:
    return base64.b64encode(secrets.token_bytes(length)).decode()[:length]


@dataclass(slots=True)
class Token:
    """A user token; ``project_id`` is ``None`` when it has no project scope."""

    id: str
    project_id: str | None
    issued_at: float
    expires_at: float


@dataclass(slots=True)
class AccessKey:
    """
    An AK with its SK.

    :param security_token: what a temporary key's calls have to carry as well; ``None`` for a permanent key.
    :param expires_at: epoch seconds; ``None``: never.
    """

    access: str
    secret: str
    security_token: str | None = None
    expires_at: float | None = None
    failures: int = 0
    locked_until: float = 0.0

    def note_failure(self, now: float) -> None:
        """Count a refused signature; more than five in a row lock the key."""
        self.failures += 1
        if self.failures > FAILURES_BEFORE_LOCK:
            self.locked_until = now + LOCK_SECONDS
            self.failures = 0


@dataclass
class Account:
    """
    One made-up account.

    :param clock: returns epoch seconds.
    :param token_seconds: how long a new token lives.
    :param token_bytes: its length; ``None``: about that of a real one, longer with a catalogue than without.
    :param temporary_key_seconds: how long the metadata service's keys live.
    """

    clock: Callable[[], float]
    region: str
    access_key: str
    secret_key: str
    user: str
    password: str
    domain: str
    project_id: str
    token_seconds: float = 86400.0
    token_bytes: int | None = None
    temporary_key_seconds: float = 86400.0
    projects: dict[str, str] = field(default_factory=dict)
    tokens: dict[str, Token] = field(default_factory=dict)
    keys: dict[str, AccessKey] = field(default_factory=dict)
    metadata_tokens: set[str] = field(default_factory=set)
    domain_id: str = field(default_factory=lambda: uuid.uuid4().hex)

    def __post_init__(self) -> None:
        self.projects.setdefault(self.region, self.project_id)
        self.keys[self.access_key] = AccessKey(self.access_key, self.secret_key)

    def rotate_keys(self) -> tuple[str, str]:
        """Replace the permanent key by a new one; return it as (AK, SK)."""
        del self.keys[self.access_key]
        self.access_key = "AK" + secrets.token_hex(9).upper()
        self.secret_key = "SK" + secrets.token_urlsafe(28)
        self.keys[self.access_key] = AccessKey(self.access_key, self.secret_key)
        return self.access_key, self.secret_key

    def issue_temporary_key(self, seconds: float | None = None) -> AccessKey:
        """Return a new temporary key."""
        key = AccessKey(
            access="HST" + secrets.token_hex(9).upper(),
            secret=secrets.token_urlsafe(30),
            security_token=_random_text(700),
            expires_at=self.clock() + (self.temporary_key_seconds if seconds is None else seconds),
        )
        self.keys[key.access] = key
        return key

    def issue_token(self, project_id: str | None, catalogue: bool = False) -> Token:
        """Return a new token; ``project_id=None`` makes one without project scope."""
        length = self.token_bytes or (CATALOGUE_TOKEN_BYTES if catalogue else COMPACT_TOKEN_BYTES)
        now = self.clock()
        token = Token("MII" + _random_text(length - 3), project_id, now, now + self.token_seconds)
        self.tokens[token.id] = token
        return token

    def issue_metadata_token(self) -> str:
        """Return a new token of the metadata service."""
        token = secrets.token_urlsafe(32)
        self.metadata_tokens.add(token)
        return token

    def expire_tokens(self) -> None:
        """Let all tokens and temporary keys run out now."""
        now = self.clock()
        # list(): another thread may add one meanwhile.
        for token in list(self.tokens.values()):
            token.expires_at = min(token.expires_at, now)
        for key in list(self.keys.values()):
            if key.expires_at is not None:
                key.expires_at = min(key.expires_at, now)
