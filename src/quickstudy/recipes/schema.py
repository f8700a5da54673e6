"""A recipe names a whole experiment: data, learner, training, and what to test.

Every key is checked; an unknown one is refused with the nearest known name.
"""

from __future__ import annotations

import copy
import difflib
import inspect
import json
import os
import tomllib
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

import torch
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PydanticSchemaGenerationError,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from torch import nn

from quickstudy.encoders import ENCODERS, Encoder
from quickstudy.engine import EXECUTORS, TestReport, meta_test
from quickstudy.engine.cost import Cost, adapting_cost
from quickstudy.errors import DataError, MissingError, UsageError, unknown
from quickstudy.learners import LEARNERS, Learner
from quickstudy.learners.base import device_of
from quickstudy.nn import BACKBONES
from quickstudy.recipes import recipe_names, recipe_text
from quickstudy.tasks import (
    ClassData,
    Curriculum,
    EpisodeSampler,
    InstanceTasks,
    SinusoidTasks,
    TableTasks,
    Tasks,
    split_by_share,
)
from quickstudy.tasks.augment import AUGMENTS
from quickstudy.tasks.datasets import DATASETS, load_dataset
from quickstudy.tasks.datasets.omniglot_runs import OneShotRuns
from quickstudy.tasks.images import Ink, load_image_folder

__all__ = ["Recipe", "classes_of", "load_recipe", "override", "parse_recipe"]

Range = int | tuple[int, int]

SINUSOID, TABLES = GENERATED = ("sinusoid", "tables")
"""The names of `data` that are no data set but a family: of regression tasks, and of tables to
classify the rows of, of which `n_shot` in all are shown."""

MOST_SEED = 2**59
"""Ten times it, and a little, is still a seed of PyTorch."""

MOST_PIXELS = 2048
"""The side of an image: larger ones take a gigabyte for a small batch."""

MOST_WEIGHTS = 16_000_000_000
"""Bytes of a learner's weights."""

MOST_NAMES = 100
"""Of held-out classes that are listed."""

MOST_TOML_BYTES = 64 * 1024
"""Of a recipe."""

RUNS = "runs"
"""The one split of Omniglot that is no set of classes but tasks: Lake's one-shot runs."""


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Open(BaseModel):
    """A table whose further keys are options of what `name` names."""

    model_config = ConfigDict(extra="allow", frozen=True)
    name: str

    @property
    def options(self) -> dict[str, Any]:
        return dict(self.model_extra or {})


class _Optimizer(_Open):
    name: str = "Adam"


class Data(_Table):
    """A data set of the catalogue, or the user's own images, a folder (or zip) with a folder per
    class, which is split by classes into train, validation and test (about 64, 16 and 20 in 100);
    the split "all" is all of them. `mirrors` and `rotations` add mirror images and quarter turns as
    new classes. With an `encoder`, examples are what it makes of them; texts need one. It takes
    images of a folder in the size and colours that it was trained with.
    """

    name: str
    folder: Annotated[Path, AfterValidator(Path.absolute)] | None = None
    image_size: int = Field(28, ge=4, le=MOST_PIXELS)
    channels: Literal[1, 3] = 1
    ink: Ink = "dark"
    rotations: bool = False
    mirrors: bool = False
    encoder: str | None = None

    @model_validator(mode="after")
    def _images_only_in_a_folder(self) -> Data:
        if (self.name == "folder") != (self.folder is not None):
            raise ValueError('expected name = "folder" together with a folder')
        if self.folder is None and self.model_fields_set & {"channels", "ink"}:
            raise ValueError('expected channels and ink only with name = "folder"')
        if self.name in GENERATED and self.model_fields_set != {"name"}:
            raise ValueError(f"expected no further keys with {self.name} tasks")
        return self

    @model_validator(mode="after")
    def _an_encoder_of_what_is_there(self) -> Data:
        if self.encoder is None:
            if self.of_texts:
                raise ValueError(f"expected an encoder of the texts of {self.name}")
            return self
        if self.encoder not in ENCODERS:
            raise unknown("encoder", self.encoder, ENCODERS)
        if (ENCODERS[self.encoder].side is None) != self.of_texts:
            what = "texts" if self.of_texts else "images"
            raise ValueError(f"expected an encoder of {what} with {self.name}")
        if self.folder and self.model_fields_set & {"image_size", "channels", "ink"}:
            raise ValueError("expected no image_size, channels and ink with an encoder of a folder")
        return self

    @property
    def of_texts(self) -> bool:
        return getattr(DATASETS.get(self.name), "TEXTS", False)

    @property
    def colours(self) -> int:
        """Channels of an image: of the folder as asked for, or as the data set has them."""
        if self.folder:
            return self.channels
        return getattr(DATASETS.get(self.name), "CHANNELS", 1)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one example, known without loading any."""
        if self.encoder:
            return (ENCODERS[self.encoder].size,)
        if self.name == SINUSOID:
            return (1,)
        if self.name == TABLES:
            return (TableTasks.MOST_COLUMNS,)
        return (self.colours, self.image_size, self.image_size)


class Family(_Table):
    """A family of tasks: a split of the data set, and the shape of the episodes."""

    split: str = "train"
    n_way: Range | None = None
    n_shot: Range = 1
    n_query: int = Field(5, ge=1)
    augment: str | None = None
    n_labels: int | None = Field(None, ge=1)
    within_group: bool = False


class Stage(_Table):
    """Tasks of another shape for a number of meta-steps, before those of the recipe."""

    steps: int = Field(ge=1)
    n_way: Range | None = None
    n_shot: Range | None = None
    n_query: int | None = Field(None, ge=1)


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
    schedule: _Open | None = None


class Recipe(_Table):
    """One experiment. See the TOML files beside this module for examples.

    Training begins with the stages of the `curriculum`, if any, and goes on with `tasks`. `gap`
    says why the measured scores differ from the published ones.
    """

    about: str
    gap: str = ""
    seed: int = Field(0, ge=0, le=MOST_SEED)
    data: Data
    backbone: _Open
    learner: _Open
    tasks: Family
    curriculum: list[Stage] = []
    validation: Validation | None = None
    train: Train
    test: list[Test] = []

    @model_validator(mode="after")
    def _patience_only_with_validation(self) -> Recipe:
        if self.train.patience and self.validation is None:
            raise ValueError("expected a validation table with train.patience")
        return self

    def trains_as(self, other: Recipe) -> bool:
        """Whether both give the same weights after the same number of steps."""
        return not self.changes_training(other)

    def changes_training(self, other: Recipe) -> list[str]:
        """The keys, with both values, by which two recipes do not give the same weights after the
        same number of steps; none if they do.

        Example:
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
        return _differences(here, there)

    def held_out(self) -> list[dict[str, Any]]:
        """Which classes the tests are drawn from that are not those of meta-training: the data, the
        split, the number of classes, and their names, `MOST_NAMES` at most.
        """
        found: dict[tuple[str, str], ClassData] = {}
        for test in self.test:
            data = test.data or self.data
            try:
                classes = classes_of(self.test_tasks(test))
            except MissingError:
                continue
            trained_on = data == self.data and test.split == self.tasks.split
            if classes is not None and not trained_on:
                found[str(data.folder or data.name), test.split] = classes
        return [
            {
                "data": name,
                "split": split,
                "n_classes": classes.n_classes,
                "classes": list(classes.names[:MOST_NAMES]),
            }
            for (name, split), classes in found.items()
        ]

    def as_json(self) -> str:
        """The recipe as JSON, from which `parse_recipe` makes it again."""
        return json.dumps(self.model_dump(mode="json", exclude_unset=True), indent=1)

    def make_learner(self, **changes: Any) -> Learner:
        """Build the learner with its initial weights, which depend on the seed alone.

        Args:
            changes: Options of the learner that differ from the recipe's.
        """
        n_outputs = 1  # of a regression
        if self.data.name != SINUSOID:
            n_way = self.tasks.n_way or 0
            n_outputs = self.tasks.n_labels or (n_way if isinstance(n_way, int) else n_way[1])
        if self.backbone.name not in BACKBONES:
            raise unknown("backbone", self.backbone.name, BACKBONES)
        if self.learner.name not in LEARNERS:
            raise unknown("learner", self.learner.name, LEARNERS)
        changed = _Open(**{**self.learner.model_dump(), **changes})
        with torch.device("meta"):  # which has shapes, but no memory
            size = sum(t.nbytes for t in self._build(changed, n_outputs).state_dict().values())
        if size > MOST_WEIGHTS:
            raise UsageError(
                f"expected a learner of {MOST_WEIGHTS / 1e9:g} GB of weights at most, got "
                f"{size / 1e9:.0f} GB: make backbone or learner smaller"
            )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            return self._build(changed, n_outputs)

    def _build(self, learner: _Open, n_outputs: int) -> Learner:
        backbone: nn.Module = _call(
            BACKBONES[self.backbone.name], self.backbone, self.data.shape, where="backbone"
        )
        kind = LEARNERS[learner.name]
        return _call(kind.build, learner, backbone, n_outputs, where="learner", options_of=kind)

    def make_tasks(self, family: Family, data: Data, stream: int) -> Tasks:
        """Make a task family; `stream` keeps training, validation and test tasks apart."""
        seed = 10 * self.seed + stream
        if data.name in GENERATED and isinstance(family, Test) and family.instance:
            raise UsageError(f"expected no instance for {data.name}, whose tasks are no sequences")
        if data.name == SINUSOID:
            if not isinstance(family.n_shot, int):
                raise UsageError("expected one n_shot for sinusoid tasks, got a range")
            if family.n_way is not None:
                raise UsageError("expected no n_way for sinusoid tasks, which are regression")
            if family.n_labels is not None:
                raise UsageError("expected no n_labels for sinusoid tasks, which are regression")
            if family.within_group:
                raise UsageError("expected no within_group for sinusoid tasks, which have no group")
            if family.augment is not None:
                raise UsageError("expected no augment for sinusoid tasks, which have no images")
            return SinusoidTasks(n_shot=family.n_shot, n_query=family.n_query, seed=seed)
        if data.name == TABLES:
            if other := {"augment", "n_labels", "within_group"} & family.model_fields_set:
                raise UsageError(f"expected no {min(other)} for tables")
            return TableTasks(
                n_way=family.n_way or 2, n_shot=family.n_shot, n_query=family.n_query, seed=seed
            )
        if data.name == "omniglot" and family.split == RUNS:
            return _one_shot_runs(family, data)
        classes = _load(data, family.split, self.seed)
        if family.n_way is None:
            raise UsageError("expected n_way for classification tasks")
        fewest = family.n_way if isinstance(family.n_way, int) else family.n_way[0]
        if fewest < 2 and family.n_labels is None:
            raise UsageError(f"expected n_way of 2 or more, got {fewest}: one class needs no name")
        if family.augment is not None and family.augment not in AUGMENTS:
            raise unknown("augment", family.augment, AUGMENTS)
        if family.augment and data.encoder:
            raise UsageError("expected no augment with an encoder, which embeds each image once")
        if isinstance(family, Test) and family.instance:
            if not isinstance(family.n_way, int) or not isinstance(family.n_shot, int):
                raise UsageError("expected one n_way and one n_shot with instance, got a range")
            if other := {"augment", "n_query", "within_group"} & family.model_fields_set:
                raise UsageError(f"expected no {min(other)} with instance")
            return InstanceTasks(
                classes,
                n_way=family.n_way,
                n_each=family.n_shot,
                instance=family.instance,
                seed=seed,
                n_labels=family.n_labels,
            )
        return EpisodeSampler(
            classes,
            n_way=family.n_way,
            n_shot=family.n_shot,
            n_query=family.n_query,
            seed=seed,
            augment=AUGMENTS[family.augment] if family.augment else None,
            n_labels=family.n_labels,
            within_group=family.within_group,
        )

    def device(self) -> torch.device:
        """Where to train and test.

        Raises:
            UsageError: If there is no such device here.
        """
        name, gpus = self.train.device, torch.cuda.device_count()
        if name == "auto":
            name = f"cuda:{int(os.environ.get('LOCAL_RANK', '0')) % gpus}" if gpus else "cpu"
        try:
            return torch.empty(0, device=name).device
        except (RuntimeError, AssertionError) as error:
            reason = str(error).partition("\n")[0]
            raise UsageError(f"device {name!r} cannot be used here: {reason}") from None

    def train_tasks(self) -> Curriculum:
        """The tasks of meta-training, stage after stage."""
        stages = []
        for stage in self.curriculum:
            changed = stage.model_dump(exclude={"steps"}, exclude_none=True)
            family = self.make_tasks(self.tasks.model_copy(update=changed), self.data, 0)
            stages.append((family, stage.steps * self.train.meta_batch_size))
        return Curriculum(stages, self.make_tasks(self.tasks, self.data, 0))

    def train_options(self) -> dict[str, Any]:
        """The arguments of `meta_train`, but for run folder and callbacks."""
        if self.train.executor not in ("auto", *EXECUTORS):
            raise unknown("executor", self.train.executor, ("auto", *EXECUTORS))
        plain = self.train.model_dump(exclude={"device", "start", "optimizer", "schedule"})
        outer, schedule = self.train.optimizer, self.train.schedule
        options: dict[str, Any] = {
            **plain,
            "optimizer": _factory(torch.optim, torch.optim.Optimizer, outer, "optimizer"),
        }
        if schedule:
            kinds = torch.optim.lr_scheduler
            options["schedule"] = _factory(kinds, kinds.LRScheduler, schedule, "schedule")
        if self.validation:
            options["validation"] = self.make_tasks(self.validation, self.data, 1)
            options["validation_tasks"] = self.validation.n_tasks
        return options

    def test_tasks(self, test: Test, stream: int = 2) -> Tasks:
        """The tasks of a test: images are read at the size the learner is made for."""
        data = test.data or self.data
        if data.name not in GENERATED and "image_size" not in data.model_fields_set:
            data = data.model_copy(update={"image_size": self.data.image_size})
        if data.encoder != self.data.encoder:
            raise UsageError(
                f"expected data with encoder {self.data.encoder} as in training, got {data.encoder}"
            )
        if data.colours != self.data.colours:
            raise UsageError(
                f"expected images of {self.data.colours} channels as in training, got "
                f"{data.colours} of {data.name}"
            )
        return self.make_tasks(test, data, stream)

    def run_test(self, learner: Learner, test: Test) -> TestReport:
        """Meta-test a learner on one of the recipe's tests."""
        return meta_test(self._for_test(learner, test), self.test_tasks(test), test.n_tasks)

    def cost(self, learner: Learner, test: Test, n_tasks: int = 10) -> Cost:
        """What adapting to one task of a test costs."""
        tasks = self.test_tasks(test)
        episodes = [tasks[i] for i in range(min(n_tasks, test.n_tasks))]
        return adapting_cost(self._for_test(learner, test), episodes)

    def _for_test(self, learner: Learner, test: Test) -> Learner:
        if not test.learner:
            return learner
        changed = self.make_learner(**test.learner).to(device_of(learner))
        try:
            changed.load_state_dict(learner.state_dict())
        except RuntimeError:
            raise UsageError(
                f"expected changes of the learner that keep its weights, got {test.learner} in "
                f"test {test.title!r}: train a run with them"
            ) from None
        return changed

    def check_tests(self, learner: Learner) -> None:
        """Adapt to the first task of validation and of every test whose data is here.

        Raises:
            UsageError, DataError: If that fails, as it would after training.
        """
        jobs: list[Test] = [*self.test]
        if self.validation:
            plain = self.validation.model_dump(exclude_unset=True)
            jobs.append(Test(title="validation", **{"split": "validation", **plain}))
        was_training = learner.training
        for test in jobs:
            try:
                judged = self._for_test(learner, test).eval()
                with torch.no_grad():
                    episode = self.test_tasks(test)[0].to(device_of(judged))
                    judged.adapt(episode.support)
            except MissingError:
                continue
            except (UsageError, DataError) as error:
                raise type(error)(f"test {test.title!r}: {error}") from None
            finally:
                learner.train(was_training)


def classes_of(tasks: Tasks) -> ClassData | None:
    """The classes that tasks are drawn from, where it is known."""
    sampler = tasks.sequences if isinstance(tasks, InstanceTasks) else tasks
    return sampler.data if isinstance(sampler, EpisodeSampler) else None


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
    shown = ("not given" if value is None else str(value)[:80] for value in (there, here))
    return ["{}: {} there, {} here".format(key, *shown)]


def load_recipe(source: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Load a recipe by name or path, change keys, and check it.

    A recipe with `base = "NAME"` (or a TOML file beside it) starts as that one: its keys replace
    the base's, table by table, and a table that gives another `name` replaces the whole table.

    Args:
        source: A name of `recipe_names()`, or a TOML file.
        overrides: Items like "train.steps=100"; the value is TOML, or else a string.

    Raises:
        MissingError: If there is no such file.
        UsageError: If it does not fit the schema.
    """
    return parse_recipe(override(_read(source), overrides))


def _read(source: str | Path, above: tuple[Path, ...] = ()) -> dict[str, Any]:
    """The plain form of a recipe, bases merged in."""
    path = Path(source)
    if path in above:
        raise UsageError(f"expected recipes based on others, got {source} based on itself")
    if path.suffix == ".toml":
        if not path.is_file():
            near = difflib.get_close_matches(str(path), _toml_files(path), n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise MissingError(f"expected a recipe at {path}, found none{hint}")
        if path.stat().st_size > MOST_TOML_BYTES:
            raise UsageError(f"expected a recipe of {MOST_TOML_BYTES} bytes at most: {source}")
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise UsageError(f"{source} is not TOML, which is in UTF-8: {error}") from None
    elif str(source) in recipe_names():
        text = recipe_text(str(source))
    else:
        raise unknown("recipe", str(source), [*recipe_names(), *_toml_files(path)])
    try:
        plain = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # also a number of thousands of digits
        raise UsageError(f"{source} is not TOML: {error}") from None
    base = plain.pop("base", None)
    if base is None:
        return plain
    if str(base).endswith(".toml"):
        base = path.parent / str(base)
    return _merge(_read(base, (*above, path)), plain)


def _toml_files(path: Path) -> list[str]:
    """The recipes that lie where a path leads to."""
    return [str(file) for file in path.parent.glob("*.toml")]


def _merge(base: dict[str, Any], plain: dict[str, Any]) -> dict[str, Any]:
    merged = {**base, **plain}
    for key in base.keys() & plain.keys():
        old, new = base[key], plain[key]
        if isinstance(old, dict) and isinstance(new, dict):
            another = new.get("name", old.get("name")) != old.get("name")
            merged[key] = new if another else _merge(old, new)
    return merged


def parse_recipe(plain: dict[str, Any]) -> Recipe:
    """Check the plain form of a recipe."""
    try:
        return Recipe.model_validate(plain)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            raise unknown("recipe key", where, _keys(first["loc"])) from None
        if first["type"] == "missing" and isinstance(first["input"], dict):
            *place, name = map(str, first["loc"])
            if near := difflib.get_close_matches(name, map(str, first["input"]), n=1):
                raise unknown("recipe key", ".".join([*place, near[0]]), [where]) from None
        raise UsageError(f"recipe key {where}: {first['msg']}, got {first['input']!r}") from None


def override(plain: dict[str, Any], changes: Sequence[str]) -> dict[str, Any]:
    """The plain form of a recipe with keys changed, as in "train.steps=100" or "test.0.n_way=3".

    Raises:
        UsageError: If an item is not key=value, or its key leads nowhere.
    """
    plain = copy.deepcopy(plain)
    for item in changes:
        key, equals, value = item.partition("=")
        if not equals:
            raise UsageError(f"expected key=value, got {item!r}")
        try:
            parsed = tomllib.loads(f"v = {value}")["v"]
        except tomllib.TOMLDecodeError:
            parsed = value
        except (ValueError, RecursionError) as error:
            raise UsageError(f"{key} cannot be read: {error}") from None
        *path, last = key.strip().split(".")
        table: Any = plain
        for part in path:
            if isinstance(table, list) and part.isdigit() and int(part) < len(table):
                table = table[int(part)]
            elif isinstance(table, dict):
                table = table.setdefault(part, {})
            else:
                raise UsageError(f"{key} does not name a recipe key")
        if not isinstance(table, dict):
            raise UsageError(f"{key} does not name a recipe key")
        table[last] = parsed
    return plain


def _keys(loc: tuple[int | str, ...]) -> list[str]:
    """The keys that could have stood where `loc` points."""
    models = {
        "data": Data,
        "tasks": Family,
        "curriculum": Stage,
        "validation": Validation,
        "train": Train,
        "test": Test,
    }
    model: type[BaseModel] = Recipe
    for part in loc[:-1]:
        model = models.get(str(part), model)
    prefix = [str(part) for part in loc[:-1]]
    return [".".join([*prefix, key]) for key in model.model_fields]


_LOADED: dict[tuple[Any, ...], ClassData] = {}


def _load(data: Data, split: str, seed: int) -> ClassData:
    """Load a split once per process; a recipe reads the same one for several families."""
    key = (data, split, seed)
    if key not in _LOADED:
        if data.folder:
            loaded = _load_folder(data, data.folder, split)
        else:
            texts = _encoder(data.encoder) if data.encoder and data.of_texts else None
            loaded = load_dataset(
                data.name, split, image_size=data.image_size, seed=seed, encoder=texts
            )
        loaded = loaded.with_mirrors() if data.mirrors else loaded
        loaded = loaded.with_rotations() if data.rotations else loaded
        if data.encoder and not data.of_texts:
            loaded = loaded.embed(_encoder(data.encoder))
        _LOADED[key] = loaded
    return _LOADED[key]


@cache
def _encoder(name: str) -> Encoder:
    """Load an encoder once per process."""
    return ENCODERS[name].load()


def _one_shot_runs(family: Family, data: Data) -> OneShotRuns:
    fixed = {
        "n_way",
        "n_shot",
        "n_query",
        "augment",
        "instance",
        "n_labels",
        "within_group",
    } & family.model_fields_set
    if fixed or data.rotations or data.mirrors or not isinstance(family, Test):
        raise UsageError(
            f"expected the split {RUNS!r} only in a test, of data without rotations and mirrors, "
            "and without n_way, n_shot, n_query, augment, instance, n_labels and within_group, as "
            "its tasks are fixed"
        )
    runs = OneShotRuns(image_size=data.image_size)
    if family.n_tasks > len(runs):
        raise UsageError(f"expected n_tasks of at most {len(runs)} runs, got {family.n_tasks}")
    return runs


def _load_folder(data: Data, folder: Path, split: str) -> ClassData:
    splits = ("train", "validation", "test", "all")
    if split not in splits:
        raise unknown("split of a folder", split, splits)
    side = ENCODERS[data.encoder].side if data.encoder else None
    if side:
        everything = load_image_folder(folder, size=side, channels=3, fit="grey")
    else:
        everything = load_image_folder(
            folder, size=data.image_size, channels=data.channels, ink=data.ink
        )
    if split == "all":
        return everything
    classes = split_by_share(everything.names, (0.64, 0.16, 0.2))[splits.index(split)]
    if not classes:
        raise DataError(
            f"none of the {everything.n_classes} classes in {folder} falls into the {split} "
            "split: add classes"
        )
    return everything.select(classes)


def _factory(namespace: Any, base: type, table: _Open, where: str) -> Any:
    kind = getattr(namespace, table.name, None)
    if not (isinstance(kind, type) and issubclass(kind, base)):
        known = [
            n
            for n, k in vars(namespace).items()
            if isinstance(k, type) and issubclass(k, base) and k is not base
        ]
        raise unknown(where, table.name, known)
    _check_options(kind, table, where)
    if "fused" in inspect.signature(kind).parameters:  # one pass over the weights, not several
        table = _Open(**{"fused": True, **table.model_dump()})
    return lambda target: _call(kind, table, target, where=where)


def _call(make: Any, table: _Open, *args: Any, where: str, options_of: Any = None) -> Any:
    _check_options(options_of or make, table, where)
    try:
        return make(*args, **table.options)
    except (TypeError, ValueError) as error:
        raise UsageError(f"{where} {table.name}: {error}") from None


def _check_options(kind: Any, table: _Open, where: str) -> None:
    """Check names and types of the options against the signature of what they are for."""
    known = [
        n
        for n in inspect.signature(kind).parameters
        if n not in ("backbone", "in_shape", "n_outputs", "params", "optimizer")
    ]
    try:
        hints = get_type_hints(kind.__init__)
    except NameError:  # a type that its module imports for type checkers alone
        hints = {}
    for option, value in table.options.items():
        if option not in known:
            raise unknown(f"option of {where} {table.name}", option, known)
        try:
            TypeAdapter(hints.get(option, Any)).validate_python(value)
        except PydanticSchemaGenerationError:  # a type that TOML cannot hold anyway
            continue
        except ValidationError as error:
            what = error.errors()[0]["msg"]
            raise UsageError(
                f"option {option} of {where} {table.name}: {what}, got {value!r}"
            ) from None
