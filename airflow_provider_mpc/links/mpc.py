# SPDX-License-Identifier: Apache-2.0
"""Links that a task's page in Airflow shows."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from airflow.providers.common.compat.sdk import BaseOperatorLink

_CONSOLE = "https://console.huaweicloud.com/console/?region={region}#/obs/manage/{bucket}/object/list"


class MpcClipLink(BaseOperatorLink):
    """
    The bucket of the clip in the OBS console, once MPC has told the output.

    MPC's console documents no address for a single job, so the bucket is where a link can safely lead.
    """

    name = "Clip in OBS console"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        """Return the address, or an empty text while it is not known. Evaluated on the worker after each run."""
        results = getattr(operator, "_clips", None) or []
        for result in results:
            output = result["output"]
            if output["bucket"] and output["location"]:
                return _CONSOLE.format(
                    region=quote(output["location"], safe=""), bucket=quote(output["bucket"], safe="")
                )
        return ""
