# SPDX-License-Identifier: Apache-2.0
"""What is known of a task's arguments when its Dag is parsed, and what only when it runs."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

_MARKS = ("{{", "{%", "{#")
_COLLECTIONS = (list, tuple, set, frozenset)
_LITERALS = (str, bytes, int, float, timedelta, type(None), Mapping, *_COLLECTIONS)


def is_open(value: Any) -> bool:
    """Whether a value is a template or an upstream task's output. A collection is not, whatever it holds."""
    if isinstance(value, str):
        return any(mark in value for mark in _MARKS)
    return not isinstance(value, _LITERALS)


def is_known(value: Any) -> bool:
    """Whether a value, and all that it holds, is known when the Dag is parsed."""
    if isinstance(value, Mapping):
        return all(map(is_known, value.values()))
    if isinstance(value, _COLLECTIONS):
        return all(map(is_known, value))
    return not is_open(value)
