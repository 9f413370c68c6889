"""Long and unusual names, errors of the operating system, and options with special signs: what comes out of each."""

import errno
import json
import os
import shlex
from pathlib import Path
from urllib.parse import quote

import pytest
from configs import QUICK, app
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import OverrideParseException

from fimo.app.errors import quoted_form, sentence
from fimo.errors import UserError
from fimo.pipeline.files import NAME_BYTES, folder_name, write

VALUES = [
    "Größe", "a b", "my file (1).csv", "a,b", "a=b", "~/x.csv", ">50K", "R²", "[x", "{x", "a;b", "50 %", "x'y", 'x"y',
    "C:\\temp", "ends\\", 'both "\'', "a:b", "#1", "a&b", "^", "$HOME", "数", "null", "1e3",
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES)
def test_the_quoted_form_of_an_option_is_read_as_it_stands(value):
    """As the shell gives it to Hydra's own grammar."""
    form = quoted_form(f"data.source.target={value}").split(" is written ")[1].split(", in both kinds of quotes")[0]
    (argument,) = shlex.split(form)
    override = OverridesParser.create().parse_override(argument)
    assert str(override.value()) == value and not override.is_sweep_override()


@pytest.mark.parametrize("value", ["Größe", "my file (1).csv", "a=b", "~/x.csv", ">50K", "R²", "[x"])
def test_an_option_that_cannot_be_read_shows_it(value):
    option = f"data.source.target={value}"
    try:
        OverridesParser.create().parse_overrides([option])
    except OverrideParseException as error:
        text = sentence(error)
    assert text.startswith(
        f"The option {option} can't be read: a value with special characters is written 'data.source.targ"
    )
    assert "\n" not in text


NAMES = ["short", "x" * NAME_BYTES, "x" * 300, "ä" * 100 + "a", "ä" * 100 + "b", "数" * 200, "a b (c) = d, >é"]


@pytest.mark.parametrize("name", NAMES)
def test_names_fit_every_file_system(name, tmp_path):
    short = folder_name(name)
    assert len(short.encode()) <= NAME_BYTES and (short == name) == (len(name.encode()) <= NAME_BYTES)
    (tmp_path / f"{short}-0123abcd").mkdir()
    (tmp_path / f".{short}.lock").touch()


def test_long_names_that_differ_stay_different():
    assert len({folder_name(name) for name in NAMES}) == len(NAMES)


def test_a_run_with_a_long_name_is_the_same_again(tmp_path, seeds_computed):
    name = "größe-" + "x" * 290
    for _ in range(2):
        assert app(tmp_path, *QUICK, f"name='{name}'") == 0
    (folder,) = (path for path in (tmp_path / "results").iterdir() if path.is_dir())
    assert folder.name == folder_name(name) and seeds_computed == [0, 1]
    assert json.loads((folder / "run.json").read_text())["name"] == name
    index = (tmp_path / "results/index.md").read_text()
    assert f"[{name}]({quote(folder.name)}/)" in index


SYSTEM = {
    errno.ENAMETOOLONG: "A name is too long for the file system (/there/x.nc): what is finished is kept; choose a shor",
    errno.ENOLCK: "The file system has no file locks (/there/x.nc): what is finished is kept; choose another place",
    errno.ENOSYS: "The file system has no file locks",
    errno.EROFS: "The file system is read-only (/there/x.nc): what is finished is kept; choose another place",
    errno.ENOSPC: "No space is left on the disk (/there/x.nc): what is finished is kept; make room or choose another",
    errno.EACCES: "No permission to read or write (/there/x.nc)",
    errno.EISDIR: "A folder is where a file is needed",
    errno.EIO: "The disk failed to read or write",
    errno.ESTALE: "A file of a shared folder is gone",
    errno.EMFILE: "Too many files are open (/there/x.nc): what is finished is kept; raise the limit (ulimit -n)",
}


@pytest.mark.parametrize("number", SYSTEM)
def test_what_the_operating_system_refuses_is_one_sentence(number):
    text = sentence(OSError(number, "as the system says it", "/there/x.nc"))
    assert text.startswith(SYSTEM[number]) and text.endswith("and run the same command again.") and "\n" not in text


def refused(number):
    def refuse(*args, **kwargs):
        raise OSError(number, "as the system says it", "/there/x")

    return refuse


KEPT = "(/there/x): what is finished is kept;"
DOING = [
    # what is done, number of the error, beginning of the sentence
    ("write", errno.EACCES, f"No permission to write {KEPT} change the permissions or choose another place by paths."),
    ("write", errno.EIO, f"The disk failed to write {KEPT} check the disk or choose another place by paths.output_di"),
    ("write", errno.ENOENT, f"No file or folder can be made here {KEPT} choose another place by paths.output_dir"),
    ("write", errno.ENOSPC, f"No space is left on the disk {KEPT} make room or choose another place by paths.output"),
    ("read", errno.EACCES, f"No permission to read {KEPT} change the permissions, and run the same command again."),
    ("read", errno.EIO, f"The disk failed to read {KEPT} check the disk, and run the same command again."),
    ("read", errno.EISDIR, f"A folder is where a file is needed {KEPT} move it, and run the same command again."),
    ("read", errno.ENOENT, None),
]


@pytest.mark.parametrize(("does", "number", "expected"), DOING)
def test_reading_and_writing_are_told_from_each_other(does, number, expected, tmp_path, monkeypatch):
    (tmp_path / "x").write_bytes(b"")
    with monkeypatch.context() as refusing, pytest.raises(OSError) as error:
        refusing.setattr(*((os, "replace") if does == "write" else (Path, "open")), refused(number))
        write(tmp_path / "y", b"") if does == "write" else (tmp_path / "x").read_bytes()
    text = sentence(error.value)
    assert text is None if expected is None else text.startswith(expected)


def test_a_place_where_no_folder_can_be_made():
    with pytest.raises(OSError) as error:
        write(Path("/proc/outputs/x"), b"")
    assert sentence(error.value).startswith("No file or folder can be made here (/proc/outputs): what is finished")


@pytest.mark.parametrize("error", [OSError(errno.EPIPE, "x"), OSError("x"), NotImplementedError("x"), ValueError("x")])
def test_what_may_be_a_bug_keeps_its_traceback(error):
    assert sentence(error) is None


def test_a_file_system_without_locks(tmp_path, monkeypatch):
    def refuse(*args):
        raise NotImplementedError("FileSystem does not appear to support flock; use SoftFileLock instead")

    monkeypatch.setattr("filelock.UnixFileLock._acquire", refuse)
    with pytest.raises(NotImplementedError) as error:
        app(tmp_path, *QUICK)
    assert sentence(error.value).startswith(
        "The file system has no file locks: what is finished is kept; choose another"
    )


def test_a_folder_of_unusual_letters(tmp_path, monkeypatch):
    folder = tmp_path / "Ergebnisse für mich" / "é (1)"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    assert app(".", *QUICK, "name='a = b, c'") == 0
    assert (folder / "results/a = b, c/table.md").is_file()


def test_a_name_with_a_path_in_it_is_refused(tmp_path):
    with pytest.raises(UserError, match="name"):
        app(tmp_path, *QUICK, "name=a/b")
