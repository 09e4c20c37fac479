# SPDX-License-Identifier: Apache-2.0
"""The calls-a-minute limit, and the counts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_mpc.emulator import Emulator
from airflow_provider_mpc.emulator.limiter import Limiter
from airflow_provider_mpc.emulator.replies import ApiError


def admits(limiter, *times, project="p", api="list"):
    """Return, for each time, whether a call then is admitted."""

    def admitted(when):
        try:
            limiter.admit(project, api, when)
        except ApiError:
            return False
        return True

    return [admitted(when) for when in times]


def test_a_sliding_window_looks_back_sixty_seconds():
    assert admits(Limiter(2), 50, 59, 61, 109, 110, 118, 119) == [True, True, False, False, True, False, True]


def test_a_fixed_window_starts_anew_with_each_minute():
    assert admits(Limiter(2, "fixed"), 50, 58, 59, 60, 61, 62) == [True, True, False, True, True, False]


def test_apis_and_projects_have_limits_of_their_own():
    limiter = Limiter(1)
    assert admits(limiter, 0) == [True]
    assert admits(limiter, 0, api="create") == [True]
    assert admits(limiter, 0, project="q") == [True]
    assert admits(limiter, 0) == [False]


def test_all_apis_of_a_project_may_share_a_limit():
    limiter = Limiter(total_calls_per_minute=2)
    assert admits(limiter, 0) + admits(limiter, 0, api="create") + admits(limiter, 0, 60) == [
        True,
        True,
        False,
        True,
    ]


def test_refused_calls_count_when_asked_for():
    assert admits(Limiter(1, count_refused=True), 0, 30, 61, 92) == [True, False, False, False]
    assert admits(Limiter(1), 0, 30, 61) == [True, False, True]


@given(
    st.lists(st.floats(0, 400), max_size=60),
    st.integers(1, 5),
    st.sampled_from(["sliding", "fixed"]),
    st.booleans(),
)
def test_no_more_than_the_limit_is_accepted_and_every_call_is_counted(times, limit, window, count_refused):
    limiter = Limiter(limit, window, count_refused=count_refused)
    times.sort()
    accepted = [when for when, admitted in zip(times, admits(limiter, *times), strict=True) if admitted]
    busiest = max((sum(when - 60 < other <= when for other in accepted) for when in accepted), default=0)
    assert limiter.busiest["p", "list"] == busiest <= limit * (1 if window == "sliding" else 2)
    assert limiter.accepted["p", "list"] == len(accepted)
    assert limiter.refused["p", "list"] == len(times) - len(accepted)


@pytest.mark.parametrize(
    ("retry_after", "window", "expected"),
    [
        (None, "sliding", None),
        ("seconds", "sliding", "51"),
        ("seconds", "fixed", "51"),
        ("date", "sliding", "Thu, 15 Jan 2026 00:01:01 GMT"),
    ],
)
def test_a_refusal_is_worded_as_the_gateways_and_may_say_when_to_come_back(
    caller, emulator, clock, retry_after, window, expected
):
    emulator.limiter.calls_per_minute = 1
    emulator.limiter.window = window
    emulator.limiter.retry_after = retry_after
    assert caller.list("1").status_code == 200
    clock.advance(10)
    reply = caller.list("1")
    assert reply.status_code == 429
    assert reply.json()["error_code"] == "APIGW.0308"
    assert reply.json()["error_msg"] == (
        "The throttling threshold has been reached: policy user over ratelimit,limit:1,time:1 minute"
    )
    assert reply.headers.get("Retry-After") == expected


def test_calls_are_counted(caller, emulator, clock):
    emulator.limiter.calls_per_minute = 3
    for _ in range(5):
        caller.list("1")
    caller.list("1", keys=(emulator.access_key, "wrong"))
    assert emulator.calls("list") == 6
    assert (emulator.accepted("list"), emulator.refused("list"), emulator.busiest_minute("list")) == (3, 2, 3)
    assert emulator.busiest_minute("create") == 0


def test_the_limit_is_given_when_the_emulator_is_made():
    limiter = Emulator(calls_per_minute=7, limiter="fixed").limiter
    assert (limiter.calls_per_minute, limiter.window) == (7, "fixed")
