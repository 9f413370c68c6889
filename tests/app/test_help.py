"""What the commands say of themselves, and of settings that were made for other data."""

import subprocess
import sys

import pytest

from fimo.app import cli
from fimo.app.multirun import purpose


def said(*arguments):
    return subprocess.run([sys.executable, "-m", "fimo", *arguments], capture_output=True, text=True, check=True).stdout


def test_help_of_a_command():
    text = said("verify", "--help")
    lines = text.splitlines()
    assert lines[0] == "usage: fimo verify [GROUP=CHOICE] [KEY=VALUE] ..."
    assert lines[2].startswith("What it gives: whether the rankings are true for this model")
    assert "size: evening, laptop, paper, smoke" in lines and max(len(line) for line in lines[:12]) < 120
    assert "Hydra" not in text and purpose("worker") == ""


@pytest.mark.parametrize(
    "arguments, code, text",
    [
        ([], 0, "usage: fimo COMMAND [OPTIONS]"),
        (["--help"], 0, "  rank           every method's ranking of all training rows"),
        (["ran"], 2, "error: fimo has no command 'ran'\nusage: fimo COMMAND"),
        (["--version"], 0, "fimo 0."),
        (["paper", "--help"], 0, "usage: fimo paper [-h] TARGET"),
    ],
)
def test_what_fimo_says(arguments, code, text, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["fimo", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert (ended.value.code or 0) == code
    out, err = capsys.readouterr()
    assert text in (err if code else out)


@pytest.mark.parametrize("chosen, said_so", [([], True), (["experiment=digits"], False)])
def test_whose_settings_they_are(chosen, said_so, tmp_path):
    folders = [f"paths.{name}_dir={tmp_path}" for name in ("output", "results")]
    text = said("train", "size=smoke", "data=digits", "model=convolutional", *chosen, *folders)
    assert ("data=digits stands in experiment=diabetes, the default: learning rates" in text) == said_so
