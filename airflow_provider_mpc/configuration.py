# SPDX-License-Identifier: Apache-2.0
"""
The options of Airflow's config section ``[mpc]``, declared once: provider info and the code read this.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import Any

SECTION = "mpc"

BACKSTOP_SECONDS = 60.0
"""How much later than our own deadline Airflow's comes, should the triggerer not come round to it."""


@dataclass(frozen=True)
class Option:
    """
    One option; all are numbers.

    :param name: its name in the section.
    :param default: used when it is not set.
    :param lowest: smaller values are refused.
    :param description: for ``airflow config list`` and the docs.
    """

    name: str
    default: float
    lowest: float
    description: str

    def get(self) -> float:
        """
        Return the option's value.

        :raises MpcConfigurationError: it is set to something else than a number in range.
        """
        # A thousand waits that begin together ask a thousand times, and Airflow's look-up is slow.
        set_by_environment = os.environ.get(f"AIRFLOW__{SECTION}__{self.name}".upper())
        kept = _kept.get(self.name)
        now = time.monotonic()
        if kept is None or kept[0] != set_by_environment or now - kept[1] > _KEPT_FOR:
            kept = _kept[self.name] = (set_by_environment, now, self._read())
        return kept[2]

    def _read(self) -> float:
        from airflow.providers.common.compat.sdk import conf

        text = conf.get(SECTION, self.name, fallback=None)
        try:
            value = self.default if text in (None, "") else float(str(text))
        except ValueError:
            value = float("nan")
        if not self.lowest <= value < 1e9:
            from airflow_provider_mpc.api.errors import MpcConfigurationError

            raise MpcConfigurationError(
                f"[{SECTION}] {self.name} is {text!r}", advice=f"Give a number of at least {self.lowest:g}."
            )
        return value


_KEPT_FOR = 1.0
_kept: dict[str, tuple[str | None, float, float]] = {}

CALLS_PER_MINUTE = Option(
    "calls_per_minute",
    90,
    1,
    "Calls a minute that one process (a triggerer, a task) makes at most to one MPC endpoint and project. MPC allows "
    "100 per account and API. Several triggerers settle between themselves by MPC's refusals (429).",
)
OUTAGE_TOLERANCE = Option(
    "outage_tolerance",
    900,
    0,
    "Seconds that MPC may give no good answer before waiting tasks fail. They fail so that Airflow retries them.",
)
MISSING_GRACE = Option(
    "missing_grace",
    60,
    0,
    "Seconds that a job may be unknown to MPC, counted from the beginning of the wait, before the wait fails: a job "
    "made a moment ago may not be listed yet.",
)
OPTIONS = (CALLS_PER_MINUTE, OUTAGE_TOLERANCE, MISSING_GRACE)


def config_section() -> dict[str, Any]:
    """Return the ``config`` part of provider info."""
    return {
        SECTION: {
            "description": "Huawei Cloud MPC (Media Processing Center).",
            "options": {
                one.name: {
                    "description": one.description,
                    "version_added": "1.0.0",
                    "type": "float",
                    "example": f"{one.default:g}",
                    "default": f"{one.default:g}",
                }
                for one in OPTIONS
            },
        }
    }
