"""A recipe names a whole experiment: data, learner, training, and what to test.

Every key is checked; an unknown one is refused with the nearest known name.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from quickstudy.encoders import ENCODERS
from quickstudy.errors import unknown
from quickstudy.tasks.datasets import DATASETS, Dataset
from quickstudy.tasks.environments import ENVIRONMENTS, EnvironmentFamily, make_family
from quickstudy.tasks.families import FAMILIES, TaskFamily
from quickstudy.tasks.images import Ink

__all__ = [
    "Augmentation",
    "Clusters",
    "Data",
    "Family",
    "Options",
    "Range",
    "Recipe",
    "Stage",
    "Test",
    "Train",
    "TrainingTasks",
    "Validation",
]

Range = int | tuple[int, int]

MAX_SEED = 2**59
"""Ten times it, and a little, is still a seed of PyTorch."""

MAX_PIXELS = 2048
"""The side of an image: larger ones take a gigabyte for a small batch."""


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Options(BaseModel):
    """A table whose further keys are options of what `name` names."""

    model_config = ConfigDict(extra="allow", frozen=True)
    name: str

    @property
    def options(self) -> dict[str, Any]:
        return dict(self.model_extra or {})


class _Optimizer(Options):
    name: str = "Adam"


Augmentation = str | list[str | Options]
"""Distortions, one after the other: the names, or tables of a name and its options."""


class Data(_Table):
    """Where tasks come from: a data set, a family of tasks or one of environments by name (see
    `Registry`), a family with its `options`; or the user's own images, a folder (or zip) with a
    folder per class, which is split by classes into train, validation and test (about 64, 16 and
    20 in 100), where "all" is all of them.

    With `labels` "none", the labels of a data set are not read, and a folder may be flat; its
    images are split into train and validation (about 90 and 10 in 100), where "all" is all of them.

    `mirrors` and `rotations` add mirror images and quarter turns as new classes. With an
    `encoder`, examples are what it makes of them; texts need one. It takes images of a folder in
    the size and colours that it was trained with.
    """

    name: str
    folder: Annotated[Path, AfterValidator(Path.absolute)] | None = None
    image_size: int = Field(28, ge=4, le=MAX_PIXELS)
    channels: Literal[1, 3] = 1
    ink: Ink = "dark"
    labels: Literal["given", "none"] = "given"
    rotations: bool = False
    mirrors: bool = False
    encoder: str | None = None
    options: dict[str, Any] = {}

    def __hash__(self) -> int:
        return hash(repr(self))

    @model_validator(mode="after")
    def _images_only_in_a_folder(self) -> Data:
        if (self.name == "folder") != (self.folder is not None):
            raise ValueError('expected name = "folder" together with a folder')
        if self.folder is None and self.model_fields_set & {"channels", "ink"}:
            raise ValueError('expected channels and ink only with name = "folder"')
        by_code = self.family is not None or self.is_environment
        if self.model_fields_set - {"name", "options"} and by_code:
            raise ValueError(f"expected no further keys with {self.name} tasks but options")
        if self.options and not by_code:
            if self.dataset is None and self.folder is None:
                families = [*FAMILIES.names(), *ENVIRONMENTS.names()]
                raise unknown("family of tasks", self.name, families)
            raise ValueError("expected options only with the name of a family")
        self.check_options(self.options)
        of_images = {"image_size", "rotations", "mirrors", "encoder"} & self.model_fields_set
        if self.dataset and self.dataset.shape and of_images:
            raise ValueError(f"expected no {min(of_images)} with {self.name}, which has no images")
        return self

    @model_validator(mode="after")
    def _an_encoder_of_what_is_there(self) -> Data:
        if self.encoder is None:
            if self.of_texts:
                raise ValueError(f"expected an encoder of the texts of {self.name}")
            return self
        kind = "texts" if self.of_texts else "images"
        if ENCODERS.find(self.encoder).kind != kind:
            raise ValueError(f"expected an encoder of {kind} with {self.name}")
        if self.folder and self.model_fields_set & {"image_size", "channels", "ink"}:
            raise ValueError("expected no image_size, channels and ink with an encoder of a folder")
        return self

    def check_options(self, options: dict[str, Any]) -> None:
        """Refuse options that the family of tasks does not have. Environments check their own.

        Raises:
            UsageError: If there is one.
        """
        for option in options:
            if self.family and option not in self.family.options:
                raise unknown(f"option of {self.name}", option, self.family.options)

    @property
    def dataset(self) -> Dataset | None:
        """The data set of that name, if there is one."""
        return DATASETS.get(self.name)

    @property
    def family(self) -> TaskFamily | None:
        """The family of tasks of that name, if there is one."""
        return FAMILIES.get(self.name)

    @property
    def is_environment(self) -> bool:
        """Whether tasks are environments to act in."""
        return not (self.dataset or self.family) and self.name in ENVIRONMENTS

    def environments(self, seed: int = 0) -> EnvironmentFamily:
        """The family of environments of that name.

        Raises:
            UsageError: If it has no such options.
        """
        return make_family(self.name, self.options, seed)

    @property
    def is_regression(self) -> bool:
        return self.family is not None and self.family.regression

    @property
    def of_texts(self) -> bool:
        return self.dataset is not None and self.dataset.texts

    @property
    def of_images(self) -> bool:
        """Whether examples are images, from a data set or a folder."""
        if self.dataset:
            return not (self.dataset.texts or self.dataset.shape)
        return self.folder is not None

    @property
    def n_channels(self) -> int:
        """Of an image: as the table says of a folder, or as the data set has them."""
        return self.dataset.channels if self.dataset else self.channels

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of an example, known without loading any."""
        if self.encoder:
            return (ENCODERS.find(self.encoder).size,)
        if self.family:
            return self.family.shape
        if self.is_environment:
            return (self.environments().observation_size,)
        if self.dataset:
            return self.dataset.example_shape(self.image_size)
        return (self.channels, self.image_size, self.image_size)


class Clusters(_Table):
    """Clusters that stand for classes: so many partitions of the examples by k-means, of their
    values, or of what the backbone of the run `embedding` makes of them."""

    n_clusters: int = Field(500, ge=2)
    n_partitions: int = Field(50, ge=1)
    embedding: Path | None = None

    def __hash__(self) -> int:
        return hash(repr(self))


class Family(_Table):
    """A family of tasks: a split of the data set, and the shape of the episodes. In environments,
    n_shot and n_query count the episodes to learn from and those that are scored.

    Without labels, each drawn example is a class, and distorted copies of it are the queries; with
    `clusters`, these are the classes. `augment_support` distorts the one support example as well.
    """

    split: str = "train"
    n_way: Range | None = None
    n_shot: Range = 1
    n_query: int = Field(5, ge=1)
    augment: Augmentation | None = None
    augment_support: bool = False
    clusters: Clusters | None = None
    n_labels: int | None = Field(None, ge=1)
    within_group: bool = False


class TrainingTasks(Family):
    """The tasks of meta-training, with guards against what `quickstudy doctor` finds.

    Against memorisation, `permute_labels` draws the order of labels anew for every task of a family
    made by code. Against a lack of diversity, `balance_groups` draws the classes of every group of
    the data, such as an alphabet, as often as those of another.
    """

    permute_labels: bool = False
    balance_groups: bool = False

    @model_validator(mode="after")
    def _one_way_to_draw_from_groups(self) -> TrainingTasks:
        if self.balance_groups and self.within_group:
            raise ValueError("expected no balance_groups with within_group, which balances them")
        return self


class Stage(_Table):
    """Tasks of another shape for a number of meta-steps, before those of the recipe. `options` are
    of the family of tasks or environments, and change those of the recipe's data."""

    steps: int = Field(ge=1)
    n_way: Range | None = None
    n_shot: Range | None = None
    n_query: int | None = Field(None, ge=1)
    options: dict[str, Any] = {}

    def data(self, data: Data) -> Data:
        """The recipe's data, with the options of the stage."""
        return data.model_copy(update={"options": {**data.options, **self.options}})


class Validation(Family):
    """The tasks to choose the best weights by."""

    split: str = "validation"
    n_tasks: int = Field(600, ge=2)


class Test(Family):
    """One row of the results.

    `learner` changes options of the learner for this test, such as its number of steps;
    `published` is the score of the paper that the recipe names, in per cent or as an error.
    With `instance`, examples come in a sequence of n_shot of each class, and the accuracy is that
    on the given instance of a class, from 1.
    """

    title: str
    data: Data | None = None
    split: str = "test"
    n_query: int = Field(15, ge=1)
    n_tasks: int = Field(600, ge=2)
    learner: dict[str, Any] = {}
    instance: int | None = Field(None, ge=1)
    published: float | None = None


class Train(_Table):
    """How to meta-train. The device is "cpu", "cuda" or the like; "auto" is a GPU if there is one,
    another for each process that `torchrun` starts on a machine. The precision "auto" is bfloat16
    where that is native and measured to be faster, and float32 elsewhere. `start` names a run
    folder whose backbone's weights are the first of this learner's, as of a pretrained classifier.
    """

    steps: int = Field(ge=0)
    meta_batch_size: int = Field(1, ge=1)
    start: Path | None = None
    device: str = "auto"
    executor: str = "auto"
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    clip_norm: float | None = Field(None, gt=0)
    validate_every: int = Field(200, ge=1)
    patience: int | None = Field(None, ge=1)
    checkpoint_every: int = Field(200, ge=1)
    keep_checkpoints: int = Field(2, ge=1)
    optimizer: _Optimizer = _Optimizer()
    schedule: Options | None = None

    def whole_schedule(self) -> Options | None:
        """The schedule, which ends with the training unless it says when."""
        option = SCHEDULE_LENGTHS.get(self.schedule.name) if self.schedule else None
        if self.schedule is None or option is None or "epochs" in self.schedule.options:
            return self.schedule
        return Options(**{option: max(1, self.steps), **self.schedule.model_dump()})


SCHEDULE_LENGTHS = {"CosineAnnealingLR": "T_max", "OneCycleLR": "total_steps"}
"""The option of a schedule that says after how many steps it ends."""


class Recipe(_Table):
    """One experiment. See the TOML files beside this module for examples.

    Training begins with the stages of the `curriculum`, if any, and goes on with `tasks`. `gap`
    says why the measured scores differ from the published ones.
    """

    about: str
    gap: str = ""
    seed: int = Field(0, ge=0, le=MAX_SEED)
    data: Data
    backbone: Options
    learner: Options
    tasks: TrainingTasks
    curriculum: list[Stage] = []
    validation: Validation | None = None
    train: Train
    test: list[Test] = []

    @model_validator(mode="after")
    def _patience_only_with_validation(self) -> Recipe:
        if self.train.patience and self.validation is None:
            raise ValueError("expected a validation table with train.patience")
        return self

    @model_validator(mode="after")
    def _stages_with_options_of_the_data(self) -> Recipe:
        for stage in self.curriculum:
            if stage.options and not (self.data.family or self.data.is_environment):
                raise ValueError("expected options of a curriculum only with a family of tasks")
            self.data.check_options(stage.options)
        return self

    @property
    def n_outputs(self) -> int:
        """Of the learner: numbers of a regression's target, or most classes of a training task."""
        if self.data.family and self.data.family.regression:
            return self.data.family.n_targets
        n_way = self.tasks.n_way or 0
        return self.tasks.n_labels or (n_way if isinstance(n_way, int) else n_way[1])

    def trains_as(self, other: Recipe) -> bool:
        """Whether both give the same weights after the same number of steps."""
        return not self.changes_training(other)

    def changes_training(self, other: Recipe) -> list[str]:
        """The keys, with both values, by which two recipes do not give the same weights after the
        same number of steps; none if they do.

        Example:
            >>> from quickstudy.recipes.loading import load_recipe
            >>> one = load_recipe("maml_sinusoid")
            >>> load_recipe("maml_sinusoid", ["seed=1", "train.steps=5"]).changes_training(one)
            ['seed: 0 there, 1 here']
        """
        apart: Any = {
            "about": True,
            "gap": True,
            "test": True,
            "train": {"steps", "checkpoint_every", "keep_checkpoints", "device"},
        }
        here, there = self.model_dump(exclude=apart), other.model_dump(exclude=apart)
        for recipe, keys in ((self, here), (other, there)):
            schedule = recipe.train.whole_schedule()
            keys["train"]["schedule"] = schedule and schedule.model_dump()
        return _differences(here, there)

    def as_json(self) -> str:
        """The recipe as JSON, from which `parse_recipe` makes it again."""
        return json.dumps(self.model_dump(mode="json", exclude_unset=True), indent=1)


def _differences(here: Any, there: Any, key: str = "") -> list[str]:
    """Keys of two plain recipes whose values differ, with both values."""
    if here == there:
        return []
    if isinstance(here, dict) and isinstance(there, dict):
        return [
            line
            for name in {**there, **here}
            for line in _differences(here.get(name), there.get(name), f"{key}.{name}".lstrip("."))
        ]
    values = ("not given" if value is None else str(value)[:80] for value in (there, here))
    return ["{}: {} there, {} here".format(key, *values)]
