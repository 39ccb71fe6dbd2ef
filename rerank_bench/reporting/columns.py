"""The header of the CSV leaderboard: every column's name, type and meaning, and how a field is written and read.

``docs/leaderboard.md`` shows the same list to users; a test compares the two.  A number is written with the shortest
digits that read back as the same float64, so a table rendered from the CSV shows the digits of ``result.json``.
"""

from __future__ import annotations

import math
import operator
from typing import Any, Literal, NamedTuple

Row = dict[str, Any]
"""Column name -> value: ``str`` ("" where there is none) for text, ``int`` / ``float`` or ``None`` for numbers."""

PRIMARY_MEASURE = "nDCG@10"
MEASURE_COLUMNS: dict[str, str] = {
    "nDCG@10": "ndcg_at_10",
    "RR@10": "rr_at_10",
    "AP": "ap",
    "R@100": "r_at_100",
    "P@1": "p_at_1",
    "Judged@10": "judged_at_10",
}
"""Printed name of a standard measure -> its column; other measures stand in ``result.json`` only."""

FIRST_STAGE_SUFFIX = "_first_stage"


class LeaderboardColumn(NamedTuple):
    """One column of the CSV file."""

    name: str
    kind: Literal["text", "integer", "number"]
    meaning: str
    is_required: bool = False


def _measure_columns() -> list[LeaderboardColumn]:
    columns = []
    for measure, name in MEASURE_COLUMNS.items():
        is_primary = measure == PRIMARY_MEASURE
        columns += [
            LeaderboardColumn(name, "number", f"{measure} of the reranked run", is_required=is_primary),
            LeaderboardColumn(
                f"{name}{FIRST_STAGE_SUFFIX}", "number", f"{measure} of the first stage", is_required=is_primary
            ),
        ]
        if is_primary:
            columns += [
                LeaderboardColumn("delta", "number", f"{measure}: reranked minus first stage", is_required=True),
                LeaderboardColumn("ci_low", "number", "lower end of the 95% interval of the delta"),
                LeaderboardColumn("ci_high", "number", "upper end of the 95% interval of the delta"),
                LeaderboardColumn("p", "number", "two-sided sign-flip p-value of the delta"),
                LeaderboardColumn("ceiling", "number", f"{measure} of the ideal order of the same candidates"),
                LeaderboardColumn("headroom_used", "number", "delta / (ceiling − first stage)"),
                LeaderboardColumn("mde", "number", "smallest true delta that this many queries show with 80% power"),
            ]
    return columns


COLUMNS: tuple[LeaderboardColumn, ...] = (
    LeaderboardColumn("kind", "text", "`dataset`, or `suite` for the unweighted mean of several", is_required=True),
    LeaderboardColumn("dataset", "text", "name of the data set or of the suite", is_required=True),
    LeaderboardColumn("view", "text", "`end_to_end`, `injected` or `retrieved`", is_required=True),
    LeaderboardColumn("model", "text", "name of the model or of the baseline", is_required=True),
    LeaderboardColumn("family", "text", "how the model scores; `baseline` for the baselines", is_required=True),
    LeaderboardColumn("revision", "text", "revision of the model on the hub"),
    LeaderboardColumn(
        "weights_fingerprint",
        "text",
        "SHA-256 of the model's weights and tokenizer; of a stored run's file, a function's source, an endpoint's address",
    ),
    LeaderboardColumn("num_parameters", "integer", "number of the model's parameters"),
    LeaderboardColumn("max_length", "integer", "longest input, in tokens"),
    LeaderboardColumn("dtype", "text", "number type of the model's trunk"),
    LeaderboardColumn("device", "text", "device that scored"),
    LeaderboardColumn("positive_label", "text", "label that means relevant, of a model with several"),
    LeaderboardColumn("instruction", "text", "task that a model asked in words was told"),
    LeaderboardColumn(
        "prompt_fingerprint", "text", "SHA-256 of such a model's template, without the instruction, and answer tokens"
    ),
    LeaderboardColumn("protocol_version", "integer", "version of docs/protocol.md", is_required=True),
    LeaderboardColumn("corpus_fingerprint", "text", "SHA-256 of the documents", is_required=True),
    LeaderboardColumn("queries_fingerprint", "text", "SHA-256 of the queries", is_required=True),
    LeaderboardColumn("qrels_fingerprint", "text", "SHA-256 of the judgements", is_required=True),
    LeaderboardColumn("candidates_fingerprint", "text", "SHA-256 of the ordered candidate ids", is_required=True),
    LeaderboardColumn("first_stage", "text", "name of the first stage", is_required=True),
    LeaderboardColumn("depth", "integer", "number of candidates kept per query", is_required=True),
    LeaderboardColumn("num_queries", "integer", "queries that the means run over", is_required=True),
    LeaderboardColumn("num_pairs", "integer", "(query, document) pairs scored", is_required=True),
    *_measure_columns(),
    LeaderboardColumn("ties_share", "number", "share of queries in which a tie crosses rank 10"),
    LeaderboardColumn("truncated_share", "number", "share of the pairs cut to the longest length"),
    LeaderboardColumn(
        "score_seconds",
        "number",
        "seconds of tokenising and scoring the data sets of the run, which are scored together; empty for the smaller "
        "depths of a sweep",
    ),
    LeaderboardColumn(
        "pairs_per_second",
        "number",
        "pairs per second over those seconds; empty if all scores were stored before",
    ),
    LeaderboardColumn("tokens_per_second", "number", "tokens per second over those seconds"),
    LeaderboardColumn("datasets", "text", "names of a suite's data sets, joined by `;`"),
    LeaderboardColumn("machine", "text", "processor, cores and system"),
    LeaderboardColumn("versions", "text", "`name=version` of the libraries, joined by `;`"),
    LeaderboardColumn("commit", "text", "commit of rerank-bench, if it ran from a checkout"),
    LeaderboardColumn("utc_time", "text", "when the run ended"),
    LeaderboardColumn("run_folder", "text", "folder of the run's files"),
    LeaderboardColumn("command", "text", "command line of the run"),
)
HEADER: tuple[str, ...] = tuple(column.name for column in COLUMNS)
COLUMN_BY_NAME = {column.name: column for column in COLUMNS}

COMPARABILITY_COLUMNS = (
    "protocol_version",
    "depth",
    "corpus_fingerprint",
    "queries_fingerprint",
    "qrels_fingerprint",
    "candidates_fingerprint",
)
"""Values of one data set stand in one table column only where these agree (protocol, section 7)."""

MODEL_COLUMNS = (
    "model",
    "family",
    "weights_fingerprint",
    "max_length",
    "dtype",
    "device",
    "positive_label",
    "instruction",
    "prompt_fingerprint",
)
"""What makes two rows rows of the same model; baselines leave all but name and family empty."""

KEY_COLUMNS = ("kind", "dataset", *COMPARABILITY_COLUMNS, "view", *MODEL_COLUMNS)
"""A new row replaces the one with the same values here."""


TIMED_COLUMNS = ("score_seconds", "pairs_per_second", "tokens_per_second")
"""Known only when pairs were really scored, not taken from the score store."""


def format_field(column: LeaderboardColumn, value: Any) -> str:
    """Return a value as it is written into the CSV file.

    Raises:
        ValueError: The value is missing but required, or is not of the column's type; the message says which.
    """
    if value is None or value == "":
        if column.is_required:
            msg = f"column {column.name!r} is empty, expected {_expected(column)}"
            raise ValueError(msg)
        return ""
    try:
        if column.kind == "text":
            text = str(value)
        elif column.kind == "integer":
            text = str(operator.index(value))
        else:
            text = repr(_finite(value))
    except (TypeError, ValueError) as error:
        msg = f"column {column.name!r} is {value!r}, expected {_expected(column)}"
        raise ValueError(msg) from error
    return text


def parse_field(column: LeaderboardColumn, text: str) -> str | int | float | None:
    """Return the value of a field of the CSV file; the inverse of ``format_field``.

    Raises:
        ValueError: The field is empty but required, or does not read as the column's type.
    """
    if text == "" and column.is_required:
        msg = f"column {column.name!r} is empty, expected {_expected(column)}"
        raise ValueError(msg)
    if column.kind == "text":
        return text
    if text == "":
        return None
    try:
        return int(text) if column.kind == "integer" else _finite(text)
    except ValueError as error:
        msg = f"column {column.name!r} is {text!r}, expected {_expected(column)}"
        raise ValueError(msg) from error


def _expected(column: LeaderboardColumn) -> str:
    return {"text": "a text", "integer": "a whole number", "number": "a finite number"}[column.kind]


def _finite(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number):
        msg = "not finite"
        raise ValueError(msg)
    return number
