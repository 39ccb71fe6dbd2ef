"""Results as ``result.json`` holds them, with plausible numbers, for the tests of the reporting room.

Every number comes from the names, so that two models or two data sets never share one and a swap is visible.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from rerank_bench.reporting.rows import rows_from_result

NANOBEIR: dict[str, float] = {
    "NanoArguAna": 0.4889,
    "NanoClimateFEVER": 0.3178,
    "NanoDBPedia": 0.6144,
    "NanoFEVER": 0.8094,
    "NanoFiQA2018": 0.4374,
    "NanoHotpotQA": 0.8277,
    "NanoMSMARCO": 0.5404,
    "NanoNFCorpus": 0.3251,
    "NanoNQ": 0.5006,
    "NanoQuoraRetrieval": 0.8686,
    "NanoSCIDOCS": 0.3351,
    "NanoSciFact": 0.7099,
    "NanoTouche2020": 0.6938,
}
"""nDCG@10 of the published BM25 lists."""

GAINS: dict[str, float] = {
    "cross-encoder/ettin-reranker-150m-v1": 0.1318,
    "tomaarsen/reranker-msmarco-v1.1-MiniLM-L12-H384-uncased-lambdaloss-hard-neg": 0.1104,
    "skfrost19/reranker-gte-multilingual-base-msmarco-bce": 0.1075,
    "cross-encoder/ms-marco-MiniLM-L6-v2": 0.1012,
    "akr2002/reranker-ModernBERT-base-gooaq-bce": 0.0754,
    "demo": 0.0301,
}
"""Mean gain in nDCG@10, roughly as published."""

BASELINES = ("first-stage", "random", "oracle")
PARAMETERS = {"demo": 22_713_216, "cross-encoder/ettin-reranker-150m-v1": 149_606_402}


def unit(*names: object) -> float:
    """Return a number in [0, 1) that depends on the names only."""
    digest = hashlib.sha256("|".join(map(str, names)).encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


def fingerprint(*names: object) -> str:
    return hashlib.sha256("|".join(map(str, names)).encode()).hexdigest()


def make_measure(first_stage: float, reranked: float, *, num_queries: int, is_baseline: bool) -> dict[str, Any]:
    delta = reranked - first_stage
    half_width = 1.96 * 0.25 / num_queries**0.5
    ceiling = first_stage + 0.7 * (1 - first_stage)
    better = round(num_queries * min(0.6, max(0.0, 0.3 + delta)))
    return {
        "first_stage": first_stage,
        "reranked": reranked,
        "delta": delta,
        "ci": None if is_baseline else [delta - half_width * 1.05, delta + half_width * 0.95],
        "p": None if is_baseline else min(1.0, max(0.0001, 0.6 * 10 ** (-40 * abs(delta)))),
        "ceiling": ceiling,
        "headroom_used": delta / (ceiling - first_stage),
        "better": better,
        "equal": num_queries // 3,
        "worse": num_queries - better - num_queries // 3,
        "sd": 0.25,
        "mde": 2.8 * 0.25 / num_queries**0.5,
    }


def reranked_value(model: str, dataset: str, first_stage: float) -> float:
    if model == "first-stage":
        return first_stage
    if model == "random":
        return first_stage * 0.2
    if model == "oracle":
        return first_stage + 0.7 * (1 - first_stage)
    gain = GAINS.get(model, 0.05) + 0.16 * (unit(model, dataset) - 0.5)
    return min(0.985, first_stage + gain * (1.3 - first_stage))


def make_views(model: str, dataset: str, first_stage: float, num_queries: int) -> dict[str, Any]:
    def views_of(measures: Mapping[str, float], shift: float) -> dict[str, Any]:
        values = {}
        for measure, scale in measures.items():
            base = min(0.95, first_stage * scale + shift)
            values[measure] = make_measure(
                base, reranked_value(model, dataset, base), num_queries=num_queries, is_baseline=model in BASELINES
            )
        return {"measures": values}

    compatible = {"nDCG@10": 1.0, "RR@10": 0.92, "AP": 0.8}
    return {
        "end_to_end": views_of({**compatible, "R@100": 1.08, "P@1": 0.85, "Judged@10": 0.4}, 0.0),
        "injected": views_of(compatible, 0.004),
        "retrieved": views_of(compatible, 0.002),
    }


def mean_views(views: Sequence[Mapping[str, Any]], *, is_baseline: bool) -> dict[str, Any]:
    suite: dict[str, Any] = {}
    for view in views[0]:
        measures = {}
        for measure in views[0][view]["measures"]:
            members = [v[view]["measures"][measure] for v in views]
            base = sum(m["first_stage"] for m in members) / len(members)
            reranked = sum(m["reranked"] for m in members) / len(members)
            measures[measure] = make_measure(base, reranked, num_queries=50 * len(members), is_baseline=is_baseline)
        suite[view] = {"measures": measures}
    return suite


def make_dataset(model: str, dataset: str, first_stage: float, *, depth: int = 100, corpus: str = "") -> dict[str, Any]:
    num_queries = 90 if dataset == "pydocs" else 49 if dataset == "NanoTouche2020" else 50
    num_pairs = num_queries * depth + int(40 * unit(dataset, "missed"))
    is_scored = model not in BASELINES
    pairs = {
        "num_pairs": num_pairs,
        "num_distinct_pairs": num_pairs - 3,
        "num_pairs_from_store": 0,
        "num_tokens": 180 * num_pairs,
        "truncated_share": unit(model, dataset, "cut") / 20,
    }
    return {
        "source": {"kind": dataset},
        "fingerprints": {
            **{kind: fingerprint(kind, dataset, corpus) for kind in ("corpus", "queries", "qrels")},
            "candidates": fingerprint("candidates", dataset, corpus, depth),
        },
        "first_stage": {"name": "bm25", "k1": 1.5},
        "depth": depth,
        "counts": {
            "queries": num_queries,
            "documents": 3000 + int(3000 * unit(dataset)),
            "judgements": 500,
            "pairs": num_pairs,
            "missed_positives": num_pairs - num_queries * depth,
            "evaluated": num_queries,
            "unjudged": 0,
            "all_zero": 0,
            "empty_candidates": 0,
        },
        "views": make_views(model, dataset, first_stage, num_queries),
        "ties": {"cutoff": 10, "share_crossing": 0.02, "share_tied": 0.01, "lowest": 0.55, "highest": 0.56},
        "timing": {"load_seconds": 1.0, "evaluate_seconds": 0.2, **(pairs if is_scored else {})},
    }


def make_scoring(model: str, datasets: Mapping[str, Any], depth: int) -> dict[str, Any]:
    """Return the cost of one job over all data sets; none for a baseline."""
    if model in BASELINES:
        return {"depth": depth, "model_load_seconds": None, "jobs": []}
    num_pairs = sum(block["timing"]["num_pairs"] for block in datasets.values())
    seconds = num_pairs * (2 + 10 * unit(model, "speed")) / 1000
    job = {
        "datasets": list(datasets),
        "num_pairs": num_pairs,
        "num_tokens": 180 * num_pairs,
        "tokenise_seconds": 0.5,
        "score_seconds": seconds - 0.5,
        "pairs_per_second": num_pairs / seconds,
        "tokens_per_second": 180 * num_pairs / seconds,
        "padding_share": 0.01,
        "peak_host_bytes": 900_000_000,
    }
    return {"depth": depth, "model_load_seconds": 2.5, "jobs": [job]}


def make_result(
    model: str,
    first_stages: Mapping[str, float],
    *,
    suite: str | None = None,
    depth: int = 100,
    corpus: str = "",
    protocol_version: int = 1,
    comparable: bool = True,
    **model_fields: Any,
) -> dict[str, Any]:
    """Return the result of one model.

    Args:
        model: Its name; the names of ``BASELINES`` give a baseline.
        first_stages: nDCG@10 of the first stage by data set.
        suite: Name of a suite over all data sets.
        depth: Candidates per query.
        corpus: Another text gives another corpus, hence other fingerprints.
        protocol_version: As in the result.
        comparable: As in the result.
        model_fields: Replace fields of the ``model`` block.
    """
    is_baseline = model in BASELINES
    datasets = {
        name: make_dataset(model, name, first_stage, depth=depth, corpus=corpus)
        for name, first_stage in first_stages.items()
    }
    views = [dataset["views"] for dataset in datasets.values()]
    return {
        "schema_version": 1,
        "protocol_version": protocol_version,
        "provenance": {
            "rerank_bench": "0.1.0",
            "python": "3.11.7",
            "versions": {"torch": "2.13.0", "transformers": "5.23.0", "ir-measures": "0.4.3", "datasets": None},
            "commit": None,
            "command": f"rerank-bench run --model {model}",
            "utc_time": "2026-11-21T06:00:00Z",
            "machine": "Example CPU, 2 cores, Linux",
            "statistics": {"seed": 12, "resamples": 10_000},
        },
        "model": {
            "spec": model,
            "name": model,
            "family": "baseline" if is_baseline else "bi-encoder" if model == "demo" else "sequence-classifier",
            "revision": None if is_baseline or "/" not in model else fingerprint("revision", model)[:40],
            "fingerprint": None if is_baseline else fingerprint("scorer", model),
            "weights_fingerprint": None if is_baseline else fingerprint("weights", model),
            "max_length": None if is_baseline else 256,
            "dtype": None if is_baseline else "float32",
            "attention": None if is_baseline else "sdpa",
            "device": None if is_baseline else "cpu",
            "batch_tokens": None if is_baseline else 2000,
            "num_parameters": None if is_baseline else PARAMETERS.get(model, 33_360_001),
            **model_fields,
        },
        "request": {
            "depth": depth,
            "first_stage": "bm25",
            "view": "end_to_end",
            "limit": None if comparable else 5,
            "measures": ["nDCG@10", "RR@10", "AP", "R@100", "P@1", "Judged@10"],
        },
        "comparable": comparable,
        "scoring": make_scoring(model, datasets, depth),
        "datasets": datasets,
        "suites": {suite: {"datasets": list(datasets), "views": mean_views(views, is_baseline=is_baseline)}}
        if suite
        else {},
    }


def make_rows(
    models: Sequence[str], first_stages: Mapping[str, float], *, run_folder: str = "runs/sample", **options: Any
) -> list[dict[str, Any]]:
    """Return the leaderboard rows of several models; options as for ``make_result``."""
    return [
        row for model in models for row in rows_from_result(make_result(model, first_stages, **options), run_folder)
    ]
