"""Tripwires: what is wrong with a run whatever the statistics say.  Each can fail, warn or be off (``config.Tripwires``).

They look at the view ``end_to_end``, whichever view the gate judges: there first stage and run are measured alike.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from rerank_bench.errors import ParseError
from rerank_bench.evaluation.evaluate import select_queries
from rerank_bench.evaluation.measures import evaluate_run
from rerank_bench.evaluation.significance import DEFAULT_SEED, TIE, mean
from rerank_bench.gate.config import GateConfig
from rerank_bench.gate.verdicts import Trip
from rerank_bench.records import EMPTY_DOCS, Qrels, Run, ScoredDocs
from rerank_bench.reporting.run_folder import RUN_FILE, file_stem
from rerank_bench.reporting.stored_result import StoredResult
from rerank_bench.storage import read_lines

CUTOFF = 10
"""Ties are counted across this rank, as in ``result.json``."""
RANDOM_ORDERS = 5
"""Random orders of the candidates whose mean value stands for chance."""
MAX_EXAMPLES = 3

Pairs = Mapping[str, tuple[float, float]]
"""query_id -> (first stage, reranked)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetView:
    """What the tripwires look at, of one data set."""

    run: StoredResult
    dataset: str
    gate: GateConfig
    required: Sequence[str]
    """The queries that the baseline has values for."""
    reranked: Run
    qrels: Qrels
    pairs: Pairs
    """Of the gate's measure."""


def check_tripwires(run: StoredResult, gate: GateConfig, required: Mapping[str, Sequence[str]]) -> list[Trip]:
    """Return the tripwires that a run trips.

    Args:
        run: The run that is judged.
        gate: Which tripwires, and the measure.
        required: Data set -> the queries that the baseline has values for; these data sets are looked at.

    Raises:
        DataError: A file of the run is missing or broken.
    """
    trips: list[Trip] = []
    readable: list[DatasetView] = []
    for dataset, query_ids in required.items():
        reranked = _read_ranking(run, dataset)
        if isinstance(reranked, str):
            trips += _trip(gate, "not_finite", dataset, reranked)
            continue
        view = DatasetView(
            run=run,
            dataset=dataset,
            gate=gate,
            required=query_ids,
            reranked=reranked,
            qrels=run.qrels(dataset),
            pairs=_pairs(run, dataset, gate.measure, reranked),
        )
        readable.append(view)
        for name, check in _CHECKS.items():
            trips += _trip(gate, name, dataset, check(view))
    if all(view.pairs for view in readable) and len(readable) == len(required):
        trips += _trip(gate, "below_first_stage", None, _below_first_stage(readable))
    return trips


def _trip(gate: GateConfig, tripwire: str, dataset: str | None, message: str | None) -> list[Trip]:
    level = getattr(gate.tripwires, tripwire)
    if message is None or level == "off":
        return []
    return [Trip(tripwire=tripwire, dataset=dataset, level=level, message=message)]


def _read_ranking(run: StoredResult, dataset: str) -> Run | str:
    """Return the ranking, or what is wrong with it where the strict reader refuses it because of NaN or infinity."""
    try:
        return run.reranked(dataset)
    except ParseError:
        path = run.folder / RUN_FILE.format(stem=file_stem(dataset))
        found = []
        for number, line in read_lines(path):
            fields = line.split()
            if len(fields) == 6 and _is_not_finite(fields[4]):
                found.append((number, fields[0], fields[2], fields[4]))
        if not found:
            raise
        number, query_id, doc_id, score = found[0]
        return (
            f"{len(found)} scores are not finite (first: {score} for query {query_id!r}, document {doc_id!r}, line "
            f"{number} of {path.name}); no order can be made of them"
        )


def _is_not_finite(text: str) -> bool:
    try:
        return not math.isfinite(float(text))
    except ValueError:
        return False


def _pairs(run: StoredResult, dataset: str, measure: str, reranked: Run) -> Pairs:
    stored = run.query_values(dataset, "end_to_end")
    if measure in stored:
        return stored[measure]
    query_ids = next(iter(stored.values()), {})  # of any measure: all run over the same queries
    qrels = run.qrels(dataset)
    before, after = (
        evaluate_run(qrels, {query_id: docs.get(query_id, EMPTY_DOCS) for query_id in query_ids}, [measure])[measure]
        for docs in (run.candidates(dataset), reranked)
    )
    return {query_id: (before[query_id], after[query_id]) for query_id in query_ids}


def _not_finite_values(view: DatasetView) -> str | None:
    bad = [query_id for query_id, pair in view.pairs.items() if not all(map(math.isfinite, pair))]
    if not bad:
        return None
    return f"{view.gate.measure} of {len(bad)} queries is not a finite number ({_examples(bad)}); run it again"


def _missing_queries(view: DatasetView) -> str | None:
    lacking = [query_id for query_id in view.required if query_id not in view.pairs]
    unranked: list[str] = []
    judged, _ = select_queries(list(view.qrels), view.qrels, view.dataset)
    absent = [query_id for query_id in judged if not len(view.reranked.get(query_id, ()))]
    if absent:  # else the candidates need not be read
        candidates = view.run.candidates(view.dataset)
        unranked = [query_id for query_id in absent if len(candidates.get(query_id, ()))]
    parts = []
    if lacking:
        parts.append(f"{len(lacking)} queries of the baseline have no value ({_examples(lacking)})")
    if unranked:
        parts.append(f"{len(unranked)} judged queries have candidates but no ranking ({_examples(unranked)})")
    return f"{'; '.join(parts)}; run it again" if parts else None


def _constant_scores(view: DatasetView) -> str | None:
    lists = [docs for docs in view.reranked.values() if len(docs) > 1]
    constant = [docs for docs in lists if docs.scores[0] == docs.scores[-1]]
    limit = view.gate.tripwires.max_constant_share
    if not constant or len(constant) / len(lists) <= limit:
        return None
    return (
        f"all candidates have one score in {len(constant)} of {len(lists)} queries ({len(constant) / len(lists):.0%}, "
        f"allowed are {limit:.0%}); the model tells nothing apart there"
    )


def _ties(view: DatasetView) -> str | None:
    lists = [docs for docs in view.reranked.values() if len(docs)]
    tied = sum(len(docs) > CUTOFF and bool(docs.scores[CUTOFF - 1] == docs.scores[CUTOFF]) for docs in lists)
    limit = view.gate.tripwires.max_ties_share
    if not tied or tied / len(lists) <= limit:
        return None
    return (
        f"equal scores stand on both sides of rank {CUTOFF} in {tied} of {len(lists)} queries ({tied / len(lists):.0%}, "
        f"allowed are {limit:.0%}); ids decide there, not the model: score in float32, without a sigmoid"
    )


def _below_random(view: DatasetView) -> str | None:
    query_ids = [query_id for query_id in view.pairs if len(view.reranked.get(query_id, ()))]
    if not query_ids:
        return None
    rng = np.random.default_rng(DEFAULT_SEED)
    chance = []
    for _ in range(RANDOM_ORDERS):
        shuffled = {query_id: _shuffle(view.reranked[query_id], rng) for query_id in sorted(query_ids)}
        values = evaluate_run(view.qrels, shuffled, [view.gate.measure])
        chance.append(mean(list(values[view.gate.measure].values())))
    random, own = mean(chance), mean([view.pairs[query_id][1] for query_id in query_ids])
    if not own < random - TIE:
        return None
    return (
        f"{view.gate.measure} is {own:.4f}, below that of the same candidates in random order, {random:.4f}; "
        f"is a label or a sign turned round?"
    )


def _shuffle(docs: ScoredDocs, rng: np.random.Generator) -> ScoredDocs:
    order = rng.permutation(len(docs))
    return ScoredDocs(tuple(docs.doc_ids[i] for i in order), docs.scores)


def _truncation(view: DatasetView) -> str | None:
    share = view.run.result["datasets"][view.dataset]["timing"].get("truncated_share")
    limit = view.gate.tripwires.max_truncated_share
    if share is None or share <= limit:
        return None
    length = view.run.result["model"].get("max_length")
    return (
        f"{share:.0%} of the model's inputs were cut to {length or 'its longest length'} tokens, allowed are "
        f"{limit:.0%}; raise --max-length"
    )


def _below_first_stage(views: Sequence[DatasetView]) -> str | None:
    before = mean([mean([pair[0] for pair in view.pairs.values()]) for view in views])
    after = mean([mean([pair[1] for pair in view.pairs.values()]) for view in views])
    if not after < before - TIE:
        return None
    return f"{views[0].gate.measure} is {after:.4f}, below the first stage's {before:.4f}; the reranker does harm"


def _examples(query_ids: Sequence[str]) -> str:
    return f"first: {', '.join(map(repr, query_ids[:MAX_EXAMPLES]))}"


_CHECKS: Mapping[str, Callable[[DatasetView], str | None]] = {
    "not_finite": _not_finite_values,
    "missing_queries": _missing_queries,
    "constant_scores": _constant_scores,
    "ties": _ties,
    "below_random": _below_random,
    "truncation": _truncation,
}
