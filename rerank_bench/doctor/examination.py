"""``examine``: load a model, look at it from all sides, and say what is wrong.

A *failure* means that the scores cannot be used: not finite, or dependent on what else is in a batch.  A *warning* means
that somebody should look.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from rerank_bench.doctor.activations import activate, num_new_ties, to_bfloat16
from rerank_bench.doctor.sanity_pairs import SANITY_PAIRS
from rerank_bench.errors import InvalidScoreError
from rerank_bench.scoring.loaded_scorer import LoadedScorer, load_scorer
from rerank_bench.scoring.unused_options import note_unused_options

Status = Literal["ok", "note", "warning", "failure"]

EXACT_TOLERANCE = 1e-3
HALF_TOLERANCE = 0.1
"""Allowed change of a score between batches, times the scale of the scores; half-precision trunks differ by shape."""

MAX_LONG_WORDS = 1_000
"""Words of the long document: enough to be cut at 512 tokens, and quick to read where nothing is cut."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One finding."""

    name: str
    status: Status
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """What was found."""

    model: Mapping[str, Any]
    """What a result records of the model."""
    load_seconds: float
    checks: Sequence[Check]
    relevant_above: int | None
    """Sanity questions whose right passage scores above the wrong one; ``None`` where there are no scores."""
    num_queries: int
    scores: Sequence[tuple[float, float]]
    """(right passage, wrong passage) of every sanity question."""

    @property
    def has_failed(self) -> bool:
        """Whether the scores cannot be used."""
        return any(check.status == "failure" for check in self.checks)

    def as_dict(self) -> dict[str, Any]:
        """Return the fields by name, JSON-able."""
        return asdict(self) | {"model": dict(self.model), "failed": self.has_failed}


def examine(spec: str, **options: Any) -> Examination:
    """Load a model and examine it.

    Args:
        spec: ``demo``, a folder, a hub id, ``module:callable``; see ``load_scorer``.
        **options: Fields of ``ScorerConfig``.

    Raises:
        RerankBenchError: The model cannot be loaded, or does not return one number per pair.
    """
    started = time.perf_counter()
    loaded = load_scorer(spec, **options)
    note_unused_options([loaded.spec], loaded.config)
    model = loaded.describe()
    seconds = time.perf_counter() - started
    pairs = [(pair.query, doc) for pair in SANITY_PAIRS for doc in (pair.relevant, pair.irrelevant)]
    try:
        scores = loaded.score(pairs)
        checks = [Check(name="finite", status="ok", detail=f"all {len(scores)} scores are finite")]
        checks += [
            _invariance(loaded, model, pairs, scores),
            _sanity(scores),
            _truncation(loaded, model),
            _saturation(model, scores),
            _precision(scores),
        ]
    except InvalidScoreError as error:
        checks = [Check(name="finite", status="failure", detail=str(error))]
        return Examination(
            model=model,
            load_seconds=seconds,
            checks=checks,
            relevant_above=None,
            num_queries=len(SANITY_PAIRS),
            scores=(),
        )
    by_query = scores.reshape(-1, 2)  # (Q, 2)
    return Examination(
        model=model,
        load_seconds=seconds,
        checks=checks,
        relevant_above=int((by_query[:, 0] > by_query[:, 1]).sum()),
        num_queries=len(SANITY_PAIRS),
        scores=[(float(right), float(wrong)) for right, wrong in by_query],
    )


def _invariance(
    loaded: LoadedScorer, model: Mapping[str, Any], pairs: Sequence[tuple[str, str]], scores: NDArray[np.float32]
) -> Check:
    """Score the pairs in another order, one by one, and in other company."""
    order = np.random.default_rng(0).permutation(len(pairs))
    alone = replace(loaded, config=replace(loaded.config, batch_tokens=1))
    half = len(pairs) // 2
    others = {
        "in another order": (loaded.score([pairs[i] for i in order]), scores[order]),
        "one pair per batch": (alone.score(pairs), scores),
        "half of the pairs": (loaded.score(pairs[:half]), scores[:half]),
    }
    is_half = model.get("dtype") in {"bfloat16", "float16"}
    allowed = (HALF_TOLERANCE if is_half else EXACT_TOLERANCE) * max(1.0, float(np.abs(scores).max()))
    changes = {way: float(np.abs(found - expected).max()) for way, (found, expected) in others.items()}
    way = max(changes, key=lambda name: changes[name])
    if changes[way] > allowed:
        detail = (
            f"a score changes by {changes[way]:.3g} when the pairs are scored {way} (allowed: {allowed:.3g}): it depends "
            "on more than its query and document"
        )
        return Check(name="invariance", status="failure", detail=detail)
    detail = f"batch and order change a score by at most {changes[way]:.2g} (allowed: {allowed:.2g})"
    return Check(name="invariance", status="ok", detail=detail)


def _sanity(scores: NDArray[np.float32]) -> Check:
    by_query = scores.reshape(-1, 2)
    above = by_query[:, 0] > by_query[:, 1]
    found = f"{int(above.sum())} of {len(above)} right passages score above the wrong one"
    if len(np.unique(scores)) == 1:
        return Check(name="sanity", status="warning", detail=f"every pair has the score {scores[0]:.6g}")
    if above.all():
        return Check(name="sanity", status="ok", detail=found)
    failed = [repr(pair.query) for pair, is_above in zip(SANITY_PAIRS, above, strict=True) if not is_above]
    detail = f"{found}; not: {', '.join(failed[:3])}{' …' if len(failed) > 3 else ''}"
    num_wrong = int((by_query[:, 0] < by_query[:, 1]).sum())
    if num_wrong > 0.75 * len(above):
        detail += ". This looks like the wrong way round: check --positive-label, or the labels' names in config.json"
    elif above.mean() < 0.75:
        detail += ". A reranker of English text gets nearly all of them: check weights, tokenizer and template"
    return Check(name="sanity", status="warning", detail=detail)


def _truncation(loaded: LoadedScorer, model: Mapping[str, Any]) -> Check:
    """See whether the end of a long document counts."""
    max_length = model.get("max_length")
    num_words = MAX_LONG_WORDS if not isinstance(max_length, int) else min(max_length, MAX_LONG_WORDS)
    pair = SANITY_PAIRS[0]
    filler = ("The report goes on in the same way about other matters. " * num_words).split()[:num_words]
    docs = [" ".join([*filler, end]) for end in (pair.relevant, pair.irrelevant)]
    rows = np.asarray([[0, 0], [0, 1]], dtype=np.int64)
    result = loaded.score_indexed([pair.query], docs, rows)
    limit = f" (max length {max_length} tokens)" if max_length else ""
    if result.scores[0] == result.scores[1] or (result.facts.tokens < 0).any():
        detail = f"a document of {num_words + 20} words is cut{limit}: what stands at its end does not count"
        return Check(name="truncation", status="note", detail=detail)
    return Check(name="truncation", status="ok", detail=f"{num_words + 20} words are read to the end{limit}")


def _saturation(model: Mapping[str, Any], scores: NDArray[np.float32]) -> Check:
    """See whether the activation that the checkpoint asks for would make different logits equal."""
    name = model.get("saved_activation")
    is_plain = name is None and model.get("num_labels") == 1
    shown = f"{name}" if name else "Sigmoid (none is saved; Sentence Transformers takes it for one label)"
    activated = activate("Sigmoid" if is_plain else name, scores)
    if activated is None:
        return Check(name="saturation", status="ok", detail="no saturating activation is saved")
    tied = num_new_ties(scores, activated)
    if tied:
        detail = (
            f"{shown} in float32 makes {tied} of {len(scores)} different scores equal (highest logit: "
            f"{scores.max():.4g}); documents are ranked by the raw logit here, other tools would tie them"
        )
        return Check(name="saturation", status="warning", detail=detail)
    return Check(name="saturation", status="ok", detail=f"{shown} would tie none of the scores")


def _precision(scores: NDArray[np.float32]) -> Check:
    tied = num_new_ties(scores, to_bfloat16(scores))
    if tied:
        detail = f"{tied} of {len(scores)} scores would tie in bfloat16; they are float32 here, keep them so elsewhere"
        return Check(name="precision", status="warning", detail=detail)
    return Check(name="precision", status="ok", detail=f"none of {len(scores)} scores would tie in bfloat16")
