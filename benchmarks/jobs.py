# SPDX-License-Identifier: Apache-2.0
"""The jobs of a benchmark: who ends when. Server and triggerers work it out alike from the same seed."""

from __future__ import annotations

import random
from dataclasses import dataclass

FIRST_ID = 700_000
WARM_UP_ID = FIRST_ID - 1
"""A job that has always ended."""


@dataclass(frozen=True)
class Jobs:
    """
    Jobs that end at random times.

    :param count: how many.
    :param earliest: seconds after the beginning at which the first may end.
    :param latest: and the last.
    """

    count: int
    earliest: float = 20.0
    latest: float = 90.0
    seed: int = 20

    def ends(self) -> list[float]:
        """Return when each job ends, in seconds after the beginning."""
        draw = random.Random(self.seed)
        return [draw.uniform(self.earliest, self.latest) for _ in range(self.count)]
