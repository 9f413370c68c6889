"""The house (docs/architecture.md): rooms import along the arrows, and files and functions stay short."""

import ast
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "fimo"
# Everybody may import these; they import nothing of the project but each other.
LEAVES = {
    "compat",
    "descriptions",
    "devices",
    "dtypes",
    "elapsed",
    "errors",
    "examples",
    "groups",
    "hub",
    "labels",
    "memory",
    "messages",
    "randomness",
    "row_weights",
    "rows",
    "vmapping",
}
CALCULUS = {"problem", "models", "gradients"}
METHODS = CALCULUS | {"curvature", "preconditioners"}
GOLD = {"problem", "models", "effect", "optimizers"}
ARMS = {"further_training", "attribution", "views", "ranking", "unrolled", "baselines"}
MEASURED = METHODS | GOLD | ARMS | {"data", "comparison", "report"}
# What each room may import of the project beside itself and the leaves.
ARROWS = {
    "data": set(),
    "models": set(),
    "problem": {"models"},
    "effect": set(),
    "optimizers": set(),
    "further_training": GOLD,
    "gradients": CALCULUS - {"gradients"},
    "curvature": CALCULUS,
    "preconditioners": CALCULUS | {"curvature"},
    "attribution": {"views", "preconditioners", "gradients", "problem"},
    "views": {"preconditioners", "gradients", "problem"},
    "ranking": {"attribution", "views", "preconditioners", "problem"},
    "unrolled": METHODS | {"attribution", "views", "optimizers"},
    "baselines": {"problem", "models"},
    "comparison": {"effect"},
    "report": {"comparison", "effect"},
    "pipeline": MEASURED,
    "paper": MEASURED | {"pipeline"},
    "reference": {"problem", "models", "effect"},
    "api": MEASURED | {"pipeline"},
    "__init__": MEASURED | {"pipeline", "api"},
    "__main__": {"app"},
    "app": MEASURED | {"pipeline", "paper", "api"},
    "experiments": {"app", "pipeline"},
    "benchmarks": MEASURED | {"app", "pipeline", "reference"},
}
# The equation knows nothing of its methods.
ONE_MODULE = {
    ("attribution", "preconditioners"): {"fimo.preconditioners.base"},
    ("views", "preconditioners"): {"fimo.preconditioners.base"},
}
# What else a room must not know, so that it stays what it is.
ONLY_IN = {
    "hydra": {"app"},
    "omegaconf": {"app"},
    "wandb": {"app"},
    "hydra_plugins": {"app"},
    "pandas": {"data", "comparison", "report", "pipeline", "paper", "api", "app", "benchmarks"},
    "matplotlib": {"report", "pipeline", "paper", "api", "app", "benchmarks"},
    "filelock": {"pipeline"},
    "safetensors": {"pipeline", "models"},
    "pooch": {"data"},
    "sklearn": {"data"},
    "transformers": {"data", "models", "hub"},
    "tokenizers": {"data"},
    "huggingface_hub": {"data", "hub"},
    "pytorch_lightning": {"models", "further_training", "comparison", "pipeline", "app"},
    "curvlinops": {"curvature"},
    "bm25s": {"baselines"},
}
NEVER = {"experiments", "tests"}
CODE = [*sorted(PACKAGE.rglob("*.py")), *sorted((ROOT / "experiments").glob("*.py"))]
CODE += sorted((ROOT / "benchmarks").rglob("*.py"))
MOST_LINES, MOST_LINES_OF_A_FUNCTION = 250, 40


def room(path):
    """The room that a file belongs to."""
    if not path.is_relative_to(PACKAGE):
        return path.relative_to(ROOT).parts[0]
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@cache
def tree(path):
    return ast.parse(path.read_text())


def imported(path):
    """The modules that a file imports, wherever in it."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            named = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from named if node.module == "fimo" else [node.module]


def imports():
    """(file, its room, imported room or package, module) of all code."""
    for path in CODE:
        for module in imported(path):
            top, _, rest = module.partition(".")
            yield path, room(path), (rest.partition(".")[0] or "__init__") if top == "fimo" else top, module


def test_rooms_import_along_the_arrows():
    assert {room(path) for path in CODE} == set(ARROWS) | LEAVES
    wrong = []
    for path, own, other, module in imports():
        name = f"{path.relative_to(ROOT)} imports {module}"
        if module.split(".")[0] == "fimo":
            allowed = {own, "__init__"} | LEAVES | ARROWS.get(own, set())
            wrong += [] if other in allowed else [f"{name}: no arrow {own} → {other}"]
            only = ONE_MODULE.get((own, other))
            wrong += [f"{name}: only {sorted(only)}"] if only and module not in only else []
        else:
            wrong += [name] if own not in ONLY_IN.get(other, {own}) or other in NEVER else []
    assert not wrong, "\n".join(wrong)


def test_no_circle_and_the_two_arms_meet_above_only():
    arrows = {}
    for _, own, other, module in imports():
        if module.split(".")[0] == "fimo" and other not in {own, "__init__"} | LEAVES and own not in LEAVES:
            arrows.setdefault(own, set()).add(other)

    def below(start):
        reached, left = set(), [start]
        while left:
            for other in arrows.get(left.pop(), ()):
                if other not in reached:
                    reached.add(other)
                    left.append(other)
        return reached

    assert not [start for start in arrows if start in below(start)]
    methods = {"gradients", "curvature", "preconditioners", "attribution", "unrolled", "baselines"}
    assert not below("further_training") & methods
    assert not any("further_training" in below(start) for start in methods)


def test_the_equation_stands_once():
    """Products of gradients are divided by n in one place, and φ is applied in one module."""
    divided, applied = [], set()
    for path in (path for path in CODE if path.is_relative_to(PACKAGE) and room(path) not in ("reference", "app")):
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
                calls = [call.func for call in ast.walk(node.left) if isinstance(call, ast.Call)]
                inner = any(isinstance(call, ast.Attribute) and call.attr == "inner" for call in calls)
                divided += [path.name] if inner or path.name == "attribution.py" else []
            if isinstance(node, ast.Call) and "phi" in (getattr(node.func, "attr", ""), getattr(node.func, "id", "")):
                applied.add(path.name)
    assert divided == ["attribution.py"] and applied == {"attribution.py"}


def test_files_and_functions_are_short():
    long = []
    for path in [*CODE, *sorted((ROOT / "tests").rglob("*.py"))]:
        name, lines = path.relative_to(ROOT), len(path.read_text().splitlines())
        long += [f"{name} has {lines} lines"] if lines > MOST_LINES else []
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.FunctionDef):
                body = node.body[1:] if ast.get_docstring(node) else node.body
                length = body[-1].end_lineno - body[0].lineno + 1 if body else 0
                long += [f"{name}: {node.name} has {length} lines"] if length > MOST_LINES_OF_A_FUNCTION else []
    commands = [path for path in (ROOT / "experiments").glob("*.py") if len(path.read_text().splitlines()) > 60]
    assert not long and not commands, "\n".join(long)
