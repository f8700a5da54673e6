"""Two processes on one machine, started by torchrun, against one."""

import itertools
import os
import subprocess
import sys

import pytest
import torch

from quickstudy.engine import checkpoints, meta_train
from quickstudy.engine.distributed import Ranks
from quickstudy.errors import UsageError
from quickstudy.learners import MAML, MetaGradient
from quickstudy.nn import MLP
from quickstudy.tasks import SinusoidTasks
from quickstudy.tasks.environments import BernoulliBandits, Trials

SCRIPT = """
import os, sys
from pathlib import Path
import torch
from safetensors.torch import save_file
from quickstudy import MAML, RL2, SinusoidTasks, Trials, meta_train
from quickstudy.engine.distributed import ranks
from quickstudy.nn import MLP, Flatten
from quickstudy.tasks.environments import BernoulliBandits, Discrete

run, die_at = Path(sys.argv[1]), int(sys.argv[2])
rank = int(os.environ["RANK"])

class Tasks(SinusoidTasks):
    def __getitem__(self, index):
        mark = run.with_suffix(".died")
        if rank == 1 and die_at and index >= die_at * 5 and not mark.exists():
            mark.touch()
            os._exit(1)
        return super().__getitem__(index)

torch.set_num_threads(1)
torch.manual_seed(rank)  # the first process's weights are everyone's
learner = MAML(MLP((1,), (8,)), 1, inner_lr=0.05, inner_steps=2)
acting = RL2(Flatten((1,)), Discrete(2), hidden=4)
with ranks():  # one group for both trainings
    report = meta_train(
        learner, Tasks(n_shot=5, n_query=5), steps=12, meta_batch_size=5, executor="serial",
        validation=SinusoidTasks(n_shot=5, n_query=5, seed=1), validation_tasks=7,
        validate_every=4, run=run, checkpoint_every=4, resume=True,
    )
    meta_train(acting, Trials(BernoulliBandits(n_arms=2)), steps=2, meta_batch_size=9)
run.with_suffix(f".best{rank}").write_text(repr(report.best))
save_file(acting.state_dict(), run.with_suffix(f".acting{rank}"))
"""


def together(folder, *, die_at=0, restarts=0):
    """Train in two processes; returns the last weights."""
    script = folder.with_suffix(".py")
    script.write_text(SCRIPT)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", "2", "--max-restarts", str(restarts), str(script)]
    subprocess.run(
        [*command, str(folder), str(die_at)],
        capture_output=True,
        check=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1", "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"},
    )
    return newest(folder)


def newest(folder):
    tensors, plain, complaints = checkpoints.latest_checkpoint(folder / "state")
    assert plain["progress"]["step"] == 12
    assert complaints == []
    return tensors["weights"]


def test_two_processes_train_as_one_does_and_always_alike(tmp_path):
    first = together(tmp_path / "first")
    again = together(tmp_path / "again", die_at=6, restarts=1)
    assert (tmp_path / "again.died").exists()
    assert all(torch.equal(first[name], again[name]) for name in first)  # though one died

    acting = {path.read_bytes() for path in tmp_path.glob("*.acting?")}
    assert len(acting) == 1  # learners that act too, in both processes of both runs

    torch.manual_seed(0)
    learner = MAML(MLP((1,), (8,)), 1, inner_lr=0.05, inner_steps=2)
    report = meta_train(
        learner,
        SinusoidTasks(n_shot=5, n_query=5),
        steps=12,
        meta_batch_size=5,
        executor="serial",
        validation=SinusoidTasks(n_shot=5, n_query=5, seed=1),
        validation_tasks=7,
        validate_every=4,
        run=tmp_path / "alone",
    )
    for name, value in newest(tmp_path / "alone").items():
        torch.testing.assert_close(first[name], value, rtol=1e-6, atol=1e-6)
    best = [float((tmp_path / f"first.best{rank}").read_text()) for rank in range(2)]
    assert best == pytest.approx([report.best] * 2, rel=1e-5)
    lines = (tmp_path / "first" / "metrics.jsonl").read_text().splitlines()
    assert len(lines) == 12 + 3  # of the first process alone


def test_a_wider_buffer_leaves_the_gradients_as_wide_as_they_are(monkeypatch):
    monkeypatch.setattr("torch.distributed.all_reduce", lambda flat: flat.mul_(2))  # two alike
    narrow, wide = torch.ones(2), torch.ones(3, dtype=torch.float64)
    own = MetaGradient(torch.tensor(1.0), {"w": narrow}, {"b": wide})
    mean = Ranks(0, 2).mean(own, 2, 4)
    torch.testing.assert_close((mean.gradients["w"], mean.buffers["b"]), (narrow, wide))


@pytest.mark.parametrize("n_others", [2, 3, 4])
def test_processes_make_as_many_updates_or_say_that_they_do_not(n_others, monkeypatch):
    """This process has three parts, the other one so many."""
    rounds = itertools.count()

    def all_reduce(found, _):
        found += torch.tensor([1.0, 0.0] if next(rounds) < n_others else [0.0, 1.0])

    monkeypatch.setattr("torch.distributed.all_reduce", all_reduce)
    parts = Ranks(0, 2).together(iter("abc"))
    if n_others == 3:
        assert list(parts) == ["a", "b", "c"]
        return
    with pytest.raises(UsageError, match="as many updates of a meta-step in each process"):
        list(parts)


def test_every_task_is_one_process_s():
    team = [Ranks(rank, 3) for rank in range(3)]
    taken = [rank.share(range(100))[i] for rank in team for i in range(rank.count(10))]
    assert sorted(taken) == list(range(10))


def test_trials_are_shared_as_trials():
    team = [Ranks(rank, 3) for rank in range(3)]
    trials = Trials(BernoulliBandits(), n_shot=1)
    shares = [rank.share(trials) for rank in team]
    assert all(isinstance(share, Trials) and share.n_shot == 1 for share in shares)
    taken = [
        index
        for rank, share in zip(team, shares, strict=True)
        for index in share.indices(rank.count(10))
    ]
    assert sorted(taken) == list(range(10))
    assert Ranks(0, 1).share(trials) is trials


def test_fewer_tasks_than_processes_are_refused():
    with pytest.raises(UsageError, match="meta_batch_size of at least 4"):
        Ranks(0, 4).check(3, None)
    with pytest.raises(UsageError, match="at least 8 validation tasks"):
        Ranks(0, 4).check(4, 7)
