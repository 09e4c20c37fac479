# SPDX-License-Identifier: Apache-2.0
"""Dags in tests."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from airflow.sdk import DAG

AnyDag = TypeVar("AnyDag", bound="DAG")


def hasten(dag: AnyDag, poke_interval: float = 0.1) -> AnyDag:
    """
    Let a Dag's waits for clipping tasks look often, so that a test does not wait with them; return the Dag.

    :param poke_interval: seconds between two looks.
    """
    from airflow.sdk.definitions.mappedoperator import MappedOperator

    from airflow_provider_mpc.waiting import AwaitsEditingJobs

    for task in dag.tasks:
        if isinstance(task, AwaitsEditingJobs):
            task.poke_interval = poke_interval
        elif isinstance(task, MappedOperator) and issubclass(task.operator_class, AwaitsEditingJobs):
            task.partial_kwargs["poke_interval"] = poke_interval
    return dag
