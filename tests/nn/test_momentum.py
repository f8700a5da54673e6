import copy

import torch
from torch import nn

from quickstudy.nn import Conv4, MomentumCopy


def test_weights_are_a_moving_average_that_gets_no_gradient():
    network = nn.Linear(2, 3)
    follower = MomentumCopy(network, momentum=0.9)
    assert not list(follower.parameters())
    expected = network.weight.detach().clone()
    for _ in range(3):
        with torch.no_grad():
            network.weight.add_(torch.randn(3, 2))
        follower.follow(network)
        expected = 0.9 * expected + 0.1 * network.weight.detach()
    torch.testing.assert_close(follower.network.weight, expected)
    assert not follower(torch.ones(1, 2)).requires_grad


def test_it_computes_what_the_network_does_and_shares_no_memory():
    network = Conv4((1, 16, 16), width=4)
    follower, x = MomentumCopy(network), torch.rand(3, 1, 16, 16)
    torch.testing.assert_close(follower(x), network(x))
    own = {t.data_ptr() for t in follower.buffers()}
    assert own.isdisjoint(t.data_ptr() for t in (*network.parameters(), *network.buffers()))


def test_saved_and_loaded_it_is_the_same():
    follower, other = (MomentumCopy(nn.Linear(2, 2)) for _ in range(2))
    other.load_state_dict(copy.deepcopy(follower.state_dict()))
    torch.testing.assert_close(follower(torch.ones(1, 2)), other(torch.ones(1, 2)))
