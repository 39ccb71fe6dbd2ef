"""``rerank-bench mine``: hard negatives for queries with positives."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from rerank_bench.cli import options
from rerank_bench.cli import train_options as given
from rerank_bench.cli.console import command, print_json, stdout_console

WHAT_PANEL = "What is mined"
CHOICE_PANEL = "Which candidates become negatives"


class MinedShapeChoice(StrEnum):
    """What a row of the output holds."""

    pairs = "pairs"
    lists = "lists"
    triplets = "triplets"
    tuples = "tuples"


class SamplingChoice(StrEnum):
    """How negatives are taken from the candidates that are left."""

    top = "top"
    random = "random"


class ScoreScaleChoice(StrEnum):
    """What margins by a rescorer are taken on."""

    auto = "auto"
    logit = "logit"
    probability = "probability"


def mine(
    *,
    out: Annotated[
        Path,
        typer.Option(
            metavar="FILE",
            help="Training data to write: .jsonl, .csv, .tsv (either also .gz) or .parquet; by its ending.",
        ),
    ],
    data: Annotated[
        list[str] | None,
        typer.Option(
            "--data",
            metavar="FILE|NAME",
            help="Queries with positives: JSONL, CSV, TSV or Parquet files in any shape that train reads, or pairs without "
            "labels, all positive; or one hub data set owner/name.",
            rich_help_panel=WHAT_PANEL,
        ),
    ] = None,
    data_config: given.DataConfig = None,
    data_split: given.DataSplit = None,
    data_revision: given.DataRevision = None,
    columns: given.ColumnNames = None,
    dataset: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="In the place of --data: a data set, whose queries are paired with what is judged relevant.",
            rich_help_panel=WHAT_PANEL,
        ),
    ] = None,
    split: options.Split = "test",
    corpus: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|NAME",
            help="Texts to find negatives in, beside the positives: a file or a data set; default: the data set's "
            "collection, or all documents of the data.",
            rich_help_panel=WHAT_PANEL,
        ),
    ] = None,
    corpus_column: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Column of a corpus file with the texts.", rich_help_panel=WHAT_PANEL),
    ] = None,
    shape: Annotated[
        MinedShapeChoice, typer.Option(metavar="NAME", help="pairs, lists, triplets or tuples (1 + N a row).")
    ] = MinedShapeChoice.pairs,
    scores: Annotated[
        bool, typer.Option("--scores", help="Write scores instead of labels 1 and 0: a teacher's, for distillation.")
    ] = False,
    retriever: Annotated[
        str, typer.Option(metavar="SPEC", help="bm25, or a bi-encoder whose exact nearest neighbours are taken.")
    ] = "bm25",
    rescorer: Annotated[
        str | None,
        typer.Option(metavar="SPEC", help="Any model; its scores take the place of the retriever's."),
    ] = None,
    score_scale: Annotated[
        ScoreScaleChoice,
        typer.Option(
            metavar="NAME",
            help="Of the rescorer's scores: logit, probability (sigmoid), or auto: as its files ask Sentence Transformers to do.",
        ),
    ] = ScoreScaleChoice.auto,
    num_negatives: Annotated[
        int, typer.Option("--negatives", metavar="N", help="Negatives per query.", rich_help_panel=CHOICE_PANEL)
    ] = 5,
    range_min: Annotated[
        int, typer.Option(metavar="N", help="Skip so many candidates from the top.", rich_help_panel=CHOICE_PANEL)
    ] = 0,
    range_max: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Rank of the last candidate; default: as many as are needed.",
            rich_help_panel=CHOICE_PANEL,
        ),
    ] = None,
    absolute_margin: Annotated[
        float | None,
        typer.Option(
            metavar="X",
            help="A negative scores at least X less than the lowest positive; below 0: it may score so much more.",
            rich_help_panel=CHOICE_PANEL,
        ),
    ] = None,
    relative_margin: Annotated[
        float | None,
        typer.Option(
            metavar="X",
            help="The same as a share of the positive's score: 0.05 keeps what is at least 5% below it.",
            rich_help_panel=CHOICE_PANEL,
        ),
    ] = None,
    max_score: Annotated[
        float | None, typer.Option(metavar="X", help="Highest score of a negative.", rich_help_panel=CHOICE_PANEL)
    ] = None,
    min_score: Annotated[
        float | None, typer.Option(metavar="X", help="Lowest score of a negative.", rich_help_panel=CHOICE_PANEL)
    ] = None,
    sampling: Annotated[
        SamplingChoice,
        typer.Option(metavar="NAME", help="top (the best ones) or random.", rich_help_panel=CHOICE_PANEL),
    ] = SamplingChoice.top,
    seed: Annotated[int, typer.Option(metavar="N", help="Draws under random.", rich_help_panel=CHOICE_PANEL)] = 12,
    include_positives: Annotated[
        bool,
        typer.Option(
            "--include-positives",
            help="With the shape lists: the ranking as it is, positives where they stand; for evaluation.",
            rich_help_panel=CHOICE_PANEL,
        ),
    ] = False,
    device: options.Device = "auto",
    dtype: Annotated[
        options.DtypeChoice,
        typer.Option(metavar="NAME", help="Precision of the models: auto, float32, bfloat16, float16."),
    ] = options.DtypeChoice.auto,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Find hard negatives: documents that rank high for a query and are not its answer.

    Candidates come from BM25 or a bi-encoder, may be rescored by a cross-encoder, and lose what is a positive of the
    query or too close to one. Queries that get fewer than asked for are counted. The file is what train reads; beside it
    stands FILE.meta.json with what it was made from.
    """
    values = locals()
    with command(quiet=quiet):
        from rerank_bench.cli.render_mine import render_mining
        from rerank_bench.jobs.mine import mine as run_mine

        report = run_mine(_request(values))
        print_json(report.as_dict()) if json else render_mining(stdout_console(), report)


def _request(values: dict[str, Any]) -> Any:
    """Return the request that the options come to."""
    from rerank_bench.jobs.mine import MiningRequest
    from rerank_bench.jobs.mining_sources import SourceRequest
    from rerank_bench.training.mined import OutputForm
    from rerank_bench.training.negatives import NegativeChoice
    from rerank_bench.training.request import DataRequest

    plain = {name: getattr(value, "value", value) for name, value in values.items()}
    data = None
    if any(plain[name] is not None for name in ("data", "data_config", "data_split", "data_revision", "columns")):
        data = DataRequest(
            sources=tuple(plain["data"] or ()),
            config=plain["data_config"],
            split=plain["data_split"] or "train",
            revision=plain["data_revision"],
            columns=tuple(plain["columns"] or ()),
        )
    names = ("dataset", "split", "corpus", "corpus_column")
    return MiningRequest(
        source=SourceRequest(data=data, **{name: plain[name] for name in names}),
        form=OutputForm(path=plain["out"], shape=plain["shape"], with_scores=plain["scores"]),
        choice=NegativeChoice(**{name: plain[name] for name in NegativeChoice.__dataclass_fields__}),
        retriever=plain["retriever"],
        rescorer=plain["rescorer"],
        score_scale=plain["score_scale"],
        scorer={name: plain[name] for name in ("device", "dtype")},
    )
