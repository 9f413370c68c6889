"""The arrows between the rooms (README, section on the house) hold, and files and functions stay short."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "fimo"
LEAVES = {"attention", "errors", "rows", "randomness", "pretrained"}
# What each room may import of the project beside itself and the leaves.
ARROWS = {
    "data": set(),
    "models": set(),
    "problem": {"models"},
    "effect": set(),
    "further_training": {"problem", "models", "effect"},
    "gradients": {"problem", "models"},
    "preconditioners": {"gradients", "problem"},
    "attribution": {"preconditioners", "gradients", "problem"},
    "compare": {"effect"},
    "artifacts": set(),
    "attention": set(),
    "formats": set(),
    "errors": set(),
    "rows": set(),
    "randomness": set(),
    "pretrained": set(),
    "torchvision_operators": set(),
    "__init__": {"torchvision_operators"},
}
# Only experiments/ knows these.
FOREIGN = {"hydra", "omegaconf", "wandb", "experiments"}
# What else a room must not know, so that it stays what it is.
ONLY_IN = {
    "pandas": {"data", "compare"},
    "matplotlib": {"compare"},
    "filelock": {"artifacts"},
    "safetensors": {"formats", "models"},
    "pooch": {"data"},
    "sklearn": {"data"},
    "transformers": {"data", "models", "pretrained"},
    "tokenizers": {"data"},
    "huggingface_hub": {"data", "pretrained"},
    "pytorch_lightning": {"models", "further_training", "compare"},
    "curvlinops": {"gradients", "preconditioners"},
}
FILES = sorted(PACKAGE.rglob("*.py"))
ALL = FILES + sorted((ROOT / "experiments").glob("*.py")) + sorted((ROOT / "tests").rglob("*.py"))


def room(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            yield from (
                (f"{node.module}.{alias.name}" for alias in node.names) if node.module == "fimo" else [node.module]
            )


def name(path):
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", FILES, ids=name)
def test_rooms_import_along_the_arrows(path):
    own = room(path)
    for module in imported(path):
        top, _, rest = module.partition(".")
        assert top not in FOREIGN, f"{name(path)} imports {module}, which only experiments/ knows"
        assert own in ONLY_IN.get(top, {own}), f"{name(path)} imports {module}"
        if top == "fimo":
            other = rest.partition(".")[0]
            assert other in {own} | LEAVES | ARROWS[own], f"{name(path)} imports {module}: no arrow {own} → {other}"


def test_every_room_has_its_arrows_written_down():
    assert {room(path) for path in FILES} == set(ARROWS)


def test_the_two_arms_never_meet_below_compare():
    gold, methods = {"further_training"}, {"gradients", "preconditioners", "attribution"}
    assert not (ARROWS["further_training"] & methods) and not any(ARROWS[room] & gold for room in methods)


def test_the_equation_is_one_line_of_one_file():
    lines = [line for path in FILES for line in path.read_text().splitlines() if ".inner(phi(g)) / n" in line]
    assert len(lines) == 1


@pytest.mark.parametrize("path", ALL, ids=name)
def test_files_and_functions_are_short(path):
    text = path.read_text()
    assert len(text.splitlines()) <= 250
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            length = body[-1].end_lineno - body[0].lineno + 1 if body else 0
            assert length <= 40, f"{name(path)}: {node.name} has {length} lines"


@pytest.mark.parametrize("path", sorted((ROOT / "experiments").glob("*.py")), ids=name)
def test_entry_points_are_a_paragraph(path):
    text = path.read_text()
    if "@app\n" in text:
        assert len(text.splitlines()) < 60
