"""`python -m benchmarks`, see `command.py`."""

from fimo.app.main import guarded  # isort: skip  (first: it sets this process up before torch is imported)

from benchmarks.command import main

if __name__ == "__main__":
    guarded(main)
