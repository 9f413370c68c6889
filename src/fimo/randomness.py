"""Seeds for independent random draws."""

from __future__ import annotations

import numpy as np


def seed_of(*numbers: int) -> int:
    """One seed from several numbers, well mixed (torch's CPU generator only looks at 32 bits)."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


def words_at(seed: int, stream: int, positions: np.ndarray) -> np.ndarray:
    """Random words at some places of a stream, each a function of seed, stream and place alone.

    The streams are those of a counter-based generator (Philox, Salmon et al. 2011), whose words numpy keeps the same.

    Args:
        seed: from 0 to 2⁶⁴ − 1.
        stream: from 0 to 2⁶⁴ − 1.
        positions: `[place]`, from 0.

    Returns:
        `[place]`, uniform in the unsigned integers of 64 bits.
    """
    generator = np.random.Philox(key=np.array([seed, stream], dtype=np.uint64))
    return generator.random_raw(int(positions.max()) + 1)[positions]
