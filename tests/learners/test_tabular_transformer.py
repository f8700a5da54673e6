"""The transformer of tables: what its answers depend on, and what they do not."""

import pytest
import torch

from quickstudy.errors import DataError, UsageError
from quickstudy.learners.model.smoothers import Columns, fit_smoothers
from quickstudy.learners.model.tabular_transformer import TabularTransformer
from quickstudy.nn import MLP, Flatten
from quickstudy.tasks import Support, TableTasks
from quickstudy.testing import LearnerContract


def make(n_outputs=3, **options) -> TabularTransformer:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        options = {"width": 32, "layers": 2, **options}
        return TabularTransformer(Flatten((8,)), n_outputs, **options)


class TestTabularTransformer(LearnerContract):
    steps = 15

    def make(self, n_way):
        return make(n_way)


def perturbed(**options) -> TabularTransformer:
    """Away from where it starts, at which many weights are zero; in float64."""
    learner, generator = make(5, **options), torch.Generator().manual_seed(0)
    for parameter in learner.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
    return learner.double().eval()


def task(seed=0):
    tasks = TableTasks(n_way=3, n_shot=30, n_query=6, n_columns=5, seed=seed)
    return tasks[0].to(torch.float64)


def test_before_training_it_is_the_mean_of_the_closed_forms():
    episode = task()
    support, columns = episode.support, Columns(episode.support.x)
    onehot = torch.nn.functional.one_hot(support.y, support.n_way).double()
    mean = fit_smoothers(columns(support.x), onehot)[1](columns(episode.query.x)).mean(1)
    expected = mean.clamp(min=0.01).log().log_softmax(1)
    torch.testing.assert_close(make(5).double().eval().adapt(support)(episode.query.x), expected)


def test_neither_the_order_of_rows_nor_the_units_of_columns_matter():
    learner, episode = perturbed(), task()
    support, x = episode.support, episode.query.x
    expected = learner.adapt(support)(x)
    order = torch.randperm(30, generator=torch.Generator().manual_seed(0))
    shuffled = Support(support.x[order], support.y[order], support.n_way)
    torch.testing.assert_close(learner.adapt(shuffled)(x), expected)
    scale, shift = torch.tensor([1e3, 2, 1, 0.1, 7]).double(), torch.arange(5).double()
    changed = Support(support.x * scale + shift, support.y, support.n_way)
    scores = learner.adapt(changed)(x * scale + shift)
    torch.testing.assert_close(scores, expected, rtol=1e-3, atol=1e-3)


def test_no_query_changes_the_answer_to_another():
    learner, episode = perturbed(), task()
    predict = learner.adapt(episode.support)
    x = episode.query.x.clone()
    before = predict(x)
    x[0] = 3
    after = predict(x)
    assert not torch.allclose(before[0], after[0])
    torch.testing.assert_close(before[1:], after[1:])


def test_infinite_values_are_missing_and_columns_of_nothing_do_no_harm():
    learner, episode = perturbed(), task()
    x = episode.support.x.clone()
    x[:4, 0], x[:, 1], x[:, 2] = torch.nan, torch.nan, 5.0
    infinite = x.clone()
    infinite[:4, 0] = torch.inf
    scores = learner.adapt(Support(x, episode.support.y, 3))(episode.query.x)
    assert scores.isfinite().all()
    same = learner.adapt(Support(infinite, episode.support.y, 3))(episode.query.x)
    torch.testing.assert_close(scores, same)


@pytest.mark.parametrize("labels", [[0], [1, 1], [0, 2, 2]])
def test_few_rows_and_classes_without_any_are_answered(labels):
    x = torch.randn(len(labels), 2, dtype=torch.float64)
    scores = perturbed().adapt(Support(x, torch.tensor(labels), n_way=3))(
        torch.randn(4, 2).double()
    )
    assert scores.isfinite().all()


def test_members_are_a_mean_over_orders_of_classes_and_columns():
    episode = task()
    one, four = (perturbed(members=n).adapt(episode.support)(episode.query.x) for n in (1, 4))
    assert not torch.allclose(one, four)
    torch.testing.assert_close(four.exp().sum(1), torch.ones(6).double())
    turned = Support(episode.support.x, (episode.support.y + 1) % 3, 3)

    def unlike(n):
        learner = perturbed(members=n)
        a, b = (learner.adapt(s)(episode.query.x).exp() for s in (episode.support, turned))
        return float((a - b.roll(-1, 1)).abs().mean().detach())

    assert unlike(32) < 0.7 * unlike(1)  # the names of classes matter less


def test_half_precision_embeddings_are_solved_in_full():
    learner, episode = TabularTransformer(MLP((5,)), 5, width=32), task().to(torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        assert bool(learner.adapt(episode.support)(episode.query.x).isfinite().all())


def test_what_it_cannot_do_is_refused():
    learner = make().eval()
    with pytest.raises(DataError, match="4-way"):
        learner.adapt(Support(torch.randn(4, 2), torch.arange(4), n_way=4))
    with pytest.raises(DataError, match="regression targets"):
        learner.adapt(Support(torch.randn(4, 2), torch.randn(4, 1)))
    with pytest.raises(DataError, match="rows with labels"):
        learner.adapt(Support(torch.randn(0, 2), torch.arange(0), n_way=2))
    for options, message in (
        ({"layers": 0}, "layers and members"),
        ({"members": 0}, "layers and members"),
        ({"heads": 5}, "that heads divide"),
    ):
        with pytest.raises(UsageError, match=message):
            make(**options)
