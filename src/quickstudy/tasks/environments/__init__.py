"""Families of reinforcement-learning environments, a file each; thousands step at once."""

from quickstudy.registry import Registry
from quickstudy.tasks.environments.arm import TwoLinkArms
from quickstudy.tasks.environments.bandits import BernoulliBandits, GaussianBandits
from quickstudy.tasks.environments.cartpole import CartPoleSwingUp
from quickstudy.tasks.environments.environment import (
    Box,
    Discrete,
    EnvironmentFamily,
    Environments,
    EnvironmentTask,
    Step,
)
from quickstudy.tasks.environments.gridnavi import GridNavi
from quickstudy.tasks.environments.navigation import Navigation, SparseNavigation
from quickstudy.tasks.environments.pendulum import Pendulums
from quickstudy.tasks.environments.tabular import TabularMDPs

__all__ = [
    "ENVIRONMENTS",
    "BernoulliBandits",
    "Box",
    "CartPoleSwingUp",
    "Discrete",
    "EnvironmentFamily",
    "EnvironmentTask",
    "Environments",
    "GaussianBandits",
    "GridNavi",
    "Navigation",
    "Pendulums",
    "SparseNavigation",
    "Step",
    "TabularMDPs",
    "TwoLinkArms",
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
    },
    classes=True,
)
"""Families by name. Their options are the keyword arguments of their classes."""
