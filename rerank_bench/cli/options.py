"""Options that several commands share, and the choices that the command line offers.

Kept free of heavy imports: ``--help`` must not load numpy, torch or pandas.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
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


Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout instead of a table.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no notes; errors are still shown.")]
Depth = Annotated[int, typer.Option(min=1, help="Documents that the first stage keeps per query.")]
Split = Annotated[str, typer.Option(help="Split of a BEIR folder: qrels/SPLIT.tsv.")]
FirstStage = Annotated[
    str,
    typer.Option(
        metavar="NAME|RUN.trec",
        help="bm25 (Lucene variant, stemmed), rank-bm25 (Okapi, as that package scores), "
        "published (the pinned NanoBEIR lists), or a TREC run file.",
    ),
]
Measures = Annotated[
    list[str] | None,
    typer.Option("--measure", metavar="NAME", help="An ir-measures name beside the standard set; repeatable."),
]
View = Annotated[ViewChoice, typer.Option(help="The view that tables lead with.")]
OutFolder = Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Folder for the results.")]
