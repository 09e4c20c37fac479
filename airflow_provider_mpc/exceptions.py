# SPDX-License-Identifier: Apache-2.0
"""
Airflow's edge: every error of MPC becomes one that Airflow understands.

An error that a retry may cure also becomes an ``AirflowException``, any other an
``AirflowFailException``, which Airflow does not retry. It stays what it was: ``except MpcError`` and
``except MpcJobNotFoundError`` catch it on both sides.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

from airflow_provider_mpc.api.errors import MpcError

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


_classes: dict[tuple[type[MpcError], bool], type[MpcError]] = {}


def _airflow_class(kind: type[MpcError], retryable: bool) -> type[MpcError]:
    from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException

    if (kind, retryable) not in _classes:
        base = AirflowException if retryable else AirflowFailException
        # The name stays, so that logs and tracebacks show the one the docs speak of.
        names = {"__module__": kind.__module__, "__doc__": kind.__doc__, "__reduce__": _reduce}
        _classes[kind, retryable] = type(kind.__name__, (kind, base), names)
    return _classes[kind, retryable]


def _reduce(error: MpcError) -> tuple[object, ...]:
    """Pickle the error by the class of its that can be imported."""
    return _revived, (type(error).__mro__[1], error.args, error.__dict__)


def _revived(kind: type[MpcError], args: tuple[object, ...], facts: dict[str, object]) -> MpcError:
    plain = kind.__new__(kind)
    plain.args = args
    plain.__dict__.update(facts)
    return airflow_error(plain)


def airflow_error(error: MpcError) -> MpcError:
    """Return the error as one that is also an ``AirflowException`` or ``AirflowFailException``."""
    from airflow.providers.common.compat.sdk import AirflowException

    if isinstance(error, AirflowException):
        return error
    kind = _airflow_class(type(error), error.retryable)
    mapped = kind.__new__(kind)
    mapped.__dict__.update(error.__dict__)
    mapped.args = error.args
    mapped.__cause__ = error.__cause__
    return mapped


@contextmanager
def as_airflow_errors() -> Iterator[None]:
    """Turn each :class:`MpcError` of the block into Airflow's kind."""
    try:
        yield
    except MpcError as error:
        mapped = airflow_error(error)
        if mapped is error:
            raise
        raise mapped.with_traceback(error.__traceback__) from error.__cause__


def raises_airflow_errors(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Decorate a method whose errors reach Airflow."""

    @functools.wraps(function)
    def wrapper(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        with as_airflow_errors():
            return function(*args, **kwargs)

    return wrapper
