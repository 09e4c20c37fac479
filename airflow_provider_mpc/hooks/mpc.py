# SPDX-License-Identifier: Apache-2.0
"""The hook: MPC's editing-jobs API with an Airflow connection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowNotFoundException, AirflowTaskTimeout, BaseHook

from airflow_provider_mpc import connection
from airflow_provider_mpc.configuration import CALLS_PER_MINUTE
from airflow_provider_mpc.exceptions import raises_airflow_errors

if TYPE_CHECKING:
    from airflow_provider_mpc.api.client import MpcClient, RetryPolicy
    from airflow_provider_mpc.api.models import EditingJob


class MpcHook(BaseHook):
    """
    Query, make and cancel clipping tasks of Huawei Cloud MPC (in its API: editing jobs).

    Any connection with an access key works, whatever its type. Errors are subclasses of
    :class:`~airflow_provider_mpc.api.errors.MpcError` and of Airflow's own: one that a retry cannot cure is an
    ``AirflowFailException``.

    :param mpc_conn_id: id of the connection.
    :param retry: how queries are repeated after transient faults; the default bears some seconds of trouble.
    """

    conn_name_attr = "mpc_conn_id"
    default_conn_name = connection.DEFAULT_CONNECTION_ID
    conn_type = connection.CONNECTION_TYPE
    hook_name = connection.HOOK_NAME

    def __init__(self, mpc_conn_id: str = default_conn_name, *, retry: RetryPolicy | None = None) -> None:
        super().__init__()
        self.mpc_conn_id = mpc_conn_id
        self._retry = retry

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """Return how the connection form names Airflow's own fields (Airflow 3.1; newer ones read provider info)."""
        return {key.replace("-", "_"): value for key, value in connection.ui_field_behaviour().items()}

    @cached_property
    @raises_airflow_errors
    def settings(self) -> connection.ConnectionSettings:
        """
        The connection, read and checked.

        :raises MpcConnectionNotFoundError: there is no such connection.
        :raises MpcConfigurationError: a field is missing or makes no sense.
        """
        from airflow_provider_mpc.api.errors import MpcConnectionNotFoundError

        try:
            conn = self.get_connection(self.mpc_conn_id)
        except AirflowNotFoundException:
            raise MpcConnectionNotFoundError.of(self.mpc_conn_id) from None
        for unknown, known in connection.misspelt(conn.extra_dejson):
            self.log.warning("The connection's extra has no field %r: is %r meant?", unknown, known)
        return connection.read_connection(
            login=conn.login, password=conn.password, host=conn.host, port=conn.port, extra=conn.extra_dejson
        )

    @cached_property
    def _client(self) -> MpcClient:
        return self.settings.client(calls_per_minute=CALLS_PER_MINUTE.get(), retry=self._retry)

    @raises_airflow_errors
    def get_conn(self) -> MpcClient:
        """
        Return the client, which may be shared between threads.

        :raises MpcConfigurationError: a field of the connection is missing or makes no sense.
        """
        return self._client

    @raises_airflow_errors
    def get_editing_jobs(self, job_ids: str | int | Sequence[str | int], missing_ok: bool = False) -> list[EditingJob]:
        """
        Query clipping tasks, ten to a call (api-mpc/ListEditingJobs).

        :param job_ids: one id or several; a repeated id is asked for once.
        :param missing_ok: leave out jobs that MPC does not know, instead of raising.
        :returns: the jobs in the order asked.
        :raises MpcInputError: an id is empty, has a comma or is a rendered list; nothing was sent.
        :raises MpcJobNotFoundError: MPC does not know some jobs; its ``job_ids`` names them all.
        :raises MpcError: the query failed; the text says what to do.
        """
        return self._client.get_editing_jobs(job_ids, missing_ok=missing_ok)

    @raises_airflow_errors
    def get_editing_job(self, job_id: str | int) -> EditingJob:
        """
        Query one clipping task.

        :raises MpcJobNotFoundError: MPC does not know it.
        """
        return self._client.get_editing_job(job_id)

    @raises_airflow_errors
    def create_editing_job(
        self,
        *,
        inputs: Sequence[Mapping[str, Any]],
        output: Mapping[str, Any],
        editing_settings: Mapping[str, Any] | None = None,
        editing_type: int | None = 1,
        metadata: Sequence[Mapping[str, Any]] | None = None,
        user_data: str | None = None,
    ) -> str:
        """
        Make a clipping task (api-mpc/CreateEditingJobs). Never repeated, since each call may make a job.

        :param inputs: ``{"input": {"bucket", "location", "object"}, "timeline_start", "timeline_end"}``, the times
            in seconds as text; several inputs are cut, then joined in order.
        :param output: ``{"bucket", "location", "object", "file_name"}``.
        :param editing_settings: ``format`` (HLS or MP4), ``width``, ``height``, ``resolution_adaptation`` …
        :param editing_type: 1 cuts from several files and joins them; 0 is MPC's older way.
        :param metadata: ``{"name", "value"}`` objects.
        :param user_data: echoed by MPC.
        :returns: the new job's id.
        :raises MpcSubmitUnknownError: the reply was lost, so the job may have been made. Airflow does not retry it.
        :raises MpcError: the job was not made.
        """
        from airflow_provider_mpc.api.client import submit_unknown
        from airflow_provider_mpc.api.errors import MpcTransportError

        body = {
            "inputs": [dict(one) for one in inputs],
            "output": dict(output),
            "editing_settings": None if editing_settings is None else dict(editing_settings),
            "editing_type": editing_type,
            "metadata": None if metadata is None else [dict(one) for one in metadata],
            "user_data": user_data,
        }
        body = {name: value for name, value in body.items() if value is not None}
        sent = False

        def about_to_send() -> None:
            nonlocal sent
            sent = True

        try:
            return self._client.create_editing_job(body, about_to_send=about_to_send)
        except AirflowTaskTimeout as error:
            if not sent:
                raise
            passed = MpcTransportError("the task's execution_timeout passed before MPC replied")
            raise submit_unknown(body, passed) from error

    @raises_airflow_errors
    def cancel_editing_job(self, job_id: str | int) -> None:
        """
        Cancel a clipping task that still waits; MPC cannot cancel one that runs (api-mpc/DeleteEditingJobs).

        :raises MpcConflictError: it runs or has ended.
        :raises MpcJobNotFoundError: MPC does not know it.
        """
        self._client.cancel_editing_job(job_id)

    def test_connection(self) -> tuple[bool, str]:
        """
        Make one query that works for whoever may query at all.

        :returns: whether it worked, and a sentence: with which endpoint, project and method, or why not.
        """
        from airflow_provider_mpc.api.client import NO_RETRIES
        from airflow_provider_mpc.api.errors import MpcError

        try:
            client = self.settings.client(calls_per_minute=CALLS_PER_MINUTE.get(), retry=NO_RETRIES)
            try:
                client.check_access()
                project = client.project_id
            finally:
                client.close()
        except MpcError as error:
            return False, str(error)
        return True, (
            f"MPC answers at {self.settings.endpoint} for project {project}, with {client.authenticator.method}."
        )
