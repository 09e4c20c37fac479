# SPDX-License-Identifier: Apache-2.0
"""The signature equals the documented vectors and what the official SDK makes of the same request."""

from __future__ import annotations

import hashlib
import json
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_mpc.api import signing

SUITE = json.loads((Path(__file__).parents[1] / "data" / "signing_vectors.json").read_text(encoding="utf-8"))
DATE = SUITE["x_sdk_date"]


@pytest.fixture(scope="module")
def sdk():
    """The SDK's signer; importing it writes into the home directory, which is not ours to give."""
    with tempfile.TemporaryDirectory() as home, pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", home)
        pytest.importorskip("huaweicloudsdkcore")
        from huaweicloudsdkcore.sdk_request import SdkRequest
        from huaweicloudsdkcore.signer.signer import Signer

        yield SimpleNamespace(Request=SdkRequest, Signer=Signer)


@pytest.fixture(params=SUITE["vectors"], ids=lambda vector: vector["name"])
def vector(request):
    return request.param


def headers_of(vector):
    return {**vector["headers"], "X-Sdk-Date": DATE}


def test_the_vectors_canonical_query_is_met(vector):
    assert signing.canonical_query(map(tuple, vector["query"])) == vector["canonical_query"]


def test_the_vectors_signed_headers_are_met(vector):
    assert ";".join(signing.signed_header_names(headers_of(vector))) == vector["signed_headers"]


def test_the_vectors_canonical_request_is_met(vector):
    canonical = signing.canonical_request(
        vector["method"],
        vector["path"],
        vector["canonical_query"],
        headers_of(vector),
        vector["signed_headers"].split(";"),
        vector["body"].encode(),
    )
    assert hashlib.sha256(canonical.encode()).hexdigest() == vector["canonical_sha256"]


def test_the_vectors_authorization_is_met(vector):
    header = signing.authorization(
        SUITE["access_key"],
        SUITE["secret_key"],
        vector["method"],
        vector["path"],
        vector["canonical_query"],
        headers_of(vector),
        vector["body"].encode(),
    )
    assert header == (
        f"SDK-HMAC-SHA256 Access={SUITE['access_key']}, SignedHeaders={vector['signed_headers']}, "
        f"Signature={vector['signature']}"
    )


def test_a_path_on_the_wire_is_signed_as_the_raw_one():
    assert signing.canonical_path("/v2/p/a%20b%7Ec") == signing.canonical_path("/v2/p/a b~c") == "/v2/p/a%20b~c/"


def test_a_path_that_ends_with_a_slash_gets_no_second_one():
    assert signing.canonical_path("/v2/p/") == "/v2/p/"


def test_values_are_sorted_as_raw_text_and_not_as_encoded():
    # "~" comes after "é" encoded (%C3 < ~), but before it raw.
    assert signing.canonical_query([("k", "é"), ("k", "~")]) == "k=~&k=%C3%A9"


def test_the_date_is_utc_whatever_the_zone():
    from datetime import datetime, timedelta, timezone

    moment = datetime(2026, 1, 15, 9, 0, tzinfo=timezone(timedelta(hours=1)))
    assert signing.sdk_date(moment) == "20260115T080000Z"


def test_a_given_content_hash_is_signed_in_place_of_the_bodys():
    headers = {"Host": "h", "X-Sdk-Date": DATE, "X-Sdk-Content-Sha256": "UNSIGNED-PAYLOAD"}
    names = signing.signed_header_names(headers)
    assert signing.canonical_request("POST", "/", "", headers, names, b"x").endswith("\nUNSIGNED-PAYLOAD")


def test_without_a_body_a_given_content_hash_counts_for_nothing():
    headers = {"Host": "h", "X-Sdk-Date": DATE, "X-Sdk-Content-Sha256": "UNSIGNED-PAYLOAD"}
    names = signing.signed_header_names(headers)
    assert signing.canonical_request("GET", "/", "", headers, names, b"").endswith(hashlib.sha256(b"").hexdigest())


awkward = st.text(st.sampled_from("aZ09-_.~+*%/ &=?#'\"<>\\,;:@!$()é中😀") | st.characters(codec="utf-8"), max_size=12)
header_values = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20)
content_types = st.sampled_from(
    [None, "application/json", "application/json;charset=utf8", "application/bson", "text/plain", "application/xml"]
)


@settings(max_examples=400, deadline=None)
@given(
    method=st.sampled_from(["GET", "POST", "DELETE", "PUT"]),
    segments=st.lists(awkward, max_size=4),
    query=st.lists(st.tuples(st.sampled_from(["job_id", "x"]) | awkward, awkward), max_size=6),
    extra=st.dictionaries(st.from_regex(r"X-[A-Za-z_-]{1,8}", fullmatch=True), header_values, max_size=3),
    body=st.binary(max_size=40) | awkward.map(str.encode),
    content_type=content_types,
    secret_key=st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1, max_size=40),
)
def test_any_request_is_signed_as_the_official_sdk_signs_it(
    sdk, method, segments, query, extra, body, content_type, secret_key
):
    path = "/" + "/".join(segments)
    names = [name.lower() for name in extra]
    if len(set(names)) < len(names) or {"x-sdk-date"} & set(names):
        extra = {}
    headers = {"Host": "mpc.example.com:8443", "X-Sdk-Date": DATE, **extra}
    if content_type:
        headers["Content-Type"] = content_type
    # The SDK groups the values of a repeated name.
    grouped: dict[str, list[str]] = {}
    for name, value in query:
        grouped.setdefault(name, []).append(value)
    theirs = sdk.Request(
        method=method,
        schema="https",
        host="mpc.example.com:8443",
        resource_path=path,
        query_params=list(grouped.items()),
        header_params=dict(headers),
        body=body,
    )
    sdk.Signer(SimpleNamespace(ak="AK", sk=secret_key)).sign(theirs)
    if "X-Sdk-Content-Sha256" in theirs.header_params:
        headers["X-Sdk-Content-Sha256"] = theirs.header_params["X-Sdk-Content-Sha256"]
    wire_query = signing.canonical_query(query)
    ours = signing.authorization("AK", secret_key, method, path, wire_query, headers, body)
    assert ours == theirs.header_params["Authorization"]
    assert f"{path}?{wire_query}" == theirs.uri or (wire_query == "" and theirs.uri == path)
