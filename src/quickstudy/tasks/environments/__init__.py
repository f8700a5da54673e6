"""Families of reinforcement-learning environments, a file each; thousands step at once."""

import inspect
from typing import Any

from quickstudy.errors import UsageError, unknown
from quickstudy.registry import Registry
from quickstudy.tasks.environments.actions import Box, Discrete
from quickstudy.tasks.environments.arm import TwoLinkArms
from quickstudy.tasks.environments.bandits import BernoulliBandits, GaussianBandits
from quickstudy.tasks.environments.cartpole import CartPoleSwingUp
from quickstudy.tasks.environments.dynamics import DynamicsTasks
from quickstudy.tasks.environments.environment import (
    EnvironmentFamily,
    Environments,
    EnvironmentTask,
    Step,
)
from quickstudy.tasks.environments.gridnavi import GridNavi
from quickstudy.tasks.environments.gymnasium_family import GymnasiumFamily
from quickstudy.tasks.environments.half_cheetah import (
    CrippledHalfCheetahs,
    HalfCheetahDirections,
    HalfCheetahVelocities,
)
from quickstudy.tasks.environments.navigation import Navigation, SparseNavigation
from quickstudy.tasks.environments.pendulum import Pendulums
from quickstudy.tasks.environments.tabular import TabularMDPs
from quickstudy.tasks.environments.trials import Trial, Trials

__all__ = [
    "ENVIRONMENTS",
    "BernoulliBandits",
    "Box",
    "CartPoleSwingUp",
    "CrippledHalfCheetahs",
    "Discrete",
    "DynamicsTasks",
    "EnvironmentFamily",
    "EnvironmentTask",
    "Environments",
    "GaussianBandits",
    "GridNavi",
    "GymnasiumFamily",
    "HalfCheetahDirections",
    "HalfCheetahVelocities",
    "Navigation",
    "Pendulums",
    "SparseNavigation",
    "Step",
    "TabularMDPs",
    "Trial",
    "Trials",
    "TwoLinkArms",
    "make_family",
]

ENVIRONMENTS = Registry[type[EnvironmentFamily]](
    "environment family",
    "environments",
    EnvironmentFamily,
    {
        "bernoulli_bandit": BernoulliBandits,
        "gaussian_bandit": GaussianBandits,
        "tabular_mdp": TabularMDPs,
        "navigation": Navigation,
        "sparse_navigation": SparseNavigation,
        "gridnavi": GridNavi,
        "pendulum": Pendulums,
        "cartpole_swingup": CartPoleSwingUp,
        "two_link_arm": TwoLinkArms,
        "half_cheetah_direction": HalfCheetahDirections,
        "half_cheetah_velocity": HalfCheetahVelocities,
        "half_cheetah_crippled": CrippledHalfCheetahs,
    },
    classes=True,
)
"""Families by name. Their options are the keyword arguments of their classes."""


def make_family(name: str, options: dict[str, Any], seed: int = 0) -> EnvironmentFamily:
    """Make a family of environments by name.

    Raises:
        UsageError: If there is no such family or option, or an option cannot be used.

    Example:
        >>> make_family("bernoulli_bandit", {"n_arms": 3}).actions
        Discrete(n=3)
    """
    family = ENVIRONMENTS.find(name)
    known = [option for option in inspect.signature(family).parameters if option != "seed"]
    for option in options:
        if option not in known:
            raise unknown(f"option of {name}", option, known)
    try:
        return family(**options, seed=seed)
    except TypeError as error:
        raise UsageError(f"{name}: {error}") from None
