import copy
import importlib
import json
import math
import os
import signal
import sys
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from filelock import FileLock
from torch import nn, optim
from torch.optim import lr_scheduler as rates

from quickstudy.engine import Callback, TensorBoard, checkpoints, meta_train
from quickstudy.engine.executors import Serial
from quickstudy.errors import RunError, UsageError
from quickstudy.learners import MAML, Learner, MetaGradient, PrototypicalNetworks
from quickstudy.learners.reinforcement.base import ReinforcementLearner
from quickstudy.nn import MLP, StridedConv4
from quickstudy.tasks import ClassData, EpisodeSampler, GeneratedTasks, SinusoidTasks
from quickstudy.tasks.environments import BernoulliBandits, Discrete, Trials
from quickstudy.testing import blob_classes


def made():
    torch.manual_seed(0)
    return MAML(MLP((1,), (8,)), 1, inner_lr=0.01), SinusoidTasks(n_shot=5, n_query=5)


class Interrupt(Callback):
    def on_step(self, step, metrics):
        if step == 7:
            os.kill(os.getpid(), signal.SIGINT)


def test_ctrl_c_stops_after_the_step_with_a_checkpoint_and_resume_matches(tmp_path):
    learner, tasks = made()
    report = meta_train(learner, tasks, steps=20, run=tmp_path / "a", callbacks=[Interrupt()])
    assert (report.stopped, report.steps) == ("interrupted", 7)
    assert (tmp_path / "a/state/step-00000007").is_dir()
    resumed, _ = made()
    meta_train(resumed, tasks, steps=20, run=tmp_path / "a", resume=True)
    whole, _ = made()
    meta_train(whole, tasks, steps=20)
    assert all(torch.equal(v, resumed.state_dict()[k]) for k, v in whole.state_dict().items())


def test_a_damaged_checkpoint_that_is_passed_over_is_a_warning(tmp_path):
    def go(steps):
        learner, tasks = MAML(MLP((1,), (8,)), 1), SinusoidTasks(n_shot=5, n_query=5)
        meta_train(learner, tasks, steps=steps, run=tmp_path, checkpoint_every=1, resume=True)

    go(3)
    (tmp_path / "state" / "step-00000003" / "state.json").write_text("{}")
    with pytest.warns(UserWarning, match="step-00000003 is damaged"):
        go(3)


def test_training_shows_how_far_it_is_unless_told_not_to(monkeypatch, capsys):
    monkeypatch.setattr("quickstudy.progress.SECONDS_BEFORE_DISPLAY", 0.0)
    learner, tasks = made()
    meta_train(learner, tasks, steps=3, show_progress=False)
    assert capsys.readouterr().err == ""
    meta_train(learner, tasks, steps=3)
    shown = capsys.readouterr().err.splitlines()
    assert shown[0].startswith("meta-training: 1 of 3, loss ")
    assert shown[-1].startswith("meta-training: 3 of 3, loss ")


def test_metrics_have_each_step_once_after_a_resume(tmp_path):
    import json

    learner, tasks = made()
    meta_train(learner, tasks, steps=20, run=tmp_path, callbacks=[Interrupt()])
    meta_train(learner, tasks, steps=10, run=tmp_path, resume=True)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, 11))


@pytest.mark.parametrize(
    ("optimizer", "schedule"),
    [
        (partial(optim.SGD, lr=0.1, momentum=0.9), partial(rates.StepLR, step_size=3)),
        (optim.AdamW, partial(rates.CosineAnnealingLR, T_max=20)),
        (optim.RMSprop, partial(rates.OneCycleLR, max_lr=0.01, total_steps=20)),
        (optim.NAdam, partial(rates.CosineAnnealingWarmRestarts, T_0=4)),
        (partial(optim.Adagrad, lr=0.1), partial(rates.ReduceLROnPlateau, patience=0)),
        (
            partial(optim.Adam, amsgrad=True),
            lambda o: rates.SequentialLR(
                o, [rates.LinearLR(o, 0.1), rates.ExponentialLR(o, 0.9)], milestones=[5]
            ),
        ),
    ],
)
def test_any_optimiser_and_schedule_resumes_to_the_same_weights(tmp_path, optimizer, schedule):
    options = {
        "steps": 20,
        "optimizer": optimizer,
        "schedule": schedule,
        "validation": SinusoidTasks(n_shot=5, n_query=5, seed=1),
        "validation_tasks": 3,
        "validate_every": 3,
    }
    whole, tasks = made()
    start = copy.deepcopy(whole.state_dict())
    meta_train(whole, tasks, **options)
    stopped, _ = made()
    meta_train(stopped, tasks, run=tmp_path, callbacks=[Interrupt()], **options)
    resumed, _ = made()
    meta_train(resumed, tasks, run=tmp_path, resume=True, **options)
    assert all(torch.equal(v, resumed.state_dict()[k]) for k, v in whole.state_dict().items())
    assert any(not torch.equal(v, start[k]) for k, v in whole.state_dict().items())


def test_an_optimiser_or_schedule_that_cannot_serve_is_refused():
    learner, tasks = made()
    with pytest.raises(UsageError, match="LBFGS"):
        meta_train(learner, tasks, steps=1, optimizer=optim.LBFGS)
    with pytest.raises(UsageError, match="validation"):
        meta_train(learner, tasks, steps=1, schedule=rates.ReduceLROnPlateau)


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_its_last_checkpoint(tmp_path):
    learner, tasks = made()
    options = {"steps": 200, "optimizer": partial(optim.SGD, lr=1e3), "checkpoint_every": 1}
    with pytest.raises(RunError, match="lower the learning rates"):
        meta_train(learner, tasks, run=tmp_path, **options)
    _, state, complaints = checkpoints.latest_checkpoint(tmp_path / "state")
    assert state["progress"]["step"] > 0
    assert not complaints


def test_tensorboard_gets_loss_and_score(tmp_path):
    learner, tasks = made()
    board = TensorBoard(tmp_path / "board")
    assert not (tmp_path / "board").exists()
    meta_train(learner, tasks, steps=2, validation=tasks, validation_tasks=2, callbacks=[board])
    (events,) = (tmp_path / "board").iterdir()
    assert b"train/loss" in events.read_bytes()
    assert b"validation/mse" in events.read_bytes()


def test_early_stopping_keeps_the_best_weights():
    learner, tasks = made()
    report = meta_train(
        learner,
        tasks,
        steps=500,
        optimizer=lambda p: torch.optim.SGD(p, lr=0.0),
        validation=tasks,
        validation_tasks=3,
        validate_every=5,
        patience=3,
    )
    assert (report.stopped, report.steps) == ("early", 20)


class InParts(Learner):
    """Learns a number from the parts of a meta-step, and notes the number at each asking."""

    def __init__(self):
        super().__init__()
        self.number, self.asked = nn.Parameter(torch.zeros(())), []

    def adapt(self, support):
        return lambda x: self.number.expand(len(x), 1)

    def updates(self, tasks):
        for part in range(3):
            self.asked.append((part, self.number.item()))
            yield tasks[: 2 - part // 2]

    def meta_gradient(self, episode):
        gradients = {"number": torch.ones(())}
        return MetaGradient(self.number.detach().clone(), gradients, {})


def test_a_meta_step_asks_for_the_next_parts_after_the_update_from_the_last():
    learner, steps = InParts(), []
    log = SimpleNamespace(
        on_start=lambda *_: None, on_end=lambda: None, on_step=lambda step, m: steps.append(m)
    )
    tasks = SinusoidTasks(n_shot=1, n_query=1)
    sgd = partial(optim.SGD, lr=1.0)
    options = {"meta_batch_size": 2, "optimizer": sgd, "executor": "serial", "callbacks": [log]}
    meta_train(learner, tasks, steps=2, show_progress=False, **options)
    assert learner.asked == [(0, 0.0), (1, -1.0), (2, -2.0), (0, -3.0), (1, -4.0), (2, -5.0)]
    assert [step["loss"] for step in steps] == [-1.0, -4.0]  # means over the updates
    assert learner.number.item() == -6.0


class Pulls(ReinforcementLearner):
    """Pulls arm 0 for ever; training raises its number, which it multiplies returns by."""

    def __init__(self):
        super().__init__(Discrete(2))
        self.number = nn.Parameter(torch.zeros(()))

    def adapt(self, support):
        raise NotImplementedError

    def policy(self):
        raise NotImplementedError

    def updates(self, tasks):
        yield [None]

    def loss(self, episode):
        return -self.number

    def returns(self, trials, indices, seed=0):
        peak = 5 - (self.number.detach() - 3).abs()  # the highest after 3 steps
        return peak.expand(len(indices))


def test_validation_keeps_the_weights_of_the_highest_return(tmp_path):
    learner, trials = Pulls(), Trials(BernoulliBandits(n_arms=2))
    report = meta_train(
        learner,
        trials,
        steps=6,
        optimizer=partial(optim.SGD, lr=1.0),
        executor="serial",
        validation=trials,
        validation_tasks=4,
        validate_every=1,
        run=tmp_path / "run",
    )
    assert report.best == 5.0
    assert learner.number.item() == 3.0
    validated = [
        json.loads(line)["validation"]["return"]
        for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
        if "validation" in line
    ]
    assert validated == [3.0, 4.0, 5.0, 4.0, 3.0, 2.0]


class Watch(Callback):
    """Keeps the learner's weights and score at every validation."""

    def __init__(self, learner):
        self.learner, self.seen = learner, []

    def on_validation(self, step, metrics):
        self.seen.append((metrics["mse"], copy.deepcopy(self.learner.state_dict())))


class Clock(Callback):
    """A clock of `meta_train` that goes a second a step and two a validation."""

    def __init__(self, monkeypatch):
        self.now = 0.0
        module = importlib.import_module("quickstudy.engine.meta_train")
        monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: self.now))
        test = module.meta_test

        def slow_test(*arguments):
            self.now += 2
            return test(*arguments)

        monkeypatch.setattr(module, "meta_test", slow_test)
        self.validated = []

    def tasks(self):
        family = SinusoidTasks(n_shot=5, n_query=5)

        def draw(generator):
            self.now += 1
            return family[int(torch.randint(100, (), generator=generator))]

        return GeneratedTasks(draw)

    def on_validation(self, step, metrics):
        self.validated.append(step)


@pytest.mark.parametrize(("seconds", "steps"), [(20.0, 14), (1.0, 1), (math.inf, 30)])
def test_training_ends_by_the_clock_with_a_validation_inside_the_seconds(
    monkeypatch, seconds, steps
):
    clock = Clock(monkeypatch)
    options = {"validation": SinusoidTasks(n_shot=5, n_query=5, seed=1), "validation_tasks": 2}
    report = meta_train(
        MAML(MLP((1,), (8,)), 1, inner_lr=0.01),
        clock.tasks(),
        steps=30,
        seconds=seconds,
        validate_every=7,
        callbacks=[clock],
        **options,
    )
    # 20 s: 14 steps and 2 validations take 18; another step and its validation would take 21.
    assert (report.steps, report.stopped) == (steps, "done" if steps == 30 else "time")
    assert clock.validated == [s for s in range(1, steps + 1) if s % 7 == 0 or s == steps]
    if 1 < steps < 30:
        assert report.seconds <= seconds
    with pytest.raises(UsageError, match="seconds > 0"):
        meta_train(MAML(MLP((1,), (8,)), 1, inner_lr=0.01), clock.tasks(), steps=1, seconds=0)


def test_the_best_weights_are_returned_and_an_early_stopped_run_stays_stopped(tmp_path):
    learner, tasks = made()
    watch = Watch(learner)
    options = {
        "steps": 500,
        "optimizer": partial(optim.SGD, lr=0.2, momentum=0.9),
        "clip_norm": 1.0,
        "validation": tasks,
        "validation_tasks": 3,
        "validate_every": 2,
        "patience": 3,
    }
    report = meta_train(learner, tasks, run=tmp_path, callbacks=[watch], **options)
    best, weights = min(watch.seen, key=lambda seen: seen[0])
    assert (report.stopped, report.best) == ("early", best)
    assert best < watch.seen[-1][0]
    assert all(torch.equal(v, weights[k]) for k, v in learner.state_dict().items())
    again, _ = made()
    resumed = meta_train(again, tasks, run=tmp_path, resume=True, **options)
    assert resumed == report
    assert all(torch.equal(v, weights[k]) for k, v in again.state_dict().items())


def test_convolutions_batch_norm_bfloat16_and_threads_resume_to_the_same_bits(tmp_path):
    data = blob_classes(10, 6, d=256)
    data = ClassData(data.x.view(-1, 1, 16, 16), data.y, data.names)
    tasks = EpisodeSampler(data, n_way=3, n_shot=1, n_query=2)

    def fresh():
        torch.manual_seed(0)
        return MAML(StridedConv4((1, 16, 16), width=4), 3, batch_norm="running")

    options = {"steps": 10, "meta_batch_size": 3, "executor": "threads", "precision": "bfloat16"}
    whole, stopped, resumed = fresh(), fresh(), fresh()
    meta_train(whole, tasks, **options)
    meta_train(stopped, tasks, run=tmp_path, callbacks=[Interrupt()], **options)
    meta_train(resumed, tasks, run=tmp_path, resume=True, **options)
    assert all(torch.equal(v, resumed.state_dict()[k]) for k, v in whole.state_dict().items())


def test_only_one_process_trains_in_a_folder(tmp_path):
    learner, tasks = made()
    tmp_path.mkdir(exist_ok=True)
    with FileLock(tmp_path / ".lock"), pytest.raises(RunError, match="another process"):
        meta_train(learner, tasks, steps=1, run=tmp_path)
    assert meta_train(learner, tasks, steps=1, run=tmp_path).steps == 1


def test_a_run_keeps_as_many_checkpoints_as_asked_for(tmp_path):
    learner, tasks = made()
    options = {"steps": 4, "checkpoint_every": 1, "run": tmp_path}
    with pytest.raises(UsageError, match="keep_checkpoints"):
        meta_train(learner, tasks, keep_checkpoints=0, **options)
    meta_train(learner, tasks, keep_checkpoints=3, **options)
    assert len(list((tmp_path / "state").iterdir())) == 3


def test_a_run_folder_is_not_overwritten(tmp_path):
    learner, tasks = made()
    meta_train(learner, tasks, steps=1, run=tmp_path)
    with pytest.raises(RunError, match="holds a run already"):
        meta_train(learner, tasks, steps=1, run=tmp_path)


def test_global_generators_are_left_alone():
    learner, tasks = made()
    before = torch.get_rng_state()
    meta_train(learner, tasks, steps=2, validation=tasks, validation_tasks=2)
    assert torch.equal(torch.get_rng_state(), before)


class Turned(Serial):
    """Gradients in another order of memory, as compilers and convolutions leave them."""

    def __call__(self, learner, episodes):
        result = super().__call__(learner, episodes)
        turned = {k: g.mT.contiguous().mT if g.ndim > 1 else g for k, g in result.gradients.items()}
        return replace(result, gradients=turned)


@pytest.mark.parametrize("fused", [True, False])
def test_the_order_of_gradients_in_memory_makes_no_difference(fused):
    trained = []
    for executor in (Serial(), Turned()):
        torch.manual_seed(0)
        learner, tasks = MAML(MLP((1,), (8, 8)), 1), SinusoidTasks(n_shot=5, n_query=5)
        adam = partial(optim.Adam, lr=0.1, fused=fused)
        meta_train(learner, tasks, steps=3, optimizer=adam, executor=executor)
        trained.append(learner.state_dict())
    for name, weight in trained[0].items():
        torch.testing.assert_close(trained[1][name], weight, rtol=0, atol=0)


def test_a_weight_that_is_a_slice_of_a_matrix_is_trained_as_any_other():
    trained = []
    for whole in (False, True):
        torch.manual_seed(0)
        learner, tasks = MAML(MLP((1,), (8, 8)), 1), SinusoidTasks(n_shot=5, n_query=5)
        layer = next(m for m in learner.modules() if isinstance(m, nn.Linear))
        columns = torch.randn(8, 2)[:, :1]
        layer.weight = nn.Parameter(columns.clone() if whole else columns)
        meta_train(learner, tasks, steps=3)
        trained.append(learner.state_dict())
    for name, weight in trained[0].items():
        torch.testing.assert_close(trained[1][name], weight)


class Sum(Learner):
    """A line whose slope is the sum of two weights, whose gradients are one tensor."""

    batchable = True

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(2))

    def adapt(self, support):
        return lambda x: x * (torch.tensor([3.0, 4.0]) * (self.a + self.b)).sum()


@pytest.mark.parametrize("executor", ["serial", "vmap"])
def test_gradients_in_the_same_memory_are_clipped_once(executor):
    learner, tasks = Sum(), SinusoidTasks(n_shot=5, n_query=5)
    sgd = partial(optim.SGD, lr=1.0)
    meta_train(learner, tasks, steps=1, optimizer=sgd, clip_norm=0.01, executor=executor)
    moved = torch.cat([learner.a, learner.b]).norm()
    torch.testing.assert_close(moved, torch.tensor(0.01), rtol=1e-3, atol=0)


class Tied(nn.Module):
    """Two layers of one weight."""

    out_features = 8

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(8, 8), nn.Linear(8, 8)
        self.second.weight = self.first.weight

    def forward(self, x):
        return self.second(self.first(x).relu())


def test_tied_weights_are_trained_kept_and_resumed_as_one(tmp_path):
    tasks, ends = EpisodeSampler(blob_classes(), n_way=3, n_shot=1, n_query=2), []
    for run, parts in ((None, (4,)), (tmp_path / "run", (2, 4))):
        for steps in parts:
            torch.manual_seed(0)
            learner = PrototypicalNetworks(Tied())
            meta_train(learner, tasks, steps=steps, run=run, resume=run is not None)
        ends.append(learner.backbone)
    assert ends[1].first.weight is ends[1].second.weight
    assert torch.equal(ends[0].first.weight, ends[1].first.weight)


class Narrow(Serial):
    """Gradients of matrices as columns."""

    def __call__(self, learner, episodes):
        result = super().__call__(learner, episodes)
        sums = {k: g.sum(1, True) if g.ndim > 1 else g for k, g in result.gradients.items()}
        return replace(result, gradients=sums)


def test_gradients_of_other_shapes_than_the_weights_are_refused():
    learner, tasks = MAML(MLP((1,), (8, 8)), 1), SinusoidTasks(n_shot=5, n_query=5)
    with pytest.raises(RuntimeError, match="same size"):
        meta_train(learner, tasks, steps=1, executor=Narrow())


def test_parameters_that_share_memory_are_refused():
    learner, tasks = made()
    network = learner.model
    linear = next(m for m in network.modules() if isinstance(m, torch.nn.Linear))
    linear.bias = torch.nn.Parameter(linear.weight.detach()[:, 0])
    with pytest.raises(UsageError, match=r"memory of their own, got .*weight and .*bias"):
        meta_train(learner, tasks, steps=1)


def classifier():
    torch.manual_seed(0)
    tasks = EpisodeSampler(blob_classes(), n_way=3, n_shot=1, n_query=2)
    return PrototypicalNetworks(MLP((8,))), tasks


def test_auto_is_float32_where_bfloat16_is_emulated_and_else_the_faster(monkeypatch):
    from quickstudy.engine import precision

    learner, tasks = made()
    monkeypatch.setattr(precision, "bfloat16_is_native", lambda device: False)
    assert meta_train(learner, tasks, steps=1).precision == "float32"

    learner, tasks = classifier()
    gradient, clock = PrototypicalNetworks.meta_gradient, [0.0]
    monkeypatch.setattr(precision, "bfloat16_is_native", lambda device: True)
    monkeypatch.setattr(precision.time, "perf_counter", lambda: clock[0])
    for seconds, faster in ((0.5, True), (0.95, False), (2.0, False)):

        def timed(self, episode, seconds=seconds):
            clock[0] += seconds if torch.is_autocast_enabled("cpu") else 1.0
            return gradient(self, episode)

        monkeypatch.setattr(PrototypicalNetworks, "meta_gradient", timed)
        assert precision.bfloat16_is_faster(learner, tasks, 0) == faster


def test_regression_keeps_its_digits(monkeypatch):
    from quickstudy.engine import precision

    monkeypatch.setattr(precision, "bfloat16_is_native", lambda device: True)
    learner, tasks = MAML(MLP((1,), (8,)), 1), SinusoidTasks(n_shot=5, n_query=5)
    assert not precision.bfloat16_is_faster(learner, tasks, 0)


def test_a_resumed_run_keeps_its_precision(tmp_path, monkeypatch):
    module = sys.modules["quickstudy.engine.meta_train"]
    learner, tasks = classifier()
    monkeypatch.setattr(module, "bfloat16_is_faster", lambda *_: True)
    assert meta_train(learner, tasks, steps=1, run=tmp_path).precision == "bfloat16"
    monkeypatch.setattr(module, "bfloat16_is_faster", lambda *_: False)
    resumed, _ = classifier()
    report = meta_train(resumed, tasks, steps=2, run=tmp_path, resume=True)
    assert report.precision == "bfloat16"


def test_a_resume_with_another_number_of_threads_is_a_warning(tmp_path):
    learner, tasks = classifier()
    meta_train(learner, tasks, steps=1, run=tmp_path)
    before = torch.get_num_threads()
    torch.set_num_threads(before + 1)
    try:
        with pytest.warns(UserWarning, match="to rounding, not bit for bit"):
            meta_train(learner, tasks, steps=2, run=tmp_path, resume=True)
    finally:
        torch.set_num_threads(before)
