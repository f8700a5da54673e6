"""The same work in quickstudy and in its peers, timed side by side.

    python benchmarks/peers/run.py                             # everything: about an hour
    python benchmarks/peers/run.py --workloads w1a,w2a --peers quickstudy,learn2learn --rounds 2
    python benchmarks/peers/run.py --show benchmarks/results/peers.json

Losses and meta-gradients are compared first, with a plain loop in float64. Then the peers take
turns, a short burst each, for some rounds. Writes benchmarks/results/peers.json and docs/peers.png.
"""

from __future__ import annotations

import argparse
import json
import os
import selectors
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

import torch_loop
from environments import PEERS, InstallError, Peer, python_of
from quickstudy.experiments.provenance import provenance
from quickstudy.progress import track
from report import print_tables, write_plot
from workloads import WORKLOADS, write_arrays

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
TOLERANCE = 1e-3
SHARES = ("w1a", "w1b", "w3")  # workloads whose share of the machine's arithmetic is told


class PeerError(Exception):
    """A peer cannot do what it was asked to."""


class Worker:
    """A peer's process."""

    def __init__(
        self, peer: Peer, network: str, log: Path, dtype: str = "float32", malloc: str = "tuned"
    ) -> None:
        command = [str(python_of(peer)), str(HERE / peer.worker[0]), *peer.worker[1:]]
        pipe = subprocess.PIPE
        with log.open("wb") as errors:
            self.process = subprocess.Popen(
                command,
                stdin=pipe,
                stdout=pipe,
                stderr=errors,
                env={
                    **os.environ,
                    "PEERS_NETWORK": network,
                    "PEERS_DTYPE": dtype,
                    "PEERS_MALLOC": malloc,
                },
            )
        self.log = log

    def ask(self, limit: float, **request: Any) -> dict[str, Any]:
        """What the peer answers.

        Raises:
            PeerError: If it reports trouble, ends, or takes longer than `limit` seconds.
        """
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write(json.dumps(request).encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # it has ended, as reading will tell
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            if not selector.select(limit):
                raise PeerError(f"none in {limit:.0f} s")
        line = self.process.stdout.readline()
        if not line:
            lines = self.log.read_text().strip().splitlines() or ["without a word"]
            raise PeerError(f"ended with code {self.process.wait()}: {lines[-1]}")
        answer = json.loads(line)
        if "error" in answer:
            raise PeerError(answer["error"])
        return answer

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


@dataclass
class Entry:
    """A peer at one workload."""

    worker: Worker
    repeat: int = 1
    seconds: list[float] = field(default_factory=list)
    peak_mb: float = 0.0
    told: dict[str, Any] = field(default_factory=dict)


def greet(names: list[str], options: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    """Versions and workloads of each peer, or why there are none."""
    found: dict[str, Any] = {}
    for name in track(names, "installing and importing"):
        try:
            worker = Worker(PEERS[name], options.network, scratch / "log", malloc=options.malloc)
        except InstallError as error:
            found[name] = {"error": f"does not install: {error}"}
            continue
        try:
            found[name] = worker.ask(options.limit)
        except PeerError as error:
            found[name] = {"error": f"does not import: {error}"}
        finally:
            worker.close()
        if "error" in found[name]:
            print(f"{name} {found[name]['error']}")
    return found


def measure(
    name: str, peers: dict[str, Any], options: argparse.Namespace, scratch: Path
) -> dict[str, Any]:
    """Compare and time one workload with every peer that knows it."""
    workload, arrays = WORKLOADS[name], scratch / f"{name}.npz"
    if options.most_tasks:
        workload = replace(workload, tasks=min(workload.tasks, options.most_tasks))
    write_arrays(workload, arrays)
    data = dict(np.load(arrays))
    make = torch_loop.MAKES[workload.kind]
    torch.set_default_dtype(torch.float64)
    truth = make(workload, data).values()
    torch.set_default_dtype(torch.float32)
    result: dict[str, Any] = {"title": workload.title, "tasks": workload.tasks, "peers": {}}
    entries: dict[str, Entry] = {}

    def give_up(peer: str, error: PeerError) -> None:
        entries.pop(peer).worker.close()
        result["peers"][peer] = {"failed": str(error)}
        print(f"{name} {peer}: {error}")

    able = [p for p, about in peers.items() if name in about.get("workloads", [])]
    try:
        for peer in track(able, f"{name}: comparing"):
            worker = Worker(
                PEERS[peer], options.network, scratch / f"{peer}.log", malloc=options.malloc
            )
            entries[peer] = Entry(worker)
            try:
                begin(entries[peer], name, truth, options, scratch)
                if entries[peer].told["differs"]:
                    entries[peer].told |= in_float64(peer, name, truth, options, scratch)
            except PeerError as error:
                give_up(peer, error)
            else:
                told = entries[peer].told
                if told["differs"] and (note := peers[peer]["notes"].get(workload.kind)):
                    told["note"] = note
        turns = [(turn, p) for turn in range(options.rounds) for p in rotated(entries, turn)]
        for _, peer in track(turns, f"{name}: timing"):
            if peer not in entries:
                continue
            entry = entries[peer]
            try:
                answer = entry.worker.ask(options.limit, workload=name, repeat=entry.repeat)
            except PeerError as error:
                give_up(peer, error)
                continue
            entry.seconds.append(median(answer["seconds"]))
            entry.peak_mb = answer["peak_mb"]
    finally:
        for entry in entries.values():
            entry.worker.close()
    for peer, entry in entries.items():
        result["peers"][peer] = figures(entry, entries.get("quickstudy"), workload.tasks)
    if name in SHARES:
        result["flops"] = count_flops(make(workload, data).step)
    return result


def begin(
    entry: Entry, name: str, truth: tuple, options: argparse.Namespace, scratch: Path
) -> None:
    """Have a peer load, compile and warm up; compare its values; decide how long its bursts are."""
    request = {"workload": name, "arrays": str(scratch / f"{name}.npz")}
    values = scratch / "values.npz"
    answer = entry.worker.ask(options.limit, **request, values=str(values), repeat=0)
    entry.told = {"loss": answer["loss"], **compare(answer["loss"], np.load(values), truth)}
    seconds = entry.worker.ask(options.limit, workload=name, repeat=1)["seconds"][0]
    entry.repeat = min(max(round(options.burst / seconds), 1), 1000)


def in_float64(
    peer: str, name: str, truth: tuple, options: argparse.Namespace, scratch: Path
) -> dict[str, Any]:
    """Whether a peer differs in float64 too, or in float32 alone: rounding may tip a max-pool."""
    worker = Worker(PEERS[peer], options.network, scratch / f"{peer}64.log", "float64")
    values = scratch / "values.npz"
    request = {"workload": name, "arrays": str(scratch / f"{name}.npz"), "values": str(values)}
    try:
        answer = worker.ask(options.limit, **request, repeat=0)
    finally:
        worker.close()
    found = compare(answer["loss"], np.load(values), truth)
    errors = [found[key] for key in ("error", "loss_error") if key in found]
    return {"differs": found["differs"], "float64_error": max(errors)}


def compare(loss: float | None, values: Any, truth: tuple) -> dict[str, Any]:
    """Relative errors of the loss and of the meta-gradient (or scores), by the 2-norm of all."""
    true_loss, true_values = truth
    errors = {}
    if loss is not None:
        errors["loss_error"] = abs(loss - true_loss) / abs(true_loss)
    if true_values:
        found = [values[f"arr_{i}"] for i in range(len(values.files))]
        flat, true = (np.concatenate([v.ravel() for v in part]) for part in (found, true_values))
        errors["error"] = float(np.linalg.norm(flat - true) / np.linalg.norm(true))
    return {**errors, "differs": max(errors.values()) > TOLERANCE}


def rotated(entries: dict[str, Entry], turn: int) -> list[str]:
    """The peers, another one first in each round."""
    names = list(entries)
    return names[turn % len(names) :] + names[: turn % len(names)] if names else []


def figures(entry: Entry, ours: Entry | None, tasks: int) -> dict[str, Any]:
    """What is kept of a peer's rounds: per round, the median of its burst."""
    found = {
        **entry.told,
        "repeat": entry.repeat,
        "seconds": entry.seconds,
        "tasks_per_second": spread([tasks / s for s in entry.seconds]),
        "peak_mb": round(entry.peak_mb),
    }
    if ours is not None and ours is not entry:
        pairs = zip(entry.seconds, ours.seconds, strict=True)
        found["quickstudy_is_faster_by"] = spread([theirs / mine for theirs, mine in pairs])
    return found


def spread(values: list[float]) -> dict[str, float]:
    return {"median": median(values), "min": min(values), "max": max(values)}


def count_flops(step: Any) -> int:
    """Floating-point operations of a step: matrix products and convolutions, forwards, backwards
    and twice backwards, a multiplication and an addition being two; nothing else is counted."""
    with FlopCounterMode(display=False) as counter:
        step()
    return counter.get_total_flops()


def measure_sgemm(size: int = 2048, seconds: float = 2.0) -> float:
    """GFLOP/s of torch.mm, the median over some seconds."""
    a, b = torch.rand(size, size), torch.rand(size, size)
    times: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < 4:
        began = time.perf_counter()
        torch.mm(a, b)
        times.append(time.perf_counter() - began)
    return 2 * size**3 / median(times[1:]) / 1e9


def use_threads(threads: int) -> None:
    """Keep this process and its children to as many cores as threads."""
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        if threads > len(cores):
            raise SystemExit(f"--threads {threads} is more than the {len(cores)} cores here")
        os.sched_setaffinity(0, cores[:threads])
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[variable] = str(threads)
    torch.set_num_threads(threads)


def main() -> None:
    options = parse()
    if options.show:
        report = json.loads(options.show.read_text())
        print_tables(report)
        write_plot(report, options.plot)
        return
    use_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        peers = greet(options.peers, options, scratch)
        report: dict[str, Any] = {
            **provenance(0),
            "python": sys.version.split()[0],
            "threads": options.threads,
            "rounds": options.rounds,
            "network": options.network,
            "malloc": options.malloc,
            "most_tasks": options.most_tasks,
            "sgemm_gflops": round(measure_sgemm(), 1),
            "titles": {name: PEERS[name].title for name in peers},
            "peers": {n: about.get("versions", about) for n, about in peers.items()},
            "workloads": {},
        }
        for name in options.workloads:
            report["workloads"][name] = measure(name, peers, options, scratch)
            options.json_out.parent.mkdir(parents=True, exist_ok=True)
            options.json_out.write_text(json.dumps(report, indent=1) + "\n")
    print_tables(report)
    write_plot(report, options.plot)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )

    def some_of(known: dict[str, Any]) -> Any:
        def parse(text: str) -> list[str]:
            names = text.split(",")
            if strange := [name for name in names if name not in known]:
                known_names = ", ".join(known)
                raise argparse.ArgumentTypeError(f"unknown {strange[0]!r}; known: {known_names}")
            return names

        return parse

    add = parser.add_argument
    add("--workloads", type=some_of(WORKLOADS), default=list(WORKLOADS), help="such as w1a,w2a")
    add("--peers", type=some_of(PEERS), default=list(PEERS), help="such as quickstudy,higher")
    add("--rounds", type=int, default=5)
    add("--threads", type=int, default=2, help="threads, and cores where that can be set")
    add("--burst", type=float, default=2.0, help="seconds a peer is timed in a round, about")
    add("--most-tasks", type=int, help="fewer tasks a step, to try it out; the figures change")
    add("--limit", type=float, default=300.0, help="seconds a peer may take to begin a workload")
    add(
        "--network",
        choices=("textbook", "quickstudy"),
        default="textbook",
        help="Conv4 of the peers on PyTorch: as in the papers, or in quickstudy's order and layout",
    )
    add(
        "--malloc",
        choices=("tuned", "usual"),
        default="tuned",
        help="all peers keep freed memory, as quickstudy's commands do, or none does",
    )
    add("--json-out", type=Path, default=ROOT / "benchmarks" / "results" / "peers.json")
    add("--plot", type=Path, default=ROOT / "docs" / "peers.png")
    add("--show", type=Path, help="tables and picture of a file written before")
    options = parser.parse_args()
    if options.rounds < 1 or options.threads < 1:
        parser.error("expected at least one round and one thread")
    return options


if __name__ == "__main__":
    main()
