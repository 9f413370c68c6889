"""Heavy packages are imported where they are used, not with the data room, in a fresh process."""

import subprocess
import sys

import pytest

HUBS = {"transformers", "tokenizers", "datasets", "torchvision", "huggingface_hub", "httpx2", "folktables"}
TABLES = {"pandas", "sklearn", "pyarrow", "pooch", "requests"}


@pytest.mark.parametrize(
    "module",
    ["fimo.hub", "fimo.data.base", "fimo.data.tabular", "fimo.data.files", "fimo.data.text", "fimo.data.sentences",
     "fimo.data.images", "fimo.data.image_sources"],
)  # fmt: skip
def test_a_module_imports_no_heavy_package(module):
    code = f"import sys, {module}; print(sorted({HUBS | TABLES} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


def test_the_hub_module_imports_no_torch():
    code = "import sys, fimo.hub; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"
