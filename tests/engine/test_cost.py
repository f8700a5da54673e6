import copy
import subprocess
import sys

import pytest
import torch

from quickstudy.engine.cost import adapting_cost, peak_memory, training_cost
from quickstudy.learners import MAML, PrototypicalNetworks
from quickstudy.nn import MLP
from quickstudy.tasks import EpisodeSampler
from quickstudy.testing import blob_classes


def blobs(n_query=4):
    return EpisodeSampler(blob_classes(), n_way=3, n_shot=2, n_query=n_query)


def test_operations_are_those_of_the_matrix_products():
    learner = PrototypicalNetworks(MLP((8,), (16,)))
    cost = adapting_cost(learner, [blobs()[i] for i in range(3)])
    embed = 2 * 7 * 8 * 16  # six examples and one query
    means, distances = 2 * 3 * 6 * 16, 2 * 3 * 16
    assert cost.flops == embed + means + distances
    assert cost.seconds > 0


def test_memory_of_maml_grows_linearly_with_steps():
    def activations(inner_steps):
        learner = MAML(MLP((8,), (64, 64)), 3, inner_steps=inner_steps)
        return training_cost(learner, blobs()[0]).activation_bytes

    one, two, three = map(activations, (1, 2, 3))
    assert three - two == pytest.approx(two - one, rel=0.2)


def test_measuring_leaves_the_learner_as_it_was():
    learner = MAML(MLP((8,)), 3).eval()
    before = copy.deepcopy(learner.state_dict())
    training_cost(learner, blobs()[0])
    assert not learner.training
    adapting_cost(learner.train(), [blobs()[0]])
    assert learner.training
    assert all(torch.equal(v, before[k]) for k, v in learner.state_dict().items())


def test_peak_memory_is_that_of_the_process_itself():
    before = peak_memory()
    if before is None:
        pytest.skip("the system does not say")
    block = torch.ones(2**26)  # 256 MiB
    grown = peak_memory()
    assert grown >= before
    assert grown >= block.nbytes
    code = "from quickstudy.engine.cost import peak_memory; print(peak_memory())"
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert int(child.stdout) < grown
