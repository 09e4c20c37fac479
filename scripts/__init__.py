# SPDX-License-Identifier: Apache-2.0
"""Developer tools of the project: a real Airflow to run against, the demo, the packaging check."""
