"""A finished run folder, read back: what comparisons, gates and explanations work from.  No torch, no model, no texts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from rerank_bench.errors import ComparisonError, DataError, describe_unknown
from rerank_bench.records import Qrels, Run, View
from rerank_bench.reporting.pair_tokens import TOKENS_FILE, PairTokens, read_pair_tokens
from rerank_bench.reporting.query_values import PerQuery, find_query_values, read_query_values
from rerank_bench.reporting.run_folder import (
    CANDIDATES_FILE,
    MISSED_FILE,
    QRELS_FILE,
    RUN_FILE,
    file_stem,
    read_result,
)
from rerank_bench.trec_io import read_qrels, read_run

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StoredResult:
    """One run folder.  ``result`` is read at once, every other file when it is asked for."""

    folder: Path
    result: Mapping[str, Any]
    """The content of ``result.json``."""

    @property
    def name(self) -> str:
        """What tables call it: the model's name."""
        return str(self.result["model"]["name"])

    @property
    def datasets(self) -> tuple[str, ...]:
        """Names of its data sets, in the order of the run."""
        return tuple(self.result["datasets"])

    @property
    def suites(self) -> Mapping[str, tuple[str, ...]]:
        """Suite -> names of its data sets."""
        return {name: tuple(block["datasets"]) for name, block in self.result["suites"].items()}

    def candidates(self, dataset: str) -> Run:
        """Return the first stage's list."""
        return self._read(dataset, CANDIDATES_FILE, read_run)

    def reranked(self, dataset: str) -> Run:
        """Return the candidates as the model orders them, with its scores."""
        return self._read(dataset, RUN_FILE, read_run)

    def missed(self, dataset: str) -> Run:
        """Return the scored positives that are not among the candidates."""
        return self._read(dataset, MISSED_FILE, read_run)

    def qrels(self, dataset: str) -> Qrels:
        """Return the judgements."""
        return self._read(dataset, QRELS_FILE, read_qrels)

    def tokens(self, dataset: str) -> PairTokens | None:
        """Return what the model read of the relevant documents; ``None`` where the folder does not say."""
        self._check(dataset)
        path = self.folder / TOKENS_FILE.format(stem=file_stem(dataset))
        return read_pair_tokens(path) if path.exists() else None

    def query_values(self, dataset: str, view: View) -> PerQuery:
        """Return each measure's values per query, in the order of the file.

        Raises:
            DataError: The file is not there.
            ParseError: A line of it cannot be read.
            ComparisonError: The run has no such data set.
        """
        self._check(dataset)
        return read_query_values(find_query_values(self.folder, file_stem(dataset)), view)

    def _check(self, dataset: str) -> None:
        if dataset not in self.result["datasets"]:
            raise ComparisonError(f"{self.folder}: " + describe_unknown("data set", [dataset], self.datasets))

    def _read(self, dataset: str, template: str, read: Callable[[Path], T]) -> T:
        self._check(dataset)
        path = self.folder / template.format(stem=file_stem(dataset))
        if not path.exists():
            msg = f"{path}: no such file, though result.json beside it names {dataset}; run the same command again"
            raise DataError(msg)
        return read(path)


def read_stored_result(path: str | Path) -> StoredResult:
    """Return the run in a folder, or beside a ``result.json``.

    Raises:
        DataError: The run is not finished, or of another schema version.
    """
    path = Path(path)
    result = read_result(path)
    return StoredResult(folder=path if path.is_dir() else path.parent, result=result)
