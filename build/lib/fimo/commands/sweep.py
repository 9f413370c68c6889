"""One table and one figure of a sweep, from what its jobs have finished.

`python experiments/sweep.py energy-damping results/energy-times.damping=*` writes results/energy-damping/.
"""

import sys

from fimo.app.main import guarded
from fimo.app.sweep import gather


def main() -> None:
    """Gather the results folders that are named, and write the sweep's beside the first."""
    guarded(lambda: gather(sys.argv[1:]))


if __name__ == "__main__":
    main()
