"""VariBAD: its bound against one pair at a time, its gradients, and what its beliefs come to."""

import copy
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch.distributions import Normal, kl_divergence
from torch.optim import Adam

from quickstudy.errors import UsageError
from quickstudy.learners import VariBAD
from quickstudy.learners.reinforcement import RandomPolicy, history
from quickstudy.learners.reinforcement.experience import play
from quickstudy.learners.reinforcement.policies import encode_actions
from quickstudy.nn import MLP, Flatten
from quickstudy.tasks.environments import BernoulliBandits, Discrete, GridNavi, Navigation, Trials
from weights import with_noise

FAMILIES = {"choices": GridNavi(size=3, horizon=3), "vectors": Navigation(horizon=3)}


@pytest.fixture(params=FAMILIES)
def family(request):
    return FAMILIES[request.param]


def make(family, **options):
    sizes = {"hidden": 8, "latent": 3, "width": 8, "model_share": 1.0, "batches": 1, **options}

    def new():
        return VariBAD(MLP((family.observation_size,), (6,)), family.actions, **sizes)

    return with_noise(new)


def part_of(learner, family, n=4):
    """The first update, which learns from all n environments."""
    torch.manual_seed(1)
    trials = Trials(family, n_query=2)
    (part,) = next(learner.updates([trials[i] for i in range(n)]))
    return part


def bound_by_hand(learner, experience, noise, known) -> torch.Tensor:
    """Minus the bound of one trial, a belief and a step at a time; `known` says which steps are
    decoded."""
    policy, n_steps = learner.policy(), len(experience)
    policy.reset(1)
    total, before = torch.zeros(()), Normal(torch.zeros(learner.latent), 1.0)
    features = [learner.backbone(x) for x in experience.observations]
    features.append(learner.backbone(experience.final_observations))
    actions = encode_actions(learner.actions, experience.actions)
    for t in range(n_steps):
        inputs = torch.cat([features[t], policy._before], dim=1)
        out, policy._state = learner.memory.step(inputs, policy._state)
        mean, log_variance = learner.belief(out)[0].chunk(2)
        belief = Normal(mean, (log_variance / 2).exp())
        total += learner.divergence_weight * kl_divergence(belief, before).sum()
        latent = (mean + belief.stddev * noise[t, 0])[None, None]
        for i in (i for i in range(n_steps) if known[i]):
            parts = {
                "observation": features[i],
                "action": actions[i],
                "next_observation": features[i + 1],
            }
            step = torch.cat([parts[name] for name in learner.reward_inputs], dim=1)[None]
            predicted = learner.reward_decoder(latent, step).flatten()
            reward = experience.rewards[i]
            if learner.reward_model == "normal":
                total += (predicted - reward).square().sum()
            else:
                total += F.binary_cross_entropy_with_logits(predicted, (reward > 0).float())
            if learner.state_decoder is not None:
                step = torch.cat([features[i], actions[i]], dim=1)[None]
                error = learner.state_decoder(latent, step).flatten() - features[i + 1][0]
                total += learner.state_weight * error.square().sum()
        policy._features = features[t]
        policy.remember(experience.actions[t], experience.rewards[t], experience.ends[t])
        before = belief
    return total / n_steps


@pytest.mark.parametrize(
    "options",
    [
        {"state_weight": 0.7},
        {"reward_model": "bernoulli", "reward_inputs": ["next_observation"]},
    ],
)
def test_the_bound_is_that_of_each_belief_and_step(family, options):
    learner = make(family, divergence_weight=0.3, **options)
    part = part_of(learner, family)
    known = [True, True, False, True, True, True]  # where the first episode's end led is not seen
    with torch.no_grad():
        by_hand = [
            bound_by_hand(learner, part.trials.of(row), part.noise[:, row], known)
            for row in torch.arange(len(part.noise[0]))[:, None]
        ]
        found = learner.bound(part.trials, part.noise)
    torch.testing.assert_close(found, torch.stack(by_hand).mean())


def test_rewards_of_observation_and_action_are_decoded_at_the_end_of_an_episode_too(family):
    learner = make(family, reward_inputs=["observation", "action"])
    part = part_of(learner, family, n=1)
    with torch.no_grad():
        by_hand = bound_by_hand(learner, part.trials, part.noise, [True] * 6)
        torch.testing.assert_close(learner.bound(part.trials, part.noise), by_hand)


def test_what_happens_after_the_end_of_an_environment_does_not_count():
    family = FAMILIES["vectors"]
    learner = make(family)
    part = part_of(learner, family)
    trials = part.trials
    active = torch.ones_like(trials.active)
    active[4:] = False
    with torch.no_grad():
        some = learner.bound(replace(trials, active=active), part.noise)
        changed = replace(trials, active=active, rewards=trials.rewards.clone())
        changed.rewards[5] += 10.0  # which no later step sees
        torch.testing.assert_close(learner.bound(changed, part.noise), some)


def test_the_policy_sends_no_gradient_into_the_encoder_nor_the_decoder_into_the_policy(family):
    learner = make(family, state_weight=1.0)
    part = part_of(learner, family)
    parameters = dict(learner.named_parameters())

    def touched(loss):
        gradients = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
        return {
            name.split(".")[0]
            for name, g in zip(parameters, gradients, strict=True)
            if g is not None
        }

    out = learner.policy_features(part.beliefs, part.batch.experience.observations)
    policy = touched(learner.policy_loss(part.batch, out))
    model = touched(learner.bound(part.trials, part.noise))
    assert policy == {"head", "value", "policy_backbone", "policy_layers"}
    assert model == {"backbone", "memory", "belief", "reward_decoder", "state_decoder"}


@pytest.mark.parametrize("state_weight", [0.0, 0.5])
def test_the_meta_gradient_is_that_of_the_loss(family, state_weight):
    """Against finite differences in float64; features that are predicted are not moved for it."""
    learner = make(family, state_weight=state_weight)
    part, learner = part_of(learner, family), learner.double()

    def double(x):
        return x.double() if x.is_floating_point() else x

    lived = part.batch.experience
    lived = type(lived)(**{name: double(value) for name, value in vars(lived).items()})
    batch = replace(
        part.batch,
        experience=lived,
        log_probabilities=part.batch.log_probabilities.double() - 0.02,
        advantages=part.batch.advantages.double(),
        returns=part.batch.returns.double(),
    )
    part = replace(
        part,
        batch=batch,
        beliefs=part.beliefs.double(),
        trials=lived,
        noise=part.noise.double(),
    )
    exact = learner.meta_gradient(part).gradients
    generator = torch.Generator().manual_seed(0)
    for _ in range(3):
        way = {
            name: torch.randn(p.shape, generator=generator).double()
            for name, p in learner.named_parameters()
            if not (state_weight and name.startswith("backbone."))
        }
        losses = []
        for step in (1e-6, -1e-6):
            moved = copy.deepcopy(learner)
            with torch.no_grad():
                for name in way:
                    moved.get_parameter(name).add_(way[name], alpha=step)
                losses.append(moved.loss(part).item())
        expected = sum((exact[name] * way[name]).sum().item() for name in way)
        assert (losses[0] - losses[1]) / 2e-6 == pytest.approx(expected, rel=1e-4, abs=1e-7)


def test_acting_step_by_step_and_passing_over_the_whole_trial_are_the_same(family, monkeypatch):
    seen, real = [], history.distribution_of

    def distribution_of(actions, parameters):
        seen.append(parameters)
        return real(actions, parameters)

    monkeypatch.setattr(history, "distribution_of", distribution_of)
    learner, trials = make(family), Trials(family, n_query=2)
    torch.manual_seed(1)
    batch, _ = learner.collect([trials[i] for i in range(3)])
    with torch.no_grad():
        torch.testing.assert_close(learner.through(batch.experience), torch.stack(seen))
    assert torch.stack(seen).std(0).max() > 1e-3  # it changes with what happened


def test_a_share_of_each_batch_trains_the_model(family):
    learner = make(family, model_share=0.25)
    part = part_of(learner, family, n=8)
    assert part.batch.experience.rewards.shape == (6, 8)
    assert part.trials.rewards.shape == (6, 2)
    assert part.noise.shape == (6, 2, 3)


def test_decoded_rewards_come_to_those_of_bayes():
    """Of an arm that pays with an unknown probability: the mean of a beta distribution."""
    family = BernoulliBandits(n_arms=1, horizon=6)
    torch.manual_seed(0)
    learner = VariBAD(
        Flatten((1,)),
        Discrete(1),
        hidden=32,
        width=32,
        reward_model="bernoulli",
        reward_inputs=["action"],
    )
    adam = Adam(learner.parameters(), lr=0.01)
    for step in range(80):
        lived = pulls_of(family, range(100 * step, 100 * step + 100))
        adam.zero_grad()
        learner.bound(lived, torch.randn(6, 100, learner.latent)).backward()
        adam.step()
    lived = pulls_of(BernoulliBandits(n_arms=1, horizon=6, seed=1), range(500))
    with torch.no_grad():
        beliefs = learner.belief(learner.remember(lived))[-1]  # after five pulls, (n, 2l)
        decoded = learner.expected_rewards(beliefs, torch.ones(1, 1))[:, 0]
    truth = (1 + lived.rewards[:5].sum(0)) / 7
    assert truth.std() > 0.2
    assert (decoded - truth).square().mean().sqrt() < 0.08


def pulls_of(family, indices):
    environments = family.environments(indices)
    return play(environments, RandomPolicy(environments))


@pytest.mark.parametrize(
    "options",
    [
        {"latent": 0},
        {"reward_inputs": []},
        {"state_weight": -1.0},
        {"divergence_weight": -1.0},
        {"model_share": 0.0},
        {"model_share": 1.5},
        {"reward_model": "beta"},
        {"reward_inputs": ["state"]},
    ],
)
def test_options_that_cannot_train_are_refused(options):
    with pytest.raises(UsageError):
        make(FAMILIES["choices"], **options)
