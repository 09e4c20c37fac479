# SPDX-License-Identifier: Apache-2.0
"""Extra links of the Huawei Cloud MPC provider."""
