"""The paper's figures and tables, and ours: `python experiments/paper.py figure-2 table-2 datasets=energy,fico`."""

import sys

from fimo.app.main import guarded
from fimo.app.paper import make_items


def main() -> None:
    """Make the figures and tables that are named; see `--help`."""
    guarded(lambda: make_items(sys.argv[1:]))


if __name__ == "__main__":
    main()
