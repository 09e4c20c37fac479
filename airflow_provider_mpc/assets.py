# SPDX-License-Identifier: Apache-2.0
"""
``obs://`` asset URIs, and the asset events of clips.

An asset URI is ``obs://bucket/key`` with the key percent-encoded: Airflow reads ``?`` and ``#`` in a URI as the
beginning of a query and of a fragment, and drops what follows. :func:`obs_uri` encodes, :func:`parse_obs_uri`
decodes; ``Asset("obs://bucket/key")`` may be written by hand for any key without ``?``, ``#``, ``%`` and without a
slash at its end.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import SplitResult, quote, unquote_to_bytes, urlsplit

if TYPE_CHECKING:
    from airflow.sdk import Asset

    from airflow_provider_mpc.outcome import EditingJobResult

log = logging.getLogger(__name__)

SCHEME = "obs"
PREFIX = "obs://"
_BUCKET = re.compile(r"[a-z0-9](?:[a-z0-9-]|\.(?!\.)){1,61}[a-z0-9]")
# What RFC 3986 lets stand in a path.
_SAFE = "/!$&'()*+,;=:@"
_LARGEST_METADATA = 1024


class ObsLocation(NamedTuple):
    """
    A place in OBS.

    :param bucket: the bucket's name.
    :param key: the object's key as OBS has it; empty for the whole bucket.
    """

    bucket: str
    key: str


def obs_uri(bucket: str, key: str = "") -> str:
    """
    Return the asset URI of an object, or of a whole bucket.

    :param bucket: the bucket's name.
    :param key: the object's key as OBS has it, with any letters.
    :raises ValueError: the name cannot be a bucket's.
    """
    return f"{PREFIX}{_checked_bucket(bucket)}/{_encoded(key.encode('utf-8', 'surrogateescape'))}"


def parse_obs_uri(uri: str) -> ObsLocation:
    """
    Return bucket and key of an asset URI, the key as OBS has it.

    :raises ValueError: it is no ``obs://`` URI, or one with a query or a fragment.
    """
    parts = urlsplit(uri)
    if parts.scheme != SCHEME:
        raise ValueError(f"{uri!r} is no obs:// URI")
    if parts.fragment:
        raise ValueError(f"{uri!r} has a fragment (#…). {_ADVICE}")
    parts = sanitize_uri(parts)
    return ObsLocation(parts.netloc, unquote_to_bytes(parts.path[1:]).decode("utf-8", "surrogateescape"))


def obs_asset(bucket: str, key: str = "", **options: Any) -> Asset:
    """
    Return the asset of an object: its name is its URI, as in the events that the operators emit.

    :param options: further arguments of ``Asset``, such as ``group`` or ``extra``.
    """
    from airflow.sdk import Asset

    return Asset(obs_uri(bucket, key), **options)


def sanitize_uri(parts: SplitResult) -> SplitResult:
    """
    Check and normalise an ``obs://`` URI; Airflow calls this for each asset that has one.

    The bucket is put in lower case, the key is encoded in one way. A slash at a key's end is written ``%2F``, since
    Airflow takes any other away.

    :raises ValueError: the bucket cannot be one, or there is a query.
    """
    if parts.query:
        raise ValueError(f"{parts.geturl()!r} has a query (?…). {_ADVICE}")
    bucket = _checked_bucket(parts.netloc.lower())
    key = parts.path.removeprefix("/")
    return parts._replace(netloc=bucket, path="/" + _encoded(unquote_to_bytes(key)), fragment="")


_ADVICE = (
    "In a URI the ? and # of a key are written %3F and %23: airflow_provider_mpc.assets.obs_uri(bucket, key) does that."
)


def _checked_bucket(name: str) -> str:
    if not _BUCKET.fullmatch(name):
        raise ValueError(
            f"{name!r} is no OBS bucket: an asset is obs://bucket/key, a bucket's name has 3 to 63 small letters, "
            "digits, hyphens and dots"
        )
    return name


def _encoded(key: bytes) -> str:
    without = key.rstrip(b"/")
    return quote(without, safe=_SAFE) + "%2F" * (len(key) - len(without))


def clip_extra(result: EditingJobResult) -> dict[str, Any]:
    """Return what the asset event tells of a clip: small, JSON types only, nothing that MPC did not tell."""
    made = result["editing_output"]
    video = made.get("video_info") or {}
    extra = {
        "job_id": result["job_id"],
        "bucket": result["output"]["bucket"],
        "key": clip_key(result),
        "uri": result["output"]["uri"],
        "end_time": result["end_time"],
        **{name: made.get(name) for name in ("duration_ms", "size_byte", "format", "md5")},
        **{name: video.get(name) for name in ("width", "height", "frame_rate", "codec")},
    }
    if 2 < len(json.dumps(result["metadata"])) <= _LARGEST_METADATA:
        extra["metadata"] = result["metadata"]
    return {name: value for name, value in extra.items() if value is not None}


def clip_key(result: EditingJobResult) -> str | None:
    """Return the key of a clip's object, object and file name joined."""
    bucket, uri = result["output"]["bucket"], result["output"]["uri"]
    return uri.removeprefix(f"{PREFIX}{bucket}/") if bucket and uri else None


def emit_clip_events(context: Mapping[str, Any], results: Sequence[EditingJobResult], outlets: Sequence[Any]) -> None:
    """
    Tell Airflow of new clips: an asset event for each clip and each ``AssetAlias`` among a task's outlets.

    An outlet that is a clip's ``Asset`` itself, for which Airflow makes an event in any case, gets the same extra. A
    clip that cannot be an asset (its URI has more than Airflow's 1500 characters) is a warning, since it is there all
    the same.

    :param context: the task's context.
    :param results: what the task returns, one for each job.
    :param outlets: the task's.
    """
    if not outlets:
        return
    from airflow.sdk import Asset, AssetAlias

    events = context["outlet_events"]
    for result in results:
        bucket, key = result["output"]["bucket"], clip_key(result)
        if not bucket or not key:
            continue
        try:
            asset = obs_asset(bucket, key)
        except ValueError as error:
            log.warning("No asset event for the clip of job %s: %s", result["job_id"], error)
            continue
        extra = clip_extra(result)
        for outlet in outlets:
            if isinstance(outlet, AssetAlias):
                events[outlet].add(asset, extra=extra)
            elif isinstance(outlet, Asset) and outlet.uri == asset.uri:
                events[outlet].extra.update(extra)
