"""``msmarco-pairs``: two million labelled pairs from the triplets of MS MARCO.

The repository holds ids only, in the configurations ``triplets``, ``queries`` and ``corpus``.  The rows are those of the
script that Sentence Transformers publishes (training_ms_marco_bce_preprocessed.py): the first million triplets, in blocks
of 1,000: the queries with their positives, score 1, then the same queries with their negatives, score 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from rerank_bench.data.hub_tables import string_chunks
from rerank_bench.errors import DataError
from rerank_bench.progress import track
from rerank_bench.storage import atomic_path
from rerank_bench.training.hub_data import read_hub_rows


@dataclass(frozen=True, slots=True, kw_only=True)
class MsmarcoPairs:
    """How the pairs are made; the defaults are the published settings."""

    repository: str = "sentence-transformers/msmarco"
    revision: str = "9e329ed2e649c9d37b0d91dd6b764ff6fe671d83"
    num_triplets: int = 1_000_000
    """From the start; each gives two pairs."""
    block: int = 1_000
    """Triplets whose positives stand before their negatives."""

    def describe(self) -> dict[str, Any]:
        """Return what decides the rows, JSON-able."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    def say(self) -> str:
        """Return what a reader of the model's card should know, in one phrase."""
        return f"the first {self.num_triplets:,} triplets, each as a pair of score 1 and one of score 0"

    def build(self, path: Path, *, device: str) -> dict[str, Any]:  # noqa: ARG002  nothing is computed by a model
        """Write the pairs, block by block, and return what is recorded of them.

        Memory: the texts that are used (about 0.8 GB of the corpus's 3.1 GB), and a block.

        Args:
            path: A Parquet file.
            device: Unused.

        Raises:
            DataError: An id has no text, or the repository is not what it was.
            EnvironmentMissingError: The hub is out of reach.
        """
        triplets = self._table("triplets").slice(0, self.num_triplets)
        ids = {name: string_chunks(self._where, triplets, f"{name}_id") for name in ("query", "positive", "negative")}
        wanted = pc.unique(pa.chunked_array([*ids["positive"].chunks, *ids["negative"].chunks]))
        passages = self._texts("corpus", "passage_id", "passage", wanted)
        queries = self._texts("queries", "query_id", "query", pc.unique(ids["query"]))
        places = {name: (queries if name == "query" else passages).find(column) for name, column in ids.items()}
        schema = pa.schema([("query", pa.large_string()), ("passage", pa.large_string()), ("score", pa.float32())])
        with (
            atomic_path(path) as temporary,
            pq.ParquetWriter(temporary, schema) as writer,
            track("write pairs", total=len(triplets), unit="triplets") as advance,
        ):
            for start in range(0, len(triplets), self.block):
                part = {name: column.slice(start, self.block) for name, column in places.items()}
                asked = queries.texts.take(part["query"])
                answers = [passages.texts.take(part[name]) for name in ("positive", "negative")]
                scores = pa.array([1.0] * len(asked) + [0.0] * len(asked), type=pa.float32())
                columns = [pa.concat_arrays([asked, asked]), pa.concat_arrays(answers), scores]
                writer.write_table(pa.table(columns, schema=schema))
                advance(len(asked))
        return {"triplets": len(triplets), "passages": len(wanted)}

    @property
    def _where(self) -> str:
        return f"{self.repository}@{self.revision[:12]}"

    def _table(self, config: str) -> pa.Table:
        return read_hub_rows(self.repository, revision=self.revision, config=config, split="train").table

    def _texts(self, config: str, id_column: str, text_column: str, wanted: pa.Array) -> _Texts:
        """Return the texts of some ids; only those are kept of the table.

        Raises:
            DataError: The table has a column of another type.
        """
        table = self._table(config)
        columns = [string_chunks(self._where, table, name) for name in (id_column, text_column)]
        found: list[pa.Table] = []
        for batch in pa.table(dict(zip(("id", "text"), columns, strict=True))).to_batches():
            kept = pc.is_in(batch.column(0), value_set=wanted)
            found.append(pa.Table.from_batches([batch.filter(kept)]))
        texts = pa.concat_tables(found).combine_chunks()
        return _Texts(f"{self._where}, {config}", *(_one_array(texts.column(name)) for name in ("id", "text")))


@dataclass(frozen=True, slots=True, eq=False)
class _Texts:
    """Texts by id."""

    where: str
    ids: pa.Array
    texts: pa.Array

    def find(self, ids: pa.ChunkedArray) -> pa.Array:
        """Return where the texts of some ids stand, in the ids' order.

        Raises:
            DataError: An id has no text.
        """
        places = pc.index_in(_one_array(ids), value_set=self.ids)
        if places.null_count:
            missing = _one_array(ids).filter(pc.is_null(places)).to_pylist()
            msg = f"{self.where}: {len(missing):,} ids have no text (first: {', '.join(map(repr, missing[:3]))})"
            raise DataError(msg)
        return places


def _one_array(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
