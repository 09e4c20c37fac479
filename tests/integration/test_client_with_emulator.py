# SPDX-License-Identifier: Apache-2.0
"""The client against MPC, IAM and the metadata service as the emulator plays them, over real sockets."""

from __future__ import annotations

import threading
import time
import traceback
from types import SimpleNamespace
from urllib.parse import quote

import pytest

from airflow_provider_mpc.api import auth, errors, iam
from airflow_provider_mpc.api import client as client_module
from airflow_provider_mpc.api.client import NO_RETRIES, RetryPolicy
from airflow_provider_mpc.api.models import JobState
from airflow_provider_mpc.connection import read_connection
from airflow_provider_mpc.emulator import Emulator, EmulatorServer

WAYS = ["aksk", "temporary", "token", "password", "agency"]


@pytest.fixture(scope="module")
def running():
    with EmulatorServer(Emulator()) as server:
        yield server


@pytest.fixture
def emulator(running):
    emulator = running.emulator
    emulator.reset()
    # Keys unlocked, tokens and passwords as they were at first.
    emulator.rotate_keys()
    emulator.password = "emulator-password"
    emulator.token_seconds = 86400.0
    emulator.token_bytes = None
    return emulator


@pytest.fixture
def sleeps(monkeypatch):
    """No client sleeps: it notes how long it would have."""
    noted = []
    monkeypatch.setattr(client_module.random, "uniform", lambda low, high: high)
    return noted


@pytest.fixture
def connect(running, emulator, sleeps):
    """Return a client for a connection to the emulator; fields given replace its own."""
    made = []

    def connect(way="aksk", *, retry=None, calls=100_000, drop=(), **fields):
        connection = running.connection(way)
        extra = {**connection["extra"], "timeout": "10"}
        for name in drop:
            del extra[name]
        own = {name: fields.pop(name) for name in ("login", "password", "host", "port") if name in fields}
        values = {name: connection.get(name) for name in ("login", "password", "host", "port")} | own
        settings = read_connection(**values, extra={**extra, **fields})
        client = settings.client(calls_per_minute=calls, retry=retry or RetryPolicy())
        clock = SimpleNamespace(now=time.monotonic())

        def sleep(seconds):
            sleeps.append(seconds)
            clock.now += seconds
            # A pause of the budget is over after the sleep.
            client.budget._paused_until = 0.0

        client.sleep, client.clock = sleep, lambda: clock.now
        made.append(client)
        return client

    yield connect
    for client in made:
        client.close()


def ids_of(jobs):
    return [job.job_id for job in jobs]


class TestAuthentication:
    @pytest.mark.parametrize("way", WAYS)
    def test_each_way_gets_in(self, connect, emulator, way):
        job_id = emulator.job(["SUCCEEDED"])
        assert connect(way).get_editing_job(job_id).state is JobState.SUCCEEDED

    @pytest.mark.parametrize("way", WAYS)
    def test_each_way_finds_its_project(self, connect, emulator, way):
        job_id = emulator.job()
        client = connect(way, drop=["project_id"])
        assert client.get_editing_job(job_id).job_id == job_id
        assert client.project_id == emulator.project_id

    def test_a_password_finds_the_project_without_a_further_call(self, connect, emulator):
        _ = connect("password", drop=["project_id"]).project_id
        assert (emulator.calls("token"), emulator.calls("projects")) == (1, 0)

    @pytest.mark.parametrize("way", ["aksk", "temporary", "token", "agency"])
    def test_the_others_ask_iam_once(self, connect, emulator, way):
        client = connect(way, drop=["project_id"])
        for _ in range(3):
            client.get_editing_jobs(emulator.job())
        assert emulator.calls("projects") == 1

    def test_a_given_project_is_not_asked_for(self, connect, emulator):
        connect().get_editing_jobs(emulator.job())
        assert emulator.calls("iam") == 0

    def test_a_login_asks_for_the_project_without_the_catalogue(self, connect, emulator):
        connect("password").get_editing_jobs(emulator.job())
        (login,) = [call for call in emulator.requests if call.api == "token"]
        assert ("nocatalog", "true") in login.query
        assert f'"id": "{emulator.project_id}"' in login.body.decode()

    def test_a_token_of_nine_kilobytes_passes(self, connect, emulator):
        emulator.token_bytes = 9300
        assert connect("password").get_editing_jobs(emulator.job())
        assert connect("token").get_editing_jobs(emulator.job())

    @pytest.mark.parametrize("status", [404, 405, 503])
    def test_an_older_metadata_service_without_tokens_will_do(self, connect, emulator, status):
        emulator.variant.metadata_token_status = status
        assert connect("agency").get_editing_jobs(emulator.job())

    def test_a_server_without_an_agency_is_told_to_bind_one(self, connect, emulator):
        emulator.variant.agency_bound = False
        with pytest.raises(errors.MpcAuthenticationError, match="Bind an agency"):
            connect("agency").get_editing_jobs("1")
        assert emulator.calls("mpc") == 0

    def test_a_machine_without_a_metadata_service_is_told_so(self, connect):
        with pytest.raises(errors.MpcTransportError, match="ECS server only"):
            connect("agency", metadata_endpoint="http://127.0.0.1:1").get_editing_jobs("1")

    def test_a_metadata_service_that_hangs_costs_three_seconds(self, connect, emulator, monkeypatch):
        monkeypatch.setattr(iam, "_METADATA_TIMEOUT", 0.3)
        emulator.fault("slow", match="metadata")
        began = time.monotonic()
        with pytest.raises(errors.MpcTransportError, match=r"within 0\.3 s"):
            connect("agency", retry=NO_RETRIES).get_editing_jobs("1")
        assert time.monotonic() - began < 1.5

    @pytest.mark.parametrize("body", ["{}", '{"credential": null}', '{"credential": {"access": "a"}}', "[]", "<html>"])
    def test_a_metadata_reply_without_keys_is_a_fault(self, connect, emulator, body):
        emulator.fault("respond", match="security_key", body=body)
        with pytest.raises(errors.MpcProtocolError):
            connect("agency").get_editing_jobs("1")

    def test_a_wrong_password_is_told_and_tried_once(self, connect, emulator):
        emulator.password = "another"
        with pytest.raises(errors.MpcAuthenticationError, match=r"Account name \(domain\)") as caught:
            connect("password", password="hunter2").get_editing_jobs("1")
        assert emulator.calls("token") == 1
        assert "The username or password is wrong." in str(caught.value)

    @pytest.mark.parametrize("fault", ["500", "503", "reset", "html"])
    def test_a_login_that_fails_for_a_while_is_repeated_with_the_query(self, connect, emulator, fault):
        job_id = emulator.job()
        emulator.fault(fault, times=2, match="token")
        assert ids_of(connect("password").get_editing_jobs(job_id)) == [job_id]
        assert (emulator.calls("token"), emulator.calls("list")) == (3, 1)

    def test_a_login_without_a_token_in_the_reply_is_a_fault(self, connect, emulator):
        emulator.fault("respond", match="token", body="{}", status=201)
        with pytest.raises(errors.MpcProtocolError, match="X-Subject-Token"):
            connect("password").get_editing_jobs("1")

    @pytest.mark.parametrize("expires_at", [None, "soon", 7, "2026-13-99", "00:00", "2020-01-04T09:05:22.701000Z"])
    def test_a_token_whose_end_makes_no_sense_is_good_for_a_while(self, connect, emulator, expires_at):
        token = emulator.issue_token()
        body = {"token": {"expires_at": expires_at}}
        emulator.fault("respond", match="token", body=body, status=201, headers={"X-Subject-Token": token.id})
        client = connect("password")
        for _ in range(3):
            client.get_editing_jobs(emulator.job())
        assert emulator.calls("token") == 1

    def test_a_project_that_is_not_ones_own_is_told(self, connect):
        with pytest.raises(errors.MpcAuthenticationError, match="Project ID"):
            connect(project_id="f" * 32).get_editing_jobs("1")


class TestRefusals:
    def test_a_wrong_secret_is_sent_exactly_once(self, connect, emulator):
        with pytest.raises(errors.MpcAuthenticationError, match="Secret key"):
            connect(password="wrong").get_editing_jobs("1")
        assert emulator.calls() == 1

    def test_a_wrong_secret_is_sent_once_to_find_the_project(self, connect, emulator):
        with pytest.raises(errors.MpcAuthenticationError, match="Secret key"):
            connect(password="wrong", drop=["project_id"]).get_editing_jobs("1")
        assert emulator.calls() == 1

    def test_a_locked_key_is_told_and_not_tried_again(self, connect, emulator):
        emulator.fault("ak_locked")
        with pytest.raises(errors.MpcKeyLockedError):
            connect().get_editing_jobs("1")
        assert emulator.calls() == 1

    def test_a_wrong_clock_is_told(self, connect, emulator):
        emulator.variant.clock_skew = 3600
        with pytest.raises(errors.MpcAuthenticationError, match="clock of this machine is 60 minutes behind"):
            connect().get_editing_jobs("1")

    def test_a_given_token_that_has_ended_is_told_and_not_tried_again(self, connect, emulator):
        client = connect("token")
        emulator.expire_tokens()
        with pytest.raises(errors.MpcAuthenticationError, match="Put a fresh token"):
            client.get_editing_jobs("1")
        assert emulator.calls() == 1

    @pytest.mark.parametrize("code", ["APIGW.0301", "APIGW.0307"])
    @pytest.mark.parametrize("way", ["password", "agency"])
    def test_one_that_has_ended_early_is_renewed(self, connect, emulator, way, code):
        emulator.variant.token_expired_code = code
        client = connect(way)
        job_id = emulator.job()
        client.get_editing_jobs(job_id)
        emulator.expire_tokens()
        assert ids_of(client.get_editing_jobs(job_id)) == [job_id]
        assert emulator.calls("list") == 3
        assert emulator.calls("token") + emulator.calls("security_key") == 2

    def test_one_that_is_refused_for_ever_is_renewed_once(self, connect, emulator):
        emulator.fault("token_expired", match="list")
        with pytest.raises(errors.MpcAuthenticationError):
            connect("password").get_editing_jobs("1")
        assert (emulator.calls("list"), emulator.calls("token")) == (2, 2)

    def test_ten_threads_with_an_ended_token_log_in_once(self, connect, emulator):
        client = connect("password")
        job_id = emulator.job()
        client.get_editing_jobs(job_id)
        emulator.expire_tokens()
        results = []
        begin = threading.Barrier(10)

        def work():
            begin.wait()
            results.append(ids_of(client.get_editing_jobs(job_id)))

        threads = [threading.Thread(target=work) for _ in range(10)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert results == [[job_id]] * 10
        assert emulator.calls("token") == 2

    def test_two_clients_of_one_identity_log_in_once(self, connect, emulator):
        for _ in range(2):
            connect("password").get_editing_jobs(emulator.job())
        assert emulator.calls("token") == 1

    def test_a_token_is_renewed_before_it_ends(self, connect, emulator, monkeypatch):
        clock = SimpleNamespace(now=time.time())
        monkeypatch.setattr(auth, "time", SimpleNamespace(time=lambda: clock.now))
        client = connect("password")
        job_id = emulator.job()
        client.get_editing_jobs(job_id)
        clock.now += 86400 - 660
        client.get_editing_jobs(job_id)
        assert emulator.calls("token") == 1
        clock.now += 120
        client.get_editing_jobs(job_id)
        assert emulator.calls("token") == 2
        assert all(call.status in (200, 201) for call in emulator.requests)

    def test_no_permission_names_the_permission(self, connect, emulator):
        emulator.fault("forbidden")
        with pytest.raises(errors.MpcPermissionError, match="mpc:editingTask:view"):
            connect().get_editing_jobs("1")
        assert emulator.calls() == 1

    def test_a_wrong_address_is_told(self, connect, emulator):
        emulator.fault("not_found")
        with pytest.raises(errors.MpcEndpointError, match="Region and Endpoint"):
            connect().get_editing_jobs("1")


class TestQueries:
    def test_twenty_five_ids_are_three_calls(self, connect, emulator):
        ids = [emulator.job() for _ in range(25)]
        assert ids_of(connect().get_editing_jobs(ids)) == ids
        assert [len(call.job_ids) for call in emulator.requests] == [10, 10, 5]

    def test_ten_ids_are_one_call(self, connect, emulator):
        connect().get_editing_jobs([emulator.job() for _ in range(10)])
        assert emulator.calls() == 1

    def test_results_come_in_the_order_asked(self, connect, emulator):
        emulator.variant.reverse_order = True
        ids = [emulator.job() for _ in range(12)][::-1]
        assert ids_of(connect().get_editing_jobs(ids)) == ids

    def test_a_repeated_id_is_asked_for_and_returned_once(self, connect, emulator):
        job_id = emulator.job()
        assert ids_of(connect().get_editing_jobs([job_id, int(job_id), f" {job_id} "])) == [job_id]
        assert emulator.requests[0].job_ids == [job_id]

    def test_numbers_as_ids_and_times_are_understood(self, connect, emulator):
        emulator.variant.update(numeric_ids=True, numeric_times=True, extra_fields=True)
        job_id = emulator.job(["SUCCEEDED"])
        job = connect().get_editing_job(int(job_id))
        assert (job.job_id, job.create_time.tzname()) == (job_id, "UTC")

    @pytest.mark.parametrize("job_id", ["a b", "c+d*e~f", "g%2Fh", "h&i=j", "k?l#m", "é中", "'\"<>", "~"])
    def test_any_id_arrives_as_it_was_given(self, connect, emulator, job_id):
        emulator.job(job_id=job_id)
        assert connect().get_editing_job(job_id).job_id == job_id

    def test_the_query_on_the_wire_is_the_signed_one(self, connect, emulator):
        connect().get_editing_jobs(["a b~*", "10", "9"], missing_ok=True)
        assert emulator.requests[0].raw_query == "job_id=10&job_id=9&job_id=a%20b~%2A"

    def test_jobs_that_nobody_asked_for_are_left_out(self, connect, emulator):
        body = {"job_array": [{"job_id": "1", "status": "WAITING"}, {"job_id": "2", "status": "FAILED"}]}
        emulator.fault("respond", body=body)
        assert ids_of(connect().get_editing_jobs("1")) == ["1"]

    def test_ids_that_cannot_be_right_are_never_sent(self, connect, emulator):
        for ids in ("['1', '2']", "1,2", [], ""):
            with pytest.raises(errors.MpcInputError):
                connect().get_editing_jobs(ids)
        assert emulator.calls() == 0


@pytest.mark.parametrize(
    ("behaviour", "status"), [("absent", 403), ("no_task", 403), ("error", 403), ("error", 400)], ids=str
)
class TestUnknownIds:
    @pytest.fixture(autouse=True)
    def _play(self, emulator, behaviour, status):
        emulator.variant.update(unknown_id_behaviour=behaviour, unknown_id_status=status)

    def test_all_missing_ones_are_named(self, connect, emulator):
        known = [emulator.job() for _ in range(13)]
        asked = [*known[:7], "x1", *known[7:], "x2", "x3"]
        with pytest.raises(errors.MpcJobNotFoundError, match="x1, x2, x3") as caught:
            connect().get_editing_jobs(asked)
        assert caught.value.job_ids == ["x1", "x2", "x3"]
        assert not caught.value.retryable

    def test_missing_ones_may_be_left_out(self, connect, emulator):
        known = [emulator.job() for _ in range(9)]
        jobs = connect().get_editing_jobs([*known[:4], "x1", *known[4:]], missing_ok=True)
        assert ids_of(jobs) == known

    def test_nothing_known_is_an_empty_list(self, connect):
        assert connect().get_editing_jobs(["x1", "x2", "x3"], missing_ok=True) == []

    def test_a_single_one_is_named(self, connect):
        with pytest.raises(errors.MpcJobNotFoundError) as caught:
            connect().get_editing_job("x1")
        assert caught.value.job_ids == ["x1"]

    def test_one_among_ten_costs_few_calls(self, connect, emulator, behaviour):
        known = [emulator.job() for _ in range(9)]
        connect().get_editing_jobs([*known, "x1"], missing_ok=True)
        assert emulator.calls() <= (9 if behaviour == "error" else 1)

    def test_cancelling_one_names_it(self, connect):
        with pytest.raises(errors.MpcJobNotFoundError) as caught:
            connect().cancel_editing_job("x1")
        assert caught.value.job_ids == ["x1"]

    def test_asking_for_one_proves_access(self, connect, emulator):
        connect().check_access()
        assert emulator.calls() == 1


class TestMissing:
    def test_hundreds_of_missing_ids_are_all_named(self, connect):
        ids = [f"x{number}" for number in range(200)]
        with pytest.raises(errors.MpcJobNotFoundError, match=", ".join(ids)) as caught:
            connect().get_editing_jobs(ids)
        assert caught.value.job_ids == ids

    def test_a_job_without_a_status_is_there(self, connect, emulator):
        emulator.variant.missing_fields = ["status"]
        job_id = emulator.job()
        assert connect().get_editing_job(job_id).state is JobState.UNKNOWN


class TestAccess:
    @pytest.mark.parametrize("code", ["MPC.10202", "MPC.10211"])
    @pytest.mark.parametrize("status", [400, 403])
    def test_a_refusal_by_mpc_itself_proves_it(self, connect, emulator, code, status):
        emulator.fault("mpc", code=code, status=status)
        connect().check_access()

    @pytest.mark.parametrize(
        ("fault", "options"),
        [
            ("forbidden", {}),
            ("not_found", {}),
            ("signature", {}),
            ("500", {}),
            ("429", {}),
            ("html", {}),
            ("redirect", {}),
            ("json", {}),
            ("mpc", {"code": "MPC.10208"}),
            ("mpc", {"code": "MPC.10207"}),
            ("gateway", {"code": "APIGW.0104"}),
        ],
    )
    def test_anything_else_does_not(self, connect, emulator, fault, options):
        emulator.fault(fault, **options)
        with pytest.raises(errors.MpcError):
            connect().check_access()
        assert emulator.calls() == 1

    def test_it_asks_for_the_job_0(self, connect, emulator):
        connect().check_access()
        assert emulator.requests[0].job_ids == ["0"]


class TestFaults:
    @pytest.mark.parametrize(
        ("fault", "options"),
        [
            ("429", {}),
            ("429", {"retry_after": 7}),
            ("429", {"retry_after": 7, "as_date": True}),
            ("500", {}),
            ("502", {}),
            ("503", {"retry_after": 3}),
            ("504", {}),
            ("html", {}),
            ("empty", {}),
            ("json", {}),
            ("truncated", {}),
            ("truncated", {"reset": True}),
            ("reset", {}),
            ("close", {}),
            ("gzip", {"broken": True}),
            ("raw", {"data": "garbage\r\n\r\n"}),
        ],
    )
    def test_a_query_gets_over_two_of_them(self, connect, emulator, fault, options):
        job_id = emulator.job()
        emulator.fault(fault, times=2, **options)
        assert ids_of(connect().get_editing_jobs(job_id)) == [job_id]
        assert emulator.calls() == 3

    def test_gzip_is_none(self, connect, emulator):
        job_id = emulator.job()
        emulator.fault("gzip")
        assert ids_of(connect().get_editing_jobs(job_id)) == [job_id]
        assert emulator.calls() == 1

    def test_a_wish_to_wait_is_obeyed(self, connect, emulator, sleeps):
        emulator.fault("503", times=1, retry_after=42)
        connect().get_editing_jobs(emulator.job())
        assert 42 <= sum(sleeps) <= 45

    @pytest.mark.parametrize("as_date", [False, True])
    def test_so_is_one_that_comes_with_a_429(self, connect, emulator, sleeps, as_date):
        emulator.fault("429", times=1, retry_after=42, as_date=as_date)
        connect().get_editing_jobs(emulator.job())
        assert 40 <= sum(sleeps) <= 50

    @pytest.mark.parametrize("fault", ["reset", "500", "503", "502", "429", "close"])
    @pytest.mark.parametrize("call", ["create", "cancel"])
    def test_only_queries_are_repeated(self, connect, emulator, fault, call):
        emulator.fault(fault)
        client = connect()
        with pytest.raises(errors.MpcError):
            client.create_editing_job({}) if call == "create" else client.cancel_editing_job("1")
        assert emulator.calls() == 1

    def test_a_made_job_that_nobody_heard_of_is_said_to_be_possible(self, connect, emulator):
        emulator.fault("close", after_work=True)
        with pytest.raises(errors.MpcSubmitUnknownError):
            connect().create_editing_job(ORDER)
        assert len(emulator.jobs.all()) == 1

    def test_the_limit_of_the_cloud_is_kept_by_ones_own(self, connect, emulator, monkeypatch):
        client = connect(calls=20)
        ids = [emulator.job() for _ in range(250)]
        assert len(client.get_editing_jobs(ids[:200])) == 200
        assert client.budget.delay() > 50

    def test_a_drip_ends_with_the_time_for_the_call(self, connect, emulator):
        emulator.fault("drip", interval=0.05)
        client = connect(timeout="0.5", retry=NO_RETRIES)
        began = time.monotonic()
        with pytest.raises(errors.MpcTransportError, match=r"within 0\.5 s"):
            client.get_editing_jobs(emulator.job())
        assert time.monotonic() - began < 1.5

    def test_a_body_of_twenty_megabytes_is_refused(self, connect, emulator):
        emulator.fault("big")
        with pytest.raises(errors.MpcProtocolError, match="16 MB"):
            connect(retry=NO_RETRIES).get_editing_jobs("1")


ORDER = {
    "inputs": [
        {
            "input": {"bucket": "in", "location": "cn-north-4", "object": "a.mp4"},
            "timeline_start": "0",
            "timeline_end": "5",
        }
    ],
    "output": {"bucket": "out", "location": "cn-north-4", "object": "clips/", "file_name": "a.mp4"},
    "editing_type": 1,
}


class TestJobs:
    @pytest.mark.parametrize("way", WAYS)
    def test_one_is_made_and_found(self, connect, way):
        client = connect(way)
        job_id = client.create_editing_job(ORDER)
        assert client.get_editing_job(job_id).job_id == job_id

    @pytest.mark.parametrize("variant", [{"create_status": 202}, {"create_id_key": "task_id"}, {"numeric_ids": True}])
    def test_its_id_is_found_in_any_reply(self, connect, emulator, variant):
        emulator.variant.update(**variant)
        assert connect().create_editing_job(ORDER) in [str(job.wire_id) for job in emulator.jobs.all()]

    def test_a_waiting_one_is_cancelled(self, connect, emulator):
        job_id = emulator.job(["WAITING"])
        client = connect()
        client.cancel_editing_job(job_id)
        assert client.get_editing_job(job_id).state is JobState.FAILED

    @pytest.mark.parametrize("state", ["PROCESSING", "SUCCEEDED"])
    @pytest.mark.parametrize("status", [400, 403])
    def test_one_that_runs_or_has_ended_is_not(self, connect, emulator, state, status):
        emulator.variant.delete_refusal_status = status
        job_id = emulator.job([state])
        client = connect()
        client.get_editing_job(job_id)
        with pytest.raises(errors.MpcConflictError):
            client.cancel_editing_job(job_id)

    @pytest.mark.parametrize("job_id", ["a b", "c~d%e", "f?g#h", "é"])
    def test_an_odd_id_is_cancelled_as_it_was_given(self, connect, emulator, job_id):
        emulator.job(["WAITING"], job_id=job_id)
        connect().cancel_editing_job(job_id)
        assert emulator.requests[0].path.endswith("/editing/jobs/" + quote(job_id, safe="~"))


class TestSecrets:
    FAULTS = (
        ("signature", {"echo": True}),
        ("token_expired", {}),
        ("forbidden", {}),
        ("html", {"status": 502}),
        ("reset", {}),
        ("redirect", {}),
    )

    @pytest.mark.parametrize("way", WAYS)
    @pytest.mark.parametrize(("fault", "options"), FAULTS)
    def test_no_error_shows_one(self, connect, emulator, way, fault, options):
        client = connect(way, retry=NO_RETRIES)
        emulator.fault(fault, match="mpc", **options)
        with pytest.raises(errors.MpcError) as caught:
            client.get_editing_jobs("1")
        shown = "".join(traceback.format_exception(caught.value))
        shown += f"{caught.value!r}{vars(caught.value)}{client!r}{client.authenticator!r}"
        assert not [secret for secret in secrets_sent(emulator) if secret in shown]

    def test_the_echo_does_hold_secrets(self, connect, emulator, monkeypatch):
        """Without the redaction the test above would fail."""
        monkeypatch.setattr("airflow_provider_mpc.api.redaction.Redactor.__call__", lambda self, text: text)
        emulator.fault("signature", match="mpc", echo=True)
        with pytest.raises(errors.MpcError) as caught:
            connect("temporary", retry=NO_RETRIES).get_editing_jobs("1")
        assert [secret for secret in secrets_sent(emulator) if secret in str(caught.value)]


def secrets_sent(emulator):
    """Return what the requests carried and nobody may read."""
    account = emulator.account
    found = {account.password, *account.tokens, *account.metadata_tokens}
    for key in account.keys.values():
        found |= {key.secret, key.security_token or "", key.access}
    for call in emulator.requests:
        found.add(call.headers.get("authorization", "").rpartition("Signature=")[2])
    return found - {""}
