# SPDX-License-Identifier: Apache-2.0
"""``obs://`` URIs: what Airflow makes of them, and back."""

from __future__ import annotations

import json

import pytest
from airflow.sdk import Asset
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_mpc.assets import ObsLocation, obs_asset, obs_uri, parse_obs_uri

KEYS = [
    "out/clip.mp4",
    "out/my clip.mp4",
    "what?.mp4",
    "a=1?b=2",
    "#1.mp4",
    "100%.mp4",
    "100%25.mp4",
    "%41",
    "日本語/é.mp4",
    "🎬.mp4",
    "dt=2026-01-01/a+b&c.mp4",
    "folder/",
    "two//slashes",
    "/leading",
    "..",
    "./a/../b",
    " blank at both ends ",
    "tab\tand\nline",
    "[brackets]\\back",
    "a:b@c;d",
    "",
]


@pytest.mark.parametrize("key", KEYS)
def test_a_key_survives_the_way_through_an_asset(key: str) -> None:
    asset = obs_asset("media", key)
    assert parse_obs_uri(asset.uri) == ObsLocation("media", key)


@given(st.text(st.characters(exclude_categories=("Cs",)), max_size=60))
def test_any_key_survives(key: str) -> None:
    asset = obs_asset("media", key)
    assert parse_obs_uri(asset.uri).key == key
    assert Asset(asset.uri).uri == asset.uri
    assert asset.uri.isascii()


@pytest.mark.parametrize("key", KEYS)
def test_a_normal_uri_stays_as_it_is(key: str) -> None:
    uri = obs_uri("media", key)
    assert Asset(uri).uri == uri
    assert Asset(uri).normalized_uri == uri
    assert obs_asset("media", key).name == uri


@pytest.mark.parametrize(
    ("written", "normal"),
    [
        ("obs://media/out/my clip.mp4", "obs://media/out/my%20clip.mp4"),
        ("obs://media/é.mp4", "obs://media/%C3%A9.mp4"),
        ("obs://media/%c3%a9.mp4", "obs://media/%C3%A9.mp4"),
        ("obs://media/%41%2Fb", "obs://media/A/b"),
        ("OBS://Media/Clip.MP4", "obs://media/Clip.MP4"),
        ("obs://media/50% off.mp4", "obs://media/50%25%20off.mp4"),
        ("obs://media", "obs://media/"),
        ("obs://media/folder/", "obs://media/folder"),
    ],
)
def test_different_spellings_are_one_asset(written: str, normal: str) -> None:
    assert Asset(written).uri == normal


@pytest.mark.parametrize(
    "uri",
    [
        "obs://",
        "obs:///out/clip.mp4",
        "obs://a/clip.mp4",
        "obs://my bucket/clip.mp4",
        "obs://my_bucket/clip.mp4",
        "obs://-media/clip.mp4",
        "obs://me..dia/clip.mp4",
        "obs://user@media/clip.mp4",
        "obs://media:443/clip.mp4",
        "obs://" + "m" * 64 + "/clip.mp4",
    ],
)
def test_what_is_no_bucket_is_refused_when_the_dag_is_parsed(uri: str) -> None:
    with pytest.raises(ValueError, match="is no OBS bucket"):
        Asset(uri)


def test_a_query_is_refused_with_the_way_to_write_a_question_mark() -> None:
    with pytest.raises(ValueError, match=r"has a query.*obs_uri"):
        Asset("obs://media/clip.mp4?take=2")


@pytest.mark.parametrize("uri", ["s3://media/clip.mp4", "media/clip.mp4", "obs://media/a#b", "obs://media/a?b=c"])
def test_what_is_no_asset_uri_is_not_parsed(uri: str) -> None:
    with pytest.raises(ValueError, match=r"obs:// URI|has a fragment|has a query"):
        parse_obs_uri(uri)


def test_an_asset_takes_further_arguments() -> None:
    asset = obs_asset("media", "clip.mp4", group="clips", extra={"team": "news"})
    assert (asset.group, json.loads(json.dumps(asset.extra))) == ("clips", {"team": "news"})
