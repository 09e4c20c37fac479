# SPDX-License-Identifier: Apache-2.0
"""Never more calls than allowed in any minute, and a slow way back after a refusal."""

from __future__ import annotations

import itertools
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_mpc.api import budget as budgets
from airflow_provider_mpc.api.budget import WINDOW, CallBudget, budget_for


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def make(clock, calls=6, jitter=0.0):
    return CallBudget(calls, clock=clock, jitter=lambda: jitter)


def take_all(budget, clock, seconds):
    """Take calls as soon as the budget allows for so long; return when they were taken."""
    taken = []
    end = clock.now + seconds
    while clock.now < end:
        delay = budget.try_take()
        if delay:
            clock.now += max(delay, 1e-6)
        else:
            taken.append(clock.now)
    return taken


def most_in_a_minute(times):
    return max((sum(start <= time < start + WINDOW for time in times) for start in times), default=0)


class TestLimit:
    def test_a_fresh_budget_lets_the_whole_minute_go_at_once(self, clock):
        budget = make(clock)
        assert [budget.try_take() for _ in range(6)] == [0.0] * 6

    def test_then_it_tells_how_long_to_wait(self, clock):
        budget = make(clock)
        for _ in range(6):
            budget.try_take()
            clock.now += 1
        assert budget.try_take() == pytest.approx(54)

    def test_asking_takes_nothing(self, clock):
        budget = make(clock, 1)
        assert [budget.delay() for _ in range(5)] == [0.0] * 5

    def test_an_answer_to_wait_takes_nothing(self, clock):
        budget = make(clock, 1)
        budget.try_take()
        assert budget.try_take() == budget.try_take() == 60.0
        clock.now += 60
        assert budget.try_take() == 0.0

    def test_a_call_counts_for_the_whole_minute(self, clock):
        budget = make(clock, 1)
        budget.try_take()
        clock.now += 59.5
        assert budget.try_take() == pytest.approx(0.5)

    def test_one_thread_at_a_time_looks_and_takes(self):
        inside, most = 0, 0

        def slow_clock():
            nonlocal inside, most
            inside += 1
            most = max(most, inside)
            time.sleep(0.005)
            inside -= 1
            return 1000.0

        budget = make(slow_clock, 50)
        threads = [threading.Thread(target=budget.try_take) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert most == 1

    def test_as_many_calls_as_allowed_are_made(self, clock):
        assert len(take_all(make(clock, 90), clock, 600)) >= 900

    @pytest.mark.parametrize("calls", [0, -5, 0.5])
    def test_at_least_one_call_a_minute_is_left(self, clock, calls):
        assert make(clock, calls).try_take() == 0.0

    @settings(max_examples=200, deadline=None)
    @given(
        st.integers(min_value=1, max_value=12),
        st.lists(
            st.tuples(
                st.floats(min_value=0, max_value=90),
                st.sampled_from(["take", "take", "take", "refused", "refused old"]),
                st.none() | st.floats(min_value=0, max_value=2000),
            ),
            max_size=80,
        ),
        st.floats(min_value=0, max_value=0.999),
    )
    def test_no_minute_ever_holds_more(self, calls, steps, jitter):
        clock = Clock()
        budget = make(clock, calls, jitter)
        taken = []
        for pause, what, asked in steps:
            clock.now += pause
            if what == "take":
                if budget.try_take() == 0:
                    taken.append(clock.now)
            else:
                budget.refused(asked, taken_at=clock.now - 100 if what == "refused old" else None)
            # And it never silences its process for good.
            assert 0 <= budget.delay() <= 600 + 15 + WINDOW
            assert 1 <= budget.rate() <= calls
        assert most_in_a_minute(taken) <= calls

    def test_threads_together_take_no_more(self, clock):
        budget = make(clock, 50)
        taken = []
        begin = threading.Barrier(8)

        def work():
            begin.wait()
            taken.extend(budget.try_take() for _ in range(50))

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert taken.count(0.0) == 50


class TestRefusal:
    def test_it_pauses_ten_seconds(self, clock):
        budget = make(clock)
        assert budget.refused() == 10.0
        assert budget.try_take() == 10.0

    def test_a_wish_for_longer_is_granted(self, clock):
        assert make(clock).refused(42.0) == 42.0

    def test_a_wish_for_shorter_is_not(self, clock):
        assert make(clock).refused(1.0) == 10.0

    def test_a_wish_for_a_day_is_cut_to_ten_minutes(self, clock):
        assert make(clock).refused(86400.0) == 600.0

    def test_processes_do_not_come_back_in_step(self, clock):
        assert make(clock, jitter=0.5).refused(30.0) > make(clock, jitter=0.0).refused(30.0) == 30.0

    def test_the_rate_halves(self, clock):
        budget = make(clock, 80)
        budget.refused()
        clock.now += 10
        assert budget.rate() == 40.0

    def test_the_rate_does_not_recover_during_the_pause(self, clock):
        budget = make(clock, 80)
        budget.refused(300.0)
        clock.now += 300
        assert budget.rate() == 40.0

    def test_it_recovers_by_twenty_calls_each_minute(self, clock):
        budget = make(clock, 80)
        budget.refused()
        clock.now += 10 + 60
        assert budget.rate() == 60.0

    def test_it_recovers_no_further_than_the_limit(self, clock):
        budget = make(clock, 80)
        budget.refused()
        clock.now += 3600
        assert budget.rate() == 80.0

    def test_after_the_pause_calls_come_one_by_one(self, clock):
        budget = make(clock, 80)
        budget.try_take()
        budget.refused()
        clock.now += 10
        taken = take_all(budget, clock, 60)
        gaps = [after - before for before, after in itertools.pairwise(taken)]
        assert min(gaps) > 0.9
        assert len(taken) <= 60

    def test_each_further_refusal_pauses_twice_as_long_up_to_a_minute(self, clock):
        budget = make(clock, 80)
        pauses = []
        for _ in range(5):
            pauses.append(budget.refused())
            clock.now += pauses[-1] + 1
        assert pauses == [10.0, 20.0, 40.0, 60.0, 60.0]

    def test_each_further_refusal_halves_again_down_to_a_floor(self, clock):
        budget = make(clock, 80)
        for _ in range(10):
            clock.now += budget.refused() + 0.001
        assert 4.0 <= budget.rate() < 4.1

    def test_a_quiet_minute_forgets_the_longer_pauses(self, clock):
        budget = make(clock, 80)
        clock.now += budget.refused() + 1
        clock.now += budget.refused() + WINDOW + 1
        assert budget.refused() == 10.0

    def test_calls_under_way_together_count_as_one_refusal(self, clock):
        budget = make(clock, 80)
        for _ in range(8):
            clock.now += 0.1
            budget.refused(taken_at=1000.0)
        clock.now += 20
        assert budget.rate() > 40.0
        assert budget.rate() < 44.0

    def test_the_longest_wish_of_calls_under_way_together_holds(self, clock):
        budget = make(clock, 80)
        budget.refused(20.0, taken_at=999.0)
        assert budget.refused(50.0, taken_at=999.0) == 50.0
        assert budget.refused(30.0, taken_at=999.0) == 50.0

    def test_a_call_taken_after_a_refusal_counts_anew(self, clock):
        budget = make(clock, 80)
        clock.now += budget.refused(taken_at=999.0) + 1
        budget.refused(taken_at=clock.now - 0.5)
        clock.now += 30
        assert budget.rate() < 30.0


class TestOtherProcesses:
    def test_who_uses_the_limit_up_takes_refusals_for_his_own(self, clock):
        budget = make(clock, 80)
        for _ in range(80):
            budget.try_take()
        budget.refused()
        clock.now += 11
        clock.now += budget.refused() + 120
        assert budget.rate() > 55.0

    def test_who_uses_little_of_it_learns_of_the_others_and_comes_back_slowly(self, clock):
        budget = make(clock, 80)
        budget.refused()
        clock.now += 11
        clock.now += budget.refused() + 120
        assert 40.0 < budget.rate() < 46.0

    def test_refusals_far_apart_tell_of_nobody(self, clock):
        budget = make(clock, 80)
        budget.refused()
        clock.now += 600
        clock.now += budget.refused() + 60
        assert budget.rate() == 60.0


class TestSharing:
    @pytest.fixture(autouse=True)
    def _fresh(self, monkeypatch):
        monkeypatch.setattr(budgets, "_budgets", {})

    def test_endpoint_and_project_share_one(self):
        assert budget_for("https://a", "p", 90) is budget_for("https://a", "p", 90)

    def test_another_endpoint_or_project_has_its_own(self):
        made = {id(budget_for(endpoint, project, 90)) for endpoint in ("https://a", "https://b") for project in "pq"}
        assert len(made) == 4

    def test_two_limits_in_turn_do_not_lift_the_limit(self):
        taken = sum(budget_for("https://a", "p", limit).try_take() == 0.0 for limit in [5, 6] * 20)
        assert taken == 6

    def test_the_latest_limit_holds_for_all(self):
        budget = budget_for("https://a", "p", 5)
        assert budget_for("https://a", "p", 7) is budget
        assert (budget.calls_per_minute, budget.rate()) == (7, 7.0)

    def test_after_a_lower_limit_the_wait_is_told_at_once(self, clock):
        budget = make(clock, 10)
        for _ in range(10):
            budget.try_take()
            clock.now += 1
        budget.limit_to(4)
        clock.now += budget.try_take()
        assert budget.try_take() == 0.0

    def test_a_new_limit_does_not_forget_a_refusal(self):
        budget_for("https://a", "p", 80).refused()
        assert budget_for("https://a", "p", 90).delay() > 5
        assert budget_for("https://a", "p", 90).rate() == 40.0
