# SPDX-License-Identifier: Apache-2.0
"""Buckets as folders: where an object lies under the media root, and never outside it."""

from __future__ import annotations

from pathlib import Path

from airflow_provider_mpc.emulator.orders import ObsObject

# What file systems take for one name, in bytes.
MAX_NAME = 255


class BadPlaceError(Exception):
    """A bucket or object key that is no place under the media root."""


def place_of(root: Path, obs: ObsObject) -> Path:
    """
    Return the path of an object.

    :param root: the media root, resolved.
    :raises BadPlaceError: for a key that leads out of the bucket, or through a symbolic link.
    """
    parts = [obs.bucket, *obs.key.split("/")]
    if "/" in obs.bucket or not all(map(_is_name, parts)):
        raise BadPlaceError(f"not an object key: {obs.bucket}/{obs.key}")
    path = root.joinpath(*parts)
    try:
        if path.resolve() != path:
            raise BadPlaceError(f"a symbolic link is in the way: {obs.bucket}/{obs.key}")
    except (OSError, RuntimeError) as error:
        raise BadPlaceError(f"not a place in the media root: {obs.bucket}/{obs.key}") from error
    return path


def _is_name(part: str) -> bool:
    return part not in ("", ".", "..") and not {"\0", "\\"} & set(part) and len(part.encode()) <= MAX_NAME
