import pytest
import torch
from torch import nn

from quickstudy import PrototypicalNetworks
from quickstudy.diagnostics.features import embed
from quickstudy.nn import MLP


class WithLabels(nn.Module):
    out_features = 3

    def forward(self, x, y):
        return x[:, :3] * y


class Broken(nn.Module):
    out_features = 3

    def forward(self, x):
        return x @ x


def test_examples_are_embedded_one_by_one_by_the_backbone():
    learner = PrototypicalNetworks(MLP((8,), [4]))
    x = torch.randn(5, 8)
    features = embed(learner, x)
    assert features is not None
    assert torch.allclose(features, learner.backbone(x))


def test_a_backbone_that_takes_labels_too_embeds_nothing():
    assert embed(PrototypicalNetworks(WithLabels()), torch.randn(5, 8)) is None


def test_a_fault_of_a_backbone_surfaces():
    with pytest.raises(RuntimeError, match="multiplied"):
        embed(PrototypicalNetworks(Broken()), torch.randn(5, 8))
