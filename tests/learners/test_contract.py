import copy
import math
from functools import partial

import pytest
import torch

from quickstudy.engine import meta_test, meta_train
from quickstudy.errors import DataError, UsageError
from quickstudy.learners import (
    LEARNERS,
    MAML,
    AutoAdapt,
    LSTMMetaLearner,
    NearestCentroid,
    PrototypicalNetworks,
    Reptile,
)
from quickstudy.nn import MLP, Conv4, Flatten, SeriesConv4, StridedConv4
from quickstudy.tasks import ClassData, EpisodeSampler, Support
from quickstudy.testing import LearnerContract, blob_classes


def mlp() -> MLP:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return MLP((8,), (32, 32))


def maml(n_way: int, **options) -> MAML:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return MAML(MLP((8,), (32, 32)), n_way, **{"inner_lr": 0.4, **options})


class TestPrototypicalNetworks(LearnerContract):
    def make(self, n_way):
        return PrototypicalNetworks(mlp())


class TestPrototypicalNetworksCosine(LearnerContract):
    def make(self, n_way):
        return PrototypicalNetworks(mlp(), distance="cosine")


class TestNearestCentroid(LearnerContract):
    steps = 0

    def make(self, n_way):
        return NearestCentroid()


class TestMAML(LearnerContract):
    def make(self, n_way):
        return maml(n_way, inner_steps=2)


class TestFirstOrderMAML(LearnerContract):
    exact_gradient = False

    def make(self, n_way):
        return maml(n_way, inner_steps=2, first_order=True)


def images(n_way: int = 3) -> EpisodeSampler:
    data = blob_classes(8, 6, d=256)
    pixels = ClassData(data.x.view(-1, 1, 16, 16), data.y, data.names)
    return EpisodeSampler(pixels, n_way=n_way, n_shot=2, n_query=3)


@pytest.mark.parametrize("kind", [kind for kind in LEARNERS.values() if not kind.acts])
def test_with_batch_norm_neither_adapting_nor_gradients_change_the_learner(kind):
    torch.manual_seed(0)
    learner, episode = kind.build(Conv4((1, 16, 16), width=4), 3), images()[0]
    before = copy.deepcopy(learner.state_dict())
    result = learner.train().meta_gradient(episode)
    learner.eval().adapt(episode.support)(episode.query.x)
    assert all(torch.equal(v, before[k]) for k, v in learner.state_dict().items())
    means = [n for n in result.buffers if n.endswith("running_mean")]
    # These have no running averages in the learner: each batch, or each task, has its own.
    assert bool(means) == (kind not in (MAML, Reptile, LSTMMetaLearner, NearestCentroid))
    # The backbone of AutoAdapt is trained already.
    moved = [not torch.equal(result.buffers[n], before[n]) for n in means]
    assert not any(moved) if kind is AutoAdapt else all(moved)


DATA = {
    "images": ((1, 16, 16), partial(Conv4, width=4)),
    "photographs": ((3, 16, 16), partial(StridedConv4, width=4)),
    "vectors": ((256,), partial(MLP, widths=(16,))),
    "series": ((2, 128), partial(SeriesConv4, width=4)),
    "embeddings": ((256,), Flatten),
}


@pytest.mark.parametrize("what", DATA)
@pytest.mark.parametrize("kind", [kind for kind in LEARNERS.values() if not kind.acts])
def test_any_learner_takes_any_backbone_and_any_kind_of_example(kind, what):
    torch.manual_seed(0)
    shape, backbone = DATA[what]
    data = blob_classes(8, 12, d=math.prod(shape))
    data = ClassData(data.x.view(-1, *shape), data.y, data.names)
    learner = kind.build(backbone(shape), 3)
    for n_shot in (1, 2, 3, 5, 10):
        tasks = EpisodeSampler(data, n_way=3, n_shot=n_shot, n_query=2)
        report = meta_train(learner, tasks, steps=1)
        assert report.steps == 1
        scores = learner.adapt(tasks[1].support)(tasks[1].query.x)
        assert scores.shape == (6, 3)
        assert bool(scores.isfinite().all())


@pytest.mark.parametrize("name", ["prototypical_networks", "maml"])
def test_meta_training_beats_raw_input_on_unseen_classes(name):
    train = EpisodeSampler(blob_classes(200), n_way=5, n_shot=1, n_query=5)
    unseen = EpisodeSampler(blob_classes(60, seed=1), n_way=5, n_shot=1, n_query=5, seed=1)
    learner = PrototypicalNetworks(mlp()) if name == "prototypical_networks" else maml(5)
    before = meta_test(NearestCentroid(), unseen, 100).mean
    meta_train(learner, train, steps=300, meta_batch_size=4)
    after = meta_test(learner, unseen, 100).mean
    assert after > 0.4
    assert after > before + 0.05


def test_prototypes_are_class_means_and_scores_minus_squared_distances():
    support = Support(
        torch.tensor([[0.0, 0.0], [2.0, 0.0], [5.0, 5.0]]), torch.tensor([0, 0, 1]), 2
    )
    scores = PrototypicalNetworks(Flatten((2,))).adapt(support)(torch.tensor([[1.0, 3.0]]))
    torch.testing.assert_close(scores, torch.tensor([[-9.0, -20.0]]))


def test_a_class_without_examples_is_refused():
    support = Support(torch.zeros(2, 8), torch.tensor([0, 1]), n_way=3)
    with pytest.raises(DataError, match="each of 3 classes"):
        NearestCentroid().adapt(support)


def test_maml_refuses_another_number_of_ways():
    support = Support(torch.zeros(3, 8), torch.arange(3), n_way=3)
    with pytest.raises(DataError, match="5-way"):
        maml(5).adapt(support)


def test_maml_needs_parameters_to_adapt_and_a_use_for_each_pattern():
    with pytest.raises(UsageError, match="nothing"):
        maml(5, adapted=["nothing*"])
    with pytest.raises(UsageError, match=r"got \['backone.\*'\] that match none"):
        maml(5, adapted=["head.*", "backone.*"])


def test_every_learner_of_the_catalogue_is_a_learner_class():
    assert all(isinstance(kind, type) for kind in LEARNERS.values())


def test_zero_shot_prototypes_are_embedded_attributes():
    torch.manual_seed(0)
    learner = PrototypicalNetworks(mlp(), n_attributes=4)
    attributes = torch.randn(3, 4)
    nothing = Support(torch.zeros(0, 8), torch.zeros(0, dtype=torch.int64), 3, attributes)
    x = torch.randn(5, 8)
    prototypes = torch.nn.functional.normalize(attributes @ learner.attributes.weight.T, dim=1)
    expected = -(torch.cdist(learner.backbone(x), prototypes) ** 2)
    torch.testing.assert_close(learner.adapt(nothing)(x), expected)


def test_zero_shot_learning_transfers_to_classes_known_by_attributes_alone():
    """The attributes are a linear image of the class centres."""
    data, unseen = blob_classes(200), blob_classes(60, seed=1)
    described = []
    for blobs in (data, unseen):
        centres = torch.stack([blobs.x[blobs.y == c].mean(0)[:4] for c in range(blobs.n_classes)])
        attributes = centres @ torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
        described.append(ClassData(blobs.x, blobs.y, blobs.names, attributes=attributes))
    train, test = (EpisodeSampler(d, n_way=5, n_shot=0, n_query=5) for d in described)
    torch.manual_seed(0)
    learner = PrototypicalNetworks(mlp(), n_attributes=6)
    meta_train(learner, train, steps=400, meta_batch_size=4)
    assert meta_test(learner, test, 100).mean > 0.6


def test_a_scale_that_would_name_the_farthest_class_is_refused():
    with pytest.raises(UsageError, match="scale above 0, got -1"):
        PrototypicalNetworks(mlp(), scale=-1.0)


def test_attributes_of_another_size_are_refused():
    learner = PrototypicalNetworks(mlp(), n_attributes=4)
    support = Support(torch.zeros(0, 8), torch.zeros(0, dtype=torch.int64), 2, torch.zeros(2, 3))
    with pytest.raises(
        DataError, match=r"shape \(4,\), as the learner has n_attributes, got \(3,\)"
    ):
        learner.adapt(support)


def test_the_zero_shot_form_takes_attributes_alone():
    learner = PrototypicalNetworks(mlp(), n_attributes=4)
    with pytest.raises(DataError, match="2 examples too: BayesianPrototypes takes both"):
        learner.adapt(Support(torch.zeros(2, 8), torch.arange(2), 2, torch.zeros(2, 4)))
    with pytest.raises(DataError, match="attribute vector of each class"):
        learner.adapt(Support(torch.zeros(2, 8), torch.arange(2), 2))
