"""The glossary (docs/architecture.md): identifiers say what a thing is."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]
# What a thing was once called, or what became of it, is no name for it.
VAGUE = {"found", "asked", "told", "said", "shown", "there", "gone", "whole", "say"}
REPLACED = {
    "Question", "answer", "assist", "tensor_products", "Weights", "MatrixGradients", "Space", "lengths",
    "GaussNewtonRows", "Structure", "weighted_sum", "row_products", "along", "along_path", "way", "Moved", "lowered",
    "LinearRecursion", "pull", "growth", "rates", "Rescaling", "roots", "drawing", "draws_at_random", "apart",
    "judge", "own_words", "not_below", "NUDGE", "Words",
}  # fmt: skip
KEPT = {"rates", "lengths", "roots"}  # words of the field elsewhere: lengths of sequences, spelling rates in tests


def identifiers(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Name):
            yield node.id, node.lineno
        elif isinstance(node, ast.arg):
            yield node.arg, node.lineno
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            yield node.name, node.lineno


def test_vague_words_are_no_identifiers():
    files = [path for top in ("src", "experiments", "benchmarks") for path in (ROOT / top).rglob("*.py")]
    worst = [
        f"{path.relative_to(ROOT)}:{line}: {name}"
        for path in sorted(files)
        for name, line in identifiers(path)
        if name in VAGUE | (REPLACED - KEPT)
    ]
    assert not worst, "\n".join(worst)
