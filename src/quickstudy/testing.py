"""The contracts that learners and data sets keep, as pytest classes that anyone can inherit.

class TestMine(LearnerContract):
    def make(self, n_way):
        return MyLearner(...)


class TestMyActing(ReinforcementContract):
    def make(self, family):
        return MyActingLearner(MLP((family.observation_size,)), family.actions)


class TestFlowers(DatasetContract):
    def make(self):
        return FLOWERS
"""

from __future__ import annotations

import contextlib
import copy
import itertools
import math
from abc import ABC, abstractmethod
from functools import partial

import torch
from torch.optim import Adam

from quickstudy.engine import Callback, make_executor, meta_test, meta_train
from quickstudy.engine.precision import autocast
from quickstudy.errors import DataError
from quickstudy.learners import Learner
from quickstudy.learners.reinforcement.base import ReinforcementLearner
from quickstudy.learners.reinforcement.experience import play
from quickstudy.learners.reinforcement.policies import distribution_of
from quickstudy.tasks import ClassData, Episode, EpisodeSampler, GeneratedTasks, Tasks, TextData
from quickstudy.tasks.datasets import Dataset
from quickstudy.tasks.environments import (
    BernoulliBandits,
    EnvironmentFamily,
    GaussianBandits,
    Navigation,
    Trial,
    Trials,
)

__all__ = [
    "DatasetContract",
    "LearnerContract",
    "ReinforcementContract",
    "blob_classes",
    "train_until",
]


def blob_classes(n_classes: int = 40, n_each: int = 20, *, d: int = 8, seed: int = 0) -> ClassData:
    """Gaussian blobs as classes, in `d` dimensions of which only the first half matter."""
    generator = torch.Generator().manual_seed(seed)
    centre = torch.randn(n_classes, d, generator=generator)
    x = centre[:, None] + 0.25 * torch.randn(n_classes, n_each, d, generator=generator)
    x[..., d // 2 :] = 2 * torch.randn(n_classes, n_each, d - d // 2, generator=generator)
    y = torch.arange(n_classes).repeat_interleave(n_each)
    return ClassData(x.flatten(0, 1), y, [f"blob{c}" for c in range(n_classes)])


class _GoalReached(Exception):
    pass


class _Goal(Callback):
    """Ends a training at the first validation that is better than `score`."""

    def __init__(self, score: float) -> None:
        self.score = score

    def on_validation(self, step: int, metrics: dict[str, float]) -> None:
        ((metric, value),) = metrics.items()
        if value < self.score if metric == "mse" else value > self.score:
            raise _GoalReached


def train_until(
    score: float,
    learner: Learner,
    tasks: Tasks,
    validation: Tasks,
    *,
    steps: int,
    meta_batch_size: int = 4,
    lr: float = 1e-3,
    n_validation: int = 10,
) -> None:
    """Meta-train until a validation is better than a score, for tests of what was learned.

    Adam trains in float32. Tasks go in one batch where the learner allows it, found without a
    trial. There are five validations on the way.

    Args:
        score: Accuracy or return to exceed, or mean squared error to fall below.
        steps: Meta-steps at most; if all are made, the best weights by validation are kept.
        n_validation: Tasks of a validation.

    Example:
        >>> from quickstudy import EpisodeSampler, PrototypicalNetworks
        >>> from quickstudy.nn import MLP
        >>> tasks = EpisodeSampler(blob_classes(), n_way=3, n_shot=2, n_query=5)
        >>> train_until(0.5, PrototypicalNetworks(MLP((8,))), tasks, tasks, steps=100)
    """
    executor = make_executor("auto", learner, meta_batch_size, trial=False)
    with contextlib.closing(executor), contextlib.suppress(_GoalReached):
        meta_train(
            learner,
            tasks,
            steps=steps,
            meta_batch_size=meta_batch_size,
            optimizer=partial(Adam, lr=lr),
            executor=executor,
            precision="float32",
            validation=validation,
            validation_tasks=n_validation,
            validate_every=max(1, steps // 5),
            callbacks=[_Goal(score)],
        )
    learner.eval()


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


class _CertainBandits(BernoulliBandits):
    """Two arms, of which one always pays and the other never."""

    def __init__(self, *, seed: int = 0) -> None:
        super().__init__(n_arms=2, seed=seed)

    def sample(self, n: int, generator: torch.Generator) -> dict[str, torch.Tensor]:
        first = (torch.rand(n, 1, generator=generator) < 0.5).float()
        return {"means": torch.cat([first, 1 - first], 1)}


class ReinforcementContract(ABC):
    """Inherit, and say how to make a learner that acts, for environments of a family.

    `families` are two of different actions; set others if the learner does not take these.
    """

    steps, meta_batch_size, lr, optimizer = 10, 100, 0.02, Adam
    """How long to meta-train on bandits of two arms."""

    n_shot, n_query = 0, 1
    """Episodes of 10 pulls to learn from, and those that are scored."""

    families: tuple[EnvironmentFamily, ...] = (GaussianBandits(n_arms=3), Navigation(horizon=6))

    @abstractmethod
    def make(self, family: EnvironmentFamily) -> ReinforcementLearner:
        """Make the learner, for environments of a family."""

    def trials(self, family: EnvironmentFamily) -> Trials:
        return Trials(family, n_shot=self.n_shot, n_query=self.n_query)

    def tasks(self, family: EnvironmentFamily) -> list[Trial]:
        return [self.trials(family)[i] for i in range(4)]

    def test_its_policy_acts_through_trials_and_is_finite(self) -> None:
        for family in self.families:
            learner = self.make(family).eval()
            before = copy.deepcopy(learner.state_dict())
            lived = play(family.environments(range(3)), learner.policy(), episodes=3)
            assert bool(lived.actions.isfinite().all()), "an action is NaN or infinite"
            assert lived.returns(family.horizon).shape == (3, 3)
            changed = [k for k, v in learner.state_dict().items() if not torch.equal(v, before[k])]
            assert not changed, f"acting changed {changed}: keep what it learns in the policy"

    def test_adapted_it_has_a_distribution_for_each_observation_and_is_as_it_was(self) -> None:
        for family in self.families:
            learner = self.make(family).eval()
            before = copy.deepcopy(learner.state_dict())
            lived = play(family.environments([0], copies=4), learner.policy())
            with torch.no_grad():  # as in meta-testing
                predictor = learner.adapt(lived)
                out = predictor(torch.zeros(5, family.observation_size))
                none = predictor(torch.zeros(0, family.observation_size))
            assert bool(out.isfinite().all()), "what adapt predicts is NaN or infinite"
            drawn = distribution_of(family.actions, out).sample()
            family.actions.check(drawn, 5)
            assert len(none) == 0, f"expected nothing for no observation, got {tuple(none.shape)}"
            changed = [k for k, v in learner.state_dict().items() if not torch.equal(v, before[k])]
            assert not changed, f"adapt changed {changed}: adapt a copy of the weights"

    def test_a_meta_step_touches_nothing_and_repeats_with_its_seed(self) -> None:
        for family in self.families:
            learner = self.make(family).train()
            before = copy.deepcopy(learner.state_dict())
            found = []
            for _ in range(2):
                with torch.random.fork_rng(devices=[]):
                    torch.manual_seed(3)
                    part = next(iter(learner.updates(self.tasks(family))))[0]
                    found.append(learner.meta_gradient(part))
            changed = [k for k, v in learner.state_dict().items() if not torch.equal(v, before[k])]
            assert not changed, f"meta_gradient changed {changed}: return new buffers instead"
            assert all(p.grad is None for p in learner.parameters()), "use torch.autograd.grad"
            names = {n for n, p in learner.named_parameters() if p.requires_grad}
            assert found[0].gradients.keys() == names
            for name in names:
                one, other = (result.gradients[name] for result in found)
                assert bool(one.isfinite().all()), f"the gradient of {name} is not finite"
                assert torch.equal(one, other), (
                    "the same seed gave another gradient: draw by PyTorch's generator alone"
                )

    def test_other_actions_than_it_was_made_for_are_refused(self) -> None:
        one, other = self.families
        refusal = ""
        try:
            meta_test(self.make(one), self.trials(other), 2)
        except DataError as error:
            refusal = str(error)
        assert "as the learner has" in refusal, "call self.check_family(family) before acting"

    def test_returns_repeat_and_meet_the_same_luck(self) -> None:
        for family in self.families:
            learner = self.make(family)
            one, again = (meta_test(learner, self.trials(family), 6) for _ in range(2))
            assert one.scores == again.scores, "draw by the seed that returns() is given"
            assert one.metric == "return"

    def test_saved_and_loaded_it_acts_the_same(self) -> None:
        for family in self.families:
            learner, other = self.make(family).eval(), self.make(family).eval()
            with torch.no_grad():
                for tensor in other.state_dict().values():
                    tensor.zero_()
            other.load_state_dict(learner.state_dict())
            one, same = (
                meta_test(each, self.trials(family), 3).scores for each in (learner, other)
            )
            assert one == same, "what is learned is not all in parameters and buffers"

    def test_meta_trained_it_finds_the_better_arm_of_unseen_bandits(self) -> None:
        if not self.steps:
            return
        seen, unseen = (_CertainBandits(seed=seed) for seed in (0, 1))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            learner = self.make(seen)
        meta_train(
            learner,
            self.trials(seen),
            steps=self.steps,
            meta_batch_size=self.meta_batch_size,
            optimizer=partial(self.optimizer, lr=self.lr),
        )
        mean = meta_test(learner, self.trials(unseen), 200).mean
        assert mean > 7, f"got {mean:.3g} of 10: change steps and lr of the test class"


class DatasetContract(ABC):
    """Inherit, and say which data set."""

    image_size = 28

    @abstractmethod
    def make(self) -> Dataset:
        """The data set, as it is registered."""

    def load(self, split: str) -> ClassData | TextData:
        return self.make().load(split, image_size=self.image_size, seed=0)

    def test_each_split_has_two_classes_or_more_and_examples_of_each(self) -> None:
        for split in self.make().splits:
            data = self.load(split)
            counts = data.y.bincount(minlength=len(data.names))
            assert len(data.names) >= 2, f"{split} has fewer than two classes"
            assert len(counts) == len(data.names), f"labels of {split} go beyond its names"
            assert int(counts.min()) > 0, f"{split} has a class without examples"

    def test_examples_have_the_shape_that_it_declares(self) -> None:
        dataset = self.make()
        for split in dataset.splits:
            data = self.load(split)
            if isinstance(data, TextData):
                assert dataset.texts, "set texts=True, so that recipes ask for an encoder"
                continue
            shape, declared = tuple(data.x.shape[1:]), dataset.example_shape(self.image_size)
            assert shape == declared, (
                f"{split} has examples of shape {shape}, and the data set says {declared}: set "
                "shape= for vectors and series, channels= for images"
            )

    def test_train_validation_and_test_share_no_class(self) -> None:
        names = {
            split: set(self.load(split).names)
            for split in ("train", "validation", "test")
            if split in self.make().splits
        }
        for one, other in itertools.combinations(names, 2):
            common = names[one] & names[other]
            assert not common, f"{one} and {other} share {sorted(common)[:3]}: split by classes"

    def test_loaded_again_it_is_the_same(self) -> None:
        split = self.make().splits[0]
        first, again = self.load(split), self.load(split)
        assert first.names == again.names, "the classes are in another order: sort them"
        assert torch.equal(first.y, again.y), "the labels differ: draw by the seed"
        if not isinstance(first, TextData) and not isinstance(again, TextData):
            assert torch.equal(first.x, again.x), "the examples differ: draw by the seed"
