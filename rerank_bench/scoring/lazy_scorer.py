"""A model that is loaded only if a pair is to be scored, in front of the store of its scores."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from rerank_bench.errors import ConfigError
from rerank_bench.progress import note
from rerank_bench.scoring.device_list import check_kind_on_devices, check_present, describe_devices
from rerank_bench.scoring.engine import score_stored
from rerank_bench.scoring.engine_result import EngineResult
from rerank_bench.scoring.list_scoring import score_unfinished
from rerank_bench.scoring.loaded_scorer import LoadedScorer, load_checkpoint, load_scorer
from rerank_bench.scoring.model_files import find_checkpoint
from rerank_bench.scoring.model_memo import ModelMemo, ModelRequest, request_model, scores_folder, store_key
from rerank_bench.scoring.pair_work import PairWork
from rerank_bench.scoring.ray_options import check_kind_on_ray, describe_engine
from rerank_bench.scoring.score_rows import hash_texts
from rerank_bench.scoring.score_store import ScoreStore
from rerank_bench.scoring.score_tables import StoredScores
from rerank_bench.scoring.scorer import PairNamer, ScorerConfig
from rerank_bench.scoring.specs import ModelSpec
from rerank_bench.scoring.unfinished import keep_unfinished

if TYPE_CHECKING:
    from rerank_bench.scoring.scorer import ListScorer, Scorer, TextEncoder

STORED_KINDS = {"demo", "hub", "local"}
"""Kinds of models whose scores are stored: files decide them.  What a Python function imports, or a server runs, may
change behind an unchanged name."""


class _OtherScorerError(Exception):
    """The model turned out to be another one than the memo says."""


class LazyScorer:
    """A model, perhaps not loaded yet.

    Args:
        spec: What the user wrote.
        config: How it is loaded and run.
        request: What finds the memo and the store; ``None``: every pair is scored, nothing is stored.
        can_resume: Whether scores of an endpoint are kept while a run is unfinished.
    """

    def __init__(
        self, spec: ModelSpec, config: ScorerConfig, request: ModelRequest | None, *, can_resume: bool = False
    ) -> None:
        self._can_resume = can_resume
        self._spec = spec
        self._config = config
        self._request = request
        self._memo = None if request is None else request.read()
        self._loaded: LoadedScorer | None = None
        self._told: set[str] = set()
        self.load_seconds: float | None = None
        """What loading the model took; ``None`` while it was not loaded."""

    @property
    def is_loaded(self) -> bool:
        """Whether the model is in memory."""
        return self._loaded is not None

    @property
    def loaded(self) -> LoadedScorer:
        """The model; loaded by the first access.

        Raises:
            RerankBenchError: What ``load_scorer`` raises.
        """
        if self._loaded is None:
            request, started = self._request, time.perf_counter()
            self._loaded = (
                load_scorer(self._spec, config=self._config)
                if request is None
                else load_checkpoint(request.checkpoint, self._spec, self._config)
            )
            self.load_seconds = time.perf_counter() - started
        return self._loaded

    def unload(self) -> None:
        """Give the model's memory back; it is loaded again if it is needed again."""
        self._loaded = None

    def in_this_process(self) -> LoadedScorer:
        """Return the model loaded in this process; of several devices the first one, and the others are given back."""
        devices = self._config.devices
        if not devices:
            return self.loaded
        self.unload()
        return load_scorer(self._spec, config=replace(self._config, device=devices[0], devices=()))

    @property
    def counts_tokens(self) -> bool:
        """Whether the tokens of a pair are known; what a function or a server makes of a text is not."""
        return self._spec.kind in STORED_KINDS

    @property
    def takes_parts(self) -> bool:
        """Whether a large request may come in parts; an endpoint's answers are kept until the whole is answered."""
        return not self._can_resume

    @property
    def fingerprint(self) -> str:
        """SHA-256, hex, of all that decides a score; from the memo where there is one."""
        if self._loaded is None and self._memo is not None:
            return self._memo.fingerprint
        return self.loaded.fingerprint

    def describe(self) -> dict[str, Any]:
        """Return what a result records of the model, JSON-able: the same whether it was loaded or not."""
        if self._loaded is not None or self._memo is None or self._request is None:
            return self.loaded.describe()
        checkpoint = self._request.checkpoint
        own = {"name": checkpoint.name, "family": checkpoint.family, "revision": checkpoint.revision}
        return {
            "spec": self._spec.text,
            **(self._memo.description | own),
            **describe_devices(self._config.devices),
            **describe_engine(self._config.ray),
            "fingerprint": self._memo.fingerprint,
        }

    def look_up(self, work: PairWork) -> StoredScores:
        """Return what is stored of the distinct pairs of a request; the model is loaded only if it was never used here."""
        path = None if self._request is None else scores_folder() / f"{store_key(self.fingerprint)[:32]}.sqlite"
        if self._request is None or path is None or not path.exists():
            return StoredScores.empty(len(work.pairs))
        with ScoreStore(path, store_key(self.fingerprint), self._request.checkpoint.name, self._told) as store:
            return store.look_up(hash_texts(work.queries), hash_texts(work.docs), work.pairs)

    def score_indexed(
        self,
        queries: Sequence[str],
        docs: Sequence[str],
        pairs: NDArray[np.int64],
        *,
        pair_name: PairNamer | None = None,
        description: str = "score",
    ) -> EngineResult:
        """Score pairs given as indices into texts, those that are stored without the model; see ``engine``."""
        if self._can_resume:
            return self._score_resumable(queries, docs, pairs, pair_name, description)
        if self._request is None:
            return self.loaded.score_indexed(queries, docs, pairs, pair_name=pair_name, description=description)
        while True:
            fingerprint = self.fingerprint
            key = store_key(fingerprint)
            try:
                path, name = scores_folder() / f"{key[:32]}.sqlite", self._request.checkpoint.name
                with ScoreStore(path, key, name, self._told) as store:  # tried again with every job if it fails
                    outcome = score_stored(
                        lambda expected=fingerprint, into=store: self._load_as(expected, into),  # type: ignore[misc]  # bound per turn
                        store,
                        queries,
                        docs,
                        pairs,
                        batch_tokens=self._config.batch_tokens,
                        known_batch_tokens=None if self._memo is None else self._memo.batch_tokens,
                        pair_name=pair_name,
                        description=description,
                    )
                    outcome = self._with_threads(outcome, store)
            except _OtherScorerError:  # it is loaded now, so its own fingerprint counts from here on
                continue
            self._remember(self._request, outcome)
            return outcome

    def _score_resumable(
        self,
        queries: Sequence[str],
        docs: Sequence[str],
        pairs: NDArray[np.int64],
        pair_name: PairNamer | None,
        description: str,
    ) -> EngineResult:
        name = self.loaded.scorer.describe()["name"]
        with keep_unfinished(self.fingerprint, name, queries, docs, pairs) as store:
            scorer = cast("ListScorer", self.loaded.scorer)
            return score_unfinished(scorer, store, queries, docs, pairs, pair_name=pair_name, description=description)

    def _load_as(self, fingerprint: str, store: ScoreStore) -> Scorer | TextEncoder:
        if self.loaded.fingerprint != fingerprint:
            raise _OtherScorerError
        if self.loaded.cpu_threads is not None:
            store.add_cpu_threads(self.loaded.cpu_threads)
        return cast("Scorer | TextEncoder", self.loaded.scorer)

    def _with_threads(self, outcome: EngineResult, store: ScoreStore) -> EngineResult:
        """Say with how many CPU threads the scores of this model were computed, those in the store too."""
        own = () if self._loaded is None or self._loaded.cpu_threads is None else (self._loaded.cpu_threads,)
        cpu_threads = store.cpu_threads() or own  # a store that failed says nothing
        if len(cpu_threads) > 1 and outcome.stats.num_pairs_from_store:
            numbers = ", ".join(map(str, cpu_threads))
            note(
                f"{self._spec.text}: its stored scores were computed with different numbers of threads ({numbers}); last "
                "digits may differ from those of a run with one number. --no-cache scores afresh"
            )
        return outcome.computed_with(cpu_threads)

    def _remember(self, request: ModelRequest, outcome: EngineResult) -> None:
        """Leave a memo of the model if it was loaded and the memo does not say the same already."""
        if self._loaded is None:
            return
        known = None if self._memo is None else self._memo.batch_tokens
        memo = ModelMemo(
            fingerprint=self._loaded.fingerprint,
            description=self._loaded.scorer.describe(),
            batch_tokens=outcome.stats.batch_tokens if outcome.stats.is_calibrated else known,
        )
        if memo != self._memo:
            request.write(memo)
            self._memo = memo


def open_scorer(model: ModelSpec, *, config: ScorerConfig, use_store: bool = True) -> LazyScorer:
    """Return a model whose scores are stored, loaded only if one is missing.

    Args:
        model: Any that reads texts; a callable is scored with afresh, always, and an endpoint unless the very same request
            was interrupted (``unfinished.py``).
        config: How to load and run it.
        use_store: Whether scores are read and stored at all.

    Raises:
        ConfigError: The spec ranks ids and reads no text.
        ScoringError: The checkpoint cannot be scored with.
        EnvironmentMissingError: A device, an extra or the network is absent.
    """
    if not model.scores_texts:
        msg = f"model {model.text!r} ranks documents by id and reads no text; use rank_baseline for it"
        raise ConfigError(msg)
    check_kind_on_devices(model, config.devices)
    check_kind_on_ray(model, config.ray)
    check_present(config.devices)
    if not use_store or model.kind not in STORED_KINDS:
        return LazyScorer(model, config, None, can_resume=use_store and model.kind == "external")
    if config.ray is not None:
        from rerank_bench.scoring.ray_cluster import place_on_ray

        config = place_on_ray(config)
    return LazyScorer(model, config, request_model(find_checkpoint(model, config), config))
