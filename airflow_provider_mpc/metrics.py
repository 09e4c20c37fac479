# SPDX-License-Identifier: Apache-2.0
"""The poller's figures, as Airflow metrics (statsd or OpenTelemetry, as Airflow is set up)."""

from __future__ import annotations

import time
from datetime import timedelta

from airflow.providers.common.compat.sdk import Stats, conf

from airflow_provider_mpc.api.job_ids import IDS_PER_CALL
from airflow_provider_mpc.api.models import EditingJob

CALLS = "mpc.calls"
THROTTLED_CALLS = "mpc.throttled_calls"
WAITS = "mpc.waits"
BATCH_FILL = "mpc.batch_fill"
NOTICE_DELAY = "mpc.notice_delay"


_SWITCHES = ("statsd_on", "statsd_datadog_enabled", "otel_on")
"""Options of Airflow's section ``[metrics]``, one of which is on where metrics are sent at all."""


def airflow_meter() -> AirflowMeter | None:
    """Return the meter; None where Airflow sends no metrics, since its own way of dropping them costs time too."""
    if any(conf.getboolean("metrics", switch, fallback=False) for switch in _SWITCHES):
        return AirflowMeter()
    return None


class AirflowMeter:
    """
    Tells a poller's figures to Airflow's metrics.

    ``mpc.calls`` and ``mpc.throttled_calls`` count calls, and those refused with 429; ``mpc.waits`` is the number
    of jobs waited for; ``mpc.batch_fill`` the share of a call's ten places that were used; ``mpc.notice_delay`` the
    time from a job's end, by MPC's clock in whole seconds, until it was seen.
    """

    def call(self, ids: int, *, throttled: bool) -> None:
        """One call was made."""
        Stats.incr(CALLS)
        Stats.gauge(BATCH_FILL, ids / IDS_PER_CALL)
        if throttled:
            Stats.incr(THROTTLED_CALLS)

    def waits(self, count: int) -> None:
        """So many jobs are waited for now."""
        Stats.gauge(WAITS, count)

    def noticed(self, job: EditingJob) -> None:
        """A job's end was seen."""
        ended = job.end_time
        if ended is not None:
            delay = time.time() - ended.timestamp()
            Stats.timing(NOTICE_DELAY, timedelta(seconds=max(0.0, delay)))
