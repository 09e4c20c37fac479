# SPDX-License-Identifier: Apache-2.0
"""Huawei Cloud MPC over HTTP. Imports nothing of Airflow, so it also serves a notebook."""
