"""``msmarco-lists``: MS MARCO's own lists of passages, and as many again with mined negatives.

The data of the script that Sentence Transformers publishes (training_ms_marco_lambda_hard_neg.py), from MS MARCO v1.1:
every query that has a selected passage, with all its passages, the selected ones first; then, for each query and selected
passage, a list of that passage and nine negatives from all passages, by all-MiniLM-L6-v2, ranks 4 to 30.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from rerank_bench.errors import DataError
from rerank_bench.jobs.mine import MiningRequest, mine
from rerank_bench.jobs.mining_sources import SourceRequest
from rerank_bench.storage import atomic_path
from rerank_bench.training.hub_data import read_hub_rows
from rerank_bench.training.mined import OutputForm
from rerank_bench.training.negatives import NegativeChoice
from rerank_bench.training.request import DataRequest

SCHEMA = pa.schema([("query", pa.string()), ("docs", pa.list_(pa.string())), ("labels", pa.list_(pa.int8()))])


@dataclass(frozen=True, slots=True, kw_only=True)
class MsmarcoLists:
    """How the lists are made; the defaults are the published settings."""

    repository: str = "microsoft/ms_marco"
    revision: str = "a47ee7aae8d7d466ba15f9f0bfac3b3681087b3a"
    config: str = "v1.1"
    choice: NegativeChoice = field(default_factory=lambda: NegativeChoice(num_negatives=9, range_min=3, range_max=30))
    retriever: str = "sentence-transformers/all-MiniLM-L6-v2"

    def describe(self) -> dict[str, Any]:
        """Return what decides the rows, JSON-able."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return values | {"choice": self.choice.describe()}

    def say(self) -> str:
        """Return what a reader of the model's card should know, in one phrase."""
        return (
            f"configuration `{self.config}`: the queries' own lists, and for each selected passage a list with "
            f"{self.choice.num_negatives} negatives mined with {self.retriever}"
        )

    def build(self, path: Path, *, device: str) -> dict[str, Any]:
        """Write the lists and return what is recorded of them.

        Args:
            path: A Parquet file.
            device: Where the retriever runs.

        Raises:
            RerankBenchError: The hub is out of reach, the repository is not what it was, or what ``mine`` raises.
        """
        rows = self._rows()
        own = _own_lists(rows)
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            pairs, corpus, mined = (Path(folder) / f"{name}.parquet" for name in ("pairs", "corpus", "mined"))
            positives = [(q, doc) for q, docs, labels in own for doc, label in zip(docs, labels, strict=True) if label]
            whole = [(query, doc) for query, doc in positives if query.strip() and doc.strip()]
            pq.write_table(pa.table({"query": [q for q, _ in whole], "positive": [d for _, d in whole]}), pairs)
            pq.write_table(
                pa.table(
                    {"text": list(dict.fromkeys(text for row in rows for text in row["passages"]["passage_text"]))}
                ),
                corpus,
            )
            report = mine(
                MiningRequest(
                    source=SourceRequest(data=DataRequest(sources=(str(pairs),)), corpus=str(corpus)),
                    form=OutputForm(path=mined, shape="tuples"),
                    choice=self.choice,
                    retriever=self.retriever,
                    scorer={"device": device},
                )
            )
            lists = [*own, *_lists_of(pq.read_table(mined))]
        with atomic_path(path) as temporary:
            pq.write_table(pa.table([list(column) for column in zip(*lists, strict=True)], schema=SCHEMA), temporary)
        counts = {"own_lists": len(own), "mined_lists": report.num_rows, "blank_positives": len(positives) - len(whole)}
        return counts | {"mined": report.as_dict() | {"path": path.name}}

    def _rows(self) -> list[dict[str, Any]]:
        table = read_hub_rows(self.repository, revision=self.revision, config=self.config, split="train").table
        names = {"query", "passages"}
        if not names <= set(table.column_names):
            msg = f"{self.repository}@{self.revision[:12]}: expected the columns query, passages; found {', '.join(table.column_names)}"
            raise DataError(msg)
        rows: list[dict[str, Any]] = table.select(sorted(names)).to_pylist()
        return rows


def _own_lists(rows: list[dict[str, Any]]) -> list[tuple[str, list[str], list[int]]]:
    """Return (query, passages, labels), the selected passages first; queries without one are left out."""
    lists = []
    for row in rows:
        passages = row["passages"]
        pairs = sorted(zip(passages["passage_text"], passages["is_selected"], strict=True), key=lambda pair: -pair[1])
        if pairs and pairs[0][1] > 0:
            lists.append((row["query"], [text for text, _ in pairs], [int(label) for _, label in pairs]))
    return lists


def _lists_of(table: pa.Table) -> list[tuple[str, list[str], list[int]]]:
    """Return (query, documents, labels) of mined tuples."""
    lists = []
    for row in table.to_pylist():
        query, positive, *negatives = row.values()
        lists.append((query, [positive, *negatives], [1] + [0] * len(negatives)))
    return lists
