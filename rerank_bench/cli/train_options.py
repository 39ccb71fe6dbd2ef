"""Options of ``rerank-bench train``: unset means what the preset, or the default recipe, says."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

DATA_PANEL = "Data"
LOSS_PANEL = "Loss"
RECIPE_PANEL = "Recipe"
EVALUATION_PANEL = "Evaluation while training"


class LossChoice(StrEnum):
    """Losses."""

    bce = "bce"
    mse = "mse"
    margin_mse = "margin-mse"
    pairwise_mse = "pairwise-mse"
    lambda_ = "lambda"
    listnet = "listnet"
    cross_entropy = "cross-entropy"


class WeightingChoice(StrEnum):
    """Weights of LambdaLoss."""

    ndcg2pp = "ndcg2++"
    ndcg2 = "ndcg2"
    ndcg1 = "ndcg1"
    lambdarank = "lambdarank"
    none = "none"


class LogBaseChoice(StrEnum):
    """Units of LambdaLoss."""

    binary = "binary"
    natural = "natural"


class PrecisionChoice(StrEnum):
    """Precision of the forward pass."""

    auto = "auto"
    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"


class ScheduleChoice(StrEnum):
    """How the learning rate falls."""

    linear = "linear"
    cosine = "cosine"
    constant_with_warmup = "constant_with_warmup"
    constant = "constant"


class DropChoice(StrEnum):
    """Which contaminated examples are left out."""

    none = "none"
    queries = "queries"
    all = "all"


class LoggerChoice(StrEnum):
    """Where the log goes beside log.csv."""

    tensorboard = "tensorboard"
    wandb = "wandb"
    trackio = "trackio"


class TrainDeviceChoice(StrEnum):
    """Where to train."""

    auto = "auto"
    cpu = "cpu"


def _whole(help_text: str, panel: str) -> typer.models.OptionInfo:
    return typer.Option(metavar="N", min=1, help=help_text, rich_help_panel=panel)  # type: ignore[no-any-return]


Data = Annotated[
    list[str] | None,
    typer.Option(
        "--data",
        metavar="FILE|HUB",
        help="JSONL, CSV, TSV or parquet file, repeatable; a hub data set owner/name; docstrings (of the installed packages); "
        "or gooaq-pairs, msmarco-lists, msmarco-pairs: data of published recipes, built from the hub once.",
        rich_help_panel=DATA_PANEL,
    ),
]
DataConfig = Annotated[
    str | None, typer.Option(metavar="NAME", help="Hub: the configuration.", rich_help_panel=DATA_PANEL)
]
DataSplit = Annotated[
    str | None, typer.Option(metavar="NAME", help="Hub: the split; default: train.", rich_help_panel=DATA_PANEL)
]
DataRevision = Annotated[
    str | None, typer.Option(metavar="REV", help="Hub: commit, tag or branch.", rich_help_panel=DATA_PANEL)
]
ColumnNames = Annotated[
    list[str] | None,
    typer.Option(
        "--columns",
        metavar="ROLE=NAME",
        help="Which column is what: query, document, documents, positive, negative, label; several split by commas. "
        "Default: by their names.",
        rich_help_panel=DATA_PANEL,
    ),
]
FirstRows = Annotated[int | None, _whole("Only so many rows from the start of the data.", DATA_PANEL)]
HeldOut = Annotated[
    str | None,
    typer.Option(
        metavar="N|FILE",
        help="Examples set aside for loss and average precision: their number, or a file.",
        rich_help_panel=DATA_PANEL,
    ),
]
Limit = Annotated[int | None, _whole("Only so many training examples.", DATA_PANEL)]
DropUnusable = Annotated[
    bool | None,
    typer.Option(
        "--drop-unusable",
        help="Leave out empty texts and groups without a difference in labels; they are an error otherwise.",
        rich_help_panel=DATA_PANEL,
    ),
]
DropContaminated = Annotated[
    DropChoice | None,
    typer.Option(
        metavar="WHICH",
        help="Leave out examples with a query (queries), or also a document (all), of the evaluation data sets.",
        rich_help_panel=DATA_PANEL,
    ),
]
Loss = Annotated[
    LossChoice | None,
    typer.Option(
        metavar="NAME",
        help="bce, mse, margin-mse, pairwise-mse, lambda, listnet or cross-entropy; default: bce.",
        rich_help_panel=LOSS_PANEL,
    ),
]
PosWeight = Annotated[
    float | None, typer.Option(metavar="W", help="bce: what a positive counts.", rich_help_panel=LOSS_PANEL)
]
Weighting = Annotated[
    WeightingChoice | None,
    typer.Option(
        metavar="NAME",
        help="lambda: ndcg2++ (default), ndcg2, ndcg1, lambdarank, or none (RankNet).",
        rich_help_panel=LOSS_PANEL,
    ),
]
Sigma = Annotated[
    float | None, typer.Option(metavar="X", help="lambda: steepness; default: 1.", rich_help_panel=LOSS_PANEL)
]
Eps = Annotated[
    float | None,
    typer.Option(metavar="X", help="lambda: lower bound of the ideal DCG; default: 1e-10.", rich_help_panel=LOSS_PANEL),
]
TopK = Annotated[int | None, _whole("lambda: only pairs with a document in the best N.", LOSS_PANEL)]
LogBase = Annotated[
    LogBaseChoice | None,
    typer.Option(metavar="NAME", help="lambda: binary (default) or natural.", rich_help_panel=LOSS_PANEL),
]
BatchSize = Annotated[int | None, _whole("Examples per optimizer step, over all processes; default: 16.", RECIPE_PANEL)]
Accumulation = Annotated[int | None, _whole("Parts that a batch is computed in; divides it.", RECIPE_PANEL)]
MiniBatch = Annotated[int | None, _whole("Pairs per forward pass: memory and speed, not the loss.", RECIPE_PANEL)]
Epochs = Annotated[
    float | None, typer.Option(metavar="X", help="Passes over the data; default: 1.", rich_help_panel=RECIPE_PANEL)
]
MaxSteps = Annotated[int | None, _whole("Optimizer steps at most; the learning rate ends with them.", RECIPE_PANEL)]
LearningRate = Annotated[
    float | None,
    typer.Option("--learning-rate", "--lr", metavar="X", help="Of AdamW; default: 2e-5.", rich_help_panel=RECIPE_PANEL),
]
Schedule = Annotated[
    ScheduleChoice | None,
    typer.Option(
        metavar="NAME",
        help="linear (default), cosine, constant_with_warmup or constant.",
        rich_help_panel=RECIPE_PANEL,
    ),
]
Warmup = Annotated[
    float | None,
    typer.Option(metavar="SHARE", help="Share of the steps; default: 0.1.", rich_help_panel=RECIPE_PANEL),
]
WeightDecay = Annotated[
    float | None, typer.Option(metavar="X", help="Of AdamW; default: 0.", rich_help_panel=RECIPE_PANEL)
]
HeadLearningRate = Annotated[
    float | None,
    typer.Option(
        metavar="X", help="Of head and pooler; default: --learning-rate for all weights.", rich_help_panel=RECIPE_PANEL
    ),
]
Dropout = Annotated[
    float | None,
    typer.Option(
        metavar="SHARE",
        help="Of activations and attention weights; default: the base model's.",
        rich_help_panel=RECIPE_PANEL,
    ),
]
MaxGradNorm = Annotated[
    float | None,
    typer.Option(metavar="X", help="Gradients are scaled down to this norm; default: 1.", rich_help_panel=RECIPE_PANEL),
]
MaxLength = Annotated[int | None, _whole("Tokens per pair; default: what the model's files say.", RECIPE_PANEL)]
Precision = Annotated[
    PrecisionChoice | None,
    typer.Option(
        metavar="NAME",
        help="Of the forward pass: auto (bfloat16 where the device has units for it), float32, bfloat16 or float16.",
        rich_help_panel=RECIPE_PANEL,
    ),
]
FreezeEmbeddings = Annotated[
    bool | None,
    typer.Option(
        "--freeze-embeddings/--no-freeze-embeddings",
        help="Leave the tokens' embeddings as they are: less memory and time, the more the larger the vocabulary.",
        rich_help_panel=RECIPE_PANEL,
    ),
]
CopySegment = Annotated[
    bool | None,
    typer.Option(
        "--copy-segment/--no-copy-segment",
        help="Start the document's segment embedding as the query's: for a base model that has encoded single texts.",
        rich_help_panel=RECIPE_PANEL,
    ),
]
GradientCheckpointing = Annotated[
    bool | None,
    typer.Option(
        "--gradient-checkpointing/--no-gradient-checkpointing",
        help="Less memory, more time.",
        rich_help_panel=RECIPE_PANEL,
    ),
]
GroupByLength = Annotated[
    bool | None,
    typer.Option(
        "--group-by-length/--no-group-by-length",
        help="Batches of similar length: faster, in another order than published recipes have.",
        rich_help_panel=RECIPE_PANEL,
    ),
]
Seed = Annotated[int | None, typer.Option(metavar="N", min=0, help="Default: 12.", rich_help_panel=RECIPE_PANEL)]
LogTo = Annotated[
    list[LoggerChoice] | None,
    typer.Option(
        "--log-to",
        metavar="NAME",
        help="Log to tensorboard, wandb or trackio, too (pip install NAME); repeatable.",
        rich_help_panel=RECIPE_PANEL,
    ),
]
LogSteps = Annotated[int | None, _whole("Steps between lines of log.csv; default: 50.", RECIPE_PANEL)]
Evaluate = Annotated[
    list[str] | None,
    typer.Option(
        "--evaluate",
        metavar="NAME[,…]",
        help="Data set, folder or suite to measure on, repeatable; with view=, first-stage=, depth= or limit= after a "
        "comma; none switches a preset's off.",
        rich_help_panel=EVALUATION_PANEL,
    ),
]
EvalSteps = Annotated[
    int | None, _whole("Steps between evaluations, each with a checkpoint; default: at the end.", EVALUATION_PANEL)
]
EvalDtype = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Precision of its scores, as run --dtype.", rich_help_panel=EVALUATION_PANEL),
]
BestBy = Annotated[
    str | None,
    typer.Option(
        metavar="VALUE",
        help="Keep the checkpoint that is best by: nDCG@10 (the mean), 'NAME nDCG@10', 'NAME RR@10', loss, "
        "average_precision, accuracy or f1; none keeps the last.",
        rich_help_panel=EVALUATION_PANEL,
    ),
]
Patience = Annotated[int | None, _whole("End after so many evaluations without a better value.", EVALUATION_PANEL)]
KeepCheckpoints = Annotated[
    int | None, _whole("Checkpoints that stay beside the best one; default: 2.", EVALUATION_PANEL)
]
