"""Lint of docstrings, run by `make lint`: what a public function of two arguments or more takes is described.

Asks `Args:` of every public function, method and class (for its `__init__`) with two or more arguments, naming each of
them, and `Raises:` where it raises an error of the user's itself. Ruff checks the form of what is there.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
SECTIONS = ("Args:", "Arguments as ")  # or a reference to a function with the same ones


def problems(path: Path) -> Iterator[str]:
    """A sentence for each public function of a file whose docstring lacks something."""
    parents = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, (ast.Module, ast.ClassDef))]
    for parent in parents:
        for node in (node for node in parent.body if isinstance(node, ast.FunctionDef)):
            where = f"{path.relative_to(ROOT)}:{node.lineno}: {node.name}"
            of_class = isinstance(parent, ast.ClassDef)
            if of_class and parent.name.startswith("_") or node.name.startswith("_") and node.name != "__init__":
                continue
            if any("override" in ast.unparse(decorator) for decorator in node.decorator_list):
                continue
            text = ast.get_docstring(parent if node.name == "__init__" else node) or ""
            given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            names = [arg.arg for arg in given if arg.arg not in ("self", "cls")]
            if len(names) >= 2 and not any(section in text for section in SECTIONS) and not text.startswith("See `"):
                yield f"{where} has {len(names)} arguments and no Args"
            elif "Args:" in text and len(names) >= 2:
                described = text.partition("Args:")[2]
                if missing := [name for name in names if f"{name}:" not in described]:
                    yield f"{where} says nothing of {', '.join(missing)}"
            errors = [e.exc for e in ast.walk(node) if isinstance(e, ast.Raise) and isinstance(e.exc, ast.Call)]
            raised = {ast.unparse(error.func) for error in errors}
            if raised & {"UserError", "Unavailable"} and "Raises:" not in text:
                yield f"{where} raises and has no Raises"


def main() -> int:
    """Print all problems; 1 where there are any."""
    lines = [line for path in sorted((ROOT / "src").rglob("*.py")) for line in problems(path)]
    print("\n".join(lines) if lines else "docstrings: all public functions say what they take")
    return int(bool(lines))


if __name__ == "__main__":
    sys.exit(main())
