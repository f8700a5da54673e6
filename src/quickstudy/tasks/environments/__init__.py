"""Families of reinforcement-learning environments, a file each; thousands step at once."""

from quickstudy.tasks.environments.bandits import BernoulliBandits, GaussianBandits
from quickstudy.tasks.environments.environment import (
    Box,
    Discrete,
    EnvironmentFamily,
    Environments,
    EnvironmentTask,
    Step,
)

__all__ = [
    "BernoulliBandits",
    "Box",
    "Discrete",
    "EnvironmentFamily",
    "EnvironmentTask",
    "Environments",
    "GaussianBandits",
    "Step",
]
