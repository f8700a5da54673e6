import pytest
import torch

from quickstudy.engine import EXECUTORS, make_executor
from quickstudy.errors import UsageError
from quickstudy.learners import MAML, PrototypicalNetworks
from quickstudy.nn import MLP, Conv4
from quickstudy.tasks import EpisodeSampler, SinusoidTasks
from quickstudy.testing import blob_classes


def maml_and_tasks():
    torch.manual_seed(0)
    learner = MAML(MLP((1,), (8, 8)), 1, inner_lr=0.05, inner_steps=3).double().train()
    tasks = SinusoidTasks(n_shot=5, n_query=5)
    return learner, [tasks[i].to(torch.float64) for i in range(5)]


def prototypes_and_tasks():
    torch.manual_seed(0)
    tasks = EpisodeSampler(blob_classes(), n_way=5, n_shot=2, n_query=3)
    learner = PrototypicalNetworks(MLP((8,), (16,))).double().train()
    return learner, [tasks[i].to(torch.float64) for i in range(3)]


@pytest.mark.parametrize("made", [maml_and_tasks, prototypes_and_tasks])
@pytest.mark.parametrize("name", ["threads", "vmap"])
def test_executors_give_the_serial_meta_gradient(made, name):
    learner, episodes = made()
    expected = EXECUTORS["serial"]()(learner, episodes)
    executor = EXECUTORS[name]()
    result = executor(learner, episodes)
    executor.close()
    torch.testing.assert_close(result.loss, expected.loss)
    for parameter, gradient in expected.gradients.items():
        torch.testing.assert_close(result.gradients[parameter], gradient)


def test_threads_merge_running_statistics_like_serial():
    torch.manual_seed(0)
    learner = PrototypicalNetworks(Conv4((1, 16, 16), width=4)).train()
    data = blob_classes(10, 6, d=256)
    data.__dict__["x"] = data.x.view(-1, 1, 16, 16)
    tasks = EpisodeSampler(data, n_way=3, n_shot=1, n_query=2)
    episodes = [tasks[i] for i in range(5)]
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


def test_auto_takes_vmap_for_small_networks_and_never_for_batch_norm():
    small, _ = maml_and_tasks()
    convolutional = PrototypicalNetworks(Conv4((1, 16, 16), width=4))
    assert type(make_executor("auto", small, 4)).__name__ == "Vmap"
    executor = make_executor("auto", convolutional, 4)
    assert type(executor).__name__ in ("Threads", "Serial")
    executor.close()
    assert type(make_executor("auto", small, 1)).__name__ == "Serial"


def test_an_unknown_executor_names_the_nearest():
    with pytest.raises(UsageError, match="'threads'"):
        make_executor("thread", maml_and_tasks()[0], 2)
