"""The command `fimo`: `fimo run experiment=energy` is what `python experiments/run.py experiment=energy` is."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.metadata import version
from typing import NoReturn

COMMANDS = {
    "run": "all four stages (train, attribute, further_train, compare), each skipped where its result is there",
    "train": "the final model",
    "attribute": "scores of the chosen methods",
    "further_train": "the gold standard: further training with and without each left-out example",
    "compare": "tables and figures from what the other stages left",
    "rank": "every method's ranking of all training rows, without further training",
    "verify": "whether the rankings are true for this model: further training without the rows that they name",
    "paper": "the paper's figures and tables",
    "sweep": "one table and one figure of a sweep's jobs",
}
WITH_PARSER = ("paper", "sweep")  # the others are Hydra's


def main() -> None:
    """Hand over to a command; what follows its name are its own options."""
    name = sys.argv[1].replace("-", "_") if len(sys.argv) > 1 else ""
    if name == "__version":
        print(f"fimo {version('fimo')}")
        sys.exit()
    if name not in COMMANDS:
        wanted = name and not name.startswith(("_", "help"))
        lines = [f"  {command:14} {what}" for command, what in COMMANDS.items()]
        text = "\n".join(
            ["usage: fimo COMMAND [OPTIONS]   (fimo COMMAND --help lists them, fimo --version the version)", *lines]
        )
        print(
            f"error: fimo has no command {sys.argv[1]!r}\n{text}" if wanted else text,
            file=sys.stderr if wanted else sys.stdout,
        )
        sys.exit(2 if wanted else 0)
    # Hydra takes the job's name from it, argparse what it calls the program.
    sys.argv = [f"fimo {name}" if name in WITH_PARSER else name, *sys.argv[2:]]
    try:
        import_module(f"fimo.commands.{name}").main()
    except (KeyboardInterrupt, Exception) as error:
        if not is_interruption(error):
            raise
        interrupted()  # before the command itself looks for one


def is_interruption(error: BaseException | None) -> bool:
    """Whether an error is an interruption or came of one, which some libraries catch while they are imported."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None


def interrupted() -> NoReturn:
    """End with a sentence."""
    print("\ninterrupted: what is finished is kept, and the same command goes on from there", file=sys.stderr)
    sys.exit(130)
