# SPDX-License-Identifier: Apache-2.0
"""Hooks of the Huawei Cloud MPC provider."""
