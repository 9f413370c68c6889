"""See `fimo.paper.sweep_command`."""

from fimo.app.main import told
from fimo.paper.sweep_command import main

if __name__ == "__main__":
    told(main)
