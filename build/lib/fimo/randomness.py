"""Seeds for independent random draws."""

from __future__ import annotations

import numpy as np


def seed_of(*numbers: int) -> int:
    """One seed from several numbers, well mixed (torch's CPU generator only looks at 32 bits)."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])
