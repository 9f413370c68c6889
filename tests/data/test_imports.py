"""Heavy packages are imported where they are used, not with the data room, in a fresh process."""

import subprocess
import sys

HUBS = {"transformers", "tokenizers", "datasets", "torchvision", "huggingface_hub", "httpx2", "folktables"}
TABLES = {"pandas", "sklearn", "pyarrow", "pooch", "requests"}


MODULES = ["base", "tabular", "files", "text", "sentences", "images", "image_sources", "image_folder", "own"]


def test_the_modules_import_no_heavy_package():
    """All in one process: where none is there after all, none was there after each."""
    modules = ", ".join(["fimo.hub", *(f"fimo.data.{name}" for name in MODULES)])
    code = f"import sys, {modules}; print(sorted({HUBS | TABLES} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


def test_the_hub_module_imports_no_torch():
    code = "import sys, fimo.hub; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"
