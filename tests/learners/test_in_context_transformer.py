"""The transformer against its equations, one query at a time."""

import pytest
import torch
import torch.nn.functional as F

from quickstudy.errors import UsageError
from quickstudy.learners.model.in_context_transformer import InContextTransformer
from quickstudy.nn import MLP, Flatten
from quickstudy.tasks import EpisodeSampler, SinusoidTasks, Support
from quickstudy.testing import LearnerContract, blob_classes


def make(n_outputs=3, size=8, **options) -> InContextTransformer:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        options = {"width": 32, "layers": 2, "heads": 4, **options}
        return InContextTransformer(MLP((size,), (32,)), n_outputs, **options)


class TestInContextTransformer(LearnerContract):
    steps, meta_batch_size, lr = 120, 4, 2e-3

    def make(self, n_way):
        return make(n_way)


def perturbed(learner):
    """Away from where it starts, at which some of its weights are equal or zero."""
    generator = torch.Generator().manual_seed(0)
    for parameter in learner.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
    return learner.double().eval()


def answer(learner, support, x):
    """One query's logits: PyTorch's own layers, over the support and that query alone."""

    def norm(mine, tokens):
        return F.rms_norm(tokens, tokens.shape[-1:], mine.scale, eps=1e-6)

    features = learner.backbone(torch.cat([support.x, x[None]]))
    tokens = learner.from_features[1](norm(learner.from_features[0], features))
    weight = learner.from_target.weight
    targets = [weight[:, label] for label in support.y.tolist()]
    tokens = tokens + torch.stack([*targets, learner.unknown])
    n = len(support)
    for layer in learner.layers:
        mine = layer.attention
        width = tokens.shape[1]
        theirs = torch.nn.MultiheadAttention(width, mine.heads, bias=False).double()
        theirs.in_proj_weight.data = torch.cat(
            [mine.query.weight, mine.key.weight, mine.value.weight]
        ).data
        theirs.out_proj.weight.data = mine.out.weight.data
        normed = norm(layer.attention_norm, tokens)
        hidden = torch.zeros(n + 1, n + 1, dtype=torch.bool)
        hidden[:n, n] = True  # examples do not see the query
        tokens = tokens + theirs(normed, normed, normed, attn_mask=hidden)[0]
        tokens = tokens + layer.perceptron(norm(layer.perceptron_norm, tokens))
    return learner.head(norm(learner.norm, tokens[n]))


def test_it_equals_a_transformer_over_the_support_and_each_query_alone():
    learner = perturbed(make())
    episode = EpisodeSampler(blob_classes(), n_way=3, n_shot=2, n_query=2)[0].to(torch.float64)
    support, query = episode.support, episode.query
    expected = torch.stack([answer(learner, support, x) for x in query.x])
    torch.testing.assert_close(learner.adapt(support)(query.x), expected)
    torch.testing.assert_close(learner.loss(episode), F.cross_entropy(expected, query.y))


@pytest.mark.parametrize("regression", [False, True])
def test_the_support_is_a_set(regression):
    if regression:
        learner, episode = make(1, 1), SinusoidTasks(n_shot=6, n_query=4)[0].to(torch.float64)
    else:
        learner = make()
        episode = EpisodeSampler(blob_classes(), n_way=3, n_shot=2, n_query=2)[0].to(torch.float64)
    support, x, order = episode.support, episode.query.x, torch.randperm(6)
    shuffled = Support(support.x[order], support.y[order], support.n_way)
    learner = perturbed(learner)
    torch.testing.assert_close(learner.adapt(support)(x), learner.adapt(shuffled)(x))


def test_no_query_changes_the_answer_to_another():
    learner, episode = (
        perturbed(make()),
        EpisodeSampler(blob_classes(), n_way=3, n_shot=2, n_query=2)[0].to(torch.float64),
    )
    x = episode.query.x.clone().requires_grad_()
    scores = learner.adapt(episode.support)(x)
    for i in range(len(x)):
        (slope,) = torch.autograd.grad(scores[i].square().sum(), x, retain_graph=True)
        others = [j for j in range(len(x)) if j != i]
        assert slope[i].abs().max() > 0
        assert slope[others].abs().max() == 0


def test_before_training_it_leans_to_the_label_of_the_nearest_example():
    torch.manual_seed(0)
    learner = InContextTransformer(Flatten((64,)), 5, width=128, layers=1).eval()
    right = 0
    for _ in range(200):
        shown, labels = torch.randn(5, 64), torch.randperm(5)
        asked = shown + 0.1 * torch.randn(5, 64)
        scores = learner.adapt(Support(shown, labels, 5))(asked)
        right += int((scores.argmax(1) == labels).sum())
    assert right > 0.27 * 1000  # chance is 0.2, give or take 0.013


def test_a_class_without_examples_is_no_reason_to_refuse():
    support = Support(torch.randn(2, 8), torch.tensor([0, 2]), n_way=3)
    assert make().eval().adapt(support)(torch.randn(4, 8)).shape == (4, 3)


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(UsageError, match="one layer"):
        make(layers=0)
    with pytest.raises(UsageError, match="heads"):
        make(width=30)
    with pytest.raises(UsageError, match="out_features"):
        InContextTransformer(torch.nn.Flatten(), 3)
