"""From a gate's configuration to its report: open both sides, check that they compare, look for tripwires, judge."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rerank_bench.comparison.comparability import check_comparable, choose_datasets
from rerank_bench.comparison.opening import open_folder
from rerank_bench.comparison.paired import AlignedValues, align_runs
from rerank_bench.comparison.sources import FolderSource, RunSource
from rerank_bench.errors import ConfigError, DataError
from rerank_bench.evaluation.measures import parse_measures
from rerank_bench.evaluation.significance import mean
from rerank_bench.gate.baseline import BaselineSource, is_baseline_file, read_baseline, write_baseline
from rerank_bench.gate.config import GateConfig, parse_options, resolve_gates
from rerank_bench.gate.history import append_entry, check_is_accepted, history_path, read_history
from rerank_bench.gate.quality import judge_quality
from rerank_bench.gate.repro import Calibration, Side, calibrate, check_reproducible, judge_repro, rankings_of
from rerank_bench.gate.tripwires import check_tripwires
from rerank_bench.gate.verdicts import GateReport, QualityResult, ReproResult
from rerank_bench.progress import note
from rerank_bench.storage import remove_file


def check_gate(
    *,
    baseline: str | Path | None = None,
    run: str | Path | None = None,
    config: str | Path | None = None,
    **options: Any,
) -> GateReport:
    """Hold a finished run against a baseline.

    Args:
        baseline: A baseline file, a run folder, its ``result.json``, or ``results.csv:MODEL[@SUITE]``.
        run: A run folder, or its ``result.json``.
        config: A file with this one gate; ``None`` takes the pyproject.toml of the working directory, if it has one.
        **options: Other keys of a gate (docs/gate.md): ``mode``, ``measure``, ``min_drop``, ``margin``, ``tripwires``, …

    Raises:
        ConfigError: The request is wrong.
        DataError: A file is missing or broken.
        ComparisonError: The two do not compare; the field is named.
    """
    places = {"baseline": baseline, "run": run}
    options |= {name: str(place) for name, place in places.items() if place}
    gates = resolve_gates(config, **parse_options(options))
    if len(gates) > 1:
        msg = f"{config or 'pyproject.toml'} holds the gates {', '.join(g.name for g in gates)}; check them one by one"
        raise ConfigError(msg)
    return judge(gates[0])


def judge(gate: GateConfig) -> GateReport:
    """Return the report of a gate whose baseline and run are named (``resolve_gates`` sees to that).

    Raises:
        DataError, ComparisonError: As ``check_gate``.
    """
    (measure,) = parse_measures([gate.measure])
    gate = dataclasses.replace(gate, measure=measure)
    baseline, run = _open_sides(gate)
    datasets = choose_datasets([baseline, run], baseline.datasets)
    if len(run.datasets) > len(datasets):
        others = ", ".join(name for name in run.datasets if name not in datasets)
        note(f"gate {gate.name}: the baseline is over {', '.join(datasets)}; of the run, {others} is left out")
    check_comparable([baseline, run], datasets)
    if gate.mode == "repro":
        check_reproducible(baseline, run)
    required = {name: list(baseline.query_values(name, measure, gate.view)) for name in datasets}
    trips = check_tripwires(run.stored, gate, required)
    # Without all values there is nothing to judge; where such a trip is no failure, the judgement itself refuses.
    is_judged = not any(trip.level == "fail" and trip.tripwire in {"not_finite", "missing_queries"} for trip in trips)
    judge_mode = _judge_repro if gate.mode == "repro" else _judge_quality
    return GateReport(
        name=gate.name,
        mode=gate.mode,
        measure=measure,
        view=gate.view,
        baseline=f"{gate.baseline} ({baseline.label})",
        run=f"{gate.run} ({run.label})",
        datasets=datasets,
        settings=_settings(gate),
        trips=trips,
        result=judge_mode(gate, baseline, run, datasets) if is_judged else None,
        is_strict=gate.strict,
    )


def _open_sides(gate: GateConfig) -> tuple[Side, FolderSource]:
    """Return baseline and run, with labels that differ."""
    run = _open_run(gate.run)
    baseline: Side
    if is_baseline_file(gate.baseline):
        baseline = read_baseline(gate.baseline)
        check_is_accepted(baseline)
    elif Path(gate.baseline).exists() or ".csv:" in gate.baseline.lower():
        baseline = open_folder(gate.baseline)
    else:
        msg = (
            f"{gate.baseline}: no such baseline; name a baseline file, a run folder or results.csv:MODEL, or make a "
            f"baseline file with `rerank-bench gate accept --baseline {gate.baseline} --run {gate.run} --reason …`"
        )
        raise DataError(msg)
    if baseline.label == run.label:
        baseline = dataclasses.replace(baseline, label=f"{baseline.label} (baseline)")
    return baseline, run


def _open_run(place: str) -> FolderSource:
    if Path(place).is_file() and Path(place).suffix.lower() != ".json":
        msg = (
            f"{place}: a gate judges a run folder, which says what was ranked and how; for a TREC run make one with "
            f"`rerank-bench run --model run:{place} --dataset …`"
        )
        raise ConfigError(msg)
    return open_folder(place)


def _settings(gate: GateConfig) -> dict[str, Any]:
    names = ("min_drop", "alpha", "margin") if gate.mode == "quality" else ("tolerance", "max_score_difference")
    return {name: getattr(gate, name) for name in names} | {"strict": gate.strict}


def _judge_quality(gate: GateConfig, baseline: Side, run: FolderSource, datasets: Sequence[str]) -> QualityResult:
    aligned = _align([baseline, run], gate, datasets)
    values = {name: (both.values[:, 0], both.values[:, 1]) for name, both in aligned.items()}
    return judge_quality(values, gate.thresholds)


def _judge_repro(gate: GateConfig, baseline: Side, run: FolderSource, datasets: Sequence[str]) -> ReproResult:
    aligned = _align([baseline, run], gate, datasets)
    return judge_repro(
        {name: (mean(both.values[:, 0].tolist()), mean(both.values[:, 1].tolist())) for name, both in aligned.items()},
        rankings_of(baseline, run),
        tolerance=gate.tolerance,
        max_score_difference=gate.max_score_difference,
    )


def _align(sources: Sequence[RunSource], gate: GateConfig, datasets: Sequence[str]) -> Mapping[str, AlignedValues]:
    aligned = align_runs(sources, datasets, measure=gate.measure, view=gate.view)
    for name, both in aligned.items():
        broken = [both.query_ids[row] for row in np.flatnonzero(~np.isfinite(both.values).all(axis=1))]
        if broken:
            examples = ", ".join(map(repr, broken[:3]))
            msg = f"{name}: {gate.measure} of {len(broken)} queries is not finite (first: {examples}); run it again"
            raise DataError(msg)
    return aligned


def accept_run(gate: GateConfig, *, reason: str) -> tuple[BaselineSource, dict[str, Any]]:
    """Make a gate's run its baseline, and write into the history who did so and why.

    Scores are kept for ``repro``, and where the old baseline has them: another gate may need them.

    Returns:
        The baseline, and the entry in its history.

    Raises:
        ConfigError: There is no reason, the baseline is no file that can be moved, or the run trips a wire: a run that
            would lose the gate is no baseline.
        ComparisonError: The run is over part of the queries, or was scored with the store where ``repro`` needs it not.
    """
    if not reason.strip():
        msg = "a baseline is moved for a reason; say it with --reason"
        raise ConfigError(msg)
    path = Path(gate.baseline)
    old = _replaceable(path)
    read_history(history_path(path))  # what is broken is told before anything is written
    (measure,) = parse_measures([gate.measure])
    gate = dataclasses.replace(gate, measure=measure)
    run = _open_run(gate.run)
    with_scores = gate.mode == "repro" or bool(old and old.score_files)
    if with_scores:
        check_reproducible(run, run)
    required = {name: list(run.query_values(name, measure, gate.view)) for name in run.datasets}
    trips = [trip for trip in check_tripwires(run.stored, gate, required) if trip.level == "fail"]
    if trips:
        found = "; ".join(f"{trip.tripwire} ({trip.dataset or 'mean'}): {trip.message}" for trip in trips)
        msg = f"{gate.run} would lose the gate and is no baseline: {found}"
        raise ConfigError(msg)
    new = write_baseline(path, run, measure=measure, view=gate.view, with_scores=with_scores)
    for stale in set(old.score_files if old else ()) - set(new.score_files):
        remove_file(stale)
    return new, append_entry(new, old, reason=reason.strip(), run=gate.run)


def _replaceable(path: Path) -> BaselineSource | None:
    """Return the baseline that is about to be replaced, ``None`` where there is none."""
    if path.suffix.lower() != ".json" or path.is_dir() or (path.exists() and not is_baseline_file(path)):
        msg = f"{path}: is no baseline file, and cannot be moved; accept writes one: name a new file ending in .json"
        raise ConfigError(msg)
    if not path.exists():
        return None
    try:
        return read_baseline(path)
    except DataError as error:
        note(f"{error}; it is replaced, and {history_path(path).name} names no old value")
        return None


def calibrate_runs(runs: Sequence[str | Path], *, measure: str = "nDCG@10") -> Calibration:
    """Return the tolerance that repeated runs of the same weights suggest for ``repro``.

    Raises:
        ConfigError: There is only one run, or the measure is unknown.
        ComparisonError: The runs do not compare, were scored with the store, or are of other weights.
    """
    if len(runs) < 2:
        msg = f"calibrate needs at least two runs of the same weights, found {len(runs)}"
        raise ConfigError(msg)
    (name,) = parse_measures([measure])
    sources = [
        dataclasses.replace(_open_run(str(run)), label=f"run {i} ({run})") for i, run in enumerate(runs, start=1)
    ]
    datasets = choose_datasets(sources)
    check_comparable(sources, datasets)
    aligned = _align(sources, GateConfig(measure=name), datasets)
    means = [
        {dataset: mean(both.values[:, column].tolist()) for dataset, both in aligned.items()}
        for column in range(len(sources))
    ]
    return calibrate(sources, means, name)
