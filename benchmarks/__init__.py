# SPDX-License-Identifier: Apache-2.0
"""What the package costs and how it behaves under load; run by ``make bench``."""
