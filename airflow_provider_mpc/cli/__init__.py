# SPDX-License-Identifier: Apache-2.0
"""The commands ``airflow mpc …``, on Airflow 3.2 and newer."""
