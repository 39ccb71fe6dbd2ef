"""An explanation as JSON-able values: what ``--json`` prints (docs/explain.md describes it)."""

from __future__ import annotations

import dataclasses
from typing import Any

from rerank_bench.evaluation.summaries import measure_to_json
from rerank_bench.forensics.records import DatasetSummary, DocMove, Explanation, QueryExplanation, Slice, Split
from rerank_bench.forensics.wording import describe_query, doc_text, query_text


def explanation_to_json(explanation: Explanation) -> dict[str, Any]:
    """Return the tables over all queries, and the queries that are shown, texts in full."""
    return {
        "kind": explanation.kind,
        "measure": explanation.measure,
        "view": explanation.view,
        "before": explanation.before.long,
        "after": explanation.after.long,
        "settings": {name: list(pair) for name, pair in explanation.settings.items()},
        "mean": None if explanation.mean is None else _summary(explanation.mean),
        "datasets": {entry.name: _summary(entry) for entry in explanation.datasets},
        "shares": {
            share.happening.value: {"queries": share.num_queries, "contribution": share.contribution}
            for share in explanation.shares
        },
        "slices": {
            slicing.title: {label: _slice(part) for label, part in slicing.slices.items()}
            for slicing in explanation.slicings
        },
        "queries": [_query(explanation, query) for query in explanation.queries],
        "notes": list(explanation.notes),
    }


def _summary(entry: DatasetSummary) -> dict[str, Any]:
    fields = measure_to_json(entry.summary)
    # What a record of one run calls so are the two sides here.
    sides = {"before": fields.pop("first_stage"), "after": fields.pop("reranked")}
    fields.pop("headroom_used")
    losses = {"before_loss": _split(entry.before_split), "after_loss": _split(entry.after_split)}
    return {"queries": entry.num_queries, **sides, **fields, **losses}


def _split(split: Split | None) -> dict[str, float] | None:
    if split is None:
        return None
    return {"ideal": split.ideal, "not_retrieved": split.not_retrieved, "misranked": split.misranked}


def _slice(part: Slice) -> dict[str, Any]:
    fields = dataclasses.asdict(part)
    fields["interval"] = None if part.interval is None else list(part.interval)
    return fields


def _query(explanation: Explanation, query: QueryExplanation) -> dict[str, Any]:
    return {
        "dataset": query.dataset,
        "query_id": query.query_id,
        "text": query_text(explanation, query),
        "before": query.before,
        "after": query.after,
        "delta": query.delta,
        "before_loss": _split(query.before_split),
        "after_loss": _split(query.after_split),
        "happening": query.happening.value,
        "why": describe_query(explanation, query),
        "num_relevant": query.num_relevant,
        "best_first_stage_rank": query.best_first_stage_rank,
        "relevant": [_doc(explanation, query, doc) for doc in query.relevant],
        "num_above": query.num_above,
        "num_above_unjudged": query.num_above_unjudged,
        "above": [_doc(explanation, query, doc) for doc in query.above],
    }


def _doc(explanation: Explanation, query: QueryExplanation, doc: DocMove) -> dict[str, Any]:
    return dataclasses.asdict(doc) | {"text": doc_text(explanation, query, doc.doc_id)}
