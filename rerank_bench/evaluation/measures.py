"""Measures: their names, and their values per query, from ir-measures.

Every provider of ir-measures is handed the one order of ``ranking.rank_docs`` with scores replaced by −rank, as the
providers break ties each in their own way (docs/protocol.md, section 5).  No measure is computed by our own code.

References:
    MacAvaney, Macdonald and Ounis, "Streamlining Evaluation with ir-measures", 2022, https://ir-measur.es
"""

from __future__ import annotations

import ast
import functools
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any

from rerank_bench.errors import ConfigError, DataError, EnvironmentMissingError, describe_unknown
from rerank_bench.records import POSITIVE_GRADE, Qrels, Run

STANDARD_MEASURES: tuple[str, ...] = ("nDCG@10", "RR@10", "AP", "R@100", "P@1", "Judged@10")
PRIMARY_MEASURE = "nDCG@10"

QUERIES_PER_CALL = 2_000
"""ir-measures wants a run as dictionaries of Python floats: 2,000 queries of 100 documents take 12 MB."""

ValuesByQuery = dict[str, float]
"""query_id -> value."""


def parse_measures(names: Sequence[str]) -> tuple[str, ...]:
    """Return the canonical names of the measures, each once, in the order given (``MRR@10`` becomes ``RR@10``).

    Args:
        names: Names as ir-measures writes them: ``nDCG@10``, ``AP(rel=2)``, ``P(judged_only=True)@5``.

    Raises:
        ConfigError: No name is given, or names are unknown or malformed; all are listed, with the nearest known ones.
        EnvironmentMissingError: A measure needs a package that is not installed.
    """
    if not names:
        msg = f"no measure is asked for; name at least one, such as {PRIMARY_MEASURE}"
        raise ConfigError(msg)
    canonical: dict[str, None] = {}
    unknown, malformed = [], []
    for name in names:
        try:
            canonical[str(measure_object(name))] = None
        except KeyError:
            unknown.append(name)
        except ValueError as error:
            malformed.append(f"measure {name!r}: {error}.")
    if unknown or malformed:
        # The nearest names are looked for among the names without parameters too: a typing error is seldom in "@10".
        known = {*STANDARD_MEASURES, *_registry()}
        raise ConfigError(" ".join([*malformed, *([describe_unknown("measure", unknown, known)] if unknown else [])]))
    _check_available(list(canonical))
    return tuple(canonical)


@functools.cache
def measure_object(name: str) -> Any:
    """Return the ``ir_measures.Measure`` that a name stands for.

    ir-measures' own parser needs ``ast.Num``, which Python 3.12 deprecates and 3.14 lacks; its measures are objects
    that take their parameters as keywords, so the name's syntax tree is all that has to be read.

    Raises:
        KeyError: The measure itself is unknown.
        ValueError: It is known, but what follows its name is wrong.
    """
    cutoff: Any = None
    try:
        node = ast.parse(name.strip(), mode="eval").body
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.MatMult):
            cutoff, node = ast.literal_eval(node.right), node.left
        params: dict[str, Any] = {}
        if isinstance(node, ast.Call) and not node.args:
            params = {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in node.keywords}
            node = node.func
    except (SyntaxError, ValueError) as error:
        raise KeyError(name) from error
    if not isinstance(node, ast.Name) or node.id not in _registry():
        raise KeyError(name)
    measure = _registry()[node.id]
    if cutoff is not None:
        params[measure.AT_PARAM] = cutoff
    _check_params(measure, params)
    return measure(**params)


def _check_params(measure: Any, params: Mapping[str, Any]) -> None:
    known = measure.SUPPORTED_PARAMS
    for key, value in params.items():
        if key not in known:
            msg = f"it takes no parameter {key!r}, only {', '.join(known) or 'none'}"
            raise ValueError(msg)
        if not known[key].validate(value) or (key == "cutoff" and (isinstance(value, bool) or value < 1)):
            msg = f"{key} is {value!r}, which it does not take"
            raise ValueError(msg)
    missing = [key for key, info in known.items() if info.required and key not in params]
    if missing:
        form = f"{measure.NAME}@10" if missing == ["cutoff"] else f"{measure.NAME}({missing[0]}=…)"
        msg = f"it needs {', '.join(missing)}; write {form}"
        raise ValueError(msg)


def _registry() -> Mapping[str, Any]:
    from ir_measures import measures

    return measures.registry  # type: ignore[no-any-return]


def _check_available(names: Sequence[str]) -> None:
    from ir_measures import DefaultPipeline

    impossible, absent = [], []
    for name in names:
        measure = measure_object(name)
        if DefaultPipeline.supports(measure):
            continue
        able = [provider for provider in DefaultPipeline.providers if provider.supports(measure)]
        ways = " or ".join(provider.install_instructions() or f"install {provider.NAME}" for provider in able)
        if able:
            absent.append(f"measure {name!r} needs a package that is not installed: {ways}")
        else:
            impossible.append(f"measure {name!r}: ir-measures knows it, but computes it with other parameters only")
    if impossible:
        raise ConfigError("; ".join(impossible))
    if absent:
        raise EnvironmentMissingError("; ".join(absent))


def measure_param(name: str, param: str) -> Any:
    """Return a measure's parameter, such as its ``cutoff``; ``None`` where the name does not give it."""
    return measure_object(name).params.get(param)


def evaluate_run(qrels: Qrels, run: Run, measures: Sequence[str]) -> dict[str, ValuesByQuery]:
    """Return measure -> query_id -> value, for every query of ``run``, in its order.

    Which queries a mean runs over is the caller's business: a query that ``qrels`` lacks gets 0 here, as does one
    whose list is empty.  Counts such as ``NumRet`` are values per query like any other.

    Args:
        qrels: Judgements; queries that ``run`` lacks are ignored.
        run: Documents best first.  The order is evaluated, not the scores, so that no provider breaks ties.
        measures: Names as ``parse_measures`` takes them; they are the keys of the result.

    Raises:
        ConfigError: A measure is unknown.
        EnvironmentMissingError: A measure needs a package that is not installed.
    """
    canonical = parse_measures(measures)
    values: dict[str, ValuesByQuery] = {name: dict.fromkeys(run, 0.0) for name in canonical}
    # An empty list would divide by zero in the provider of Judged.
    query_ids = [query_id for query_id, docs in run.items() if len(docs) and qrels.get(query_id)]
    for start in range(0, len(query_ids), QUERIES_PER_CALL):
        _evaluate_part(query_ids[start : start + QUERIES_PER_CALL], qrels, run, values)
    return {name: values[str(measure_object(name))] for name in measures}


def _evaluate_part(query_ids: Sequence[str], qrels: Qrels, run: Run, values: dict[str, ValuesByQuery]) -> None:
    """Fill in the values of some queries."""
    import ir_measures

    # Numbers for query ids, as the provider gdeval takes nothing else.
    part_qrels = {str(number): dict(qrels[query_id]) for number, query_id in enumerate(query_ids)}
    part_run = {
        str(number): {doc_id: -float(rank) for rank, doc_id in enumerate(run[query_id].doc_ids, start=1)}
        for number, query_id in enumerate(query_ids)
    }
    try:
        for metric in ir_measures.iter_calc([measure_object(name) for name in values], part_qrels, part_run):
            values[str(metric.measure)][query_ids[int(metric.query_id)]] = float(metric.value)
    except subprocess.CalledProcessError as error:
        msg = (
            f"one of the measures {', '.join(values)} is computed by an external program (gdeval), which refused these "
            f"judgements with exit code {error.returncode}; it takes grades up to 4 only. Leave the measure out"
        )
        raise DataError(msg) from error


def has_positive(judged: Mapping[str, int]) -> bool:
    """Return whether one of a query's grades is positive (at least 1)."""
    return any(grade >= POSITIVE_GRADE for grade in judged.values())
