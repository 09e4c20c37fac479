# SPDX-License-Identifier: Apache-2.0
"""What a wait on a worker bears from one look to the next."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from airflow_provider_mpc import waiting
from airflow_provider_mpc.api.errors import MpcOutageError, MpcThrottledError
from airflow_provider_mpc.waiting import DirectWait


class FakeTime:
    """A clock that the test sets."""

    now = 1_000_000.0

    def time(self) -> float:
        return self.now

    monotonic = time


class Refusing:
    """A hook whose every query is throttled."""

    def __init__(self, *, preliminary: bool) -> None:
        self.error = MpcThrottledError("refused", status=429)
        self.error.preliminary = preliminary

    def get_editing_jobs(self, job_ids: Any, missing_ok: bool) -> Any:
        raise self.error


@pytest.mark.parametrize("preliminary", [True, False])
def test_only_mpcs_own_throttling_is_borne_for_ever(monkeypatch: pytest.MonkeyPatch, preliminary: bool) -> None:
    clock = FakeTime()
    monkeypatch.setattr(waiting, "time", clock)
    hook: Any = Refusing(preliminary=preliminary)
    wait = DirectWait(hook, ["1"], began=clock.now, outage_tolerance=900.0, logger=logging.getLogger())
    for _ in range(16):
        assert not wait.look()
        clock.now += 60.0
    if preliminary:
        with pytest.raises(MpcOutageError):
            wait.look()
    else:
        assert not wait.look()
