"""Adapt to class folders of images, or to a table of texts or numbers, and predict new ones."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from torch import Tensor

from quickstudy.apps.fewshot.explanation import PoolUse, explain
from quickstudy.apps.fewshot.methods import (
    DRAWINGS_RUN,
    IMAGE_ENCODER,
    METHODS,
    TEXT_ENCODER,
    EncodedImages,
    images_of,
    make_method,
    named_encoder,
)
from quickstudy.apps.fewshot.support_notes import support_notes
from quickstudy.apps.fewshot.tables import (
    is_number,
    label_column,
    numbers,
    read_table,
)
from quickstudy.apps.fewshot.unlabelled import choose_to_label
from quickstudy.apps.fewshot.views import ImageViews, default_blend, encoder_name
from quickstudy.encoders import Encoder
from quickstudy.engine.calibration import fit_temperature, scores_left_out
from quickstudy.errors import DataError, MissingError, UsageError
from quickstudy.experiments.run import load_run
from quickstudy.files import readable
from quickstudy.learners import Learner
from quickstudy.learners.base import check_finite
from quickstudy.learners.transfer.blend import Kind
from quickstudy.progress import track
from quickstudy.recipes.schema import Recipe
from quickstudy.table_files import TABLE_FORMATS, format_of
from quickstudy.tasks import ClassData, Support
from quickstudy.tasks.image_files import content_hash, list_images
from quickstudy.tasks.images import Images, Ink, folder_bit_depth, load_image_folder

__all__ = ["Adaptation", "Prediction", "adapt", "as_table"]

_E = TypeVar("_E")

GATE_KINDS: dict[str, Kind] = {"image": "image", "text": "text", "row": "numbers"}


@dataclass(frozen=True)
class Prediction:
    """The class predicted for one example, and the probability of each class."""

    example: str
    label: str
    probabilities: dict[str, float]


@dataclass(frozen=True)
class Adaptation:
    """What was adapted to what, and the predictions.

    Args:
        kind: What an example is.
        learner: In words.
        recipe: Of the run that was adapted; None for a method.
        seen: What pretraining may have seen of the examples; empty without.
        ways: Classes.
        shots: Mean number of examples a class.
        content: A hash of the support set.
        predictions: One a query.
        reason: Why this learner was chosen; empty if it was named.
        unlabelled: What was made of the unlabelled examples; None without any.
        suggested: Unlabelled examples to label next, the most useful first.
        notes: What looks wrong with the support set, a line each.
    """

    kind: Literal["image", "text", "row"]
    learner: str
    recipe: Recipe | None
    seen: str
    ways: int
    shots: float
    content: str
    predictions: list[Prediction]
    reason: str = ""
    unlabelled: PoolUse | None = None
    suggested: Sequence[str] = ()
    notes: Sequence[str] = ()


def adapt(
    support: Path,
    query: Path,
    *,
    unlabelled: Path | None = None,
    n_suggested: int = 0,
    learner: str | Path | None = None,
    encoder: str | None = None,
    label: str | None = None,
    ink: Ink | None = None,
    overrides: Sequence[str] = (),
) -> Adaptation:
    """Learn classes from a few examples each, and predict every query. No learner is changed.

    The probabilities of a method have a temperature learned from the examples, each left out once,
    if every class has two.

    Args:
        support: A folder or zip with a folder of images per class; or a CSV, TSV or Parquet table
            with a column of labels and either one of texts or any number of numbers.
        query: Images, or a table of the same columns; its labels, if any, are not looked at.
        unlabelled: More examples to learn from, given as the queries are, which may be of other
            classes; they are used as far as they help, by the default learner alone.
        n_suggested: How many of the unlabelled examples to suggest for labelling.
        learner: A run folder, the name of a run that comes with quickstudy, or a method that needs
            no meta-training. By default `LearnedBlend`, which weighs many methods.
        encoder: By default all that suit texts or images and are installed, for a method MiniLM or
            EfficientNet-Lite0, and for a run the one it was meta-trained on, if any.
        label: The column of labels; by default "label" or "class".
        ink: "dark" for dark strokes on light paper, which are inverted; "bright" leaves as is;
            by default as `images_of` says.
        overrides: Changes of the run's recipe.

    Raises:
        MissingError, DataError: If a file, folder or extra is missing, or cannot serve.
        UsageError: If an option does not go with the others.
    """
    paths = [support, query] + ([unlabelled] if unlabelled else [])
    for path in paths:
        if not path.exists():
            raise MissingError(f"expected examples at {path}, found nothing")
    tables = [format_of(path) in TABLE_FORMATS for path in paths]
    if any(tables) != all(tables):
        got = " and ".join(map(str, paths))
        raise UsageError(f"expected tables alone, or places of images alone, got {got}")
    if unlabelled and learner is not None:
        raise UsageError(
            f"expected --unlabelled only with the default learner, which uses it, got {learner}"
        )
    if n_suggested and not unlabelled:
        raise UsageError("expected --unlabelled with --suggest: the examples to choose from")
    if all(tables):
        if ink or overrides:
            raise UsageError("expected --ink and --set only with images")
        return _adapt_to_table(support, query, unlabelled, n_suggested, learner, encoder, label)
    if label:
        raise UsageError("expected --label only with tables: folders name the classes of images")
    if unlabelled and (ink or overrides):
        raise UsageError("expected --ink and --set without --unlabelled: they are of a run")
    return _adapt_to_images(
        support, query, unlabelled, n_suggested, learner, encoder, ink, overrides
    )


@dataclass(frozen=True)
class _Examples:
    """Examples without labels.

    Args:
        x: As the adapter embeds them.
        names: Of each.
        n_suggested: How many of them to suggest for labelling.
    """

    x: Any
    names: list[str]
    n_suggested: int = 0


@dataclass(frozen=True)
class _Adapter:
    """What adapts, and what examples go through before.

    Args:
        learner: A learner, the name of a method, or None for the default.
        embed: Makes of examples what the learner takes.
        about: The learner in words.
        recipe: Of the run that the learner is of.
        encoder, encoder_name: What `embed` is, if it is an encoder.
        run: Where the learner is from, if it is that of a run.
    """

    learner: Learner | str | None
    embed: Callable[[Any], Tensor]
    about: str
    recipe: Recipe | None = None
    encoder: Any = None
    encoder_name: str | None = None
    run: str | Path | None = None

    @property
    def seen(self) -> str:
        return self.encoder.seen if self.encoder else ""


def _adapt_to_images(
    support: Path,
    query: Path,
    unlabelled: Path | None,
    n_suggested: int,
    learner: str | Path | None,
    encoder: str | None,
    ink: Ink | None,
    overrides: Sequence[str],
) -> Adaptation:
    bits = folder_bit_depth(support)

    def load_data(how: Images) -> ClassData:
        return load_image_folder(support, **vars(replace(how, bits=bits)))

    def load(how: Images) -> Tensor:
        return load_data(how).x

    def decode(folder: Path, how: Images) -> Tensor:
        how, named = replace(how, bits=bits), track(list_images(folder), "decoding images")
        pixels = [how.decode(read(), f"{folder}/{name}") for name, read in named]
        return torch.from_numpy(np.ascontiguousarray(np.stack(pixels)))

    def examples_in(folder: Path, x: Any, n_suggested: int = 0) -> _Examples:
        return _Examples(x, [name for name, _ in list_images(folder)], n_suggested)

    if encoder is None and learner is None and not (ink or overrides):
        views = ImageViews(bits)
        adapter = _Adapter(None, views.embed, "a blend of many methods", encoder=views)
        data = load_data(Images(8))
        examples: Any = partial(_pixels, load)

        def read(folder: Path) -> Any:
            return partial(_pixels, partial(decode, folder))
    else:
        adapter, how = _named_for_images(learner, encoder, ink, overrides)
        data = load_data(how)
        examples = data.x

        def read(folder: Path) -> Any:
            return decode(folder, how)

    queries = examples_in(query, read(query))
    pool = examples_in(unlabelled, read(unlabelled), n_suggested) if unlabelled else None
    content = content_hash(support)
    return _adapt_and_predict(
        "image", adapter, examples, data.y, list(data.names), queries, pool, content
    )


def _pixels(load: Callable[[Images], Tensor], how: Images) -> Tensor:
    return load(how).float() / 255


def _named_for_images(
    learner: str | Path | None, encoder: str | None, ink: Ink | None, overrides: Sequence[str]
) -> tuple[_Adapter, Images]:
    """What adapts to images if the user names it, and how it takes them."""
    run = None
    if encoder is None and learner not in METHODS:
        run = load_run(learner or DRAWINGS_RUN, overrides)
    if run and not run[0].data.encoder:
        recipe, made = run
        name = str(learner or DRAWINGS_RUN)
        adapter = _Adapter(made, lambda x: x.float() / 255, name, recipe, run=name)
        return adapter, images_of(recipe, ink)
    if ink or (overrides and run is None):
        raise UsageError("expected --ink and --set only with a run of images, got an encoder")
    adapter, known = _encoded(learner, encoder or IMAGE_ENCODER, EncodedImages, run)
    return adapter, known.images


def _adapt_to_table(
    support: Path,
    query: Path,
    unlabelled: Path | None,
    n_suggested: int,
    learner: str | Path | None,
    encoder: str | None,
    label: str | None,
) -> Adaptation:
    paths = [support, query] + ([unlabelled] if unlabelled else [])
    tables = [read_table(path) for path in paths]
    support_table = tables[0]
    label = label_column(support_table, label, support)
    columns = [name for name in support_table if name != label]
    for path, table in zip(paths, tables, strict=True):
        if absent := [name for name in columns if name not in table]:
            raise DataError(
                f"expected the column {absent[0]!r} in {path} as in {support}, got none"
            )
    labels = support_table[label]
    if empty := [i for i, name in enumerate(labels) if not name.strip()]:
        raise DataError(f"expected a label in every row, got none in row {empty[0] + 1}: {support}")
    classes = sorted(set(labels))
    if len(classes) < 2:
        raise DataError(f"expected at least two classes in {support}, got {classes[0]!r} alone")
    y = torch.tensor([classes.index(name) for name in labels])
    content = hashlib.sha256(support.read_bytes()).hexdigest()
    is_text = len(columns) == 1 and not all(map(is_number, support_table[columns[0]]))
    if not is_text:
        if encoder:
            raise UsageError(f"expected an encoder only with texts, got {encoder} with numbers")
        adapter = _of_numbers(learner, len(columns))
        rows = [numbers(table, columns, path) for table, path in zip(tables, paths, strict=True)]
        queries, *pools = [_Examples(x, [str(i + 1) for i in range(len(x))]) for x in rows[1:]]
        pool = replace(pools[0], n_suggested=n_suggested) if pools else None
        return _adapt_and_predict("row", adapter, rows[0], y, classes, queries, pool, content)
    run = None if learner is None or learner in METHODS or encoder else load_run(learner)
    encoder = encoder or (TEXT_ENCODER if learner else encoder_name("texts"))
    adapter, _ = _encoded(learner, encoder, Encoder, run)
    texts = [table[columns[0]] for table in tables]
    for path, column in zip(paths, texts, strict=True):
        if blank := [i for i, text in enumerate(column) if not text.strip()]:
            raise DataError(f"expected a text in every row, got none in row {blank[0] + 1}: {path}")
    queries, *pools = [_Examples(column, column) for column in texts[1:]]
    pool = replace(pools[0], n_suggested=n_suggested) if pools else None
    return _adapt_and_predict("text", adapter, texts[0], y, classes, queries, pool, content)


def _method(learner: str | Path | None) -> str | None:
    if learner is not None and learner not in METHODS:
        raise UsageError(f"expected a method for vectors ({', '.join(METHODS)}), got {learner}")
    return None if learner is None else str(learner)


def _of_numbers(learner: str | Path | None, n_columns: int) -> _Adapter:
    """A method for vectors, or the learner of a run on vectors or series, whose numbers lie in the
    columns in their order."""
    if learner is None or learner in METHODS:
        return _Adapter(_method(learner), lambda x: x, str(learner or "a blend of many methods"))
    recipe, made = load_run(learner)
    data = recipe.data
    if data.encoder or data.of_images or data.of_texts or data.is_regression:
        raise UsageError(
            f"expected a method for vectors ({', '.join(METHODS)}) or a run trained on vectors or "
            f"series, got {learner}, which was trained on {data.name}"
        )
    if n_columns != math.prod(data.shape):
        raise DataError(
            f"expected {math.prod(data.shape)} columns of numbers, as {learner} was trained on "
            f"examples of shape {data.shape}, got {n_columns}"
        )
    name = str(learner)
    return _Adapter(made, lambda x: x.float().view(-1, *data.shape), name, recipe, run=name)


def _encoded(
    learner: str | Path | None,
    encoder: str,
    kind: type[_E],
    run: tuple[Recipe, Learner] | None,
) -> tuple[_Adapter, _E]:
    """A method of what a named encoder makes, or a run's learner of what that of its training
    makes."""
    if run is None:
        recipe, method = None, _method(learner)
    else:
        recipe, method = run
        if recipe.data.encoder is None:
            raise UsageError(
                f"expected a method for vectors ({', '.join(METHODS)}) or a run trained on what an "
                f"encoder makes, got {learner}"
            )
        encoder = recipe.data.encoder
    known = named_encoder(encoder)
    if not isinstance(known, kind):
        what = "images" if kind is EncodedImages else "texts"
        raise UsageError(f"expected an encoder of {what}, got {encoder}")
    embed: Any = known.encoder if isinstance(known, EncodedImages) else known
    about = f"{learner or 'a blend of many methods'} on {encoder}"
    place = None if run is None else learner
    return _Adapter(method, embed, about, recipe, embed, encoder, place), known


def _adapt_and_predict(
    kind: Literal["image", "text", "row"],
    adapter: _Adapter,
    support: Any,
    y: Tensor,
    classes: list[str],
    query: _Examples,
    pool: _Examples | None,
    content: str,
) -> Adaptation:
    """Adapt, and predict."""
    x, queries = adapter.embed(support), adapter.embed(query.x)
    learner, temperature, n_way = adapter.learner, 1.0, len(classes)
    reason, pool_use = "", None
    if learner is None or isinstance(learner, str):
        x, queries = x.double(), queries.double()
    unlabelled = adapter.embed(pool.x).to(x) if pool else None
    task = Support(x, y, n_way, unlabelled=unlabelled)
    suggested: list[str] = []
    of_run = learner if isinstance(learner, Learner) else None
    notes = support_notes(task, classes, of_run, adapter.run, of_numbers=kind == "row")
    with torch.no_grad():
        if learner is None:
            blend = default_blend(
                GATE_KINDS[kind], adapter.encoder, x.shape[1], adapter.encoder_name
            )
            predictor = blend.adapt(task)
            explained = explain(predictor)
            reason, pool_use = str(explained), explained.unlabelled
            if pool and unlabelled is not None and pool.n_suggested:
                probabilities = predictor(unlabelled).softmax(1)
                rows = choose_to_label(
                    unlabelled, pool.n_suggested, blend, task, predictor, probabilities
                )
                suggested = [pool.names[row] for row in rows.tolist()]
        else:
            if isinstance(learner, str):
                learner = make_method(learner)
                if int(y.bincount().min()) > 1:
                    left_out = scores_left_out(learner.adapt, task)
                    temperature = fit_temperature([left_out])
            predictor = learner.adapt(task)
        scores = predictor(queries)
    scores = check_finite(scores, adapter.about) / temperature
    predictions = [
        Prediction(
            example,
            classes[int(row.argmax())],
            dict(zip(classes, [round(p, 6) for p in row.tolist()], strict=True)),
        )
        for example, row in zip(query.names, scores.softmax(1), strict=True)
    ]
    shots = len(y) / n_way
    return Adaptation(
        kind,
        adapter.about,
        adapter.recipe,
        adapter.seen,
        n_way,
        shots,
        content,
        predictions,
        reason,
        pool_use,
        suggested,
        notes,
    )


def as_table(adaptation: Adaptation) -> dict[str, list[Any]]:
    """Predictions as columns: the example, its label, and the probability of each class."""
    predictions = adaptation.predictions
    table: dict[str, list[Any]] = {
        adaptation.kind: [readable(p.example) for p in predictions],
        "label": [readable(p.label) for p in predictions],
    }
    for name in predictions[0].probabilities:
        table[f"p({readable(name)})"] = [p.probabilities[name] for p in predictions]
    return table
