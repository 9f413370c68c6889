"""Lets torchvision be imported beside a CPU-only torch.

The torchvision wheel of the package registry is built against a CUDA torch. Where its compiled operators cannot be
loaded, `import torchvision` fails ("operator torchvision::nms does not exist"), and with it pytorch_lightning (through
torchmetrics) and much of transformers. Declaring the two operators that torchvision's Python code refers to is enough:
nothing here calls them. `fimo` is therefore imported before those packages.
"""

import importlib.util
from pathlib import Path

import torch

_SCHEMAS = ("nms", "qnms")
# The declarations live as long as this object does.
_library: torch.library.Library | None = None


def _compiled_operators_load() -> bool:
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return True  # no torchvision, nothing to mend
    try:
        for library in Path(spec.origin).parent.glob("_C*.so"):
            torch.ops.load_library(str(library))
    except OSError:
        return False
    return True


if not _compiled_operators_load():
    _library = torch.library.Library("torchvision", "FRAGMENT")
    for _name in _SCHEMAS:
        _library.define(f"{_name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
