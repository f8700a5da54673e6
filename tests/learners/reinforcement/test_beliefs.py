"""Beliefs against PyTorch's distributions, and the decoder against one pair at a time."""

import torch
from torch.distributions import Normal, kl_divergence

from quickstudy.learners.reinforcement.beliefs import Belief, StepDecoder, divergences


def test_each_belief_is_compared_with_the_one_before_and_the_first_with_the_standard_normal():
    torch.manual_seed(0)
    beliefs = Belief.of(torch.randn(4, 3, 10, dtype=torch.double))
    normals = [
        Normal(mean, (log_variance / 2).exp())
        for mean, log_variance in zip(beliefs.mean, beliefs.log_variance, strict=True)
    ]
    chain = [Normal(torch.zeros(3, 5).double(), 1.0), *normals]
    expected = [
        kl_divergence(now, before).sum(1) for before, now in zip(chain, normals, strict=False)
    ]
    torch.testing.assert_close(divergences(beliefs), torch.stack(expected))


def test_latents_have_the_mean_and_variance_of_their_belief():
    torch.manual_seed(0)
    belief = Belief(torch.tensor([2.0, -1.0]), torch.tensor([0.25, 9.0]).log())
    latents = belief.at(torch.randn(100_000, 2))
    torch.testing.assert_close(latents.mean(0), belief.mean, atol=0.03, rtol=0)
    torch.testing.assert_close(latents.var(0), torch.tensor([0.25, 9.0]), rtol=0.02, atol=0)


def test_every_step_is_decoded_from_every_latent_on_its_own():
    torch.manual_seed(0)
    decoder = StepDecoder(latent=3, step=4, outputs=2, width=6)
    latents, steps = torch.randn(5, 2, 3), torch.randn(7, 2, 4)
    together = decoder(latents, steps)
    assert together.shape == (2, 5, 7, 2)
    for n in range(2):
        for p in range(5):
            for t in range(7):
                left = decoder.of_latent(latents[p, n])
                of_step = decoder.of_step(steps[t, n]).view(2, 7)
                expected = of_step[:, :6] @ left + of_step[:, 6]
                torch.testing.assert_close(together[n, p, t], expected)
