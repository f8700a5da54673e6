"""MANN against least recently used access written out in loops, and its sequence protocol."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from quickstudy.engine.executors import Serial, Vmap
from quickstudy.errors import DataError, UsageError
from quickstudy.learners.model.mann import MANN
from quickstudy.nn import MLP, Flatten
from quickstudy.tasks import (
    Batch,
    Episode,
    EpisodeSampler,
    GeneratedTasks,
    InstanceTasks,
    Support,
)
from quickstudy.tasks.sampler import generator_for
from quickstudy.testing import LearnerContract, blob_classes, train_until

KINDS = [("lstm", True), ("lstm", False), ("feedforward", True), ("feedforward", False)]


def mann(n_outputs=3, d=8, **options) -> MANN:
    torch.manual_seed(0)
    small = {"controller_size": 12, "memory_shape": (10, 6), "n_reads": 2}
    return MANN(Flatten((d,)), n_outputs, **{**small, **options})


def sequences(n_way=3, **options) -> EpisodeSampler:
    return EpisodeSampler(blob_classes(), n_way=n_way, n_shot=0, n_query=4, **options)


class Sequences:
    """Tasks as the paper trains on them: ten examples of each in one shuffled sequence."""

    def __init__(self, tasks) -> None:
        self.tasks = tasks

    def __getitem__(self, index):
        episode = self.tasks[index]
        x = torch.cat([episode.support.x, episode.query.x])
        y = torch.cat([episode.support.y, episode.query.y])
        order = torch.randperm(len(y), generator=generator_for(1, index))[:10]
        return Episode(Support(x[:0], y[:0], episode.n_way), Batch(x[order], y[order]))


class TestMANN(LearnerContract):
    steps, meta_batch_size, lr = 500, 16, 1e-2

    def make(self, n_way):
        return mann(n_way, controller_size=32, memory_shape=(16, 16), n_reads=1)

    def train(self, tasks, validation, accuracy):
        return super().train(Sequences(tasks), validation, accuracy)


class TestLSTM(TestMANN):
    def make(self, n_way):
        return mann(n_way, memory=False, controller_size=48)


def by_hand(learner: MANN, x: np.ndarray, told: np.ndarray) -> np.ndarray:
    """Outputs along a sequence: every equation in numpy, every slot and head in a loop."""

    def of(layer):
        bias = 0 if layer.bias is None else layer.bias.detach().numpy()
        return layer.weight.detach().numpy(), bias

    def sigmoid(a):
        return 1 / (1 + np.exp(-a))

    n_slots, size, heads = learner.n_slots, learner.slot_size, learner.n_reads
    h, c = np.zeros(learner.controller_size), np.zeros(learner.controller_size)
    memory, usage = np.full((n_slots, size), 1e-6), np.zeros(n_slots)
    w_read, read = np.zeros((heads, n_slots)), np.zeros(heads * size)
    outputs = []
    for t in range(len(x)):
        weight, bias = of(learner.input_layer)
        before = weight @ np.concatenate([x[t], told[t]]) + bias
        if learner.recurrent_layer is not None:
            past = [*([h] if learner.is_lstm else []), *([read] if learner.has_memory else [])]
            before = before + of(learner.recurrent_layer)[0] @ np.concatenate(past)
        if learner.is_lstm:
            keep, add, show, new = np.split(before, 4)
            c = sigmoid(keep) * c + sigmoid(add) * np.tanh(new)
            h = sigmoid(show) * np.tanh(c)
        else:
            h = np.tanh(before)
        if learner.has_memory:
            weight, bias = of(learner.interface)
            interface = weight @ h + bias
            ranked = sorted(range(n_slots), key=lambda i: usage[i])
            memory[ranked[0]] = 0
            w_write = np.zeros((heads, n_slots))
            for j in range(heads):
                alpha = sigmoid(interface[j])
                key = np.tanh(interface[heads + j * size : heads + (j + 1) * size])
                for i in range(n_slots):
                    w_write[j, i] = alpha * w_read[j, i] + (1 - alpha) * (i == ranked[j])
                    memory[i] += w_write[j, i] * key
            w_read = np.zeros((heads, n_slots))
            for j in range(heads):
                key = np.tanh(interface[heads + j * size : heads + (j + 1) * size])
                cosines = [
                    key @ row / max(np.linalg.norm(key) * np.linalg.norm(row), 1e-300)
                    for row in memory
                ]
                sharp = 1.0
                if learner.strength is not None:
                    weight, bias = of(learner.strength)
                    sharp = np.log1p(np.exp(weight[j] @ h + bias[j]))
                w_read[j] = np.exp(sharp * np.array(cosines))
                w_read[j] /= w_read[j].sum()
            read = np.concatenate([w_read[j] @ memory for j in range(heads)])
            usage = learner.decay * usage + w_read.sum(0) + w_write.sum(0)
        weight, bias = of(learner.head)
        seen = np.concatenate([h, read]) if learner.has_memory else h
        outputs.append(weight @ seen + bias)
    return np.array(outputs)


@pytest.mark.parametrize("strength", [1.0, 5.0])
@pytest.mark.parametrize(("controller", "memory"), KINDS)
def test_each_step_is_as_the_equations_say(controller, memory, strength):
    options = {"controller": controller, "memory": memory, "strength": strength}
    learner = mann(**options, decay=0.9).double().eval()
    x, y = torch.randn(15, 8).double(), torch.randint(3, (15,))
    told = np.concatenate([np.zeros((1, 3)), np.eye(3)[y.numpy()]])
    for n in (0, 1, 5, 14):
        scores = learner.adapt(Support(x[:n], y[:n], 3))(x[n : n + 1])
        expected = by_hand(learner, x[: n + 1].numpy(), told)
        np.testing.assert_allclose(scores[0].detach().numpy(), expected[-1], rtol=1e-9, atol=1e-12)
    episode = Episode(Support(x[:4], y[:4], 3), Batch(x[4:], y[4:]))
    outputs = torch.from_numpy(by_hand(learner, x.numpy(), told))
    torch.testing.assert_close(learner.loss(episode), F.cross_entropy(outputs, y))


def test_the_least_used_slot_is_wiped_and_each_head_writes_to_one_of_the_least_used():
    """With a write gate of zero and keys of one value, memory shows where writing went."""
    learner = mann(memory_shape=(6, 4)).eval()
    with torch.no_grad():
        learner.interface.weight.zero_()
        learner.interface.bias.fill_(1.0)
        learner.interface.bias[: learner.n_reads] = -100
    state = learner._initial_state()._replace(usage=torch.tensor([5.0, 1.0, 4.0, 0.5, 3.0, 2.0]))
    state = state._replace(memory=torch.full((6, 4), 7.0))
    written = learner._access(state).memory[:, 0]
    key = float(torch.tanh(torch.tensor(1.0)))
    torch.testing.assert_close(written, torch.tensor([7, 7 + key, 7, key, 7, 7]))


@pytest.mark.parametrize(("controller", "memory"), KINDS)
def test_tasks_at_once_give_the_gradient_of_one_by_one(controller, memory):
    learner = mann(controller=controller, memory=memory).double()
    episodes = [sequences()[i].to(torch.float64) for i in range(4)]
    together, single = (run(learner, episodes) for run in (Vmap(), Serial()))
    torch.testing.assert_close(together.loss, single.loss)
    torch.testing.assert_close(together.gradients, single.gradients)


def test_a_query_is_told_the_last_label_and_an_empty_support_none():
    learner, x = mann(controller="feedforward", memory=False).eval(), torch.randn(2, 8)
    nothing = Support(torch.zeros(0, 8), torch.zeros(0, dtype=torch.int64), 3)
    scores = [learner.adapt(nothing)(x)]
    scores += [learner.adapt(Support(x, torch.tensor([1, y]), 3))(x) for y in (0, 2)]
    label = learner.input_layer.weight[:, 8:]
    plain = learner.input_layer(torch.cat([x, torch.zeros(2, 3)], 1))
    expected = [plain, plain + label[:, 0], plain + label[:, 2]]
    for mine, one in zip(scores, expected, strict=True):
        torch.testing.assert_close(mine, learner.head(one.tanh()))


def test_memory_is_wiped_for_every_task():
    learner, episode = mann().eval(), sequences()[0]
    first = learner.loss(episode)
    learner.adapt(EpisodeSampler(blob_classes(), n_way=3, n_shot=3, n_query=1)[0].support)
    assert torch.equal(learner.loss(episode), first)


def strings(**options) -> MANN:
    return mann(3125, labels="strings", **options)


def test_string_labels_are_five_letters_of_five():
    learner = strings().double().eval()
    y = torch.tensor([0, 1, 5, 3124, 1234])
    letters = [[int(c) for c in np.base_repr(int(v), 5).zfill(5)] for v in y]
    expected = torch.from_numpy(np.eye(5)[letters].reshape(5, 25))
    torch.testing.assert_close(learner._encode(y), expected)
    outputs = torch.randn(2, 25).double()
    log_p = outputs.view(2, 5, 5).log_softmax(2)
    joint = learner._scores(outputs, 3125)
    assert joint.shape == (2, 3125)
    torch.testing.assert_close(joint.exp().sum(1), torch.ones(2).double())
    for label, word in zip(y, letters, strict=True):
        torch.testing.assert_close(
            joint[:, label], sum(log_p[:, i, letter] for i, letter in enumerate(word))
        )


def test_the_loss_of_strings_is_the_cross_entropy_of_their_joint_probability():
    learner, episode = strings().eval(), sequences(n_labels=3125)[0]
    x, y = episode.query.x, episode.query.y
    steps = [learner.adapt(Support(x[:n], y[:n], 3125))(x[n : n + 1]) for n in range(len(x))]
    torch.testing.assert_close(learner.loss(episode), F.cross_entropy(torch.cat(steps), y))


def test_it_learns_to_repeat_a_string_it_was_told():
    """Tasks of one class each: from the second example on, the answer is the label before."""
    data = blob_classes()
    tasks = EpisodeSampler(data, n_way=1, n_shot=0, n_query=6, n_labels=3125)
    learner = strings(controller="feedforward", memory=False, controller_size=64)
    unseen, validation = (
        InstanceTasks(data, n_way=1, n_each=6, instance=3, n_labels=3125, seed=seed)
        for seed in (1, 2)
    )
    options = {"steps": 300, "meta_batch_size": 16, "lr": 1e-2, "n_validation": 20}
    train_until(0.9, learner, tasks, validation, **options)
    right = [
        int(learner.adapt(unseen[i].support)(unseen[i].query.x).argmax()) == int(unseen[i].query.y)
        for i in range(20)
    ]
    assert sum(right) > 16


def steps_of_a_line(generator):
    """y = a x, of one sign or the other: known from the second example on."""
    x = torch.rand(8, 1, generator=generator) + 0.5
    y = x * (2 * torch.randint(2, (1,), generator=generator) - 1)
    return Episode(Support(x[:4], y[:4]), Batch(x[4:], y[4:]))


def test_regression_is_told_the_targets_and_learns_from_them():
    learner = mann(1, d=1)
    tasks, validation = (GeneratedTasks(steps_of_a_line, seed=seed) for seed in (0, 2))
    train_until(0.1, learner, tasks, validation, steps=150, meta_batch_size=16, lr=1e-2)
    unseen = [GeneratedTasks(steps_of_a_line, seed=1)[i] for i in range(30)]
    nothing = Support(torch.zeros(0, 1), torch.zeros(0, 1))
    with torch.no_grad():
        told = [F.mse_loss(learner.adapt(e.support)(e.query.x), e.query.y) for e in unseen]
        untold = [F.mse_loss(learner.adapt(nothing)(e.query.x), e.query.y) for e in unseen]
    assert float(sum(told)) < 0.2 * float(sum(untold))


def test_tasks_of_fewer_ways_get_as_many_scores():
    learner, episode = mann(5).eval(), sequences()[0]
    assert learner.adapt(episode.support)(episode.query.x).shape == (12, 3)
    assert torch.isfinite(learner.loss(episode))


def test_with_bfloat16_the_memory_stays_wide():
    torch.manual_seed(0)
    learner, episode = MANN(MLP((8,)), 3).eval(), sequences()[0]
    exact = learner.loss(episode)
    with torch.autocast("cpu", torch.bfloat16):
        loss = learner.loss(episode)
        scores = learner.adapt(episode.support)(episode.query.x)
    assert loss.dtype == scores.dtype == torch.float32
    torch.testing.assert_close(loss, exact, rtol=0.02, atol=0.02)


def test_what_it_cannot_do_is_refused():
    support = sequences(4)[0].support
    with pytest.raises(DataError, match="at most 3-way"):
        mann(3).adapt(support)
    numbers = Support(torch.zeros(2, 8), torch.zeros(2, 2))
    with pytest.raises(DataError, match="size 3"):
        mann(3).adapt(numbers)
    with pytest.raises(DataError, match="labels are strings"):
        strings().adapt(numbers)
    with pytest.raises(UsageError, match="n_labels = 3125"):
        mann(5, labels="strings")
    for options in ({"controller_size": 0}, {"memory_shape": (1, 6)}, {"n_reads": 0}):
        with pytest.raises(UsageError, match="at least n_reads slots"):
            mann(**options)
    with pytest.raises(UsageError, match="decay"):
        mann(decay=1.5)
    for options in ({"controller": "gru"}, {"labels": "words"}):
        with pytest.raises(UsageError, match="unknown"):
            mann(**options)
