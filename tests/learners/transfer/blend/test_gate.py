import pytest
import torch

from quickstudy.learners.transfer.blend import Gate, shipped_gate
from quickstudy.learners.transfer.blend.candidates import KINDS
from quickstudy.learners.transfer.blend.features import N_FEATURES
from quickstudy.learners.transfer.blend.gate import GateDecision, pool


def trained_gate():
    """A gate whose weights are random, so that it has preferences."""
    torch.manual_seed(0)
    gate = Gate(["a", "b"], ["ridge", "trees"])
    for parameter in gate.parameters():
        torch.nn.init.normal_(parameter)
    return gate


def decide(gate, values, views=(1, 1, 2, 2), heads=(0, 1, 0, 1), there=(True,) * 4):
    return gate(values, torch.tensor([views]), torch.tensor([heads]), torch.tensor([there]))


VALUES = torch.randn(1, 4, N_FEATURES, generator=torch.Generator().manual_seed(1))


def test_weights_sum_to_one_and_a_candidate_that_is_missing_has_none():
    gate = trained_gate()
    everyone = decide(gate, VALUES)
    assert float(everyone.weights.sum()) == pytest.approx(1, abs=1e-6)
    fewer = decide(gate, VALUES, there=(True, False, True, False))
    assert fewer.weights[0, [1, 3]].tolist() == [0, 0]
    assert float(fewer.weights.sum()) == pytest.approx(1, abs=1e-6)


def test_a_candidate_that_is_missing_changes_nothing_for_the_others():
    gate = trained_gate()
    some = decide(gate, VALUES, there=(True, True, False, False))
    alone = decide(gate, VALUES[:, :2], (1, 1), (0, 1), (True, True))
    torch.testing.assert_close(some.weights[:, :2], alone.weights)
    torch.testing.assert_close(some.overall, alone.overall)


def test_the_order_of_candidates_does_not_matter():
    gate, order = trained_gate(), [2, 0, 3, 1]
    forward = decide(gate, VALUES)
    views, heads = ([(1, 1, 2, 2)[i] for i in order], [(0, 1, 0, 1)[i] for i in order])
    other = decide(gate, VALUES[:, order], views, heads)
    torch.testing.assert_close(other.weights, forward.weights[:, order])
    torch.testing.assert_close(other.overall, forward.overall)


def test_a_new_gate_weighs_all_alike():
    decision = decide(Gate(["a", "b"], ["ridge", "trees"]), VALUES)
    torch.testing.assert_close(decision.weights, torch.full((1, 4), 0.25))
    assert decision.sharpness.tolist() == [[1.0] * 4]
    assert decision.overall.tolist() == [1.0]


def test_features_beyond_all_that_was_seen_are_cut_off():
    decision = decide(trained_gate(), VALUES * 1e12)
    assert decision.weights.isfinite().all()
    assert decision.overall.isfinite().all()


def test_a_view_that_was_not_met_counts_as_other():
    gate = Gate(["a"], ["ridge", "trees"])
    views, heads = gate.ids([("a", "trees"), ("new", "ridge"), ("other", "ridge")])
    assert [gate.views[i] for i in views] == ["a", "other", "other"]
    assert heads.tolist() == [1, 0, 0]


def log_probabilities(k=3, m=5, c=4):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(1, k, m, c, generator=generator).log_softmax(3)


def test_the_pool_is_the_weighted_geometric_mean():
    each = log_probabilities()
    weights = torch.tensor([[0.5, 0.3, 0.2]])
    pooled = pool(each, GateDecision(weights, torch.ones(1, 3), torch.ones(1)))[0]
    product = torch.stack([each[0, k].exp() ** weights[0, k] for k in range(3)]).prod(0)
    torch.testing.assert_close(pooled.exp(), product / product.sum(1, keepdim=True))


def test_one_candidate_with_all_the_weight_is_alone():
    each = log_probabilities()
    weights = torch.tensor([[0.0, 1.0, 0.0]])
    decision = GateDecision(weights, torch.tensor([[9.0, 2.0, 9.0]]), torch.tensor([0.5]))
    expected = (each[0, 1] * 2).log_softmax(1) * 0.5
    torch.testing.assert_close(pool(each, decision)[0], expected.log_softmax(1))


def test_no_single_candidate_rules_a_class_out():
    sure = torch.tensor([[[[0.0, -1e6]], [[-1e6, 0.0]]]])
    weights = torch.tensor([[0.5, 0.5]])
    pooled = pool(sure, GateDecision(weights, torch.ones(1, 2), torch.ones(1)))[0]
    torch.testing.assert_close(pooled.exp(), torch.tensor([[0.5, 0.5]]))


def test_a_kind_of_data_that_no_task_of_training_had_changes_no_decision():
    gate = shipped_gate()[0]
    sound = -len(KINDS) + KINDS.index("sound") - 5  # before the five features of left-out scores
    values = VALUES.clone()
    values[..., sound] = 0
    before = decide(gate, values)
    values[..., sound] = 1
    torch.testing.assert_close(decide(gate, values).weights, before.weights)
    values[..., sound - KINDS.index("sound")] = 1  # texts were met
    assert (decide(gate, values).weights - before.weights).abs().max() > 1e-3
