"""The process that does one peer's work.

It reads a JSON object a line and answers each with one:

    {}                                    -> {"versions": ..., "workloads": [...], "notes": ...}
    {"workload": "w1a", "arrays": PATH,   -> {"loss": ..., "seconds": [...], "peak_mb": ...}
     "network": ..., "values": PATH,
     "repeat": n}

`values` asks for what the untrained weights give, written to that path: the meta-gradient, or
the scores of the queries. Trouble is answered with {"error": ...}.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any, TextIO

import numpy as np

from workloads import WORKLOADS, Arrays, Workload

__all__ = ["Job", "Make", "bare_packages", "serve"]


@dataclass
class Job:
    """One workload, ready to run.

    Args:
        values: Loss (or accuracy), and the meta-gradient in the order of the weights (or scores).
            It leaves the weights as they are.
        step: The work that is timed: for training, the meta-gradient of all tasks and a step of
            the outer optimiser.
    """

    values: Callable[[], tuple[float | None, list[np.ndarray]]]
    step: Callable[[], Any]


Make = Callable[[Workload, Arrays], Job]


def serve(
    makes: dict[str, Make],
    packages: list[str],
    notes: dict[str, str] | None = None,
    networks: tuple[str, ...] = ("conv4", "mlp"),
) -> None:
    """Answer requests until there are no more.

    Args:
        makes: How to make the job of each kind of workload.
        packages: Whose versions to tell.
        notes: By kind, why values may differ from those of the others.
        networks: Those it has.
    """
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints must not get between the answers
    with _memory().tuned_malloc(os.environ.get("PEERS_MALLOC") == "tuned"):
        _answer(answers, makes, packages, notes or {}, networks)


def _memory() -> ModuleType:
    """quickstudy's module for malloc, from its file, since a peer has no quickstudy."""
    path = Path(__file__).parents[2] / "src" / "quickstudy" / "memory.py"
    spec = spec_from_file_location("memory", path)
    if spec is None or spec.loader is None:
        raise FileNotFoundError(path)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _answer(
    answers: TextIO,
    makes: dict[str, Make],
    packages: list[str],
    notes: dict[str, str],
    networks: tuple[str, ...],
) -> None:
    job: Job | None = None
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if not request:
                known = [
                    name
                    for name, w in WORKLOADS.items()
                    if w.kind in makes and w.network in networks
                ]
                versions = {package: version(package) for package in packages}
                answer = {"versions": versions, "workloads": known, "notes": notes}
            else:
                if job is None:
                    workload = WORKLOADS[request["workload"]]
                    job = makes[workload.kind](workload, dict(np.load(request["arrays"])))
                answer = _run(job, request)
        except Exception as error:
            traceback.print_exc()
            message = str(error).strip() or repr(error)
            answer = {"error": f"{type(error).__name__}: {message.splitlines()[0]}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _run(job: Job, request: dict[str, Any]) -> dict[str, Any]:
    answer: dict[str, Any] = {}
    if request.get("values"):
        loss, values = job.values()
        with Path(request["values"]).open("wb") as file:
            np.savez(file, *values)
        answer["loss"] = loss
    seconds = []
    for _ in range(request["repeat"]):
        began = time.perf_counter()
        job.step()
        seconds.append(time.perf_counter() - began)
    return {**answer, "seconds": seconds, "peak_mb": _peak_mb()}


def _peak_mb() -> float:
    """The most memory this process has had."""
    try:  # since the other figure may be that of the process that started this one
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    except OSError:
        pass
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 1024


def bare_packages(*names: str) -> None:
    """Let the modules of packages be imported without running the packages' `__init__`, which
    may import what is not needed here: torchvision, gym, a compiled extension."""
    for name in names:
        spec = find_spec(name)
        if spec is None or spec.submodule_search_locations is None:
            raise ModuleNotFoundError(f"no package {name}")
        package = ModuleType(name)
        package.__path__ = list(spec.submodule_search_locations)
        sys.modules[name] = package
