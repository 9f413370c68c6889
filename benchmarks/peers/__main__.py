"""Ours beside other libraries: `make peers`, the same weights, rows and dtype, in turn in one process.

`python -m benchmarks.peers fico digits` measures these cases alone; with `report=FOLDER` the table is written there;
other words with a `=` are overrides of all cases, such as `data.train_rows=300`.
It needs the packages of benchmarks/peers.txt, which `make peers` installs into an environment of their own.
"""

import os

os.environ.setdefault("TQDM_DISABLE", "1")  # which tqdm reads when it is imported

from fimo.app.main import guarded  # isort: skip  (first: it sets this process up before torch is imported)

import json
import statistics
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.methods import SHARE
from benchmarks.peers import libraries as peers
from benchmarks.peers.libraries import Work
from benchmarks.peers.rows import PROJECTION
from benchmarks.report import measured_on
from benchmarks.timing import Line, machine, peak_mib, seconds
from fimo.app.config import compose_config, run_of
from fimo.attribution import attribute
from fimo.errors import UserError
from fimo.messages import log_to_stdout, silence_libraries
from fimo.pipeline import artifacts
from fimo.preconditioners.identity import Identity
from fimo.preconditioners.kronecker_factors import KroneckerFactors
from fimo.preconditioners.mean_of_inverses import MeanOfInverses
from fimo.preconditioners.random_projection import RandomProjection
from fimo.problem import Problem
from fimo.ranking import all_left_out
from fimo.reference.gradients import gradient

REPORT = "report="
ROUNDS, LONG = 3, 10  # of a library that takes longer than so many seconds, one round
SMALL_BERT = "{model_type:bert,hidden_size:128,num_hidden_layers:2,num_attention_heads:2,intermediate_size:512}"


@dataclass(frozen=True)
class Case:
    """What scores are of.

    Attributes:
        size: of the network and the rows, for the table.
        overrides: of the config.
        dtype: of the network, for ours and theirs.
        libraries: by method, those that take such a network.
    """

    size: str
    overrides: tuple[str, ...]
    dtype: torch.dtype
    libraries: dict[str, tuple[Callable[[Problem], Work], ...]]


# With one label drawn from the model for each row, as kronfluence does it, in place of the exact Fisher matrix.
DRAWN = "EK-FAC, a draw for each row"
GRAD_DOT = (peers.captum_grad_dot, peers.dattri_grad_dot, peers.kronfluence_grad_dot)
KRONFLUENCE = (peers.kronfluence_ekfac,)
DATAINF = (peers.dattri_datainf, peers.pydvl_datainf)
CASES = {
    "fico": Case(
        "MLP 23-128-128-2, 8,883 rows, 100 tests, float64",
        ("experiment=fico", "data.test_count=100", "final.epochs=20"),
        torch.float64,
        {
            "Grad-Dot": GRAD_DOT,
            "EK-FAC": (peers.dattri_ekfac, peers.kronfluence_ekfac, peers.pydvl_ekfac),
            "DataInf": (peers.pydvl_datainf,),  # dattri's takes more than 9 GB
            "TRAK": (peers.trak,),
        },
    ),
    "digits": Case(
        "convolutions, 1,437 rows, 100 tests, float64",
        ("experiment=digits", "data.train_rows=null", "data.test_count=100", "final.epochs=5"),
        torch.float64,
        {
            "Grad-Dot": GRAD_DOT,
            "EK-FAC": KRONFLUENCE,
            DRAWN: KRONFLUENCE,
            "DataInf": DATAINF,
            "TRAK": (peers.trak,),
        },
    ),
    "resnet": Case(
        "ResNet-9 of width 8, 500 rows, 20 tests, float32",
        ("experiment=cifar10", "data=cifar10_subset", "model.width=8", "data.train_rows=500", "final.epochs=1"),
        torch.float32,
        {"Grad-Dot": GRAD_DOT, "EK-FAC": KRONFLUENCE, DRAWN: KRONFLUENCE},
    ),
    "encoder": Case(
        "BERT of 2 layers × 128, 1,000 sentences, 50 tests, float32",
        ("experiment=sst2", "model.name=null", f"model.config={SMALL_BERT}", "data.train_rows=1000",
         "data.test_count=50", "final.epochs=1"),
        torch.float32,
        {"Grad-Dot": GRAD_DOT, "EK-FAC": KRONFLUENCE, DRAWN: KRONFLUENCE},
    ),
    "decoder": Case(
        "decoder of 2 layers × 32, 697 sentences, 50 tests, float32",
        ("experiment=language", "data=text_lines", "data.source.file=${paths.data_dir}/sst2/dev.tsv",
         "data.source.text=sentence", "data.vocabulary=500", "data.max_length=32", "data.test_count=50",
         "final.epochs=1"),
        torch.float32,
        {"Grad-Dot": GRAD_DOT},
    ),
}  # fmt: skip


def ours(method: str, problem: Problem) -> Work:
    """The work of a method of ours: scores `[test, training row]`, all of it made anew."""
    made: dict[str, Callable] = {
        "Grad-Dot": lambda: Identity(method),
        "EK-FAC": lambda: KroneckerFactors(method, SHARE),
        DRAWN: lambda: KroneckerFactors(method, SHARE, curvature="sampled"),
        "DataInf": lambda: MeanOfInverses(method, SHARE),
        "TRAK": lambda: RandomProjection(method, PROJECTION, projections=1),
    }
    return lambda: torch.from_numpy(attribute(problem, made[method]()).values)


def plain_loop(problem: Problem) -> Work:
    """Gradients one after another by autograd, and their products: Grad-Dot."""

    def work() -> Tensor:
        of_tests = torch.stack([gradient(problem, *problem.test[i]) for i in torch.arange(len(problem.test))])
        return torch.stack(
            [of_tests @ gradient(problem, *problem.train[i]) for i in torch.arange(len(problem.train))], 1
        )

    return work


def measured(name: str, case: Case, overrides: Sequence[str]) -> Iterator[Line]:
    """A line for each library and method."""
    with tempfile.TemporaryDirectory() as folder:
        paths = (f"paths.output_dir={folder}/outputs", f"paths.results_dir={folder}/results")
        problem = all_left_out(run_of(compose_config([*case.overrides, *paths, *overrides])).problem)
    exact, problem = problem.to(dtype=torch.float64), problem.to(dtype=case.dtype)
    for method, libraries in case.libraries.items():
        truth = plain_loop(exact)() if method == "Grad-Dot" else ours(method.partition(",")[0], exact)()
        mine = ours(method, problem)
        own = {"MiB": peak_mib(mine), "cosine": agreement(mine(), truth)}
        for make in [*libraries, *([plain_loop] if method == "Grad-Dot" else [])]:
            line: Line = {"case": name, "size": case.size, "method": method, "library": make.__name__.split("_")[0]}
            try:
                work = _in_its_dtype(make(problem), case.dtype)
                theirs = {"MiB": peak_mib(work), "cosine": agreement(work(), truth)}
            except Exception as reason:  # what another library raises is its row's content
                yield {**line, "refused": f"{type(reason).__name__}: {str(reason).strip().partition(chr(10))[0][:160]}"}
                continue
            spent = [(seconds(mine), seconds(work))]
            spent += [(seconds(mine), seconds(work)) for _ in range(ROUNDS - 1) if spent[0][1] < LONG]
            mine_spent, their_spent = zip(*spent, strict=True)
            times = {"ours": statistics.median(mine_spent), "theirs": statistics.median(their_spent)}
            ratio = statistics.median(theirs / ours for ours, theirs in spent)
            yield {**line, "seconds": times, "ratio": ratio, "ours": own, "theirs": theirs, **machine(problem.device)}


def _in_its_dtype(work: Work, dtype: torch.dtype) -> Work:
    """The work where new tensors have that dtype: some libraries make sums of their own in the default one."""

    def inside() -> Tensor:
        before = torch.get_default_dtype()
        torch.set_default_dtype(dtype)
        try:
            return work()
        finally:
            torch.set_default_dtype(before)

    return inside


def agreement(scores: Tensor, truth: Tensor) -> float:
    """Mean cosine over tests, whatever the scores' factor."""
    return abs(float(torch.nn.functional.cosine_similarity(scores.double(), truth.double(), dim=1).mean()))


def markdown(lines: Sequence[Line]) -> str:
    """The table: seconds of ours and theirs, ratio, memory, agreement with float64."""
    names = ("case", "method", "library", "ours", "theirs", "theirs by ours", "memory", "cosine with ours in float64")
    rows = [f"| {' | '.join(names)} |", "|---|---|---|--:|--:|--:|--:|--:|"]
    for line in lines:
        head = f"| {line['case']} | {line['method']} | {line['library']} |"
        if "refused" in line:
            rows.append(f"{head} – | – | – | – | {line['refused']} |")
            continue
        spent, mine, theirs = line["seconds"], line["ours"], line["theirs"]
        cells = (
            f"{spent['ours']:.3g} s", f"{spent['theirs']:.3g} s", f"{line['ratio']:.2g}",
            f"{mine['MiB']:,} and {theirs['MiB']:,} MiB", f"{mine['cosine']:.4f} and {theirs['cosine']:.4f}",
        )  # fmt: skip
        rows.append(f"{head} {' | '.join(cells)} |")
    sizes = dict.fromkeys(f"{line['case']}: {line['size']}" for line in lines)
    text = f"One thread; medians of {ROUNDS} rounds in turn, one where a library takes more than {LONG} s. Memory and "
    text += "cosines: ours, then theirs. Grad-Dot is held against plain autograd, TRAK draws another projection. "
    return "\n".join([*rows, "", f"{text}{'; '.join(sizes)}. {measured_on(lines)}"]) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure the cases that are named, or all."""
    log_to_stdout()
    silence_libraries()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # of other libraries about each other
    words = sys.argv[1:] if arguments is None else arguments
    names = [word for word in words if "=" not in word]
    overrides = [word for word in words if "=" in word and not word.startswith(REPORT)]
    if unknown := [name for name in names if name not in CASES]:
        raise UserError(f"{unknown[0]} is no case: expected some of {', '.join(CASES)}.")
    lines = []
    for name in names or CASES:
        for line in measured(name, CASES[name], overrides):
            print(json.dumps(line, ensure_ascii=False), flush=True)
            lines.append(line)
    for word in words:
        if word.startswith(REPORT):
            artifacts.write(path := Path(word.removeprefix(REPORT)) / "peers.md", markdown(lines).encode())
            print(path)


if __name__ == "__main__":
    guarded(main)
