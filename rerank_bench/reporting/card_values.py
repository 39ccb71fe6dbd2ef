"""The values of a card, in the form that cards are read in: one column per data set, the primary measure bold.

The injected view comes first, because it is the one that model cards print; ``end_to_end`` follows, because it is what a
user gets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rerank_bench.reporting.columns import PRIMARY_MEASURE
from rerank_bench.reporting.formatting import MISSING, format_delta, format_value
from rerank_bench.reporting.labels import shorten_datasets
from rerank_bench.reporting.markdown_table import escape_markdown, render_markdown_table

CARD_VIEWS = ("injected", "end_to_end")
PUBLISHED_NAMES = {"AP": "map", "RR@10": "mrr@10", "nDCG@10": "ndcg@10"}
"""What cards call the measures of the two views that reproduce their evaluator."""
SHOWN_MEASURES = {
    "injected": ("AP", "RR@10", "nDCG@10"),
    "retrieved": ("AP", "RR@10", "nDCG@10"),
    "end_to_end": ("AP", "RR@10", "P@1", "nDCG@10"),
}
_MEANINGS = {
    "injected": "What model cards print, and what Sentence Transformers' `CrossEncoderRerankingEvaluator` computes with "
    "`always_rerank_positives=True`: the relevant documents that the first stage missed are added to the list before it is "
    "reranked. Judgements are binary.",
    "end_to_end": "What a user of the first stage and this model gets: the candidates of the first stage only, against all "
    "judgements, with their grades.",
    "retrieved": "The candidates only, judged by the relevant documents among them: the same evaluator with "
    "`always_rerank_positives=False`.",
}
_FINGERPRINT_DIGITS = 12

Block = Mapping[str, Any]


def views_of(result: Block) -> tuple[str, ...]:
    """Return the views that a card shows of a result: two, and the one that was asked for where it is another."""
    return tuple(dict.fromkeys([*CARD_VIEWS, result["request"].get("view", CARD_VIEWS[1])]))


def measure_name(measure: str, view: str) -> str:
    """Return a measure's name as cards of that view have it."""
    return measure if view == "end_to_end" else PUBLISHED_NAMES[measure]


def render_values(results: Sequence[Block]) -> list[str]:
    """Return the parts of the evaluation section: a heading per view, and a table per conditions."""
    views = dict.fromkeys(view for result in results for view in views_of(result))
    parts = []
    for view in views:
        parts += [f"### View `{view}`", _MEANINGS[view]]
        by_conditions: dict[str, list[Block]] = {}
        for result in results:
            if view in views_of(result):
                by_conditions.setdefault(conditions_line(result), []).append(result)
        for line, alike in by_conditions.items():
            parts += [line, *_tables(alike, view)]
    return parts


def _tables(results: Sequence[Block], view: str) -> list[str]:
    """Return one table over the data sets of all results, and one over the means."""
    datasets = {name: block for result in results for name, block in result["datasets"].items()}
    short = shorten_datasets(list(datasets))
    suites = {
        f"{name}, mean of {len(block['datasets'])} data sets": block
        for result in results
        for name, block in result["suites"].items()
    }
    tables = [_table({short[name]: block for name, block in datasets.items()}, view)]
    return [*tables, _table(suites, view)] if suites else tables


def conditions_line(result: Block) -> str:
    """Return one sentence: what was reranked, by which protocol, and that it is a part where it is."""
    stages = dict.fromkeys(block["first_stage"].get("name", "unknown") for block in result["datasets"].values())
    depths = dict.fromkeys(str(block["depth"]) for block in result["datasets"].values())
    line = (
        f"First stage: {' and '.join(stages)}, depth {' and '.join(depths)} · protocol {result['protocol_version']} · "
        "in brackets: the gain over the first stage."
    )
    if not result["comparable"]:
        line += (
            f" **Only the first {result['request'].get('limit')} queries of each data set were measured: these values "
            "compare with no others.**"
        )
    return line


def _table(blocks: Mapping[str, Block], view: str) -> str:
    """Return the table of some columns; the primary measure's row is bold and followed by its interval."""
    by_column = [block["views"][view]["measures"] for block in blocks.values()]
    lines = [
        _measure_line(measure, view, by_column)
        for measure in SHOWN_MEASURES[view]
        if any(measure in measures for measures in by_column)
    ]
    primary = [measures.get(PRIMARY_MEASURE, {}) for measures in by_column]
    shown = measure_name(PRIMARY_MEASURE, view)
    lines += [
        [f"95% interval of the gain in {shown}", *(_interval(summary) for summary in primary)],
        ["p (two-sided)", *(_p(summary) for summary in primary)],
        ["queries better / equal / worse", *(_signs(summary) for summary in primary)],
    ]
    return render_markdown_table(["measure", *map(escape_markdown, blocks)], lines, num_left=1)


def _measure_line(measure: str, view: str, by_column: Sequence[Block]) -> list[str]:
    cells = [measure_name(measure, view), *(_cell(measures.get(measure)) for measures in by_column)]
    return [f"**{cell}**" for cell in cells] if measure == PRIMARY_MEASURE else cells


def _cell(summary: Block | None) -> str:
    return MISSING if summary is None else f"{format_value(summary['reranked'])} ({format_delta(summary['delta'])})"


def _interval(summary: Block) -> str:
    interval = summary.get("ci")
    return MISSING if interval is None else f"{format_delta(interval[0])} to {format_delta(interval[1])}"


def _p(summary: Block) -> str:
    p = summary.get("p")
    return MISSING if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"


def _signs(summary: Block) -> str:
    return " / ".join(str(summary[name]) for name in ("better", "equal", "worse")) if "better" in summary else MISSING


def render_conditions(results: Sequence[Block]) -> str:
    """Return what each data set was and how its pairs were scored, and on what."""
    header = ["data set", "source", "queries", "pairs", "missed by the first stage", "pairs cut", "candidates"]
    lines = [_condition_cells(name, block) for result in results for name, block in result["datasets"].items()]
    model = results[0]["model"]
    settings = {
        "precision": model.get("dtype"),
        "tokens per pair": model.get("max_length"),
        "device": model.get("device"),
        "machine": results[0].get("provenance", {}).get("machine"),
    }
    shown = " · ".join(f"{name}: {escape_markdown(str(value))}" for name, value in settings.items() if value)
    return f"""\
{render_markdown_table(header, list(dict.fromkeys(map(tuple, lines))), num_left=2)}

{shown}

Values come from ir-measures; documents are ordered by float32 score, then by id. Intervals are BCa bootstraps (95%) and p
sign-flip permutations, both paired by query."""


def _condition_cells(name: str, block: Block) -> list[str]:
    counts, timing = block["counts"], block.get("timing", {})
    cut = timing.get("truncated_share")
    candidates = str(block["fingerprints"].get("candidates", ""))[:_FINGERPRINT_DIGITS]
    return [
        escape_markdown(name),
        _source(block["source"]),
        f"{counts['evaluated']:,}",
        _count(counts.get("pairs")),
        _count(counts.get("missed_positives")),
        MISSING if cut is None else f"{cut:.1%}",
        f"`{candidates}`",
    ]


def _count(number: int | None) -> str:
    return MISSING if number is None else f"{number:,}"


def _source(source: Block) -> str:
    """Return a link to a hub data set at its commit, else the kind of the source: folders are nobody's business."""
    repository, commit = source.get("repository"), source.get("commit")
    if repository is None:
        return escape_markdown(str(source.get("kind", "unknown")))
    return f"[{repository}](https://huggingface.co/datasets/{repository})" + (f" `{commit[:12]}`" if commit else "")
