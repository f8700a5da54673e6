from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from quickstudy.engine import EXECUTORS, Executor, make_executor, meta_train
from quickstudy.engine.executors import Auto, Compiled, Serial, Threads, Vmap, auto, mean_gradient
from quickstudy.errors import UsageError
from quickstudy.learners import MAML, PrototypicalNetworks
from quickstudy.nn import MLP, Conv4
from quickstudy.tasks import ClassData, EpisodeSampler, SinusoidTasks, Support
from quickstudy.testing import blob_classes


def maml_and_tasks():
    torch.manual_seed(0)
    learner = MAML(MLP((1,), (8, 8)), 1, inner_lr=0.05, inner_steps=3).double().train()
    tasks = SinusoidTasks(n_shot=5, n_query=5)
    return learner, [tasks[i].to(torch.float64) for i in range(5)]


def first_order_and_tasks():
    learner, episodes = maml_and_tasks()
    learner.first_order = True
    return learner, episodes


def prototypes_and_tasks():
    torch.manual_seed(0)
    tasks = EpisodeSampler(blob_classes(), n_way=5, n_shot=2, n_query=3)
    learner = PrototypicalNetworks(MLP((8,), (16,))).double().train()
    return learner, [tasks[i].to(torch.float64) for i in range(3)]


@pytest.mark.parametrize("made", [maml_and_tasks, first_order_and_tasks, prototypes_and_tasks])
@pytest.mark.parametrize("name", ["threads", "vmap", "auto"])
def test_executors_give_the_serial_meta_gradient(made, name):
    learner, episodes = made()
    expected = EXECUTORS["serial"]()(learner, episodes)
    executor = make_executor(name, learner, len(episodes))
    result = executor(learner, episodes)
    executor.close()
    torch.testing.assert_close(result.loss, expected.loss)
    for parameter, gradient in expected.gradients.items():
        torch.testing.assert_close(result.gradients[parameter], gradient)


def convolutional_and_tasks():
    torch.manual_seed(0)
    learner = PrototypicalNetworks(Conv4((1, 16, 16), width=4)).train()
    data = blob_classes(10, 6, d=256)
    data = ClassData(data.x.view(-1, 1, 16, 16), data.y, data.names)
    tasks = EpisodeSampler(data, n_way=3, n_shot=1, n_query=2)
    return learner, [tasks[i] for i in range(5)]


def test_auto_gives_up_compiling_when_longer_tasks_come():
    learner, episodes = first_order_and_tasks()
    executor = Auto()
    executor.chosen = "compiled"
    executor._made["compiled"] = Compiled(longest=10)
    result = executor(learner, episodes)
    assert executor.chosen == "vmap"
    torch.testing.assert_close(result.gradients, Serial()(learner, episodes).gradients)


@pytest.mark.parametrize("made", [maml_and_tasks, convolutional_and_tasks])
def test_the_number_of_workers_does_not_change_a_bit(made):
    learner, episodes = made()
    results = []
    for workers in (1, 2, 5):
        executor = Threads(workers)
        results.append(executor(learner, episodes))
        executor.close()
    for other in results[1:]:
        for kind in ("gradients", "buffers"):
            first, second = getattr(results[0], kind), getattr(other, kind)
            assert all(torch.equal(first[n], second[n]) for n in first)


def test_vmap_batches_tasks_of_each_shape():
    learner, _ = prototypes_and_tasks()
    tasks = EpisodeSampler(blob_classes(), n_way=(2, 4), n_shot=(1, 2), n_query=3)
    episodes = [tasks[i].to(torch.float64) for i in range(8)]
    expected, result = Serial()(learner, episodes), Vmap()(learner, episodes)
    for name, gradient in expected.gradients.items():
        torch.testing.assert_close(result.gradients[name], gradient)


def test_dropout_runs_serial_and_nowhere_else():
    learner, episodes = maml_and_tasks()
    learner.model.add_module("dropout", nn.Dropout())
    for name in ("threads", "vmap"):
        with pytest.raises(UsageError, match="serial"):
            make_executor(name, learner, 5)(learner, episodes)
    assert type(make_executor("auto", learner, 5)) is Serial


class Averaging(nn.Linear):
    """Keeps a moving average as a new tensor each time."""

    def __init__(self):
        super().__init__(8, 8)
        self.register_buffer("average", torch.zeros(8))

    def forward(self, x):
        x = super().forward(x)
        self.average = 0.9 * self.average + 0.1 * x.mean(0)
        return x


def test_a_buffer_that_is_replaced_is_kept():
    tasks = EpisodeSampler(blob_classes(), n_way=3, n_shot=1, n_query=2)
    learner = PrototypicalNetworks(Averaging())
    expected = learner.backbone(torch.cat([tasks[0].support.x, tasks[0].query.x])).mean(0) / 10
    learner.backbone.average = torch.zeros(8)
    with pytest.raises(UsageError, match="changes a buffer"):
        Vmap()(learner, [tasks[0], tasks[1]])
    meta_train(learner, tasks, steps=1)
    torch.testing.assert_close(learner.backbone.average, expected.detach())
    assert not learner.backbone.average.requires_grad


class Noisy(PrototypicalNetworks):
    """Learns from distorted examples."""

    def loss(self, episode):
        support = episode.support
        noisy = Support(support.x + torch.randn_like(support.x), support.y, support.n_way)
        return super().loss(replace(episode, support=noisy))


def test_threads_refuse_a_learner_that_draws_random_numbers():
    _, episodes = prototypes_and_tasks()
    executor = Threads(2)
    with pytest.raises(UsageError, match="Noisy, which draws random numbers: use 'serial'"):
        executor(Noisy(MLP((8,))).double(), episodes)
    executor.close()


def test_threads_merge_running_statistics_like_serial():
    learner, episodes = convolutional_and_tasks()
    expected = EXECUTORS["serial"]()(learner, episodes).buffers
    executor = EXECUTORS["threads"]()
    result = executor(learner, episodes).buffers
    executor.close()
    for name, value in expected.items():
        torch.testing.assert_close(result[name], value, rtol=1e-4, atol=1e-5)


def test_vmap_refuses_batch_norm_whose_batched_second_derivative_is_wrong():
    learner = PrototypicalNetworks(Conv4((1, 16, 16), width=4))
    with pytest.raises(UsageError, match="BatchNorm2d"):
        EXECUTORS["vmap"]()(learner, [])


def test_a_compiled_step_gives_the_serial_meta_gradient():
    torch.manual_seed(0)  # one inner step of one layer, as each kernel takes seconds to compile
    learner = MAML(MLP((1,), (8,)), 1, inner_lr=0.05, inner_steps=1).double().train()
    tasks = SinusoidTasks(n_shot=5, n_query=5)
    episodes = [tasks[i].to(torch.float64) for i in range(2)]
    expected, executor = Serial()(learner, episodes), Compiled()
    for _ in range(2):
        result = executor(learner, episodes)
        torch.testing.assert_close(result.loss, expected.loss)
        torch.testing.assert_close(result.gradients, expected.gradients)


@pytest.fixture
def no_compiler(monkeypatch):
    """Steps are cached, not compiled: for tests of which cached step serves."""

    def traced(_self, function, _inputs):
        return lambda inputs: torch.enable_grad()(function)(*inputs)

    monkeypatch.setattr(Compiled, "_compile", traced)


def test_what_is_compiled_serves_one_learner(no_compiler):
    executor = Compiled()
    for inner_lr in (0.05, 0.2):
        learner, episodes = maml_and_tasks()
        learner.inner_lr = inner_lr
        expected = Serial()(learner, episodes)
        torch.testing.assert_close(executor(learner, episodes).loss, expected.loss)


def test_a_step_too_long_to_compile_is_refused():
    learner, episodes = first_order_and_tasks()
    executor = Compiled(longest=10)
    with pytest.raises(UsageError, match="more than 10: use 'vmap'"):
        executor(learner, episodes)


def test_vmap_keeps_within_its_memory():
    learner, episodes = maml_and_tasks()
    expected, calls = Vmap()(learner, episodes), []

    class Counted(Vmap):
        def _batched(self, learner, episodes):
            calls.append(len(episodes))
            return super()._batched(learner, episodes)

    result = Counted(memory=1)(learner, episodes)
    assert calls == [1] * 5
    torch.testing.assert_close(result.gradients, expected.gradients)


class Branching(MAML):
    """Says it is batchable, which it inherits, but branches on a value."""

    def loss(self, episode):
        return super().loss(episode) * (2 if float(episode.query.x.sum()) > 0 else 1)


def test_a_loss_that_cannot_be_batched_is_refused_by_vmap_and_runs_under_auto():
    torch.manual_seed(0)
    learner = Branching(MLP((1,), (8,)), 1).train()
    episodes = [SinusoidTasks(n_shot=5, n_query=5)[i] for i in range(3)]
    with pytest.raises(UsageError, match="Branching"):
        Vmap()(learner, episodes)
    expected, executor = Serial()(learner, episodes), make_executor("auto", learner, 3)
    torch.testing.assert_close(executor(learner, episodes).gradients, expected.gradients)
    executor.close()


@pytest.mark.parametrize(
    ("times", "steps", "chosen"),
    [
        ({"vmap": 1.0, "threads": 2.0, "serial": 2.0}, 10, "vmap"),
        ({"vmap": 2.0, "threads": 1.0, "serial": 1.0}, 1000, "other"),
        ({"vmap": 1.0, "threads": 2.0, "serial": 2.0, "compiled": 0.1}, 1000, "compiled"),
        ({"vmap": 1.0, "threads": 2.0, "serial": 2.0, "compiled": 3.0}, 1000, "vmap"),
    ],
)
def test_auto_takes_the_fastest_and_remembers_it(times, steps, chosen, monkeypatch):
    learner, episodes = maml_and_tasks()
    learner.inner_lr = steps + times["vmap"] + times.get("compiled", 0)  # of each case its own
    asked = []

    def seconds(executor, learner, episodes):
        name = next(n for n, kind in EXECUTORS.items() if type(executor) is kind)
        asked.append(name)
        return times[name]

    monkeypatch.setattr(auto, "_seconds", seconds)
    for again in range(2):
        executor = Auto(steps)
        assert (executor._choose(learner, episodes) in ("threads", "serial")) == (chosen == "other")
        assert chosen in ("other", executor._choose(learner, episodes))
        assert not again or asked == []
        asked.clear()


def test_meta_train_takes_an_executor_of_ones_own():
    class Backwards(Executor):
        def __call__(self, learner, episodes):
            return mean_gradient([learner.meta_gradient(e) for e in reversed(episodes)])

    learner, _ = maml_and_tasks()
    tasks = SinusoidTasks(n_shot=5, n_query=5)
    report = meta_train(learner.float(), tasks, steps=2, meta_batch_size=3, executor=Backwards())
    assert report.steps == 2


def test_an_executor_of_ones_own_serves_again():
    learner, _ = maml_and_tasks()
    tasks, executor = SinusoidTasks(n_shot=5, n_query=5), Threads(2)
    for _ in range(2):
        meta_train(learner.float(), tasks, steps=1, meta_batch_size=2, executor=executor)
    executor.close()


def test_auto_never_batches_batch_norm_and_one_task_is_serial():
    small, _ = maml_and_tasks()
    convolutional = PrototypicalNetworks(Conv4((1, 16, 16), width=4))
    assert type(make_executor("auto", small, 4)) is Auto
    untried = make_executor("auto", small, 4, trial=False)
    assert isinstance(untried, Auto)
    assert untried.chosen == "vmap"
    executor = make_executor("auto", convolutional, 4)
    assert type(executor).__name__ in ("Threads", "Serial")
    executor.close()
    assert type(make_executor("auto", small, 1)).__name__ == "Serial"


def test_an_unknown_executor_names_the_nearest():
    with pytest.raises(UsageError, match="'threads'"):
        make_executor("thread", maml_and_tasks()[0], 2)


def test_auto_does_without_a_cache_that_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "quickstudy").write_text("in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    learner, episodes = maml_and_tasks()
    executor = Auto()
    torch.testing.assert_close(
        executor(learner, episodes).gradients, Serial()(learner, episodes).gradients
    )
    executor.close()


class Functional(nn.Module):
    """A network whose norm is a function, which no look at the modules shows."""

    out_features = 8

    def __init__(self, kind):
        super().__init__()
        self.layer, self.kind = nn.Linear(8, 8), kind
        self.weight, self.bias = nn.Parameter(torch.rand(8) + 0.5), nn.Parameter(torch.rand(8))

    def forward(self, x):
        x = self.layer(x)
        if self.kind == "batch":
            x = F.batch_norm(x, None, None, self.weight, self.bias, training=True)
        else:
            x = F.layer_norm(x, (8,), self.weight, self.bias)
        return x.tanh()


@pytest.mark.parametrize("kind", ["batch", "layer"])
def test_a_batched_derivative_that_is_wrong_is_found_and_auto_goes_on_without_it(kind):
    torch.manual_seed(0)
    learner = MAML(Functional(kind), 3, inner_lr=0.1, inner_steps=2).train()
    tasks = EpisodeSampler(blob_classes(), n_way=3, n_shot=2, n_query=2)
    episodes = [tasks[i] for i in range(4)]
    for name in ("vmap", "compiled"):
        with pytest.raises(UsageError, match="off that of the tasks one by one"):
            make_executor(name, learner, 4)(learner, episodes)
    expected = Serial()(learner, episodes).gradients
    for trial in (True, False):
        auto = make_executor("auto", learner, 4, trial=trial)
        found = auto(learner, episodes).gradients
        auto.close()
        assert auto.chosen in ("threads", "serial")
        assert all(torch.allclose(found[n], g, rtol=1e-3, atol=1e-5) for n, g in expected.items())


def test_a_network_that_is_of_float32_alone_is_batched_too():
    class Narrow(nn.Linear):
        def forward(self, x):
            return super().forward(x.float())

    torch.manual_seed(0)
    learner = PrototypicalNetworks(Narrow(8, 8)).train()
    tasks = EpisodeSampler(blob_classes(), n_way=3, n_shot=2, n_query=2)
    episodes = [tasks[i] for i in range(3)]
    expected = Serial()(learner, episodes).gradients
    found = Vmap()(learner, episodes).gradients
    assert all(torch.allclose(found[n], g, rtol=1e-3, atol=1e-5) for n, g in expected.items())


def test_tasks_of_equal_shapes_and_other_ways_are_compiled_apart(no_compiler):
    learner = PrototypicalNetworks(MLP((8,), (8,))).train()
    four = EpisodeSampler(blob_classes(), n_way=4, n_shot=1, n_query=1)
    two = EpisodeSampler(blob_classes(), n_way=2, n_shot=2, n_query=2)
    compiled = Compiled()
    for tasks in (four, two):
        # Without the tensors whose shapes give the ways away.
        episodes = [replace(tasks[i], classes=None, clusters=None) for i in range(2)]
        expected = Serial()(learner, episodes).gradients
        found = compiled(learner, episodes).gradients
        assert all(torch.allclose(found[n], g, atol=1e-5) for n, g in expected.items())


def test_a_compiled_step_that_is_wrong_is_found(monkeypatch):
    learner = PrototypicalNetworks(MLP((8,), (8,))).train()
    tasks = EpisodeSampler(blob_classes(), n_way=2, n_shot=1, n_query=1)

    def wrong(self, function, inputs):
        return lambda inputs: [2 * t for t in function(*inputs)]

    monkeypatch.setattr(Compiled, "_compile", wrong)
    with pytest.raises(UsageError, match="'compiled' cannot run PrototypicalNetworks"):
        Compiled()(learner, [tasks[0], tasks[1]])
