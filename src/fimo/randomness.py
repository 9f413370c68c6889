"""Seeds for independent random draws."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


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


def uniform_at(seed: int, count: int, positions: np.ndarray) -> Tensor:
    """Random numbers at some positions, each a function of seed, its place among `count` and the position alone.

    Args:
        seed: see `words_at`.
        count: random numbers at each position.
        positions: `[place]`, from 0.

    Returns:
        `[place, count]`, above 0 and below 1, float64.
    """
    words = np.stack([words_at(seed, stream, positions) for stream in range(count)], 1)
    return torch.from_numpy(((words >> np.uint64(12)) + 0.5) / 2**52)
