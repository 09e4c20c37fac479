# SPDX-License-Identifier: Apache-2.0
"""What the client sends, how often, and how long it waits: with a scripted other side and a clock of its own."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import replace

import pytest

from airflow_provider_mpc.api import client as client_module
from airflow_provider_mpc.api import errors, iam
from airflow_provider_mpc.api.auth import Authenticator, Proof, TokenAuthenticator
from airflow_provider_mpc.api.budget import CallBudget
from airflow_provider_mpc.api.client import IN_A_HURRY, NO_RETRIES, MpcClient, RetryPolicy, Target
from airflow_provider_mpc.api.transport import Reply

TARGET = Target("https://mpc.example.com", "https://iam.example.com", "cn-north-4", "p1")


def listed(*job_ids, status="PROCESSING"):
    return Reply(
        200, {}, json.dumps({"job_array": [{"job_id": job_id, "status": status} for job_id in job_ids]}).encode()
    )


def refused(status, code=None, **headers):
    body = b"" if code is None else json.dumps({"error_code": code, "error_msg": "words"}).encode()
    return Reply(status, {name.replace("_", "-"): value for name, value in headers.items()}, body)


class World:
    """Answers calls in turn, the last answer for ever; its clock moves only while somebody sleeps."""

    def __init__(self):
        self.now = 1000.0
        self.sleeps = []
        self.sent = []
        self.answers = [listed("1")]
        self.closed = False

    def clock(self):
        return self.now

    def sleep(self, seconds):
        assert seconds > 0
        self.sleeps.append(seconds)
        self.now += seconds

    def send(self, method, url, *, headers, body=b"", redact, timeout=None, fresh=False, direct=False):
        self.sent.append((method, url, dict(headers), body, fresh))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return replace(answer, redact=redact)

    def close(self):
        self.closed = True

    @property
    def urls(self):
        return [url for _, url, *_ in self.sent]


@pytest.fixture
def world(monkeypatch):
    world = World()
    budgets = {}

    def budget_for(endpoint, project, calls):
        return budgets.setdefault((endpoint, project), CallBudget(calls, clock=world.clock, jitter=lambda: 0.0))

    monkeypatch.setattr(client_module, "budget_for", budget_for)
    # The longest pause that may be drawn.
    monkeypatch.setattr(client_module.random, "uniform", lambda low, high: high)
    # A refusal is compared with the time its call was begun.
    monkeypatch.setattr(client_module.time, "monotonic", world.clock)
    return world


def make(world, *, target=TARGET, authenticator=None, calls=90, retry=None):
    return MpcClient(
        target=target,
        authenticator=authenticator or TokenAuthenticator("TOKEN"),
        transport=world,
        calls_per_minute=calls,
        retry=retry or RetryPolicy(),
        clock=world.clock,
        sleep=world.sleep,
    )


class TestRequests:
    def test_a_query_repeats_the_key_for_each_id(self, world):
        make(world).get_editing_jobs(["30650", "30647", "a b+~é,".replace(",", "")], missing_ok=True)
        assert world.urls == [
            "https://mpc.example.com/v2/p1/editing/jobs?job_id=30647&job_id=30650&job_id=a%20b%2B~%C3%A9"
        ]

    def test_the_project_is_named_in_a_header_with_hyphens(self, world):
        make(world).get_editing_job("1")
        headers = world.sent[0][2]
        assert headers["X-Project-Id"] == "p1"
        assert not any("_" in name for name in headers)

    def test_the_host_header_has_the_port(self, world):
        make(world, target=Target("http://127.0.0.1:8080", "", None, "p1")).get_editing_job("1")
        assert world.sent[0][2]["Host"] == "127.0.0.1:8080"

    @pytest.mark.parametrize("endpoint", ["https://gw.example.com/mpc", "https://gw.example.com/mpc/"])
    def test_an_endpoint_may_have_a_path(self, world, endpoint):
        make(world, target=Target(endpoint, "", None, "p1")).get_editing_job("1")
        assert world.urls == ["https://gw.example.com/mpc/v2/p1/editing/jobs?job_id=1"]

    def test_an_odd_project_id_stays_one_part_of_the_path(self, world):
        make(world, target=Target("https://h", "", None, "a/b ?")).get_editing_job("1")
        assert world.urls == ["https://h/v2/a%2Fb%20%3F/editing/jobs?job_id=1"]

    def test_cancelling_names_the_job_in_the_path(self, world):
        world.answers = [Reply(204, {}, b"")]
        make(world).cancel_editing_job("a b/c?d%~+")
        assert [(method, url) for method, url, *_ in world.sent] == [
            ("DELETE", "https://mpc.example.com/v2/p1/editing/jobs/a%20b%2Fc%3Fd%25~%2B")
        ]

    def test_making_a_job_posts_the_body_on_a_fresh_connection(self, world):
        world.answers = [Reply(200, {}, b'{"job_id": "7"}')]
        assert make(world).create_editing_job({"user_data": "é"}) == "7"
        ((method, url, headers, body, fresh),) = world.sent
        assert (method, url) == ("POST", "https://mpc.example.com/v2/p1/editing/jobs")
        assert (json.loads(body), headers["Content-Type"], fresh) == ({"user_data": "é"}, "application/json", True)

    def test_queries_use_the_connection_that_is_there(self, world):
        make(world).get_editing_job("1")
        assert world.sent[0][4] is False

    @pytest.mark.parametrize("ids", ["", [], "1,2", "['1', '2']", None, [None]])
    def test_ids_that_cannot_be_right_are_never_sent(self, world, ids):
        client = make(world)
        for call in (client.get_editing_jobs, client.get_editing_job, client.cancel_editing_job):
            with pytest.raises(errors.MpcInputError):
                call(ids)
        assert world.sent == []

    def test_closing_closes_the_connections(self, world):
        make(world).close()
        assert world.closed


class TestMadeJobs:
    @pytest.mark.parametrize("status", [200, 201, 202])
    @pytest.mark.parametrize(
        "body",
        [
            {"job_id": "7"},
            {"job_id": 7},
            {"task_id": 7},
            {"job_id": None, "task_id": "7"},
            {"job_id": " 7 "},
            {"job_id": 7.0},
            {"job_id": "", "task_id": 7},
        ],
    )
    def test_the_id_is_found(self, world, status, body):
        world.answers = [Reply(status, {}, json.dumps(body).encode())]
        assert make(world).create_editing_job({}) == "7"

    @pytest.mark.parametrize(
        "body",
        [b"", b"{}", b"[]", b"<html>", b'{"job_id": null}', b'{"job_id": ""}', b'{"job_id": {}}', b'{"job_id": true}'],
    )
    def test_no_id_is_a_fault_of_the_reply_and_not_of_the_user(self, world, body):
        world.answers = [Reply(200, {}, body)]
        with pytest.raises(errors.MpcSubmitUnknownError):
            make(world).create_editing_job({})
        assert len(world.sent) == 1

    def test_a_303_shows_the_way_to_what_was_made(self, world):
        world.answers = [refused(303, location="https://mpc.example.com/made")]
        with pytest.raises(errors.MpcSubmitUnknownError):
            make(world).create_editing_job({})

    @pytest.mark.parametrize("status", [301, 302, 307, 308])
    def test_any_other_redirect_made_nothing(self, world, status):
        world.answers = [refused(status, location="https://elsewhere.example.com/")]
        with pytest.raises(errors.MpcRedirectError):
            make(world).create_editing_job({})

    @pytest.mark.parametrize("value", [float("nan"), float("inf"), object(), b"x"])
    def test_what_is_no_json_is_refused_before_anything_is_sent(self, world, value):
        with pytest.raises(errors.MpcInputError):
            make(world).create_editing_job({"user_data": value})
        assert world.sent == []


TRANSIENT = [
    refused(429, "APIGW.0308"),
    refused(500),
    refused(500, "APIGW.0601"),
    refused(502),
    refused(503),
    refused(504),
    Reply(200, {}, b"<html>log in</html>"),
    Reply(200, {}, b'{"jobs": []}'),
    errors.MpcTransportError("reset"),
]
FINAL = [
    (refused(400, "MPC.10202"), errors.MpcRequestError),
    (refused(401, "APIGW.0301"), errors.MpcAuthenticationError),
    (refused(403, "APIGW.0302"), errors.MpcPermissionError),
    (refused(404, "APIGW.0101"), errors.MpcEndpointError),
    (refused(302, location="https://x/"), errors.MpcRedirectError),
    (refused(409), errors.MpcConflictError),
    (errors.MpcTlsError("certificate"), errors.MpcTlsError),
]


class TestRetries:
    @pytest.mark.parametrize("fault", TRANSIENT, ids=str)
    def test_a_query_is_repeated_after_a_transient_fault(self, world, fault):
        world.answers = [fault, fault, listed("1")]
        assert make(world).get_editing_job("1").job_id == "1"
        assert len(world.sent) == 3

    @pytest.mark.parametrize("fault", TRANSIENT[1:], ids=str)
    def test_but_not_for_ever(self, world, fault):
        world.answers = [fault]
        with pytest.raises(errors.MpcError):
            make(world).get_editing_job("1")
        assert len(world.sent) == 5

    @pytest.mark.parametrize(("fault", "kind"), FINAL)
    def test_a_final_fault_is_told_at_once(self, world, fault, kind):
        world.answers = [fault]
        with pytest.raises(kind):
            make(world).get_editing_job("1")
        assert (len(world.sent), world.sleeps) == (1, [])

    def test_a_refused_request_names_the_jobs_it_was_for(self, world):
        world.answers = [refused(400, "MPC.10202")]
        with pytest.raises(errors.MpcRequestError, match="30647, 30650"):
            make(world).get_editing_jobs(["30647", "30650"])

    def test_an_unknown_id_is_searched_by_halves(self, world):
        def send(method, url, **_):
            world.sent.append((method, url))
            return refused(403, "MPC.10211") if "job_id=0&" in f"{url}&" else listed(*map(str, range(1, 10)))

        world.send = send
        found = make(world).get_editing_jobs(list(range(10)), missing_ok=True)
        assert [job.job_id for job in found] == [str(number) for number in range(1, 10)]
        assert len(world.sent) <= 9

    @pytest.mark.parametrize("fault", [*TRANSIENT, *(fault for fault, _ in FINAL)], ids=str)
    def test_making_a_job_is_never_repeated(self, world, fault):
        world.answers = [fault]
        with pytest.raises(errors.MpcError):
            make(world).create_editing_job({})
        assert len(world.sent) == 1

    @pytest.mark.parametrize("fault", [fault for fault in TRANSIENT if getattr(fault, "status", 0) != 200], ids=str)
    def test_cancelling_a_job_is_never_repeated(self, world, fault):
        world.answers = [fault]
        with pytest.raises(errors.MpcError):
            make(world).cancel_editing_job("1")
        assert len(world.sent) == 1

    @pytest.mark.parametrize("fault", TRANSIENT, ids=str)
    def test_nothing_is_repeated_when_repeating_is_off(self, world, fault):
        world.answers = [fault]
        with pytest.raises(errors.MpcError):
            make(world, retry=NO_RETRIES).get_editing_job("1")
        assert (len(world.sent), world.sleeps) == (1, [])

    @pytest.mark.parametrize("fault", TRANSIENT, ids=str)
    def test_one_bare_query_is_never_repeated(self, world, fault):
        world.answers = [fault]
        with pytest.raises(errors.MpcError):
            make(world).query(["1"])
        assert (len(world.sent), world.sleeps) == (1, [])

    def test_pauses_double_up_to_half_a_minute(self, world):
        world.answers = [refused(503)]
        with pytest.raises(errors.MpcServerError):
            make(world, retry=RetryPolicy(attempts=7, total=1e9)).get_editing_job("1")
        assert world.sleeps == [2.0, 4.0, 8.0, 16.0, 30.0, 30.0]

    def test_pauses_are_drawn_from_zero_on(self, monkeypatch):
        drawn = []
        monkeypatch.setattr(client_module.random, "uniform", lambda low, high: drawn.append((low, high)) or 0.0)
        assert RetryPolicy().pause(2, None) == 0.0
        assert drawn == [(0.0, 8.0)]

    @pytest.mark.parametrize("asked", ["7", "60"])
    def test_a_wish_of_the_cloud_is_obeyed(self, world, asked):
        world.answers = [refused(503, retry_after=asked), listed("1")]
        make(world).get_editing_job("1")
        assert sum(world.sleeps) >= int(asked)

    def test_a_wish_for_longer_than_the_whole_is_an_error_at_once(self, world):
        world.answers = [refused(503, retry_after="86400"), listed("1")]
        with pytest.raises(errors.MpcServerError):
            make(world).get_editing_job("1")
        assert (len(world.sent), world.sleeps) == (1, [])

    def test_no_call_is_begun_after_the_time_for_all(self, world):
        world.answers = [refused(503)]
        with pytest.raises(errors.MpcServerError):
            make(world, retry=RetryPolicy(attempts=100, total=60)).get_editing_job("1")
        assert world.now <= 1060

    def test_after_a_429_the_budgets_pause_is_waited_for(self, world):
        world.answers = [refused(429, retry_after="25"), listed("1")]
        make(world).get_editing_job("1")
        assert 25 <= sum(world.sleeps) <= 27

    def test_after_a_429_without_a_wish_ten_seconds_are(self, world):
        world.answers = [refused(429), listed("1")]
        make(world).get_editing_job("1")
        assert 10 <= sum(world.sleeps) <= 12

    def test_each_attempt_is_counted_by_the_budget(self, world):
        client = make(world, calls=3, retry=RetryPolicy(attempts=3, base=0.001))
        world.answers = [refused(503)]
        with pytest.raises(errors.MpcServerError):
            client.get_editing_job("1")
        assert client.budget.delay() > 50


class TestBudget:
    def test_the_calls_beyond_it_wait(self, world):
        world.answers = [listed(*map(str, range(30)))]
        make(world, calls=2).get_editing_jobs(list(range(30)))
        assert world.now == 1060.0
        assert len(world.sent) == 3

    def test_every_kind_of_call_takes_from_it(self, world):
        client = make(world, calls=4)
        client.get_editing_job("1")
        client.check_access()
        world.answers = [Reply(204, {}, b"")]
        client.cancel_editing_job("1")
        world.answers = [Reply(200, {}, b'{"job_id": 1}')]
        client.create_editing_job({})
        assert client.budget.delay() > 0

    def test_a_429_to_any_call_is_told_to_it(self, world):
        world.answers = [refused(429, retry_after="30")]
        client = make(world)
        with pytest.raises(errors.MpcThrottledError):
            client.create_editing_job({})
        assert client.budget.delay() >= 30

    def test_a_pause_beyond_all_patience_is_an_error_at_once(self, world):
        client = make(world)
        client.budget.refused(500.0)
        with pytest.raises(errors.MpcThrottledError, match="due in 500 s"):
            client.create_editing_job({})
        assert (world.sent, world.sleeps) == ([], [])

    @pytest.mark.parametrize(("retry", "pause"), [(NO_RETRIES, 100.0), (IN_A_HURRY, 30.0)])
    def test_a_call_without_repetition_waits_no_longer_than_it_has_patience(self, world, retry, pause):
        client = make(world, retry=retry)
        client.budget.refused(pause)
        with pytest.raises(errors.MpcThrottledError):
            client.get_editing_job("1")
        assert (world.sent, world.sleeps) == ([], [])

    def test_patience_is_for_all_pauses_together(self, world, monkeypatch):
        monkeypatch.setattr(CallBudget, "try_take", lambda self: 30.0)
        with pytest.raises(errors.MpcThrottledError):
            make(world, retry=RetryPolicy(total=100.0)).get_editing_job("1")
        assert world.sleeps == [30.0] * 3

    def test_a_refusal_is_counted_from_when_its_call_was_begun(self, world, monkeypatch):
        told = []
        monkeypatch.setattr(CallBudget, "refused", lambda self, asked, *, taken_at=None: told.append(taken_at))
        send = world.send

        def slow(*args, **kwargs):
            world.now += 5.0
            return send(*args, **kwargs)

        monkeypatch.setattr(world, "send", slow)
        world.answers = [refused(429)]
        with pytest.raises(errors.MpcThrottledError):
            make(world).query(["1"])
        assert told == [1000.0]


class Renewing(Authenticator):
    """Has as many proofs as it is told."""

    def __init__(self, renewals):
        self.renewals = renewals
        self.asked = 0
        self.number = 1

    @property
    def method(self):
        return "renewing"

    @property
    def refused_advice(self):
        return "Renew."

    def authorize(self, request):
        return Proof({**request.headers, "X-Auth-Token": f"TOKEN{self.number}"}, self.number, ())

    def renew(self, rejected):
        self.asked += 1
        assert rejected.credential == self.number
        if self.number > self.renewals:
            return False
        self.number += 1
        return True


class TestRefusedCredentials:
    def tokens(self, world):
        return [headers["X-Auth-Token"] for _, _, headers, *_ in world.sent]

    def test_a_fresh_proof_is_tried_once(self, world):
        world.answers = [refused(401, "APIGW.0307"), listed("1")]
        make(world, authenticator=Renewing(9)).get_editing_job("1")
        assert self.tokens(world) == ["TOKEN1", "TOKEN2"]

    def test_and_only_once(self, world):
        world.answers = [refused(401, "APIGW.0307")]
        with pytest.raises(errors.MpcAuthenticationError):
            make(world, authenticator=Renewing(9)).get_editing_job("1")
        assert self.tokens(world) == ["TOKEN1", "TOKEN2"]

    def test_where_there_is_none_the_call_is_not_repeated(self, world):
        world.answers = [refused(401, "APIGW.0301")]
        with pytest.raises(errors.MpcAuthenticationError):
            make(world, authenticator=Renewing(0)).get_editing_job("1")
        assert self.tokens(world) == ["TOKEN1"]

    @pytest.mark.parametrize(
        "answer", [refused(401, "MPC.10208"), refused(403, "APIGW.0302"), refused(401, "MPC.10207")]
    )
    def test_what_a_renewal_cannot_cure_asks_for_none(self, world, answer):
        world.answers = [answer]
        authenticator = Renewing(9)
        with pytest.raises(errors.MpcError):
            make(world, authenticator=authenticator).get_editing_job("1")
        assert (authenticator.asked, len(world.sent)) == (0, 1)

    def test_the_second_call_is_counted_by_the_budget_too(self, world):
        world.answers = [refused(401, "APIGW.0307"), listed("1")]
        client = make(world, authenticator=Renewing(9), calls=2)
        client.get_editing_job("1")
        assert client.budget.delay() > 0


class TestProject:
    def test_it_is_found_once_by_however_many_threads(self, world, monkeypatch):
        found = []
        monkeypatch.setattr(iam, "find_project", lambda *args: found.append(args[2]) or "p9")
        client = make(world, target=Target("https://h", "https://iam", "cn-north-4", None))
        threads = [threading.Thread(target=lambda: client.project_id) for _ in range(10)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (found, client.project_id) == (["cn-north-4"], "p9")

    def test_threads_that_ask_while_it_is_looked_up_wait_for_it(self, world, monkeypatch):
        found = []

        def slow(*args):
            time.sleep(0.05)
            found.append("p9")
            return "p9"

        monkeypatch.setattr(iam, "find_project", slow)
        client = make(world, target=Target("https://h", "https://iam", "cn-north-4", None))
        threads = [threading.Thread(target=lambda: client.project_id) for _ in range(10)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == ["p9"]

    def test_what_the_credentials_tell_needs_no_call(self, world, monkeypatch):
        monkeypatch.setattr(Renewing, "project_id", lambda self: "p8")
        client = make(world, target=Target("https://h", "https://iam", None, None), authenticator=Renewing(0))
        assert client.project_id == "p8"
        assert world.sent == []

    def test_a_given_one_is_not_looked_up(self, world, monkeypatch):
        monkeypatch.setattr(Renewing, "project_id", lambda self: "p8")
        assert make(world, authenticator=Renewing(0)).project_id == "p1"

    def test_a_fault_while_it_is_looked_up_is_borne_like_any_other(self, world):
        found = Reply(200, {}, b'{"projects": [{"id": "p9", "name": "cn-north-4"}]}')
        world.answers = [refused(503), found, listed("1")]
        client = make(world, target=Target("https://h", "https://iam", "cn-north-4", None))
        assert client.get_editing_job("1").job_id == "1"
        assert len(world.sleeps) == 1

    def test_iams_own_wish_to_wait_is_obeyed(self, world):
        found = Reply(200, {}, b'{"projects": [{"id": "p9", "name": "cn-north-4"}]}')
        world.answers = [refused(429, retry_after="40"), found, listed("1")]
        make(world, target=Target("https://h", "https://iam", "cn-north-4", None)).get_editing_job("1")
        assert world.sleeps[0] >= 40

    def test_a_failure_to_find_it_is_not_kept(self, world):
        client = make(world, target=Target("https://h", "https://iam", "cn-north-4", None))
        world.answers = [refused(503), Reply(200, {}, b'{"projects": [{"id": "p9", "name": "cn-north-4"}]}')]
        with pytest.raises(errors.MpcServerError):
            _ = client.budget
        assert client.project_id == "p9"

    @pytest.mark.parametrize(
        ("projects", "words"),
        [
            ([], "no project named cn-north-4"),
            ([{"id": "a", "name": "cn-north-4_sub"}], "no project named cn-north-4"),
            ([{"id": "a", "name": "cn-north-4"}, {"id": "b", "name": "cn-north-4"}], "2 projects named cn-north-4"),
            ([None, {"id": 1, "name": "cn-north-4"}, {"name": "cn-north-4"}], "no project named cn-north-4"),
        ],
    )
    def test_none_or_several_of_the_name_is_an_error_that_asks_for_the_id(self, world, projects, words):
        world.answers = [Reply(200, {}, json.dumps({"projects": projects}).encode())]
        client = make(world, target=Target("https://h", "https://iam", "cn-north-4", None))
        with pytest.raises(errors.MpcConfigurationError, match=words) as caught:
            client.get_editing_job("1")
        assert "Project ID" in caught.value.advice

    def test_a_fault_while_it_is_looked_up_is_none_of_the_jobs(self, world):
        world.answers = [refused(400, "IAM.0007")]
        with pytest.raises(errors.MpcRequestError) as caught:
            make(world, target=Target(TARGET.endpoint, TARGET.iam_endpoint, "cn-north-4")).get_editing_jobs(
                ["77", "78"]
            )
        assert "77" not in str(caught.value)
        assert caught.value.preliminary

    def test_no_permission_to_list_projects_asks_for_the_id(self, world):
        world.answers = [refused(403)]
        client = make(world, target=Target("https://h", "https://iam", "cn-north-4", None))
        with pytest.raises(errors.MpcPermissionError, match="Put the Project ID into the connection"):
            client.get_editing_job("1")

    def test_refused_credentials_are_renewed_for_it_too(self, world):
        world.answers = [
            refused(401, "APIGW.0301"),
            Reply(200, {}, b'{"projects": [{"id": "p9", "name": "cn-north-4"}]}'),
        ]
        target = Target("https://h", "https://iam/", "cn-north-4", None)
        assert make(world, target=target, authenticator=Renewing(9)).project_id == "p9"
        assert world.urls == ["https://iam/v3/projects?name=cn-north-4"] * 2

    def test_and_only_once_for_it_too(self, world):
        world.answers = [refused(401, "APIGW.0301")]
        authenticator = Renewing(9)
        with pytest.raises(errors.MpcAuthenticationError):
            _ = make(
                world, target=Target("https://h", "https://iam", "r", None), authenticator=authenticator
            ).project_id
        assert len(world.sent) == 2


class TestLogIn:
    """How IAM's refusals of a user and password are told."""

    def failure(self, world, answer):
        world.answers = [answer]
        with pytest.raises(errors.MpcError) as caught:
            iam.log_in(
                world,
                "https://iam.example.com",
                user="user",
                password="pw",
                domain="domain",
                project_id=None,
                project_name="cn-north-4",
            )
        assert caught.value.advice
        return caught.value

    @pytest.mark.parametrize(
        ("status", "body"),
        [
            (401, b'{"error": {"code": 401, "message": "The username or password is wrong."}}'),
            (401, b""),
            (401, b"<html>log in</html>"),
            (404, b'{"error": {"code": 404, "message": "Could not find project: cn-north-4."}}'),
            (400, b'{"error": {"code": 400, "message": "Expecting to find domain"}}'),
            (403, b'{"error_code": "IAM.0011", "error_msg": "access to auth failed"}'),
        ],
    )
    def test_a_user_that_iam_does_not_take_is_told_so(self, world, status, body):
        error = self.failure(world, Reply(status, {"x-request-id": "r1"}, body))
        assert type(error) is errors.MpcAuthenticationError
        assert (error.status, error.request_id) == (status, "r1")
        assert "IAM user name, password" in error.advice

    @pytest.mark.parametrize(
        "body",
        [b"", b"<html>404 not found</html>", b'{"error_code": "APIGW.0101", "error_msg": "The API does not exist"}'],
    )
    def test_a_wrong_address_is_not_told_as_a_wrong_password(self, world, body):
        error = self.failure(world, Reply(404, {}, body))
        assert type(error) is errors.MpcEndpointError
        assert "IAM endpoint" in error.advice

    @pytest.mark.parametrize("body", [b"", b"<html>blocked by the firewall</html>"])
    def test_nor_is_a_firewalls_refusal(self, world, body):
        error = self.failure(world, Reply(403, {}, body))
        assert type(error) is errors.MpcPermissionError
        assert "programmatic access" in error.advice
        assert "mpc:editingTask" not in error.advice

    def test_a_reply_without_a_token_keeps_its_request_id(self, world):
        error = self.failure(world, Reply(201, {"x-request-id": "r1"}, b"{}"))
        assert (type(error), error.request_id) == (errors.MpcProtocolError, "r1")


class TestAgency:
    def keys(self, world, *answers):
        world.answers = list(answers)
        return iam.agency_keys(world, "http://metadata")

    @pytest.mark.parametrize(("status", "kind"), [(500, errors.MpcServerError), (401, errors.MpcAuthenticationError)])
    def test_a_fault_that_may_pass_is_not_taken_for_a_missing_agency(self, world, status, kind):
        with pytest.raises(kind):
            self.keys(world, Reply(200, {}, b"session"), refused(status))

    @pytest.mark.parametrize("token", [b"<html>\n</html>", "é".encode(), b"a\x00b"])
    def test_a_session_that_is_no_token_is_a_fault_of_the_reply(self, world, token):
        with pytest.raises(errors.MpcProtocolError):
            self.keys(world, Reply(200, {}, token))


class TestSecrets:
    def test_an_error_of_the_cloud_shows_none(self, world):
        token = "TOKEN/CANARY+0123456789"
        world.answers = [Reply(400, {}, json.dumps({"error_msg": f"bad {token}", "error_code": token}).encode())]
        with pytest.raises(errors.MpcRequestError) as caught:
            make(world, authenticator=TokenAuthenticator(token)).get_editing_job("1")
        assert "CANARY" not in f"{caught.value}{caught.value!r}{vars(caught.value)}"

    def test_a_client_shows_none(self, world):
        assert "CANARY" not in repr(make(world, authenticator=TokenAuthenticator("CANARY")))


class TestUnknownJobs:
    def test_all_of_them_are_named(self, world):
        world.answers = [listed()]
        asked = [str(number) for number in range(500, 540)]
        with pytest.raises(errors.MpcJobNotFoundError) as caught:
            make(world).get_editing_jobs(asked)
        assert all(job_id in str(caught.value) for job_id in asked)

    @pytest.mark.parametrize("status", [200, 400, 403])
    def test_what_mpc_said_of_one_is_told(self, world, status):
        world.answers = [refused(status, "MPC.10211", x_request_id="rid-1")]
        if status == 200:
            world.answers = [Reply(200, {"x-request-id": "rid-1"}, world.answers[0].body)]
        with pytest.raises(errors.MpcJobNotFoundError) as caught:
            make(world).get_editing_jobs("7")
        error = caught.value
        assert (error.job_ids, error.status, error.error_code) == (["7"], status, "MPC.10211")
        assert len(world.sent) == 1

    @pytest.mark.parametrize("code", ["MPC.10211", "MPC.10202", "CANARYTOKEN"])
    def test_no_secret_that_a_success_echoes_is_told(self, world, code):
        body = {"error_code": code, "error_msg": "no task for CANARYTOKEN"}
        world.answers = [Reply(200, {"x-request-id": "CANARYTOKEN"}, json.dumps(body).encode())]
        with pytest.raises(errors.MpcError) as caught:
            make(world, authenticator=TokenAuthenticator("CANARYTOKEN"), retry=NO_RETRIES).get_editing_jobs("7")
        assert "CANARY" not in f"{caught.value}{vars(caught.value)}"

    @pytest.mark.parametrize(
        ("body", "code", "message"),
        [
            (b'{"error_code": "MPC.10211", "error_msg": "no such task"}', "MPC.10211", "no such task"),
            (b'{"error_code": "MPC.10202", "error_msg": "wrong"}', "MPC.10202", "wrong"),
            (b"{}", None, None),
            (b'{"job_array": null, "user_data": "x"}', None, None),
            (b"<html>sign in</html>", None, None),
            (b"[]", None, None),
            (b"", None, None),
        ],
    )
    @pytest.mark.parametrize("act", ["query", "create"])
    def test_a_success_that_is_none_keeps_what_it_tells_of_itself(self, world, body, code, message, act):
        world.answers = [Reply(200, {"x-request-id": "r" * 32}, body)]
        client = make(world, retry=NO_RETRIES)
        with pytest.raises(errors.MpcError) as caught:
            client.get_editing_jobs("7") if act == "query" else client.create_editing_job({"output": {}})
        error = caught.value
        assert (error.status, error.error_code, error.error_msg) == (200, code, message)
        assert error.request_id == "r" * 32
        assert "HTTP 200" in str(error)
        assert error.advice

    @pytest.mark.parametrize("code", ["MPC.10202", "APIGW.0302", "MPC.10209"])
    def test_any_other_refusal_with_a_success_is_a_fault_of_the_reply(self, world, code):
        world.answers = [refused(200, code)]
        with pytest.raises(errors.MpcProtocolError):
            make(world, retry=NO_RETRIES).get_editing_jobs("7")
