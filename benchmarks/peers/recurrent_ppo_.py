"""RecurrentPPO of sb3-contrib as a peer: it learns bandits as RL² does.

Reads a line of JSON for each request on standard input: first the options of the work (n_arms,
horizon, trials, hidden, whether environments are a batch, and those of PPO), then {"updates": n}.
Answers each of these with a line (seconds, steps). Its answers go to a copy of standard output.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from sb3_contrib import RecurrentPPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecEnv


class Bandit(gymnasium.Env):
    """One bandit, whose arms are drawn anew in each trial; it shows what `Bandits` do."""

    def __init__(self, n_arms: int, horizon: int) -> None:
        self.n_arms, self.horizon = n_arms, horizon
        self.observation_space = spaces.Box(0.0, 1.0, (n_arms + 2,), np.float32)
        self.action_space = spaces.Discrete(n_arms)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.arms, self.pulls = self.np_random.random(self.n_arms), 0
        seen = np.zeros(self.n_arms + 2, np.float32)
        seen[-1] = 1
        return seen, {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        reward = float(self.np_random.random() < self.arms[action])
        self.pulls += 1
        seen = np.zeros(self.n_arms + 2, np.float32)
        seen[action], seen[-2] = 1, reward
        return seen, reward, self.pulls == self.horizon, False, {}


class Bandits(VecEnv):
    """Bernoulli bandits that step at once, each trial with arms of its own. An observation has the
    last action, one-hot, the last reward, and whether a trial has begun."""

    def __init__(self, n_arms: int, horizon: int, trials: int) -> None:
        box = spaces.Box(0.0, 1.0, (n_arms + 2,), np.float32)
        super().__init__(trials, box, spaces.Discrete(n_arms))
        self.n_arms, self.horizon, self.rng = n_arms, horizon, np.random.default_rng(0)
        self.rows = np.arange(trials)

    def reset(self) -> np.ndarray:
        self.arms = self.rng.random((self.num_envs, self.n_arms))
        self.pulls = 0
        seen = np.zeros((self.num_envs, self.n_arms + 2), np.float32)
        seen[:, -1] = 1
        return seen

    def step_async(self, actions: np.ndarray) -> None:
        self.chosen = actions

    def step_wait(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        paid = self.rng.random(self.num_envs) < self.arms[self.rows, self.chosen]
        rewards = paid.astype(np.float32)
        self.pulls += 1
        infos: list[dict[str, Any]] = [{} for _ in self.rows]
        if self.pulls == self.horizon:
            return self.reset(), rewards, np.ones(self.num_envs, bool), infos
        seen = np.zeros((self.num_envs, self.n_arms + 2), np.float32)
        seen[self.rows, self.chosen] = 1
        seen[:, -2] = rewards
        return seen, rewards, np.zeros(self.num_envs, bool), infos

    def close(self) -> None:
        pass

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        return [None] * self.num_envs

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        raise NotImplementedError

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kw: Any) -> list[Any]:
        raise NotImplementedError

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        return [False] * self.num_envs


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    torch.set_num_threads(1)
    work = json.loads(sys.stdin.readline())
    bandit = {"n_arms": work["n_arms"], "horizon": work["horizon"]}
    environments: VecEnv = (
        Bandits(**bandit, trials=work["trials"])
        if work["batched"]
        else make_vec_env(Bandit, work["trials"], env_kwargs=bandit)
    )
    steps = work["horizon"] * work["trials"]
    learner = RecurrentPPO(
        "MlpLstmPolicy",
        environments,
        n_steps=work["horizon"],
        batch_size=steps // work["batches"],
        n_epochs=work["epochs"],
        learning_rate=work["lr"],
        gamma=work["discount"],
        gae_lambda=work["decay"],
        clip_range=work["clip"],
        ent_coef=work["entropy_weight"],
        vf_coef=work["value_weight"],
        max_grad_norm=work["clip_norm"],
        policy_kwargs={
            "lstm_hidden_size": work["hidden"],
            "net_arch": [],
            "shared_lstm": True,
            "enable_critic_lstm": False,
        },
        device="cpu",
        seed=0,
    )
    for line in sys.stdin:
        n_steps = json.loads(line)["updates"] * steps
        began = time.process_time()
        learner.learn(n_steps, reset_num_timesteps=False)
        answer = {"seconds": time.process_time() - began, "steps": n_steps}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
