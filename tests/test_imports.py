"""The packages that torchvision's missing operators would break, in a fresh process."""

import subprocess
import sys

import pytest


def run(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)


def test_fimo_makes_all_four_importable():
    done = run("import fimo, pytorch_lightning, transformers, torchvision; print(torchvision.__version__)")
    assert done.returncode == 0, done.stderr


def test_any_module_of_the_apps_may_come_first():
    done = run("from fimo.pipeline import stages")
    assert done.returncode == 0, done.stderr


def test_fimo_itself_is_light():
    heavy = {
        "torch",
        "numpy",
        "pytorch_lightning",
        "transformers",
        "torchvision",
        "sklearn",
        "pandas",
        "matplotlib",
        "xarray",
    }
    done = run(f"import fimo, sys; print(sorted({heavy} & set(sys.modules)))")
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


def test_the_operators_are_declared_only_where_they_are_missing():
    plain = run("import torchvision")
    if plain.returncode == 0:
        pytest.skip("torchvision's own operators load here")
    assert "torchvision::nms does not exist" in plain.stderr
    assert "True" in run("import fimo, torchvision; print(bool(fimo.compat._declared))").stdout
