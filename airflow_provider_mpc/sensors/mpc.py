# SPDX-License-Identifier: Apache-2.0
"""The sensor: wait for clipping tasks."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import (
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
    AirflowTaskTimeout,
    BaseSensorOperator,
    PokeReturnValue,
)

from airflow_provider_mpc.connection import DEFAULT_CONNECTION_ID
from airflow_provider_mpc.exceptions import as_airflow_errors, raises_airflow_errors
from airflow_provider_mpc.links.mpc import MpcClipLink
from airflow_provider_mpc.waiting import (
    DEFAULT_POKE_INTERVAL,
    DEFAULT_TIMEOUT,
    AwaitsEditingJobs,
    DirectWait,
    check_job_id_at_parse,
    default_deferrable,
    resume,
)

if TYPE_CHECKING:
    from airflow_provider_mpc.api.job_ids import JobIds


class MpcEditingJobSensor(AwaitsEditingJobs, BaseSensorOperator):
    """
    Wait until clipping tasks of Huawei Cloud MPC have succeeded.

    It fails for good as soon as one has failed, since a failed job does not heal. It returns what
    :class:`~airflow_provider_mpc.operators.mpc.MpcEditingJobOutputOperator` returns, in every mode. It never
    cancels a job.

    Deferrable waits of a triggerer share their calls, ten jobs to each: prefer ``deferrable=True``. MPC answers
    100 calls a minute for a whole account.

    :param job_id: one id, or several (templated): text, a number, a list of them, or an upstream task's ``.output``.
    :param mpc_conn_id: id of the connection.
    :param deferrable: wait in the triggerer, without a worker; default is ``[operators] default_deferrable``.
    :param poke_interval: seconds (or timedelta) between two looks at a job.
    :param timeout: seconds (or timedelta) for the whole wait; on Airflow 3.3+ over all retries. It ends in
        ``AirflowSensorTimeout``, which is not retried.
    :param start_from_trigger: begin in the triggerer, so that no worker runs before the jobs have ended. Only for ids
        that are literal or plainly templated (``params``, dates): refused for upstream outputs, which Airflow would
        hand to the trigger unresolved. Mapped tasks begin on a worker all the same.
    """

    template_fields: Sequence[str] = ("job_id", "mpc_conn_id")
    operator_extra_links = (MpcClipLink(),)
    ui_color = "#f6e5e6"

    def __init__(
        self,
        *,
        job_id: JobIds,
        mpc_conn_id: str = DEFAULT_CONNECTION_ID,
        deferrable: bool | None = None,
        poke_interval: timedelta | float = DEFAULT_POKE_INTERVAL,
        timeout: timedelta | float = DEFAULT_TIMEOUT,
        start_from_trigger: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(poke_interval=poke_interval, timeout=timeout, **kwargs)
        check_job_id_at_parse(job_id)
        self.job_id = job_id
        self.mpc_conn_id = mpc_conn_id
        if deferrable is None:
            deferrable = start_from_trigger or default_deferrable()
        self.deferrable = deferrable
        self._direct: DirectWait | None = None
        self.start_from_trigger = start_from_trigger
        if start_from_trigger:
            from airflow_provider_mpc.start_from_trigger import start_trigger_args

            # Only on the instance: on the class, Airflow would start mapped tasks with a trigger without arguments.
            self.start_trigger_args = start_trigger_args(self)

    @raises_airflow_errors
    def execute(self, context: Any) -> Any:
        """Wait; see the class."""
        if self.deferrable:
            from airflow_provider_mpc.api.job_ids import is_single

            with self._fails_as_in_poke_mode():
                self._wait_in_triggerer(context, self._normalized_job_ids(), is_single(self.job_id))
        try:
            return super().execute(context)
        except AirflowSensorTimeout as error:
            if self.never_fail:
                raise AirflowSkipException("Skipping due to never_fail is set to True.") from error
            raise
        except AirflowSkipException as skip:
            # The base class skips if the alarm rings in a look, and fails if it rings in the sleep between two.
            if isinstance(skip.__cause__, AirflowTaskTimeout):
                raise skip.__cause__ from None
            raise

    @raises_airflow_errors
    def poke(self, context: Any) -> bool | PokeReturnValue:
        """Look once at all jobs. A fault that may pass is "not yet"."""
        from airflow_provider_mpc.api.job_ids import is_single

        job_ids = self._normalized_job_ids()
        direct = self._direct
        if direct is None:
            earlier = context["ti"].get_first_reschedule_date(context) if self.reschedule else None
            direct = self._direct = DirectWait(
                self._hook_without_retries(),
                job_ids,
                began=earlier.timestamp() if earlier else time.time(),
                outage_tolerance=self._outage_tolerance(),
                logger=self.log,
                tolerates_first=earlier is not None,
            )
            self._ends_at = self._deadline(context)
        if direct.look():
            return PokeReturnValue(True, self._finish(context, direct.jobs, job_ids, is_single(self.job_id)))
        if time.time() >= self._ends_at:
            self._raise_timeout(job_ids, {job_id: job.status for job_id, job in direct.jobs.items()}, execution=False)
        return False

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Any) -> Any:
        """Go on after the triggerer's wait."""
        with self._fails_as_in_poke_mode():
            return resume(self, next_method, next_kwargs, context)

    @contextmanager
    def _fails_as_in_poke_mode(self) -> Iterator[None]:
        """
        Let ``soft_fail`` and ``never_fail`` mean what they mean in poke mode.

        The base class would skip under ``soft_fail`` after any ``AirflowException``, but in poke mode only after a
        timeout or a final failure; what a retry may cure is retried.
        """
        try:
            with as_airflow_errors():
                yield
        except AirflowSkipException:
            raise
        except (AirflowFailException, AirflowSensorTimeout) as error:
            if self.soft_fail:
                raise AirflowSkipException("Skipping due to soft_fail is set to True.") from error
            if self.never_fail:
                raise AirflowSkipException("Skipping due to never_fail is set to True.") from error
            raise
        except Exception as error:
            if self.never_fail:
                raise AirflowSkipException("Skipping due to never_fail is set to True.") from error
            raise
