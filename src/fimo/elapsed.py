"""What a computation takes: seconds of the clock, and seconds of processors."""

from __future__ import annotations

import time
from dataclasses import dataclass


@dataclass(frozen=True)
class Elapsed:
    """Time that a computation takes, or a moment that others are counted from.

    Attributes:
        seconds: of the clock.
        processor_seconds: of all threads of this process together; where only it computes, this depends little on how
            many processors there are.
    """

    seconds: float = 0.0
    processor_seconds: float = 0.0

    @classmethod
    def now(cls) -> Elapsed:
        """This moment; the difference of two moments is what lies between them."""
        return cls(time.perf_counter(), time.process_time())

    def __add__(self, other: Elapsed) -> Elapsed:
        """Both, one after the other."""
        return Elapsed(self.seconds + other.seconds, self.processor_seconds + other.processor_seconds)

    def __sub__(self, other: Elapsed) -> Elapsed:
        """What lies between an earlier moment and this one."""
        return Elapsed(self.seconds - other.seconds, self.processor_seconds - other.processor_seconds)

    def __truediv__(self, count: int) -> Elapsed:
        """The share of each of so many equal parts."""
        return Elapsed(self.seconds / count, self.processor_seconds / count)

    def record(self) -> dict[str, float]:
        """Both numbers, to a microsecond, by name."""
        return {"seconds": round(self.seconds, 6), "processor_seconds": round(self.processor_seconds, 6)}
