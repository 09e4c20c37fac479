# SPDX-License-Identifier: Apache-2.0
"""Buckets on disk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from airflow_provider_mpc.emulator import Emulator


@dataclass(frozen=True)
class MpcMedia:
    """
    The buckets of an emulator that really cuts media.

    :param root: the folder whose sub-folders are the buckets.
    """

    root: Path

    @classmethod
    def begin(cls, emulator: Emulator, root: Path) -> MpcMedia:
        """
        Let an emulator cut media below a folder.

        :raises RuntimeError: PyAV is not installed.
        """
        root.mkdir(parents=True, exist_ok=True)
        emulator.media_root = root.resolve()
        emulator.studio.check()
        return cls(emulator.media_root)

    def film(self, bucket: str, key: str, seconds: float = 6.0, **options: Any) -> Path:
        """
        Put a film into a bucket, a test pattern with a tone.

        :param options: see :func:`airflow_provider_mpc.emulator.media.make_sample`: ``size``, ``audio``, ``rate`` …
        """
        from airflow_provider_mpc.emulator.media import make_sample

        return make_sample(self.root / bucket / key, seconds, **options)

    def path(self, uri: str) -> Path:
        """Return the file of ``obs://bucket/key``, as in ``result["output"]["uri"]``."""
        return self.root / uri.removeprefix("obs://")

    def describe(self, uri: str) -> dict[str, Any]:
        """Return what MPC's ``editing_output`` would tell of ``obs://bucket/key``, read from the file."""
        from airflow_provider_mpc.emulator.media import describe

        return describe(self.path(uri))
