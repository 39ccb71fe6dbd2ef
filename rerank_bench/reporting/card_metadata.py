"""The front matter of a card, as the hub reads it: tags, base model, data sets, and the values as a model index."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from rerank_bench.reporting.card_classification import classification_values
from rerank_bench.reporting.card_values import SHOWN_MEASURES, measure_name, views_of

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

    from rerank_bench.reporting.model_card import CardFacts

HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
TASK = "text-ranking"
_TAGS = {
    "sequence-classifier": ("cross-encoder", "reranker"),
    "onnx": ("cross-encoder", "reranker", "onnx"),
    "causal-lm": ("reranker",),
    "seq2seq": ("reranker",),
    "bi-encoder": ("bi-encoder",),
    "static-embedding": ("bi-encoder",),
    "late-interaction": ("late-interaction",),
}
_RERANKERS = frozenset({"sequence-classifier", "onnx", "causal-lm", "seq2seq"})
"""Families that do nothing but rank texts; an encoder's task on the hub is its authors' to say."""
_METRIC_TYPES = {"AP": "map", "RR@10": "mrr@10", "nDCG@10": "ndcg@10", "P@1": "precision@1"}
_DIGITS = 6


def render_metadata(facts: CardFacts) -> str:
    """Return the front matter between its two lines of ``---``.

    Licence and language are not known here and are left out.  Limited runs stay out of the model index.
    """
    from huggingface_hub import ModelCardData

    values = [value for result in facts.results if result["comparable"] for value in _values(result)]
    fields: dict[str, Any] = {"tags": [*_TAGS.get(facts.family, ()), "rerank-bench"]}
    if facts.family in _RERANKERS:
        fields["pipeline_tag"] = TASK
    if facts.training is not None:
        fields |= {"library_name": "transformers", "base_model": facts.training.base_hub_id}
        fields["datasets"] = [facts.training.data_hub_id] if facts.training.data_hub_id else None
        fields["tags"].insert(0, f"loss:{facts.training.loss['name']}")
    if facts.classification is not None:
        hub_id = facts.training.data_hub_id if facts.training is not None else None
        pairs = PurePath(str(facts.classification["pairs"])).name
        values += classification_values(facts.classification, dataset_type=hub_id or pairs)
    if values:
        fields |= {"model_name": facts.name, "eval_results": values}
    return f"---\n{ModelCardData(**fields).to_yaml()}\n---\n"


def _values(result: Mapping[str, Any]) -> Iterator[EvalResult]:
    """Yield every value of the views that the card shows; a metric's arguments say which view it is of."""
    for name, block in result["datasets"].items():
        source = block["source"]
        yield from _block_values(
            result,
            block,
            dataset_type=str(source.get("repository", name)),
            dataset_name=name,
            dataset_split=source.get("split"),
            dataset_revision=source.get("commit"),
        )
    for name, block in result["suites"].items():
        count = len(block["datasets"])
        yield from _block_values(result, block, dataset_type=name, dataset_name=f"{name} (mean of {count} data sets)")


def _block_values(result: Mapping[str, Any], block: Mapping[str, Any], **dataset: Any) -> Iterator[EvalResult]:
    from huggingface_hub import EvalResult

    members = [result["datasets"][name] for name in block.get("datasets", ())] or [block]
    conditions = {
        "first_stage": "+".join(dict.fromkeys(member["first_stage"].get("name", "unknown") for member in members)),
        "depth": max(member["depth"] for member in members),
        "protocol": result["protocol_version"],
    }
    for view in views_of(result):
        measures = block["views"][view]["measures"]
        for measure in SHOWN_MEASURES[view]:
            if measure not in measures:
                continue
            summary = measures[measure]
            arguments = {"view": view, **conditions, "gain": round(summary["delta"], _DIGITS)}
            if summary.get("ci") is not None:
                arguments["gain_95_percent"] = [round(end, _DIGITS) for end in summary["ci"]]
            yield EvalResult(
                task_type=TASK,
                task_name="Reranking",
                metric_type=_METRIC_TYPES[measure],
                metric_name=f"{measure_name(measure, view)} ({view})",
                metric_value=round(summary["reranked"], _DIGITS),
                metric_args=arguments,
                **dataset,
            )
