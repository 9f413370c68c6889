"""`groups.json`: which training rows each group on the axis `left_out` is, beside every file that has this axis."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence

from torch import Tensor

from fimo.groups import Groups
from fimo.pipeline.artifacts import GROUPS, Artifact
from fimo.pipeline.files import bytes_digest, digest
from fimo.pipeline.specification import RunSpecification

logger = logging.getLogger(__name__)


def groups_json(groups: Groups, index: Tensor, names: Sequence[str] | None = None) -> bytes | None:
    """The content of the file, a list of names and rows, group after group; None where single rows are left out.

    Args:
        groups: what is left out.
        index: position of each training row in its entire split, `[row]`.
        names: what people call the rows of the entire split, which each group then says too (`row_names`).
    """
    described = groups.described(index)
    if described is None:
        return None
    if names is not None:
        described = [{**group, "row_names": [names[row] for row in group["rows"]]} for group in described]
    return json.dumps(described, ensure_ascii=False).encode() + b"\n"


def write_groups(artifact: Artifact, groups: Groups, index: Tensor) -> None:
    """Write the file beside scores or seeds, where it is not there as it is to be.

    Args:
        artifact: where these lie.
        groups: what is left out.
        index: position of each training row in its entire split, `[row]`.
    """
    content = groups_json(groups, index)
    if content is not None:
        with artifact.lock(GROUPS):
            if not artifact.has(GROUPS) or digest(artifact.folder / GROUPS) != bytes_digest(content):
                artifact.write(GROUPS, content)


def renew_groups(artifact: Artifact, run: RunSpecification) -> None:
    """Write the file again where it is not as it was written: nothing is computed for it.

    Args:
        artifact: where scores or seeds lie, with or without groups.
        run: whose groups they are.
    """
    written = artifact.entry(GROUPS).get("sha256")
    if written is not None and digest(artifact.folder / GROUPS) != written:
        logger.info("%s is not as it was written: it is written again", artifact.folder / GROUPS)
        write_groups(artifact, run.dataset.left_out, run.dataset.train.index)
