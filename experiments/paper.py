"""See `fimo.paper.command`."""

from fimo.app.main import told
from fimo.paper.command import main

if __name__ == "__main__":
    told(main)
