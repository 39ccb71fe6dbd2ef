"""``rerank-bench classify``: a model on labelled pairs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rerank_bench.cli import options
from rerank_bench.cli import train_options as given
from rerank_bench.cli.console import command, print_json, stdout_console


def classify(
    *,
    model: Annotated[
        str,
        typer.Option(
            "--model", "-m", metavar="SPEC", help="demo, a folder, a hub id, module:callable or a rerank endpoint."
        ),
    ],
    pairs: Annotated[
        Path,
        typer.Option(metavar="FILE", help="Pairs with labels: JSONL, CSV, TSV or Parquet, as train reads them."),
    ],
    dev: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Other pairs, to choose thresholds on: the honest way."),
    ] = None,
    columns: given.ColumnNames = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write result.json, precision-recall.png and calibration.png there."),
    ] = None,
    positive_label: options.PositiveLabel = None,
    revision: options.Revision = None,
    trust_remote_code: options.TrustRemoteCode = False,
    max_length: options.MaxLength = None,
    device: options.Device = "auto",
    dtype: options.Dtype = options.DtypeChoice.auto,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Measure a model on labelled pairs: average precision, ROC AUC, accuracy and F1, calibration; F1 by label.

    Every threshold says where it comes from: fixed at probability 0.5, chosen on these very pairs (which flatters), or on
    the dev pairs.
    """
    with command(quiet=quiet):
        from rerank_bench.cli.render_classify import render_classified
        from rerank_bench.jobs.classify import ClassifyRequest
        from rerank_bench.jobs.classify import classify as run_classify

        scorer = {
            "positive_label": positive_label,
            "revision": revision,
            "trust_remote_code": trust_remote_code,
            "max_length": max_length,
            "device": device,
            "dtype": dtype.value,
        }
        request = ClassifyRequest(
            model=model, pairs=pairs, dev=dev, columns=tuple(columns or ()), out=out, scorer=scorer
        )
        classified = run_classify(request)
        print_json(classified.result) if json else render_classified(stdout_console(), classified)
