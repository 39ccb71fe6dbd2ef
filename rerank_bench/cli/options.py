"""Options that several commands share, and the choices that the command line offers.

Kept free of heavy imports: ``--help`` must not load numpy, torch or pandas.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer


class ViewChoice(StrEnum):
    """The views of docs/protocol.md, section 4."""

    end_to_end = "end_to_end"
    injected = "injected"
    retrieved = "retrieved"


class DtypeChoice(StrEnum):
    """Floating-point widths of a model's trunk; its head and the scores are float32 always."""

    auto = "auto"
    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"


class EngineChoice(StrEnum):
    """Where models run."""

    local = "local"
    ray = "ray"


class ShapeChoice(StrEnum):
    """What a rerank endpoint is sent."""

    auto = "auto"
    documents = "documents"
    texts = "texts"


MODEL_PANEL = "The model"
CLUSTER_PANEL = "A Ray cluster"
ENDPOINT_PANEL = "A rerank endpoint"
OUTPUT_PANEL = "Results"

Json = Annotated[
    bool, typer.Option("--json", help="Print JSON on stdout instead of a table.", rich_help_panel=OUTPUT_PANEL)
]
Quiet = Annotated[
    bool,
    typer.Option(
        "--quiet", "-q", help="No progress and no notes; errors are still shown.", rich_help_panel=OUTPUT_PANEL
    ),
]
Datasets = Annotated[
    list[str] | None, typer.Option("--dataset", "-d", metavar="NAME|FOLDER", help="Data set or folder; repeatable.")
]
Suites = Annotated[
    list[str] | None, typer.Option("--suite", "-s", metavar="NAME", help="Suite of data sets; repeatable.")
]
Depth = Annotated[str, typer.Option(metavar="N", help="Documents that the first stage keeps per query.")]
Depths = Annotated[
    str,
    typer.Option(
        metavar="N[,N…]",
        help="Documents that the first stage keeps per query; several, such as 10,20,50,100, cost one scoring pass, at the "
        "greatest, and give a run folder each: MODEL@10, MODEL@20 …",
    ),
]
Split = Annotated[str, typer.Option(metavar="NAME", help="Split of a BEIR folder: qrels/NAME.tsv.")]
FirstStage = Annotated[
    str,
    typer.Option(
        metavar="NAME|RUN",
        help="bm25 (Lucene variant, stemmed), rank-bm25 (Okapi, as that package scores), published (the pinned NanoBEIR "
        "lists), dense:MODEL (exact search with a bi-encoder; a hub id may end in @REVISION), fusion:A+B (reciprocal ranks), "
        "or a TREC run file.",
    ),
]
Measures = Annotated[
    list[str] | None,
    typer.Option("--measure", metavar="NAME", help="An ir-measures name beside the standard set; repeatable."),
]
View = Annotated[
    ViewChoice,
    typer.Option(metavar="VIEW", help="The view that tables lead with: end_to_end, injected or retrieved."),
]
Device = Annotated[
    str, typer.Option(metavar="NAME", help="auto, cpu, cuda, cuda:N or mps.", rich_help_panel=MODEL_PANEL)
]
Dtype = Annotated[
    DtypeChoice,
    typer.Option(
        metavar="NAME",
        help="Width of the trunk: auto (bfloat16 on CUDA, float32 elsewhere), float32, bfloat16 or float16.",
        rich_help_panel=MODEL_PANEL,
    ),
]
MaxLength = Annotated[
    int | None,
    typer.Option(
        metavar="N", min=1, help="Tokens per pair; default: what the checkpoint says.", rich_help_panel=MODEL_PANEL
    ),
]
BatchTokens = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        min=1,
        help="Padded tokens per batch; default: chosen for the device.",
        rich_help_panel=MODEL_PANEL,
    ),
]
Family = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Overrides the family that the checkpoint's files state, such as sequence-classifier, bi-encoder or onnx.",
        rich_help_panel=MODEL_PANEL,
    ),
]
Revision = Annotated[
    str | None,
    typer.Option(
        metavar="REV",
        help="Revision of a hub model: commit, tag or branch; of an endpoint: what you call its deployment.",
        rich_help_panel=MODEL_PANEL,
    ),
]
TrustRemoteCode = Annotated[
    bool,
    typer.Option(
        "--trust-remote-code",
        help="Let the checkpoint run Python code of its own; of a hub model, at --revision COMMIT only.",
        rich_help_panel=MODEL_PANEL,
    ),
]
Devices = Annotated[
    str | None,
    typer.Option(
        metavar="LIST",
        help="Several devices of this machine, a process on each, with the same scores: CUDA devices such as 0,1,2,3, or "
        "cpu,cpu.",
        rich_help_panel=MODEL_PANEL,
    ),
]
Engine = Annotated[
    EngineChoice,
    typer.Option(
        metavar="NAME",
        help="local: this machine; ray: the workers of a Ray cluster, with the same scores (docs/cluster.md).",
        rich_help_panel=CLUSTER_PANEL,
    ),
]
RayAddress = Annotated[
    str | None,
    typer.Option(
        metavar="HOST:PORT",
        help="Head node of the cluster, or auto: that of this machine. Default: RAY_ADDRESS, else auto, else a Ray for "
        "this run alone.",
        rich_help_panel=CLUSTER_PANEL,
    ),
]
RayCores = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        min=1,
        help="Cores, and threads of torch, of each worker; default: on a CPU as many as torch would use here, on a GPU 1.",
        rich_help_panel=CLUSTER_PANEL,
    ),
]
MeasureLatency = Annotated[
    bool,
    typer.Option(
        "--measure-latency",
        help="Also time single queries (up to 100 per data set): one list alone, from texts to scores.",
    ),
]
CheckDtype = Annotated[
    DtypeChoice | None,
    typer.Option(
        metavar="NAME",
        help="Also score up to 100 queries per data set in this precision, such as float32, and say how far both rank alike.",
        rich_help_panel=MODEL_PANEL,
    ),
]
Instruction = Annotated[
    str | None,
    typer.Option(
        metavar="TEXT",
        help="Task that a language model, or a classifier with a prompt, is told; default: what its files or template say.",
        rich_help_panel=MODEL_PANEL,
    ),
]
Template = Annotated[
    str | None,
    typer.Option(
        metavar="NAME|FILE",
        help="Prompt of a language model or a classifier: qwen3-reranker, mxbai-rerank-v2, bge-reranker-v2-gemma, monot5, or a text file "
        "with {query} and {document}; pair: none, for classifiers; default: what the checkpoint's files say.",
        rich_help_panel=MODEL_PANEL,
    ),
]
PositiveToken = Annotated[
    str | None,
    typer.Option(metavar="TOKEN", help="A language model's answer that means relevant.", rich_help_panel=MODEL_PANEL),
]
NegativeToken = Annotated[
    str | None,
    typer.Option(metavar="TOKEN", help="Its answer that means not relevant.", rich_help_panel=MODEL_PANEL),
]
CodeRevision = Annotated[
    str | None,
    typer.Option(
        metavar="COMMIT",
        help="Commit of that code where it lies in another repository, as that of gte-multilingual does.",
        rich_help_panel=MODEL_PANEL,
    ),
]
PositiveLabel = Annotated[
    str | None,
    typer.Option(
        metavar="LABEL",
        help="Name or index of a classifier's label that means relevant; needed with more than two labels.",
        rich_help_panel=MODEL_PANEL,
    ),
]
ExternalModel = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Model that the endpoint is asked for; also what follows # in its address. The key is read from the "
        "environment variable RERANK_BENCH_API_KEY.",
        rich_help_panel=ENDPOINT_PANEL,
    ),
]
ExternalShape = Annotated[
    ShapeChoice,
    typer.Option(
        metavar="NAME",
        help="documents (Cohere, Jina, vLLM), texts (Text Embeddings Inference), or auto: one or two small requests "
        "find out.",
        rich_help_panel=ENDPOINT_PANEL,
    ),
]
ExternalDocs = Annotated[
    int, typer.Option(metavar="N", min=1, help="Documents per request at most.", rich_help_panel=ENDPOINT_PANEL)
]
ExternalConcurrency = Annotated[
    int, typer.Option(metavar="N", min=1, help="Requests in flight at most.", rich_help_panel=ENDPOINT_PANEL)
]
ExternalTimeout = Annotated[
    float,
    typer.Option(
        metavar="SECONDS",
        help="Wait for the endpoint before the request is sent again.",
        rich_help_panel=ENDPOINT_PANEL,
    ),
]
