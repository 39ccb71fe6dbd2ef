"""What a run is asked to do, and the same with every name looked up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rerank_bench.data.suites import Selection, resolve_datasets
from rerank_bench.errors import ConfigError, describe_unknown
from rerank_bench.evaluation.measures import STANDARD_MEASURES, parse_measures
from rerank_bench.first_stage.stages import parse_first_stage
from rerank_bench.pipeline.depths import check_depths
from rerank_bench.records import VIEWS, View
from rerank_bench.reporting.run_folder import file_stem
from rerank_bench.scoring.devices import DTYPES
from rerank_bench.scoring.scorer import ScorerConfig
from rerank_bench.scoring.specs import DEMO, ModelSpec, parse_model_spec

DEFAULT_MODELS = ("first-stage", "random", DEMO, "oracle")
DEFAULT_DEPTH = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class RunConfig:
    """What one ``run`` does; checked before any data are read."""

    models: tuple[str, ...] = ()
    """Model specs; none means the embedded demo encoder and the baselines."""
    datasets: tuple[str, ...] = ()
    suites: tuple[str, ...] = ()
    """With no data set and no suite: the suite ``default``."""
    first_stage: str = "bm25"
    depth: int | Sequence[int] = DEFAULT_DEPTH
    """Several depths cost one scoring pass, at the deepest; each gets results of its own."""
    extra_measures: tuple[str, ...] = ()
    """ir-measures names beside the standard set, for the ``end_to_end`` view."""
    view: View = "end_to_end"
    out: Path | None = None
    """Folder of the run folders; ``None``: ``runs/<suite or data sets>``."""
    leaderboard: Path | None = None
    """``None``: ``leaderboards/results.csv`` where it stands in the working directory, else inside ``out``."""
    split: str = "test"
    limit: int | None = None
    """Only the first N queries of each data set; the result is stamped as not comparable."""
    use_cache: bool = True
    """Whether stored scores are used and new ones stored; without, every pair is scored afresh."""
    allow_missing_queries: bool = False
    """Whether judged queries that a stored run (``run:FILE``) lacks count 0; they are an error otherwise."""
    measure_latency: bool = False
    """Whether the time that one query takes alone is measured, on a sample of each data set's queries."""
    check_dtype: str | None = None
    """Precision in which such a sample is scored again, to say how far both rank alike; ``None``: it is not."""
    scorer: Mapping[str, Any] = field(default_factory=dict)
    """Fields of ``ScorerConfig``."""

    def __post_init__(self) -> None:
        check_depths(self.depth)
        if self.limit is not None and self.limit < 1:
            msg = f"limit is {self.limit}, expected at least 1 query"
            raise ConfigError(msg)
        if self.check_dtype is not None:
            _check_check_dtype(self.check_dtype, str(self.scorer.get("dtype", "auto")))
        if self.scorer.get("ray") is not None and (self.measure_latency or self.check_dtype is not None):
            msg = "--measure-latency and --check-dtype measure this machine; run them apart, without --engine ray"
            raise ConfigError(msg)
        if self.view not in VIEWS:
            msg = f"view is {self.view!r}, expected one of {', '.join(VIEWS)}"
            raise ConfigError(msg)


def _check_check_dtype(check_dtype: str, dtype: str) -> None:
    known = [name for name in DTYPES if name != "auto"]
    if check_dtype not in known:
        raise ConfigError(describe_unknown("dtype to check against", [check_dtype], known))
    if check_dtype == dtype:
        msg = (
            f"the run is in {dtype}, and would be checked against {check_dtype}; name another precision for one of them"
        )
        raise ConfigError(msg)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A ``RunConfig`` with every name resolved."""

    config: RunConfig
    selection: Selection
    models: Sequence[ModelSpec]
    measures: tuple[str, ...]
    scorer: ScorerConfig
    depths: tuple[int, ...]
    """Ascending; the last is the one that is scored."""
    out: Path

    def folder_of(self, model: ModelSpec, depth: int) -> Path:
        """Return the run folder: called after the model, and after the depth where there are several."""
        suffix = f"@{depth}" if len(self.depths) > 1 else ""
        return self.out / f"{file_stem(model.text)}{suffix}"


def resolve_request(config: RunConfig) -> Request:
    """Return the request with all names looked up; whatever is wrong with it is said before any work is done."""
    selection = resolve_datasets(config.datasets, config.suites)
    models = [parse_model_spec(text) for text in config.models or DEFAULT_MODELS]
    folders = [file_stem(model.text) for model in models]
    repeated = {name for name in folders if folders.count(name) > 1}
    if repeated:
        msg = f"two models would write the same run folder ({', '.join(sorted(repeated))}); run them apart with --out"
        raise ConfigError(msg)
    parse_first_stage(config.first_stage)
    measures = parse_measures([*STANDARD_MEASURES, *config.extra_measures])
    return Request(
        config=config,
        selection=selection,
        models=models,
        measures=measures,
        scorer=ScorerConfig(**config.scorer),
        depths=check_depths(config.depth),
        out=config.out or Path("runs") / file_stem(_label(config, selection)),
    )


def _label(config: RunConfig, selection: Selection) -> str:
    """Return what the results' folder is called after: the suites, the data sets asked for by name, the limit.

    A limited run has a folder of its own, so that it takes the place of no whole one.
    """
    names = [Path(name).expanduser().resolve().name for name in config.datasets or selection.datasets]  # "." too
    parts = dict.fromkeys([*selection.suites, *(names if config.datasets or not selection.suites else ())])
    return "+".join(parts) + (f"-limit{config.limit}" if config.limit is not None else "")
