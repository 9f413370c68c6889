"""`python -m fimo run …` is `fimo run …`."""

from fimo.app.cli import main

if __name__ == "__main__":
    main()
