"""What mypy says of the package and the benchmarks, in a process beside the other tests: `make lint` calls it alone.

Its name brings it early: it takes half a minute, for which nothing would run beside it at the end.
"""

import subprocess
import sys
from pathlib import Path


def test_all_types_are_right():
    done = subprocess.run([sys.executable, "-m", "mypy"], cwd=Path(__file__).parents[1], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
