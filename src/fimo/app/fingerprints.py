"""What determines each result: settings, contents of files, versions of the mathematics.

What the project computes has a small version number beside it, which is raised when its numbers change. What a user
brings (a network, a data source, a method) has none: the content of its file stands in its place.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydra.utils import get_object, instantiate

import fimo.attribution
import fimo.curvature
import fimo.data
import fimo.further_training
import fimo.gradients
import fimo.models
import fimo.unrolled
from fimo import hub
from fimo.app.settings import SHARED, TANGENT, TANGENTS, as_named_now, without
from fimo.curvature.roots import EXACT
from fimo.data.left_out import is_described, read_left_out
from fimo.models.parameter_choice import ALL
from fimo.pipeline.artifacts import digest
from fimo.pipeline.checkpoints import checkpoint_digest
from fimo.pipeline.methods import Method
from fimo.pipeline.own_code import own_code
from fimo.pipeline.score_files import FileScores
from fimo.pipeline.scorers import AnyMethod, ScorerMethod
from fimo.pipeline.specification import Fingerprints

# Settings of data that are no part of what the final model is trained on, or are added in another form.
ELSEWHERE = ("source", "data_dir", "batch_size", "test_count", "tested", "left_out", "left_out_first")
# Settings of data that came later than addresses did: at these values they take no part in them.
ADDED = {
    **dict.fromkeys(("weight", "tested", "layout", "text", "label", "id", "test_file", "split_column", "separator")),
    **dict.fromkeys(("decimal", "missing")),
    **{"stratify": False, "standardise": True, "at_most": False, "split_test": "test", "encoding": "utf-8"},
    **{"flip": None, "flip_seed": 0},
}
# How much and how fast, not what: these change no seed's file.
HOW_FAST = ("runs_at_once", "seeds_at_once", "processes", "seeds", "first_seed", "jobs", "job")


def fingerprints_of(settings: Mapping[str, Any], methods: Mapping[str, AnyMethod], rows: Any) -> Fingerprints:
    """What determines each result of a run.

    Args:
        settings: the whole config, as plain values.
        methods: of the run, by name.
        rows: the data source.

    Raises:
        UserError: where a pretrained network or a list of left-out rows can't be read.
    """
    data = settings["data"]
    return Fingerprints(
        final=final_fingerprint(settings, rows),
        problem={
            **_left_out(data),
            "test_count": data["test_count"],
            **_as_ever({"tested": data.get("tested")}),
            **_chosen_function(settings, "measurement"),
            **({} if settings["parameters"] == ALL else {"parameters": settings["parameters"]}),
        },
        methods={name: _method(settings, method) for name, method in methods.items()},
        further=_further(settings),
    )


def final_fingerprint(settings: Mapping[str, Any], rows: Any) -> dict[str, Any]:
    """What determines the final model.

    Args:
        settings: the whole config, as plain values.
        rows: the data source.
    """
    data, model, final = settings["data"], settings["model"], settings["final"]
    source = _source(data, rows)
    # Which rows are trained on depends on the left-out ones only where some rows are not kept.
    chosen = _left_out(data) if data["train_rows"] and not is_described(data["left_out"]) else {}
    targets = {"model": model, "data": data, "source": source, "augment": final["augment"]}
    unused = ("flip_seed",) if data.get("flip") is None else ()
    config = {
        "data": {**without(_as_ever(data), *ELSEWHERE, *unused), **chosen, "source": source},
        "model": model,
        "versions": {"data": fimo.data.VERSION, "models": fimo.models.VERSION},
        **_own_code({what: node["_target_"] for what, node in targets.items() if node and "_target_" in node}),
        **_pretrained(data, model),
        **_chosen_function(settings, "objective"),
    }
    if final["checkpoint"] is not None:
        return {**config, "final": {"checkpoint_sha256": checkpoint_digest(final["checkpoint"])}}
    # A constant rate is what every final model had before there were schedules: it keeps that model's address.
    final = without(final, *(["schedule"] if final["schedule"] == "constant" else []))
    return {**config, "final": final, "seed": settings["seed"]}


def _as_ever(node: Mapping[str, Any]) -> dict[str, Any]:
    """Settings without those that came later and have the value that was meant before."""
    return {key: value for key, value in node.items() if key not in ADDED or value != ADDED[key]}


def _source(data: Mapping[str, Any], rows: Any) -> dict[str, Any]:
    """Where the rows come from, and a digest of what is there."""
    if "source" not in data:  # a function of the user's
        return {"content_sha256": rows.content_digest}
    source = without(_as_ever(data["source"]), "url", "page")
    return source | _content(data["source"], Path(data["data_dir"]))


def _chosen_function(settings: Mapping[str, Any], key: str) -> dict[str, Any]:
    """An objective or a measurement that is not the usual one, which keeps the addresses that it has always had."""
    node = settings[key]
    if node["_target_"] is None:
        return {}
    code = _own_code({key: node["_target_"]})
    return {key: dict(node), **({f"{key}_code": code["code"]} if code else {})}


def _content(source: dict[str, Any], data_dir: Path) -> dict[str, Any]:
    """Digests of the files of a source that accepts any content: the address has to tell it."""
    if source.get("sha256", ...) is None:
        files = source["files"].values() if "files" in source else [source["file"]]
        files = [*files, *([source["test_file"]] if source.get("test_file") else [])]
        return {"file_sha256": [digest(data_dir / file) for file in files]}
    kind = get_object(source["_target_"])
    if hasattr(kind, "content_digest"):
        return {"content_sha256": instantiate(source, _convert_="all").content_digest(data_dir)}
    if hasattr(kind, "files"):  # which these are, the source knows; they may arrive only now
        return {"files_sha256": [digest(path) for path in instantiate(source, _convert_="all").files(data_dir)]}
    return {}


def _pretrained(data: Mapping[str, Any], model: Mapping[str, Any]) -> dict[str, Any]:
    """What pretrained networks and tokenizers are made of: a folder's content may change, and its name stays."""
    known = getattr(get_object(model["_target_"]), "pretrained", False)
    names = {"network": model.get("name") if known else None, "tokenizer": data.get("tokenizer")}
    digests = {what: hub.digest(name, weights=what == "network") for what, name in names.items() if name}
    return {"pretrained": digests}


def _left_out(data: Mapping[str, Any]) -> dict[str, Any]:
    """Which rows are left out, a file replaced by what is in it."""
    first = data["left_out_first"]
    return {"left_out": read_left_out(data["left_out"]), **({"left_out_first": first} if first else {})}


def _method(settings: Mapping[str, Any], method: AnyMethod) -> dict[str, Any]:
    """What determines a method's scores beside the problem."""
    every, further = settings["method"], settings["further"]
    own = without(every[method.name], "label")
    if isinstance(method, ScorerMethod) and isinstance(method.scorer, FileScores):
        # The content in place of the path; which steps are taken of it depends on further training.
        steps = {key: further[key] for key in ("epochs", "evaluate_every")}
        file = {"file_sha256": method.scorer.digest, "version": method.version}
        return {"method": {**without(own, "path"), **file}, "steps": {**steps, "batch": settings["data"]["batch_size"]}}
    shared = {key: every[key] for key in SHARED if every[key] is not None}
    versions = {
        "method": method.version,
        "attribution": fimo.attribution.VERSION,
        "gradients": fimo.gradients.VERSION,
        "curvature": fimo.curvature.VERSION,
    }
    config: dict[str, Any] = {
        "method": {**_method_settings(own, method), **shared},
        **_own_code({"method": own["_target_"]}),
    }
    if method.follows_training or own.get("metric") not in (None, "none"):
        versions["unrolled"] = fimo.unrolled.VERSION
        config["training"] = {
            "optimizer": without(settings["optimizer"], "fused"),
            "batch_size": settings["data"]["batch_size"],
            "epochs": further["epochs"],
            "evaluate_every": further["evaluate_every"],
            "curvature_rows": settings["facts"]["unrolled_rows"],
            **({} if further["clip"] is None else {"clip": further["clip"]}),  # of which a note speaks
        }
    return {**config, "method_versions": versions}


def _method_settings(own: Mapping[str, Any], method: AnyMethod) -> dict[str, Any]:
    """A method's settings, without those that came later and have the value that was meant before."""
    added = method.preconditioner.added if isinstance(method, Method) else {}
    node = {key: value for key, value in as_named_now(own).items() if key not in added or value != added[key]}
    return {**node, **({"curvature": EXACT["exact"]} if node.get("curvature") == "exact" else {})}


def _further(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What determines the gold standard beside the problem."""
    further = settings["further"]
    further = without(further, *HOW_FAST, *([] if further["autocast"] else ["autocast"]))
    if further["gold"] in TANGENTS:
        further["gold"] = TANGENT  # the other one computes the same
    return {
        "batch_size": settings["data"]["batch_size"],
        "optimizer": without(settings["optimizer"], "fused"),
        "further": further,
        "further_version": fimo.further_training.VERSION,
    }


def _own_code(targets: Mapping[str, str]) -> dict[str, Any]:
    """Hashes of the files in which classes and functions outside this project are written, by what they are."""
    hashes = {what: own_code(get_object(target)) for what, target in targets.items()}
    known = {what: value for what, value in hashes.items() if value is not None}
    return {"code": known} if known else {}
