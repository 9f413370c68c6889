"""What values a config may have; nothing that is dear to import is needed for it."""

from __future__ import annotations

import re
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from fimo.app import multirun
from fimo.app.errors import CONFIG_DIR
from fimo.app.settings import ANYWAY, FURTHER, RETRAINING, TANGENT, method_names, optimizer_name, several
from fimo.errors import Unavailable, UserError

# A test holds these against the rooms that they belong to, which would take seconds to import.
CHOICES: dict[str, tuple[str | None, ...]] = {
    "device": ("auto", "cpu", "cuda"),
    "final.optimizer": ("sgd", "adam", "adamw"),
    "final.keep": ("last", "best"),
    "final.schedule": ("constant", "linear", "cosine"),
    "further.gold": (FURTHER, RETRAINING, TANGENT, ANYWAY),
    "further.leave_out": ("drop", "mask", "every_step"),
    "further.batch_norm": ("frozen", "updated"),
    "further.dtype": ("float32", "float64"),
    "further.autocast": (None, "bfloat16"),
    "method.dtype": (None, "float32", "float64"),
    "verify.leave_out": (None, "drop", "mask", "every_step"),
    "logger.mode": (None, "online", "offline", "disabled"),
}
# Smallest allowed value, and what else is allowed.
WHOLE: dict[str, tuple[int, object]] = {
    "seed": (0, ...),
    "threads": (1, None),
    "data.batch_size": (1, ...),
    "data.random_state": (0, ...),
    "data.train_rows": (1, None),
    "data.left_out_first": (1, None),
    "data.test_count": (1, None),
    "data.max_length": (2, ...),
    "data.vocabulary": (260, None),
    "data.flip_seed": (0, ...),
    "final.epochs": (0, ...),
    "final.batch_size": (1, ...),
    "method.curvature_rows": (1, None),
    "further.epochs": (1, ...),
    "further.seeds": (1, ...),
    "further.first_seed": (0, ...),
    "further.jobs": (1, ...),
    "further.job": (0, ...),
    "further.runs_at_once": (1, "auto"),
    "further.seeds_at_once": (1, "auto"),
    "further.processes": (1, "auto"),
    "rank.top": (1, ...),
    "verify.random": (2, ...),
    "verify.seed": (0, ...),
}
# Whole numbers are 64 bits; more threads than this are no machine's; real numbers have to fit single precision.
MOST, MOST_THREADS, LARGEST = 2**63 - 1, 4096, 3.4e38
# Numbers above 0, one or a list of them, and what else is allowed.
NUMBERS = {"rank.amounts": None, "verify.shares": ...}
# Keys at the top that nobody sets: Hydra's own, and the rows that come with the paper's data.
INTERNAL = ("hydra", "papers_rows")
TEXT = "'name=\"{}\"'"  # for the shell
POSITIVE = ("times.lr", "times.damping", "final.lr", "final.clip", "optimizer.lr", "further.clip")
OPTIONAL = ("final.clip", "further.clip")
NOT_NEGATIVE = ("final.weight_decay", "optimizer.momentum", "optimizer.weight_decay")


def check_values(cfg: DictConfig) -> None:
    """Refuse values that no run can have.

    Raises:
        UserError: naming key, what was expected and what was found.
    """
    if not method_names(cfg):
        raise UserError("method must name at least one method, as in method=grad_dot or method=[grad_dot,grad_cos].")
    if not isinstance(cfg.name, str) or not re.fullmatch(r"[^/\s.][^/]*", cfg.name):
        raise UserError(
            f"name must be the name of a folder, with no slash in it and no dot or space in front, found {cfg.name!r}"
            f"{'' if isinstance(cfg.name, str) else f': as text it is written {TEXT.format(cfg.name)}'}."
        )
    _check_keys(cfg)
    _check_tested(cfg)
    for key, choices in CHOICES.items():
        if (value := OmegaConf.select(cfg, key)) not in choices:
            listed = ", ".join(choice or "null" for choice in choices)
            raise UserError(f"{key} must be one of {listed}, found {value!r}.")
    _check_numbers(cfg)
    _check_tokenizer(cfg)
    if cfg.further.gold == RETRAINING:
        _check_retraining(cfg)
    _check_files(cfg)


def _check_keys(cfg: DictConfig) -> None:
    """Nothing reads a key that these groups do not have: `+further.leaveout=drop` is a slip, not a setting."""
    if others := sorted({str(key) for key in cfg} - set(_top_keys())):
        text = OmegaConf.to_yaml(cfg)  # in which interpolations stand as they were written
        if unread := [key for key in others if not re.search(rf"\$\{{[^}}]*\b{re.escape(key)}\b", text)]:
            near = get_close_matches(unread[0], set(_top_keys()) - set(INTERNAL), n=1)
            hint = f" Did you mean {near[0]}?" if near else ""
            public = [key for key in _top_keys() if key not in INTERNAL]
            raise UserError(f"The config has no setting {unread[0]!r}; it has {', '.join(public)}.{hint}")
    for group, known in _known_keys().items():
        for key in sorted(set(cfg[group]) - set(known)):
            near = get_close_matches(str(key), known, n=1)
            hint = f" Did you mean {group}.{near[0]}?" if near else ""
            raise UserError(f"{group} has no setting {key!r}; it has {', '.join(sorted(known))}.{hint}")


@cache
def _top_keys() -> list[str]:
    """The groups and scalars of the config."""
    primary = OmegaConf.load(CONFIG_DIR / "config.yaml")
    groups = {str(group) for entry in primary.defaults if OmegaConf.is_dict(entry) for group in entry}
    scopes = {group for group in groups if " " not in group} - {"experiment", "size"}
    return sorted({str(key) for key in primary} - {"defaults"} | scopes | set(INTERNAL))


@cache
def _known_keys() -> dict[str, list[str]]:
    """The keys of the groups that have no others, from the files that define them: read once, not for every job."""
    primary = OmegaConf.load(CONFIG_DIR / "config.yaml")
    groups = {group: OmegaConf.select(primary, group) for group in ("final", "times", "rank", "verify")}
    groups["further"] = OmegaConf.load(CONFIG_DIR / "further" / "leave_one_out.yaml")
    return {group: [str(key) for key in known] for group, known in groups.items()}


def _check_numbers(cfg: DictConfig) -> None:
    size = OmegaConf.select(cfg, "data.test_size", default=0.5)
    if type(size) is not float or not 0 < size < 1:
        raise UserError(f"data.test_size must be a share of the rows between 0 and 1, found {size!r}.")
    flip = OmegaConf.select(cfg, "data.flip")
    if flip is not None and (type(flip) is not float or not 0 < flip < 1):
        raise UserError(f"data.flip must be a share of the training rows between 0 and 1, or null, found {flip!r}.")
    for key, (least, other) in WHOLE.items():
        value = OmegaConf.select(cfg, key, default=least)
        most = MOST_THREADS if key == "threads" else MOST
        if value != other and (type(value) is not int or not least <= value <= most):
            more = f" and at most {most}" if type(value) is int and value > most else ""
            more += "" if other is ... else f", or {other or 'null'}"
            more += " for the words of the lines" if key == "data.vocabulary" else ""
            raise UserError(f"{key} must be a whole number of at least {least}{more}, found {value!r}.")
    for key in (*POSITIVE, *NOT_NEGATIVE):
        value, allow_zero = OmegaConf.select(cfg, key, default=1), key in NOT_NEGATIVE
        if value is None and key in OPTIONAL:
            continue
        if type(value) not in (int, float) or not (0 <= value if allow_zero else 0 < value) or value > LARGEST:
            bound, more = "of at least" if allow_zero else "above", ", or null" if key in OPTIONAL else ""
            more = f", at most {LARGEST:g}{more}" if type(value) in (int, float) and value > LARGEST else more
            raise UserError(f"{key} must be a number {bound} 0{more}, found {value!r}.")
    for key, other in NUMBERS.items():
        value = OmegaConf.select(cfg, key)
        numbers = several(value) or []
        if value != other and not (numbers and all(type(n) in (int, float) and 0 < n <= LARGEST for n in numbers)):
            example = "[0.01,0.05]" if other is ... else "[1,10], or null"
            raise UserError(
                f"{key} must be a list of numbers above 0, as in {example}, or one number, found {value!r}."
            )
    tests = cfg.verify.tests
    if tests is not None and any(type(n) is not int for n in (tests if OmegaConf.is_list(tests) else [tests])):
        raise UserError(
            f"verify.tests must be a number of test examples, a list of positions, or null, found {tests!r}."
        )
    if cfg.further.job >= cfg.further.jobs:
        raise UserError(f"further.job must be below further.jobs={cfg.further.jobs}, found {cfg.further.job}.")
    _check_evaluated(cfg.further.evaluate_every)


def _check_evaluated(every: Any) -> None:
    fits = True
    if OmegaConf.is_dict(every):
        steps, fits = list(every.values()), {"first", "every"} <= set(every) <= {"first", "every", "last"}
    else:
        steps = [] if every is None else list(every) if OmegaConf.is_list(every) else [every]
    if not fits or any(type(step) is not int or step < 1 for step in steps):
        raise UserError(
            "further.evaluate_every must be a whole number above 0, a list of them, or {first: …, every: …, last: …}, "
            f"found {every!r}."
        )


def _check_tokenizer(cfg: DictConfig) -> None:
    named = OmegaConf.select(cfg, "model.name") is not None
    if "tokenizer" in cfg.data and cfg.data.tokenizer is None and named:
        raise UserError(
            "data.tokenizer must be given where model.name is: a pretrained network knows the words of its own "
            "tokenizer only."
        )


def _check_tested(cfg: DictConfig) -> None:
    """A list of test examples is not cut, so that a count beside it says nothing."""
    if not OmegaConf.is_list(OmegaConf.select(cfg, "data.tested")) or cfg.data.test_count is None:
        return
    if multirun.chooses("data.test_count"):
        raise UserError(
            f"data.test_count must not be given beside the list data.tested, whose examples are all evaluated, found "
            f"{cfg.data.test_count}: leave one of them out."
        )


def _check_files(cfg: DictConfig) -> None:
    """Files and folders that have to be there, before anything dear is imported."""
    checkpoint = cfg.final.checkpoint
    if checkpoint is not None and not Path(str(checkpoint)).exists():
        raise UserError(f"final.checkpoint must be a file of weights, found nothing at {checkpoint}.")
    for key in cfg.final if checkpoint is not None else ():
        if key != "checkpoint" and multirun.chooses(f"final.{key}"):
            raise UserError(
                f"final.{key} must not be given beside final.checkpoint, whose model is taken as it is and not "
                f"trained, found {cfg.final[key]}: leave one of them out."
            )


def _check_retraining(cfg: DictConfig) -> None:
    """Re-training repeats the final model's training, which has to be known and to be what further training can do."""
    final = cfg.final
    for key, value, needed in (
        ("final.checkpoint", final.checkpoint, None),
        ("final.augment", final.augment, None),
        ("final.keep", final.keep, "last"),
        ("final.schedule", final.schedule, "constant"),
        ("optimizer", optimizer_name(cfg).lower(), final.optimizer),
        ("optimizer.lr", cfg.optimizer.lr, final.lr),
        ("optimizer.weight_decay", cfg.optimizer.weight_decay, final.weight_decay),
        ("optimizer.momentum", cfg.optimizer.get("momentum", 0), 0),
        ("further.clip", cfg.further.clip, final.clip),
        ("data.batch_size", cfg.data.batch_size, final.batch_size),
        ("parameters", cfg.parameters, "all"),
    ):
        if value != needed:
            raise Unavailable(
                f"further.gold={RETRAINING} repeats the final model's own training, for which {key} must be "
                f"{'null' if needed is None else needed}, found {value}."
            )
