"""Tasks: episodes, the families they are drawn from, and the data sets behind them."""

from quickstudy.tasks.environments.trials import Trials
from quickstudy.tasks.episode import Batch, Episode, Support, stack
from quickstudy.tasks.images import Images, load_image_folder
from quickstudy.tasks.permuted_labels import PermutedLabels
from quickstudy.tasks.sampler import (
    Curriculum,
    EpisodeSampler,
    GeneratedTasks,
    InstanceTasks,
    SinusoidTasks,
    Tasks,
)
from quickstudy.tasks.sources import ClassData, TextData, split_by_share, split_classes
from quickstudy.tasks.tables import TableTasks
from quickstudy.tasks.unlabelled import UnlabelledData, load_unlabelled_images
from quickstudy.tasks.unsupervised import ClusterTasks, CopyTasks, cluster_repeatedly

__all__ = [
    "Batch",
    "ClassData",
    "ClusterTasks",
    "CopyTasks",
    "Curriculum",
    "Episode",
    "EpisodeSampler",
    "GeneratedTasks",
    "Images",
    "InstanceTasks",
    "PermutedLabels",
    "SinusoidTasks",
    "Support",
    "TableTasks",
    "Tasks",
    "TextData",
    "Trials",
    "UnlabelledData",
    "cluster_repeatedly",
    "load_image_folder",
    "load_unlabelled_images",
    "split_by_share",
    "split_classes",
    "stack",
]
