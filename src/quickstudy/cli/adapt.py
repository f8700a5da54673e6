"""The command that adapts to examples and predicts: adapt."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from quickstudy.cli.experience import Forget, keep
from quickstudy.cli.options import Overrides, complete_encoder
from quickstudy.cli.output import Json, json_text, say

commands = typer.Typer()

Ink = Literal["dark", "bright"]


def _complete_learner(incomplete: str) -> list[str]:
    from quickstudy.apps.fewshot.methods import METHODS
    from quickstudy.experiments.run import SHIPPED

    folders = [str(path.parent) for path in Path().glob(f"{incomplete}*/recipe.json")]
    return [name for name in (*SHIPPED, *METHODS) if name.startswith(incomplete)] + folders


LearnerName = Annotated[
    str | None,
    typer.Argument(
        help="A run folder, a shipped run (handwriting, glyphs) or a method without "
        "meta-training (ridge, gaussian_classes, ...). Default: chosen to fit the examples.",
        autocompletion=_complete_learner,
    ),
]
SupportPath = Annotated[
    Path,
    typer.Option(
        help="The labelled examples: a folder (or zip) with a folder of images for each class, "
        "or a .csv, .tsv or .parquet table of texts or numbers with a column of labels."
    ),
]
QueryPath = Annotated[Path, typer.Option(help="What to predict: images, or a table.")]
UnlabelledPath = Annotated[
    Path | None,
    typer.Option(
        help="More examples to learn from, without labels: images, or a table. A few of "
        "other classes do little harm."
    ),
]
Suggest = Annotated[
    int,
    typer.Option(min=0, help="Name this many of the unlabelled examples to label next."),
]
OutputPath = Annotated[
    Path | None,
    typer.Option(help="Write the predictions to this .csv, .json or .parquet file."),
]
PicturePath = Annotated[
    Path | None,
    typer.Option(help="Draw the images with their predicted classes to this .png file."),
]
EncoderName = Annotated[
    str | None,
    typer.Option(
        help="Pretrained network that embeds the examples: minilm for texts, "
        "efficientnet_lite0 for images. Default: the one that fits, or that of the run.",
        autocompletion=complete_encoder,
    ),
]
LabelColumn = Annotated[
    str | None, typer.Option(help="Name of the column of labels. Default: label or class.")
]
InkOption = Annotated[
    Ink | None,
    typer.Option(
        help="Whether strokes are darker or brighter than the paper. Default: as in training."
    ),
]


@commands.command(
    epilog="Example: quickstudy adapt --support letters/ --query unknown/; "
    "quickstudy adapt ridge --support intents.csv --query new.csv --out answers.parquet"
)
def adapt(
    learner: LearnerName = None,
    support: SupportPath = ...,  # type: ignore[assignment]
    query: QueryPath = ...,  # type: ignore[assignment]
    unlabelled: UnlabelledPath = None,
    suggest: Suggest = 0,
    out: OutputPath = None,
    picture: PicturePath = None,
    encoder: EncoderName = None,
    label: LabelColumn = None,
    ink: InkOption = None,
    overrides: Overrides = None,
    check: Annotated[
        bool, typer.Option(help="Say what looks wrong with the labelled examples.")
    ] = True,
    forget: Forget = False,
    as_json: Json = False,
) -> None:
    """Learn classes from a few examples, and predict new images, texts or rows.

    The learner itself is not changed. Predictions are printed, or written to
    --out.
    """
    from quickstudy.apps.fewshot import adapt as adapting
    from quickstudy.apps.fewshot.remember import remember_adapting
    from quickstudy.errors import UsageError, require
    from quickstudy.files import check_output_file, write_atomically
    from quickstudy.table_files import as_csv

    if out and out.suffix not in (".csv", ".json", ".parquet"):
        raise UsageError(f"expected --out to end in .csv, .json or .parquet, got {out}")
    if picture and picture.suffix != ".png":
        raise UsageError(f"expected --picture to end in .png, got {picture}")
    for path in (out, picture):
        if path:
            check_output_file(path)
    if picture:
        require("matplotlib", "demo")
    if out and out.suffix == ".parquet":
        require("pyarrow", "experience")
    began = datetime.now(UTC)
    adaptation = adapting.adapt(
        support,
        query,
        unlabelled=unlabelled,
        n_suggested=suggest,
        learner=learner,
        encoder=encoder,
        label=label,
        ink=ink,
        overrides=overrides or [],
    )
    print(f"learned {adaptation.ways} classes by {adaptation.learner}", file=sys.stderr)
    if adaptation.reason:
        print(f"chosen: {adaptation.reason}", file=sys.stderr)
    for note in adaptation.notes if check else ():
        print(f"warning: {note}", file=sys.stderr)
    for example in adaptation.suggested:
        print(f"label next: {example}", file=sys.stderr)
    if adaptation.seen:
        print(f"The encoder is {adaptation.seen}.", file=sys.stderr)
    if picture:
        from quickstudy.apps.fewshot.pictures import draw_predictions

        draw_predictions(adaptation, support, query, picture)
        print(f"picture in {picture}", file=sys.stderr)
    table = adapting.as_table(adaptation)
    rows = [
        {adaptation.kind: p.example, "label": p.label, "probabilities": p.probabilities}
        for p in adaptation.predictions
    ]
    if out:
        if out.suffix == ".parquet":
            content = _parquet(table)
        elif out.suffix == ".json":
            content = f"{json_text(rows)}\n".encode()
        else:
            content = as_csv(table).encode()
        write_atomically(out, content)
        print(f"{len(rows)} predictions in {out}", file=sys.stderr)
    if as_json or not out:
        say(rows, as_json, as_csv(table).removesuffix("\n"))
    keep(forget, lambda store: remember_adapting(adaptation, support, store, began=began))


def _parquet(table: dict[str, list[Any]]) -> bytes:
    import io

    import pyarrow as pa
    from pyarrow import parquet

    content = io.BytesIO()
    parquet.write_table(pa.table(table), content)
    return content.getvalue()
