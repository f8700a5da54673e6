"""How the meta-gradient of a meta-batch is computed; never what it is."""

from quickstudy.engine.executors.auto import EXECUTORS, Auto, make_executor
from quickstudy.engine.executors.base import Executor, Serial, Threads, mean_gradient
from quickstudy.engine.executors.compiled import Compiled
from quickstudy.engine.executors.vmap import Vmap

__all__ = [
    "EXECUTORS",
    "Auto",
    "Compiled",
    "Executor",
    "Serial",
    "Threads",
    "Vmap",
    "make_executor",
    "mean_gradient",
]
