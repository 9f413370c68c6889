"""Writes docs/configuration.md from the comments in conf/: `python docs/configuration.py`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
CONF = ROOT / "conf"
PAGE = Path(__file__).with_suffix(".md")
HEAD = """# Configuration

This page is for looking up what a configuration key means and what its default is. It is generated from the files and
comments in `conf/` by `make docs`: edit those, not this page.

A key is set on the command line by its dotted name, `further.seeds=10`; a choice of a group by the group's name,
`optimizer=adam`. A default such as `${facts.clip}` is read from another key, which an experiment or a size fills in.
"""
# In this order. conf/paper.yaml and conf/published/ are no settings of a run, conf/papers_rows/ long lists of numbers.
GROUPS = (
    "experiment",
    "size",
    "data",
    "model",
    "objective",
    "measurement",
    "optimizer",
    "method",
    "further",
    "logger",
    "paths",
    "sweep",
    "hydra",
)
INTRODUCTIONS = {
    "experiment": "`experiment=`: data, network and the facts that belong to both. An experiment is a short difference "
    "from the defaults.",
    "size": "`size=`: how much is done. Sizes never change splits, learning rates or damping.",
    "data": "`data=`: rows, their split, which training examples are left out and which test examples are evaluated.",
    "model": "`model=`: the network.",
    "objective": "`objective=`: the loss per example that training lowers, the final model's and further training.",
    "measurement": "`measurement=`: what is watched at a test example, in scores and in the gold standard.",
    "optimizer": "`optimizer=`: the optimiser of further training. The final model's is `final.optimizer`.",
    "method": "`method=`: one method, several (`method=[cg,ekfac]`) or `paper`. A method's keys stand under its name.",
    "further": "`further=`: the gold standard.",
    "logger": "`logger=`: where curves are logged while a run computes.",
    "paths": "`paths=`: folders.",
    "sweep": "`+sweep=`: what a multirun varies (`-m` is needed).",
    "hydra": "`hydra/launcher=`, `hydra/sweeper=`: where the jobs of a multirun run, and how settings are searched.",
}
KEY = re.compile(r"^(?P<indent> *)(?P<key>[\w.\-]+):(?: +(?P<value>.*))?$")
MAX_VALUE_CHARACTERS = 60


@dataclass(frozen=True)
class Entry:
    """A key of a file: its dotted name, its default as it is written, and its comment."""

    key: str
    default: str
    comment: str


@dataclass(frozen=True)
class ConfigFile:
    """A file of conf/: its leading comment and its keys."""

    path: Path
    comment: list[str]
    entries: list[Entry]

    @property
    def group(self) -> str:
        """The first folder below conf/, empty for conf/config.yaml."""
        parts = self.path.relative_to(CONF).parts
        return parts[0] if len(parts) > 1 else ""


def split_comment(line: str) -> tuple[str, str]:
    """A line's content and its comment; a # inside quotes, or without a space before it, is content."""
    quote = ""
    for place, character in enumerate(line):
        if quote:
            quote = "" if character == quote else quote
        elif character in "\"'" and "#" not in line[:place]:
            quote = character
        elif character == "#" and (place == 0 or line[place - 1] == " "):
            return line[:place].rstrip(), line[place + 1 :].strip()
    return line.rstrip(), ""


def logical_lines(text: str) -> Iterator[tuple[str, str]]:
    """Content and comment of each line, the lines of one bracketed value joined."""
    content = comment = ""
    for line in text.splitlines():
        more, its_comment = split_comment(line)
        content = f"{content} {more.strip()}" if content else more
        comment = f"{comment} {its_comment}".strip()
        if sum(map(content.count, "[{")) <= sum(map(content.count, "]}")):
            yield content, comment
            content = comment = ""


def read(path: Path) -> ConfigFile:
    """Keys of a file with their comments: behind the key, or in the lines above it."""
    package = ".".join(path.relative_to(CONF).parts[:-1])
    lines = list(logical_lines(path.read_text()))
    leading: list[str] = []
    while lines and not lines[0][0] and lines[0][1]:
        comment = lines.pop(0)[1]
        if comment.startswith("@package"):
            package = comment.removeprefix("@package").strip().replace("_global_", "")
        else:
            leading.append(comment)
    return ConfigFile(path, leading, list(entries(lines, package)))


def entries(lines: list[tuple[str, str]], package: str) -> Iterator[Entry]:
    """The keys of some lines, without the defaults list and Hydra's own settings."""
    parents: list[tuple[int, str]] = []
    above: list[str] = []
    for place, (content, comment) in enumerate(lines):
        match = KEY.match(content)
        if match is None:
            above = [*above, comment] if comment and not content else []
            continue
        indent = len(match["indent"])
        parents = [(depth, key) for depth, key in parents if depth < indent]
        keys = [key for _, key in parents]
        parents.append((indent, match["key"]))
        name = ".".join(part for part in (package, *keys, match["key"]) if part)
        following = next((later for later, _ in lines[place + 1 :] if later), "")
        nested = following.startswith(" " * (indent + 1)) and not match["value"]
        text = " ".join([*above, comment]).strip()
        above = []
        top = keys[0] if keys else match["key"]
        own = top not in ("defaults", "hydra") or package.startswith("hydra")
        if own and match["key"] != "defaults" and (not nested or text):
            yield Entry(name, "" if nested else shortened(match["value"] or "null"), text)


def shortened(value: str) -> str:
    """A default as it is written; a long list by its beginning and its length."""
    value = " ".join(value.split())
    if value.startswith("[") and len(value) > MAX_VALUE_CHARACTERS and re.fullmatch(r"\[[\d, ]+\]", value):
        numbers = value.strip("[]").split(",")
        return f"[{','.join(numbers[:3])}, …] ({len(numbers)} numbers)"
    return value


def code(value: str) -> str:
    """A table cell's text in code font; empty stays empty."""
    escaped = value.replace("|", "\\|")
    return f"`{escaped}`" if value else ""


def table(file: ConfigFile, comments: dict[str, str]) -> list[str]:
    """Rows for the keys of a file; a key without a comment takes that of the same key elsewhere in its group."""
    rows = ["| key | default | meaning |", "|---|---|---|"]
    for entry in file.entries:
        meaning = (entry.comment or comments.get(entry.key, "")).replace("|", "\\|")
        rows.append(f"| {code(entry.key)} | {code(entry.default)} | {meaning} |")
    return rows if len(rows) > 2 else []


def leading_comment(lines: list[str]) -> list[str]:
    """A file's leading comment as text, its commands as a block of code."""
    commands = [line for line in lines if line.startswith("python ")]
    text = [line for line in lines if not line.startswith("python ")]
    block = ["```text", *commands, "```", ""] if commands else []
    return [*block, *([*text, ""] if text else [])]


def section(file: ConfigFile, comments: dict[str, str]) -> list[str]:
    """What the page says of one file."""
    name = file.path.relative_to(CONF).with_suffix("").as_posix()
    title = name.rpartition("/")
    heading = f"### {title[0]}={title[2]}" if title[0] else f"## {name}"
    return [heading, "", f"`conf/{name}.yaml`", "", *leading_comment(file.comment), *table(file, comments), ""]


def page() -> str:
    """The whole page."""
    files = [read(path) for group in GROUPS for path in sorted((CONF / group).rglob("*.yaml"))]
    top = read(CONF / "config.yaml")
    lines = [HEAD, f"Groups: {', '.join(f'[{group}](#{group})' for group in GROUPS)}.", "", *section(top, {})]
    for group in GROUPS:
        lines += [f"## {group}", "", INTRODUCTIONS[group], ""]
        members = [file for file in files if file.group == group]
        # An experiment's keys are those of conf/config.yaml; elsewhere the group's first comment on a key explains it.
        described = [top] if group == "experiment" else reversed(members)
        comments = {entry.key: entry.comment for file in described for entry in file.entries if entry.comment}
        for file in members:
            lines += section(file, comments)
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).rstrip() + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())
