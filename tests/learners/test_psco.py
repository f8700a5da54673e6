from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.optimize import minimize
from torch.optim import Adam

from quickstudy import CopyTasks, EpisodeSampler, UnlabelledData, meta_test, meta_train
from quickstudy.engine import Callback
from quickstudy.errors import UsageError
from quickstudy.learners import PsCo
from quickstudy.learners.metric.psco import sinkhorn
from quickstudy.nn import MLP
from quickstudy.tasks import Batch, Episode, Support
from quickstudy.testing import LearnerContract, blob_classes


def psco(**options) -> PsCo:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return PsCo(MLP((8,), (32,)), **{"hidden": 32, "size": 16, "queue_size": 24, **options})


class TestPsCo(LearnerContract):
    steps, meta_batch_size, lr = 100, 1, 1e-2

    def make(self, n_way):
        return psco(pseudo_shots=2)


def distort(x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """The second half of a blob's features says nothing of its class."""
    x = x + 0.25 * torch.randn(x.shape, generator=generator)
    x[:, 4:] = 2 * torch.randn(len(x), 4, generator=generator)
    return x


def copies(n_way: int = 16) -> CopyTasks:
    pool = UnlabelledData(blob_classes(100).x)
    return CopyTasks(pool, n_way=n_way, augment=distort, augment_support=True)


def test_the_assignment_maximises_similarity_and_entropy():
    """Against a numerical minimum of the dual, which SciPy finds."""
    n, m, epsilon = 3, 7, 0.3
    similarity = torch.rand(n, m, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    s = similarity.numpy()
    rows, columns = np.ones(n), np.full(m, n / m)

    def dual(potentials):
        u, v = potentials[:n], potentials[n:]
        return epsilon * np.exp((s - u[:, None] - v) / epsilon).sum() + u @ rows + v @ columns

    found = minimize(dual, np.zeros(n + m), method="BFGS", options={"gtol": 1e-9}).x
    expected = np.exp((s - found[:n, None] - found[n:]) / epsilon)
    ours = sinkhorn(similarity, epsilon=epsilon, steps=200)
    np.testing.assert_allclose(ours.numpy(), expected, rtol=1e-4)


def test_each_key_gets_an_example_of_its_own_where_all_like_the_same_one_best():
    similarity = torch.tensor([[0.9, 0.5, 0.0], [0.9, 0.0, 0.5], [0.9, 0.1, 0.1]])
    assert similarity.argmax(1).tolist() == [0, 0, 0]
    assert sinkhorn(similarity, steps=50).argmax(1).tolist() == [1, 2, 0]


def test_the_loss_is_that_of_its_equation():
    learner, episode = psco(pseudo_shots=3).train(), copies(5)[0]
    queue = learner.queue.clone()
    q = F.normalize(learner.predictor(learner.projector(learner.backbone(episode.query.x))))
    z = F.normalize(learner.momentum_encoder(episode.support.x))
    assigned = sinkhorn(z @ queue.T).topk(3, dim=1).indices  # (n, K)
    expected = 0.0
    for i, y in enumerate(episode.query.y):
        own = int((episode.support.y == y).nonzero())
        scores = (q[i] @ queue[assigned.flatten()].T).log_softmax(0).view(5, 3)
        expected -= scores[own].mean() / 5
        contrast = torch.cat([(q[i] @ z[own])[None], queue @ q[i]]) / 0.2
        expected -= contrast.log_softmax(0)[0] / 5
    torch.testing.assert_close(learner.loss(episode), expected)


def test_a_step_puts_the_keys_of_its_task_at_the_end_of_the_queue():
    learner, tasks = psco(), copies()
    before, first = learner.queue.clone(), tasks[0]
    with torch.no_grad():
        keys = F.normalize(learner.momentum_encoder(first.support.x))
    meta_train(learner, tasks, steps=1, show_progress=False)
    torch.testing.assert_close(learner.queue, torch.cat([before[16:], keys]))


def test_the_momentum_encoder_follows_before_each_update_by_its_share():
    learner, tasks = psco(momentum=0.75), copies()
    first = [p.detach().clone() for p in learner._encoder().parameters()]
    seen = []

    class Keep(Callback):
        def on_step(self, step, metrics):
            seen.append([p.detach().clone() for p in learner._encoder().parameters()])

    meta_train(learner, tasks, steps=2, callbacks=[Keep()], show_progress=False)
    own = dict(learner.momentum_encoder.network.named_buffers())
    names = [name for name, _ in learner._encoder().named_parameters()]
    for name, start, after_one in zip(names, first, seen[0], strict=True):
        torch.testing.assert_close(own[name], 0.75 * start + 0.25 * after_one)


def test_tasks_of_a_meta_batch_make_an_update_each():
    """A queue that were the mean of two would hold keys shorter than one."""
    together, apart, tasks = psco(), psco(), copies()
    meta_train(together, tasks, steps=2, meta_batch_size=2, show_progress=False)
    meta_train(apart, tasks, steps=4, show_progress=False)
    torch.testing.assert_close(together.queue.norm(dim=1), torch.ones(24))
    for one, other in zip(together.parameters(), apart.parameters(), strict=True):
        torch.testing.assert_close(one, other)


def test_trained_without_labels_it_knows_new_classes():
    unseen = EpisodeSampler(blob_classes(60, seed=1), n_way=5, n_shot=1, n_query=5)
    learner = psco(queue_size=256)
    before = meta_test(learner, unseen, 100).mean
    options = {"optimizer": partial(Adam, lr=1e-2), "show_progress": False}
    meta_train(learner, copies(32), steps=150, **options)
    after = meta_test(learner, unseen, 100).mean
    assert after > 0.6
    assert after > before + 0.1


def test_queries_go_through_the_predictor_and_examples_do_not():
    learner, episode = psco().eval(), copies(4)[0]
    keys = learner.projector(learner.backbone(episode.support.x))
    queries = learner.predictor(learner.projector(learner.backbone(episode.query.x)))
    expected = F.cosine_similarity(queries[:, None], keys[episode.support.y.argsort()], dim=2) / 0.2
    torch.testing.assert_close(learner.adapt(episode.support)(episode.query.x), expected)


@pytest.mark.parametrize("options", [{"queue_size": 1, "pseudo_shots": 2}, {"momentum": 1.5}])
def test_numbers_out_of_range_are_refused(options):
    with pytest.raises(UsageError, match="expected"):
        psco(**options)


def test_a_class_may_have_several_examples_and_queries():
    x, y = torch.randn(6, 8), torch.arange(3).repeat(2)
    episode = Episode(Support(x, y, 3), Batch(torch.randn(9, 8), torch.arange(3).repeat(3)))
    loss = psco().train().loss(episode)
    assert bool(loss.isfinite())
