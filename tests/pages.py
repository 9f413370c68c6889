"""What the README and the pages of docs/ print: blocks of code, commands, paragraphs."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCS = sorted((ROOT / "docs").glob("*.md"))
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *DOCS]
STARTS = ("make ", "python ", "fimo ", "pip ", ".venv/", "conda ", "wandb ")
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
INDENTED = re.compile(r"(?:^    \S.*\n?)+", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A block of code on a page."""

    page: str
    language: str
    code: str


def blocks(page):
    """The fenced and the indented blocks of a page."""
    text = page.read_text()
    fenced = [Block(page.name, *match.groups()) for match in FENCED.finditer(text)]
    rest = re.sub(r"^!!!.*\n(?:    .*\n)*", "", FENCED.sub("", text), flags=re.MULTILINE)
    indented = [Block(page.name, "", re.sub("^    ", "", code, flags=re.M)) for code in INDENTED.findall(rest)]
    return [*fenced, *indented]


def code(language, *pages):
    """The blocks of a language."""
    return [block for page in pages or PAGES for block in blocks(page) if block.language == language]


def commands():
    """Every command that a page prints, without its comment, each once."""
    shell = [block for language in ("bash", "") for block in code(language)]
    lines = [line for block in shell for line in block.code.splitlines()]
    printed = [re.sub(r"\s+# .*", "", line).strip() for line in lines if line.startswith(STARTS)]
    return list(dict.fromkeys(printed))


def paragraphs(page):
    """The paragraphs and list items of a page, without code, tables, headings and pictures."""
    text = FENCED.sub("", page.read_text())
    pieces = [piece for block in re.split(r"\n\s*\n", text) for piece in re.split(r"\n(?=[-*] |\d+\. )", block)]
    return [piece.strip() for piece in pieces if piece.strip() and not re.match(r"\s*(#|\||!\[|!!!|:::|    )", piece)]
