"""The contract of learners."""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod

import torch

from quickstudy.engine import meta_test
from quickstudy.engine.precision import autocast
from quickstudy.errors import DataError
from quickstudy.learners import Learner
from quickstudy.tasks import Episode, EpisodeSampler, GeneratedTasks, Tasks
from quickstudy.testing.training import blob_classes, train_until

__all__ = ["LearnerContract"]


class LearnerContract(ABC):
    """Inherit, and say how to make the learner for inputs of shape (8,)."""

    transductive = False
    """Whether predictions for a query may depend on the other queries."""

    exact_gradient = True
    """Whether `meta_gradient` is the derivative of `loss`; first-order methods leave terms out."""

    steps, meta_batch_size, lr = 100, 4, 3e-3
    """How long to meta-train on the blobs at most; `steps = 0` for a learner that cannot learn."""

    @abstractmethod
    def make(self, n_way: int) -> Learner:
        """Make the learner, for n_way-way tasks over vectors of length 8."""

    def episode(self, n_shot: int = 2) -> Episode:
        return EpisodeSampler(blob_classes(), n_way=3, n_shot=n_shot, n_query=4)[0]

    def test_adapt_leaves_the_learner_as_it_was(self) -> None:
        learner, episode = self.make(3).eval(), self.episode()
        before = copy.deepcopy(learner.state_dict())
        learner.adapt(episode.support)(episode.query.x)
        changed = [k for k, v in learner.state_dict().items() if not torch.equal(v, before[k])]
        assert not changed, f"adapt changed {changed}: adapt a copy, or pass weights as arguments"

    def test_predictor_gives_a_finite_score_for_each_query_and_class(self) -> None:
        learner, episode = self.make(3).eval(), self.episode()
        scores = learner.adapt(episode.support)(episode.query.x)
        assert scores.shape == (12, 3), (
            f"expected a score a query and class, (12, 3): {scores.shape}"
        )
        assert bool(torch.isfinite(scores).all()), "a score is NaN or infinite: look at divisions"

    def test_no_query_gets_no_score(self) -> None:
        learner, episode = self.make(3).eval(), self.episode()
        shape = tuple(learner.adapt(episode.support)(episode.query.x[:0]).shape)
        assert shape == (0, 3), f"expected scores of shape (0, 3) of no queries, got {shape}"

    def test_it_takes_more_ways_than_it_was_made_for_or_says_why_not(self) -> None:
        learner = self.make(3).eval()
        episode = EpisodeSampler(blob_classes(), n_way=4, n_shot=1, n_query=2)[0]
        if learner.ways == "any":
            shape = tuple(learner.adapt(episode.support)(episode.query.x).shape)
            assert shape == (8, 4), f'got {shape}: set ways = "same" if it takes no other n_way'
            return
        refusal = ""
        try:
            learner.adapt(episode.support)
        except DataError as error:
            refusal = str(error)
        except Exception as error:
            raise AssertionError("begin adapt with self.check(support)") from error
        assert "4-way" in refusal, (
            'begin adapt with self.check(support), which refuses other ways, or set ways = "any"'
        )

    def test_it_adapts_where_gradients_are_turned_off(self) -> None:
        """As in meta-testing, and for users."""
        learner, episode = self.make(3).eval(), self.episode()
        try:
            with torch.no_grad():
                learner.adapt(episode.support)(episode.query.x)
        except RuntimeError as error:
            if "does not require grad" not in str(error):
                raise
            raise AssertionError(
                "run the inner loop of adapt under torch.enable_grad(): meta-testing turns "
                "gradients off"
            ) from error

    def test_a_query_is_judged_alone_unless_the_learner_is_transductive(self) -> None:
        learner, episode = self.make(3).eval(), self.episode()
        predict = learner.adapt(episode.support)
        alone = torch.cat([predict(x[None]) for x in episode.query.x])
        same = torch.allclose(alone, predict(episode.query.x), atol=1e-4)
        assert same or self.transductive, (
            "a query's scores depend on the other queries, as by batch statistics: predict each "
            "alone, or set transductive = True in the test and say so in the docstring"
        )

    def test_its_loss_makes_every_tensor_where_the_learner_is(self) -> None:
        """On the device "meta", which knows shapes alone, and refuses tensors of the CPU."""
        learner, episode = self.make(3).to("meta").train(), self.episode()
        try:
            loss = learner.loss(episode.to(torch.device("meta")))
        except (RuntimeError, NotImplementedError) as error:
            if "item() cannot be called on meta" in str(error) or "no fake impl" in str(error):
                return  # it looks at a value, of which there is none
            raise
        assert loss.device.type == "meta", "make tensors where the learner is: x.new_zeros(...)"

    def test_meta_gradient_is_that_of_the_loss_and_touches_nothing(self) -> None:
        learner, episode = self.make(3).train(), self.episode()
        before = copy.deepcopy(learner.state_dict())
        result = learner.meta_gradient(episode)
        changed = [k for k, v in learner.state_dict().items() if not torch.equal(v, before[k])]
        assert not changed, f"meta_gradient changed {changed}: return new buffers instead"
        assert all(p.grad is None for p in learner.parameters()), "use torch.autograd.grad"
        trainable = {n: p for n, p in learner.named_parameters() if p.requires_grad}
        assert result.gradients.keys() == trainable.keys()
        if not self.exact_gradient or not trainable:
            return
        # Against a finite difference along a random direction, in float64.
        learner, episode = learner.double(), episode.to(torch.float64)
        exact = learner.meta_gradient(episode).gradients
        step, generator = 1e-6, torch.Generator().manual_seed(0)
        way = {
            n: torch.randn(p.shape, generator=generator, dtype=torch.float64)
            for n, p in trainable.items()
        }
        losses = []
        with torch.no_grad():
            for sign in (step, -2 * step):
                for name, parameter in trainable.items():
                    parameter.add_(way[name], alpha=sign)
                # A copy, since the loss may leave other buffers behind.
                losses.append(float(copy.deepcopy(learner).loss(episode)))
        slope = (losses[0] - losses[1]) / (2 * step)
        expected = sum(float((exact[name] * way[name]).sum()) for name in trainable)
        assert math.isclose(slope, expected, rel_tol=1e-3, abs_tol=1e-6), (
            f"in float64 the meta-gradient along a direction is {expected:g}, and the loss changes "
            f"by {slope:g}: look for detach() or in-place changes; of a first-order method set "
            "exact_gradient = False"
        )

    def test_in_bfloat16_its_meta_gradient_is_finite_and_in_the_weights_own_precision(self) -> None:
        """As `meta_train(precision="bfloat16")` computes it: networks in bfloat16, weights not."""
        learner, episode = self.make(3).train(), self.episode()
        with autocast("bfloat16", torch.device("cpu")):
            result = learner.meta_gradient(episode)
        assert bool(result.loss.isfinite()), (
            "the loss is not finite in bfloat16: widen() its inputs"
        )
        for name, parameter in learner.named_parameters():
            if name in result.gradients:
                gradient = result.gradients[name]
                assert gradient.dtype == parameter.dtype, f"the gradient of {name} is in bfloat16"
                assert bool(gradient.isfinite().all()), (
                    f"the gradient of {name} is not finite in bfloat16: compute what needs "
                    "precision under quickstudy.nn.full_precision"
                )

    def test_each_weight_and_buffer_has_memory_of_its_own(self) -> None:
        """Tensors that share memory would be changed once for each of their names.

        Tied weights are one parameter of two names, and do not count.
        """
        learner = self.make(3)
        tensors = {id(t): t for t in (*learner.parameters(), *learner.buffers()) if t.numel()}
        assert len({t.data_ptr() for t in tensors.values()}) == len(tensors), (
            "two tensors share memory, so a step changes it twice: clone one, as after expand()"
        )

    def train(self, tasks: Tasks, validation: Tasks, accuracy: float) -> Learner:
        """Meta-train until a validation is better than `accuracy`."""
        learner = self.make(3)
        train_until(
            accuracy,
            learner,
            tasks,
            validation,
            steps=self.steps,
            meta_batch_size=self.meta_batch_size,
            lr=self.lr,
        )
        return learner

    def test_meta_trained_it_beats_chance_by_20_points_on_unseen_classes(self) -> None:
        if not self.steps:
            return
        seen, validation, unseen = (
            EpisodeSampler(blob_classes(n, seed=seed), n_way=3, n_shot=2, n_query=5, seed=seed)
            for n, seed in ((200, 0), (60, 2), (60, 1))
        )
        learner = self.train(seen, validation, 1 / 3 + 0.25)
        accuracy = meta_test(learner, unseen, 100).mean
        assert accuracy > 1 / 3 + 0.2, f"got {accuracy:.0%}: change steps and lr of the test class"

    def test_it_can_learn_one_task_by_heart(self) -> None:
        if not self.steps:
            return
        episode = self.episode()
        task = GeneratedTasks(lambda _: episode)
        accuracy = meta_test(self.train(task, task, 0.9), task, 2).mean
        assert accuracy > 0.9, f"got {accuracy:.0%}: change steps and lr of the test class"

    def test_frozen_parameters_stay_frozen_and_get_no_gradient(self) -> None:
        learner = self.make(3).train()
        changed = [p for p in learner.parameters() if p.requires_grad]
        if not changed:
            return
        first = changed[0].requires_grad_(False)
        result = learner.meta_gradient(self.episode())
        assert not first.requires_grad
        assert all(result.gradients[n].isfinite().all() for n in result.gradients)
        assert len(result.gradients) == len(changed) - 1

    def test_saved_and_loaded_it_predicts_the_same(self) -> None:
        learner, other, episode = self.make(3).eval(), self.make(3).eval(), self.episode()
        with torch.no_grad():
            for tensor in other.state_dict().values():
                tensor.zero_()
        other.load_state_dict(learner.state_dict())
        predictions = [one.adapt(episode.support)(episode.query.x) for one in (learner, other)]
        assert torch.equal(*predictions), "what is learned is not all in parameters and buffers"
