"""The numbers that the paper's notebooks print, beside ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import yaml

from fimo.paper.captions import NamedPanels, available, joined, measured
from fimo.paper.panels import Panel
from fimo.paper.tables import at_few_amounts, published_table
from fimo.pipeline.methods import Method
from fimo.preconditioners.neumann_series import NeumannSeries
from fimo.report.tables import table_files


def published(panels: NamedPanels) -> dict[str, bytes]:
    """The paper's printed numbers beside ours, and where the measurements differ.

    A difference is in the table only where ours was measured in the paper's setting.
    """
    tables, few, notes = {}, {}, []
    for name, panel in available(panels):
        path = panel.published_dir / f"{name.partition(',')[0]}.yaml"
        if not path.is_file():
            notes.append(f"{name}: the paper prints no numbers for it.")
            continue
        theirs = yaml.safe_load(path.read_text())
        table, differs = published_table(theirs, panel.comparison), other_settings(theirs["setting"], panel)
        if differs:
            table["difference"] = np.nan
            notes.append(f"{name}: other than in the paper, so that no difference is given: {', '.join(differs)}.")
        tables[name], few[name] = table, at_few_amounts(table)
        notes += [f"{name}: {departure}." for departure in theirs["departures"]]
    notes = [
        "Amounts are epochs (sst2: steps) of further training, and seeds where the measure says so.",
        *notes,
        *measured(panels),
    ]
    return table_files(joined(tables), joined(few), notes)


def other_settings(theirs: Mapping[str, Any], panel: Panel) -> list[str]:
    """Where a run was measured otherwise: `seeds 3 (theirs 100)`.

    Args:
        theirs: the paper's setting, by what it is of.
        panel: the run.
    """
    run, data = panel.run, panel.run.dataset
    training, final = run.training, run.final
    group = training.make_optimizer([torch.zeros(1, requires_grad=True)]).param_groups[0]
    ours = {
        "parameters": run.problem.size,
        "training rows": len(data.train),
        "evaluated test examples": len(data.test),
        "left-out examples": len(data.left_out),
        "features": data.inputs,
        "optimizer": training.optimizer_name,
        "learning rate": group["lr"],
        "batch size": training.batch_size,
        "epochs": training.epochs,
        "seeds": run.seeds.count,
        "leave-out": training.leave_out,
        "final learning rate": final.lr,
        "final batch size": final.batch_size,
        "final epochs": final.epochs,
        "LiSSA depth": _lissa_depth(panel),
    }
    return [f"{key} {ours[key]} (theirs {value})" for key, value in theirs.items() if ours[key] != value]


def _lissa_depth(panel: Panel) -> int | None:
    """Steps of LiSSA's recursion, where it is among the methods."""
    methods = [method.preconditioner for method in panel.run.methods.values() if isinstance(method, Method)]
    return next((method.depth for method in methods if isinstance(method, NeumannSeries)), None)
