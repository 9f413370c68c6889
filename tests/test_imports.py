"""The packages that torchvision's missing operators would break, in a fresh process."""

import subprocess
import sys


def run(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)


def test_fimo_makes_all_four_importable():
    """Whichever module of the package comes first."""
    code = "from fimo.pipeline import stages; import pytorch_lightning, transformers, torchvision"
    done = run(f"{code}; import fimo; print(torchvision.__version__, bool(fimo.compat._declared))")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[1] == "True" or run("import torchvision").returncode == 0


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
