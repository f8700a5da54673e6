"""A recipe names a whole experiment: data, learner, training, and what to test.

Every key is checked; an unknown one is refused with the nearest known name.
"""

from __future__ import annotations

import tomllib
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import nn

from quickstudy.engine import TestReport, meta_test
from quickstudy.errors import MissingError, UsageError, unknown
from quickstudy.learners import LEARNERS, Learner
from quickstudy.nn import BACKBONES
from quickstudy.tasks import ClassData, EpisodeSampler, SinusoidTasks, Tasks
from quickstudy.tasks.datasets import load_dataset

__all__ = ["Recipe", "load_recipe", "recipe_names"]

Range = int | tuple[int, int]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Open(BaseModel):
    """A table whose further keys are options of what `name` names."""

    model_config = ConfigDict(extra="allow", frozen=True)
    name: str

    @property
    def options(self) -> dict[str, Any]:
        return dict(self.model_extra or {})


class Data(_Table):
    name: str
    image_size: int = Field(28, ge=4)
    rotations: bool = False


class Family(_Table):
    """A family of tasks: a split of the data set, and the shape of the episodes."""

    split: str = "train"
    n_way: Range | None = None
    n_shot: Range = 1
    n_query: int = Field(5, ge=1)
    n_tasks: int = Field(600, ge=2)


class Test(Family):
    title: str
    data: Data | None = None
    split: str = "test"
    n_query: int = Field(15, ge=1)


class Train(_Table):
    steps: int = Field(ge=0)
    meta_batch_size: int = Field(1, ge=1)
    executor: str = "auto"
    precision: Literal["float32", "bfloat16"] = "float32"
    clip_norm: float | None = Field(None, gt=0)
    validate_every: int = Field(200, ge=1)
    patience: int | None = Field(None, ge=1)
    checkpoint_every: int = Field(200, ge=1)
    optimizer: _Open = _Open(name="Adam")
    schedule: _Open | None = None


class Recipe(_Table):
    """One experiment. See the TOML files beside this module for examples."""

    about: str
    seed: int = Field(0, ge=0)
    data: Data
    backbone: _Open
    learner: _Open
    tasks: Family
    validation: Family | None = None
    train: Train
    test: list[Test] = []

    def make_learner(self) -> Learner:
        """Build the learner with its initial weights, which depend on the seed alone."""
        example = self.make_tasks(self.tasks, self.data, 0)[0]
        if example.n_way is not None:
            n_way = self.tasks.n_way
            n_outputs = n_way if isinstance(n_way, int) else example.n_way
        else:
            n_outputs = example.query.y.shape[1]
        if self.backbone.name not in BACKBONES:
            raise unknown("backbone", self.backbone.name, BACKBONES)
        if self.learner.name not in LEARNERS:
            raise unknown("learner", self.learner.name, LEARNERS)
        in_shape = tuple(example.query.x.shape[1:])
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            backbone: nn.Module = _call(
                BACKBONES[self.backbone.name], self.backbone, in_shape, where="backbone"
            )
            return _call(
                LEARNERS[self.learner.name].build,
                self.learner,
                backbone,
                n_outputs,
                where="learner",
                signature_of=LEARNERS[self.learner.name],
            )

    def make_tasks(self, family: Family, data: Data, stream: int) -> Tasks:
        """Make a task family; `stream` keeps training, validation and test tasks apart."""
        seed = 10 * self.seed + stream
        if data.name == "sinusoid":
            if not isinstance(family.n_shot, int):
                raise UsageError("expected one n_shot for sinusoid tasks, got a range")
            return SinusoidTasks(n_shot=family.n_shot, n_query=family.n_query, seed=seed)
        if family.n_way is None:
            raise UsageError("expected n_way for classification tasks")
        return EpisodeSampler(
            _load(data, family.split, self.seed),
            n_way=family.n_way,
            n_shot=family.n_shot,
            n_query=family.n_query,
            seed=seed,
        )

    def train_options(self) -> dict[str, Any]:
        """The arguments of `meta_train`, but for run folder and callbacks."""
        plain = self.train.model_dump(exclude={"optimizer", "schedule"})
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

    def run_test(self, learner: Learner, test: Test, on_task=None) -> TestReport:
        """Meta-test a learner on one of the recipe's tests."""
        tasks = self.make_tasks(test, test.data or self.data, 2)
        return meta_test(learner, tasks, test.n_tasks, on_task=on_task)


def recipe_names() -> list[str]:
    """Names of the recipes that come with the package."""
    folder = resources.files("quickstudy.recipes")
    return sorted(f.name[:-5] for f in folder.iterdir() if f.name.endswith(".toml"))


def load_recipe(source: str | Path, overrides: list[str] = []) -> tuple[Recipe, dict[str, Any]]:  # noqa: B006
    """Load a recipe by name or path, change keys, and check it.

    Args:
        source: A name of `recipe_names()`, or a TOML file.
        overrides: Items like "train.steps=100"; the value is TOML, or else a string.

    Returns:
        The recipe, and its plain form, which `RunFolder` keeps.

    Raises:
        MissingError: If there is no such file.
        UsageError: If it does not fit the schema.
    """
    path = Path(source)
    if path.suffix == ".toml":
        if not path.is_file():
            raise MissingError(f"expected a recipe at {path}, found none")
        text = path.read_text()
    elif str(source) in recipe_names():
        text = (resources.files("quickstudy.recipes") / f"{source}.toml").read_text()
    else:
        raise unknown("recipe", str(source), recipe_names())
    try:
        plain = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{source} is not TOML: {error}") from None
    for override in overrides:
        _override(plain, override)
    return parse_recipe(plain), plain


def parse_recipe(plain: dict[str, Any]) -> Recipe:
    """Check the plain form of a recipe."""
    try:
        return Recipe.model_validate(plain)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            raise unknown("recipe key", where, _keys(first["loc"])) from None
        raise UsageError(f"recipe key {where}: {first['msg']}, got {first['input']!r}") from None


def _keys(loc: tuple[int | str, ...]) -> list[str]:
    """The keys that could have stood where `loc` points."""
    models = {"data": Data, "tasks": Family, "validation": Family, "train": Train, "test": Test}
    prefix = [str(part) for part in loc[:-1]]
    model = models[prefix[0]] if prefix else Recipe
    return [".".join([*prefix, key]) for key in model.model_fields]


def _override(plain: dict[str, Any], item: str) -> None:
    key, equals, value = item.partition("=")
    if not equals:
        raise UsageError(f"expected key=value, got {item!r}")
    try:
        parsed = tomllib.loads(f"v = {value}")["v"]
    except tomllib.TOMLDecodeError:
        parsed = value
    *path, last = key.strip().split(".")
    table: Any = plain
    for part in path:
        table = table[int(part)] if isinstance(table, list) else table.setdefault(part, {})
    if not isinstance(table, dict):
        raise UsageError(f"{key} does not name a recipe key")
    table[last] = parsed


_LOADED: dict[tuple[Any, ...], ClassData] = {}


def _load(data: Data, split: str, seed: int) -> ClassData:
    """Load a split once per process; a recipe reads the same one for several families."""
    key = (data.name, split, data.image_size, data.rotations, seed)
    if key not in _LOADED:
        loaded = load_dataset(data.name, split, image_size=data.image_size, seed=seed)
        _LOADED[key] = loaded.with_rotations() if data.rotations else loaded
    return _LOADED[key]


def _factory(namespace: Any, base: type, table: _Open, where: str) -> Any:
    kind = getattr(namespace, table.name, None)
    if not (isinstance(kind, type) and issubclass(kind, base)):
        known = [
            n for n, k in vars(namespace).items() if isinstance(k, type) and issubclass(k, base)
        ]
        raise unknown(where, table.name, known)
    _check_options(kind, table, where)
    return lambda target: kind(target, **table.options)


def _call(make: Any, table: _Open, *args: Any, where: str, signature_of: Any = None) -> Any:
    _check_options(signature_of or make, table, where)
    return make(*args, **table.options)


def _check_options(kind: Any, table: _Open, where: str) -> None:
    import inspect

    known = [n for n in inspect.signature(kind).parameters if n not in ("backbone", "in_shape")]
    for option in table.options:
        if option not in known:
            raise unknown(f"option of {where} {table.name}", option, known)
