# SPDX-License-Identifier: Apache-2.0
"""Who gets in, and what those who do not are told."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SDK_CALL = """
import json, sys
from huaweicloudsdkcore.auth.credentials import BasicCredentials
from huaweicloudsdkcore.client import Client
from huaweicloudsdkcore.http.http_config import HttpConfig
from huaweicloudsdkcore.sdk_response import SdkResponse


class ListEditingJobResponse(SdkResponse):
    openapi_types = attribute_map = {}


options = json.load(sys.stdin)
credentials = BasicCredentials(options["access_key"], options["secret_key"], options["project_id"])
credentials.security_token = options.get("security_token")
config = HttpConfig.get_default_config()
config.user_agent = "emulator-test"
client = Client()
client.with_config(config).with_credentials(credentials).with_endpoints([options["url"]])
client.init_http_client()
client.model_package = sys.modules["__main__"]
reply = client.do_http_request(
    method="GET",
    resource_path="/v2/{project_id}/editing/jobs",
    query_params=[("job_id", options["job_ids"])],
    header_params={},
    collection_formats={"job_id": "multi"},
    response_type="ListEditingJobResponse",
)
print(json.dumps(reply.to_json_object()))
"""


def ask_by_sdk(home: Path, **options):
    # In a process of its own: the SDK writes a file to the home directory when it is imported.
    done = subprocess.run(
        [sys.executable, "-c", SDK_CALL],
        input=json.dumps(options),
        env={**os.environ, "HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def now(clock):
    """Let the emulator's clock show the time the SDK will sign with."""
    import time

    clock.now = time.time()


@pytest.mark.usefixtures("now")
def test_the_official_sdk_lists_jobs(server, emulator, tmp_path):
    pytest.importorskip("huaweicloudsdkcore")
    awkward = ["a b", "c+d*e~f", "g/é%", "h&i=j"]
    known = [emulator.job(["PROCESSING"]), emulator.job(["SUCCEEDED"]), emulator.job(job_id="a b")]
    reply = ask_by_sdk(
        tmp_path,
        url=server.url,
        access_key=emulator.access_key,
        secret_key=emulator.secret_key,
        project_id=emulator.project_id,
        job_ids=[*known, *awkward],
    )
    assert sorted(job["job_id"] for job in reply["job_array"]) == sorted(known)
    assert sorted(set(emulator.requests[-1].job_ids)) == sorted({*known, *awkward})


@pytest.mark.usefixtures("now")
def test_the_official_sdk_gets_in_with_a_temporary_key(server, emulator, tmp_path):
    pytest.importorskip("huaweicloudsdkcore")
    key = emulator.issue_temporary_key()
    job_id = emulator.job(["PROCESSING"])
    reply = ask_by_sdk(
        tmp_path,
        url=server.url,
        access_key=key.access,
        secret_key=key.secret,
        security_token=key.security_token,
        project_id=emulator.project_id,
        job_ids=[job_id],
    )
    assert [job["status"] for job in reply["job_array"]] == ["PROCESSING"]


def refusal(reply):
    """Return the gateway's reason for not knowing the caller."""
    assert reply.status_code == 401, reply.text
    body = reply.json()
    assert body.keys() == {"error_code", "error_msg", "request_id"}
    assert body["error_code"] == "APIGW.0301"
    prefix = "Incorrect IAM authentication information: "
    assert body["error_msg"].startswith(prefix)
    return body["error_msg"].removeprefix(prefix)


def test_a_call_without_credentials_is_refused(caller):
    assert refusal(caller.send("GET", caller.jobs_path, "job_id=1")) == "x-auth-token not found"


def test_a_wrong_secret_key_is_refused(caller, emulator):
    reply = caller.list("1", keys=(emulator.access_key, "wrong"))
    assert refusal(reply) == "verify aksk signature fail"


def test_an_unknown_access_key_is_refused(caller):
    assert refusal(caller.list("1", keys=("AKNOBODY", "x"))) == "Get secretKey failed,ak:AKNOBODY,err:ak not exist"


def test_a_query_other_than_the_signed_one_is_refused(caller):
    assert refusal(caller.list("1", sent_query="job_id=2")) == "verify aksk signature fail"


def test_a_plus_on_the_wire_is_not_a_signed_space(caller):
    assert caller.list("a b").status_code == 200
    assert refusal(caller.list("a b", sent_query="job_id=a+b")) == "verify aksk signature fail"


def test_a_changed_signed_header_is_refused(caller):
    headers = {"X-Project-Id": "one"}
    assert caller.list("1", headers=headers).status_code == 200
    assert refusal(caller.list("1", headers=headers, unsigned={"X-Project-Id": "two"})) == "verify aksk signature fail"


def test_a_changed_body_is_refused(caller):
    headers = {"X-Sdk-Content-Sha256": "0" * 64}
    assert refusal(caller.create({}, headers=headers)) == "verify aksk signature fail"


def test_an_unsigned_payload_passes_when_it_says_so(caller):
    reply = caller.create({}, headers={"X-Sdk-Content-Sha256": "UNSIGNED-PAYLOAD"})
    assert reply.json()["error_code"] == "MPC.10202"


def test_the_host_has_to_be_signed(caller, emulator, clock):
    from airflow_provider_mpc.api import signing

    headers = {"X-Sdk-Date": "20260115T000000Z"}
    headers["Authorization"] = signing.authorization(
        emulator.access_key, emulator.secret_key, "GET", caller.jobs_path, "job_id=1", headers
    )
    assert refusal(caller.send("GET", caller.jobs_path, "job_id=1", headers)) == "verify aksk signature fail"


@pytest.mark.parametrize(("skew", "accepted"), [(-901, False), (-899, True), (899, True), (901, False)])
def test_fifteen_minutes_of_skew_pass_and_no_more(caller, emulator, skew, accepted):
    emulator.variant.clock_skew = skew
    reply = caller.list("1")
    assert (reply.status_code == 200) == accepted
    if not accepted:
        assert refusal(reply).startswith("signature expired")


def test_the_date_header_shows_the_emulators_clock(caller, emulator):
    emulator.variant.clock_skew = 3600
    assert caller.list("1").headers["Date"] == "Thu, 15 Jan 2026 01:00:00 GMT"


def test_the_canonical_request_is_echoed_when_asked_for(caller, emulator):
    emulator.variant.signature_echo = True
    reason = refusal(caller.list("1", keys=(emulator.access_key, "wrong")))
    assert reason.startswith(f"verify aksk signature fail|GET|{caller.jobs_path}/|job_id=1|host:127.0.0.1:")


def test_more_than_five_refused_signatures_lock_the_key_for_five_minutes(caller, emulator, clock):
    wrong = (emulator.access_key, "wrong")
    assert {refusal(caller.list("1", keys=wrong)) for _ in range(6)} == {"verify aksk signature fail"}
    assert refusal(caller.list("1")) == "AK access failed to reach the limit,forbidden"
    clock.advance(301)
    assert caller.list("1").status_code == 200


def test_a_good_signature_forgives_the_bad_ones_before_it(caller, emulator):
    for _ in range(2):
        for _ in range(5):
            caller.list("1", keys=(emulator.access_key, "wrong"))
        assert caller.list("1").status_code == 200


def test_a_temporary_key_needs_its_security_token(caller, emulator, clock):
    key = emulator.issue_temporary_key()
    keys = (key.access, key.secret)
    assert refusal(caller.list("1", keys=keys)) == "verify aksk signature fail"
    token = {"X-Security-Token": key.security_token}
    assert caller.list("1", keys=keys, headers=token).status_code == 200
    clock.advance(emulator.temporary_key_seconds)
    assert refusal(caller.list("1", keys=keys, headers=token)).startswith("token expires, expires_at: 2026-01-16T")


def test_after_a_rotation_only_the_new_key_gets_in(caller, emulator):
    old = (emulator.access_key, emulator.secret_key)
    new = emulator.rotate_keys()
    assert new == (emulator.access_key, emulator.secret_key)
    assert "ak not exist" in refusal(caller.list("1", keys=old))
    assert caller.list("1").status_code == 200


def test_another_project_than_the_callers_is_refused(caller, emulator):
    reply = caller.signed("GET", "/v2/another/editing/jobs", [("job_id", "1")])
    assert (reply.status_code, reply.json()["error_code"]) == (401, "MPC.10208")
    emulator.add_project("cn-north-4_sub", "another")
    assert caller.signed("GET", "/v2/another/editing/jobs", [("job_id", "1")]).status_code == 200


def ask_for_token(caller, query="nocatalog=true", **changes):
    emulator = caller.emulator
    user = {"name": emulator.user, "password": emulator.password, "domain": {"name": emulator.domain}}
    user.update({name: value for name, value in changes.items() if name in user})
    auth = {
        "identity": {"methods": ["password"], "password": {"user": user}},
        "scope": changes.get("scope", {"project": {"name": emulator.region}}),
    }
    return caller.send("POST", "/v3/auth/tokens", query, body=json.dumps({"auth": auth}).encode())


def list_with_token(caller, token, project_id=None):
    path = f"/v2/{project_id or caller.emulator.project_id}/editing/jobs"
    return caller.send("GET", path, "job_id=1", {"X-Auth-Token": token})


def test_a_token_is_issued_and_taken(caller, emulator):
    reply = ask_for_token(caller)
    assert reply.status_code == 201
    token = reply.json()["token"]
    assert token["project"]["id"] == emulator.project_id
    assert token["expires_at"] == "2026-01-16T00:00:00.000000Z"
    assert "catalog" not in token
    assert list_with_token(caller, reply.headers["X-Subject-Token"]).status_code == 200


def test_a_token_with_its_catalogue_is_of_a_real_ones_size(caller):
    reply = ask_for_token(caller, query="")
    assert len(reply.headers["X-Subject-Token"]) > 9000
    assert len(reply.json()["token"]["catalog"]) > 50


def test_a_token_of_60_kb_passes_both_ways(caller, emulator):
    emulator.token_bytes = 60_000
    token = ask_for_token(caller).headers["X-Subject-Token"]
    assert len(token) == 60_000
    assert list_with_token(caller, token).status_code == 200


@pytest.mark.parametrize(
    "changes",
    [{"password": "wrong"}, {"name": "nobody"}, {"domain": {"name": "elsewhere"}}, {"password": None}],
)
def test_a_wrong_user_or_password_gets_no_token(caller, changes):
    reply = ask_for_token(caller, **changes)
    assert reply.status_code == 401
    error = {"code": 401, "message": "The username or password is wrong.", "title": "Unauthorized"}
    assert reply.json() == {"error": error}


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"auth":{"identity":{"methods":["password"]}}}', b"\xff"])
def test_a_bad_token_request_is_told_so(caller, body):
    reply = caller.send("POST", "/v3/auth/tokens", body=body)
    assert (reply.status_code, reply.json()["error"]["title"]) == (400, "Bad Request")


def test_an_expired_token_is_refused(caller, emulator, clock):
    emulator.token_seconds = 60
    token = ask_for_token(caller).headers["X-Subject-Token"]
    clock.advance(59)
    assert list_with_token(caller, token).status_code == 200
    clock.advance(1)
    assert refusal(list_with_token(caller, token)) == "token expires, expires_at: 2026-01-15T00:01:00.000000Z"
    emulator.variant.token_expired_code = "APIGW.0307"
    assert list_with_token(caller, token).json()["error_code"] == "APIGW.0307"


def test_tokens_can_be_made_to_expire_at_once(caller, emulator):
    token = ask_for_token(caller).headers["X-Subject-Token"]
    emulator.expire_tokens()
    assert refusal(list_with_token(caller, token)).startswith("token expires")
    assert list_with_token(caller, ask_for_token(caller).headers["X-Subject-Token"]).status_code == 200


def test_a_made_up_token_is_refused(caller):
    assert refusal(list_with_token(caller, "MIIx")) == "decrypt token fail"


def test_a_token_is_for_its_project_only(caller, emulator):
    emulator.add_project("sub", "another")
    token = ask_for_token(caller, scope={"project": {"id": "another"}}).headers["X-Subject-Token"]
    assert list_with_token(caller, token, "another").status_code == 200
    emulator.variant.project_mismatch_status = 403
    reply = list_with_token(caller, token)
    assert (reply.status_code, reply.json()["error_code"]) == (403, "MPC.10208")


def test_a_token_without_project_scope_is_refused(caller):
    token = ask_for_token(caller, scope={"domain": {"name": "x"}}).headers["X-Subject-Token"]
    assert refusal(list_with_token(caller, token)) == "token without project scope"


def test_a_token_for_an_unknown_project_is_not_issued(caller):
    assert ask_for_token(caller, scope={"project": {"name": "mars-1"}}).status_code == 404


def test_projects_are_found_by_name(caller, emulator):
    emulator.add_project("ap-southeast-3", "another")
    found = caller.signed("GET", "/v3/projects", [("name", "cn-north-4")]).json()["projects"]
    assert [(project["name"], project["id"]) for project in found] == [("cn-north-4", emulator.project_id)]
    assert caller.signed("GET", "/v3/projects", [("name", "mars-1")]).json()["projects"] == []
    token = {"X-Auth-Token": emulator.issue_token().id}
    assert len(caller.send("GET", "/v3/auth/projects", headers=token).json()["projects"]) == 2


def test_projects_are_not_for_strangers(caller):
    assert refusal(caller.send("GET", "/v3/projects", "name=cn-north-4")) == "x-auth-token not found"


METADATA_TOKEN = "/meta-data/latest/api/token"
SECURITY_KEY = "/openstack/latest/securitykey"


def test_the_metadata_service_hands_out_keys_that_get_in(caller):
    ttl = {"X-Metadata-Token-Ttl-Seconds": "21600"}
    token = caller.send("PUT", METADATA_TOKEN, headers=ttl).text
    credential = caller.send("GET", SECURITY_KEY, headers={"X-Metadata-Token": token}).json()["credential"]
    assert credential.keys() == {"access", "secret", "securitytoken", "expires_at"}
    reply = caller.list(
        "1",
        keys=(credential["access"], credential["secret"]),
        headers={"X-Security-Token": credential["securitytoken"]},
    )
    assert reply.status_code == 200


def test_the_metadata_service_wants_its_token(caller):
    assert caller.send("GET", SECURITY_KEY).status_code == 401
    assert caller.send("GET", SECURITY_KEY, headers={"X-Metadata-Token": "made-up"}).status_code == 401
    assert caller.send("PUT", METADATA_TOKEN).status_code == 400


@pytest.mark.parametrize("status", [404, 405, 503])
def test_an_older_metadata_service_has_no_tokens(caller, emulator, status):
    emulator.variant.metadata_token_status = status
    ttl = {"X-Metadata-Token-Ttl-Seconds": "21600"}
    assert caller.send("PUT", METADATA_TOKEN, headers=ttl).status_code == status
    assert caller.send("GET", SECURITY_KEY).status_code == 200


def test_a_server_without_an_agency_is_told_so(caller, emulator):
    emulator.variant.agency_bound = False
    reply = caller.send("GET", SECURITY_KEY)
    assert (reply.status_code, reply.text) == (401, "Please configure Cloud Service Agency first")
