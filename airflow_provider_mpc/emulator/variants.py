# SPDX-License-Identifier: Apache-2.0
"""Switches for what the documentation leaves open, or says in two ways."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Literal

UnknownIdBehaviour = Literal["absent", "no_task", "error"]


@dataclass(slots=True)
class Variants:
    """
    How the emulator answers where the real service may answer in several ways.

    **Listing**

    :param unknown_id_behaviour: an id nobody knows is left out (``absent``), reads ``NO_TASK`` (``no_task``),
        or makes the whole call fail with MPC.10211 (``error``).
    :param unknown_id_status: the HTTP status of that MPC.10211, for list and delete: 403 or 400.
    :param numeric_ids: job ids as JSON numbers, in list and create.
    :param numeric_times: times as JSON numbers.
    :param missing_fields: fields to leave out; ``True`` leaves only ``job_id`` and ``status``.
    :param null_fields: the fields MPC has nothing to say about yet are ``null`` rather than left out.
    :param extra_fields: adds fields nobody has documented, at every level.
    :param reverse_order: jobs come in the reverse of the order asked for.
    :param success_code_10218: a succeeded job carries ``error_code`` MPC.10218, which means "task completed".
    :param succeeded_as: the word for success; v1 says ``SUCCEED``.
    :param cancelled_as: what a cancelled job reads as afterwards; ``None``: it is gone.
    :param failed_without_reason: a failed job has neither code nor description.

    **Create and delete**

    :param create_status: the HTTP status of a successful create.
    :param create_id_key: ``job_id`` or ``task_id``.
    :param delete_refusal_status: the HTTP status when a job cannot be cancelled: 403 or 400.

    **Authentication**

    :param clock_skew: seconds by which the emulator's own clock is ahead of the callers' when it checks
        signatures; the ``Date`` header shows it.
    :param signature_echo: a refused signature is answered with the canonical request, as the gateway may do.
    :param token_expired_code: ``APIGW.0301`` or ``APIGW.0307``.
    :param project_mismatch_status: the HTTP status of MPC.10208: 401, 400 or 403.
    :param metadata_token_status: when set, the metadata service has no token scheme and answers this: 404,
        405 or 503.
    :param agency_bound: whether the server that asks for temporary keys has an agency.
    """

    unknown_id_behaviour: UnknownIdBehaviour = "absent"
    unknown_id_status: int = 403
    numeric_ids: bool = False
    numeric_times: bool = False
    missing_fields: bool | list[str] = field(default_factory=list)
    null_fields: bool = False
    extra_fields: bool = False
    reverse_order: bool = False
    success_code_10218: bool = False
    succeeded_as: str = "SUCCEEDED"
    cancelled_as: str | None = "CANCELED"
    failed_without_reason: bool = False
    create_status: int = 200
    create_id_key: Literal["job_id", "task_id"] = "job_id"
    delete_refusal_status: int = 403
    clock_skew: float = 0.0
    signature_echo: bool = False
    token_expired_code: Literal["APIGW.0301", "APIGW.0307"] = "APIGW.0301"
    project_mismatch_status: int = 401
    metadata_token_status: int | None = None
    agency_bound: bool = True

    def update(self, **switches: object) -> None:
        """
        Set several switches.

        :raises ValueError: for a name that is no switch; nothing is set then.
        """
        unknown = switches.keys() - {switch.name for switch in dataclasses.fields(self)}
        if unknown:
            raise ValueError(f"no such variant: {', '.join(sorted(unknown))}")
        for name, value in switches.items():
            setattr(self, name, value)

    def reset(self) -> None:
        """Go back to what is documented."""
        self.update(**dataclasses.asdict(Variants()))
