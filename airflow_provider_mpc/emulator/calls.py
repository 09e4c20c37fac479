# SPDX-License-Identifier: Apache-2.0
"""A call as it came over the wire, and the log of calls that tests assert on."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from urllib.parse import unquote

MPC_APIS = frozenset({"list", "create", "delete"})
IAM_APIS = frozenset({"token", "projects", "auth_projects"})
METADATA_APIS = frozenset({"metadata_token", "security_key"})
OTHER = "other"
GROUPS: Mapping[str, frozenset[str]] = {"mpc": MPC_APIS, "iam": IAM_APIS, "metadata": METADATA_APIS}
API_NAMES = MPC_APIS | IAM_APIS | METADATA_APIS | {OTHER}


def apis_matching(name: str | None) -> frozenset[str]:
    """
    Return the APIs a name stands for: an API, a group (``mpc``, ``iam``, ``metadata``), or all for ``None``.

    :raises ValueError: for another name.
    """
    if name is None:
        return API_NAMES
    if name in GROUPS:
        return GROUPS[name]
    if name not in API_NAMES:
        raise ValueError(f"no such API: {name!r}; one of {', '.join(sorted(API_NAMES | GROUPS.keys()))}")
    return frozenset({name})


@dataclass
class Call:
    """
    One received request.

    :param path: the path as on the wire.
    :param raw_query: the query string as on the wire.
    :param headers: names in lower case.
    :param time: by the emulator's clock, when it came in.
    :param api: which API it is for, ``other`` if none.
    :param status: the status answered; ``None`` while there is no reply, or if it never got one.
    :param fault: the kind of fault that was played, if any.
    """

    method: str
    path: str
    raw_query: str
    headers: dict[str, str]
    body: bytes
    time: float
    api: str
    path_values: dict[str, str] = field(default_factory=dict)
    status: int | None = None
    fault: str | None = None

    @cached_property
    def query(self) -> list[tuple[str, str]]:
        """Return the (name, value) pairs; a ``+`` is a plus, not a space."""
        pairs = (part.partition("=") for part in self.raw_query.split("&") if part)
        return [(unquote(name), unquote(value)) for name, _, value in pairs]

    @cached_property
    def job_ids(self) -> list[str]:
        """Return the job ids the call names, in query or path."""
        ids = [value for name, value in self.query if name == "job_id"]
        return [self.path_values["job_id"]] if "job_id" in self.path_values else ids

    def as_json(self) -> dict[str, Any]:
        """Return the call as JSON types."""
        return {
            "api": self.api,
            "method": self.method,
            "path": self.path,
            "query": self.query,
            "headers": self.headers,
            "body": self.body.decode(errors="replace"),
            "time": self.time,
            "status": self.status,
            "fault": self.fault,
        }


class CallLog:
    """
    The calls received, oldest first.

    :param keep: how many are kept; the counts go on beyond that.
    """

    def __init__(self, keep: int) -> None:
        self._calls: deque[Call] = deque(maxlen=keep)
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()

    def add(self, call: Call) -> None:
        """Log a call."""
        with self._lock:
            self._calls.append(call)
            self._counts[call.api] += 1

    def calls(self) -> list[Call]:
        """Return the calls that are kept."""
        with self._lock:
            return list(self._calls)

    def count(self, api: str | None = None) -> int:
        """Return how many calls came for an API or group, or in all."""
        names = apis_matching(api)
        with self._lock:
            return sum(count for name, count in self._counts.items() if name in names)

    def counts(self) -> dict[str, int]:
        """Return how many calls came for each API."""
        with self._lock:
            return dict(self._counts)

    def clear(self) -> None:
        """Forget all calls and counts."""
        with self._lock:
            self._calls.clear()
            self._counts.clear()
