# SPDX-License-Identifier: Apache-2.0
"""Apache Airflow provider for Huawei Cloud MPC (Media Processing Center)."""

__version__ = "1.0.0"
