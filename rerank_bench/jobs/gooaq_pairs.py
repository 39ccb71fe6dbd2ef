"""``gooaq-pairs``: the training pairs of the published GooAQ rerankers, five mined negatives for each question.

Settings of the script that Sentence Transformers publishes with its rerankers (training_gooaq_bce.py): the first 100,000
rows, less the 1,000 that ``gooaq-dev-st`` measures with; negatives from the answers that are left, by
static-retrieval-mrl-en-v1, ranks 1 to 100, none that scores above the answer itself.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from rerank_bench.data.gooaq import read_gooaq, split_rows
from rerank_bench.data.manifests import load_manifest
from rerank_bench.jobs.mine import MiningRequest, mine
from rerank_bench.jobs.mining_sources import SourceRequest
from rerank_bench.training.mined import OutputForm
from rerank_bench.training.negatives import NegativeChoice
from rerank_bench.training.request import DataRequest

RETRIEVER = "sentence-transformers/static-retrieval-mrl-en-v1"
DEV_SET = "gooaq-dev-st"
"""The data set whose rows are left out; its manifest says which rows of which revision the data are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GooaqPairs:
    """How the pairs are made; the defaults are the published settings."""

    choice: NegativeChoice = field(
        default_factory=lambda: NegativeChoice(num_negatives=5, range_min=0, range_max=100, absolute_margin=0.0)
    )
    retriever: str = RETRIEVER

    @property
    def repository(self) -> str:
        """Where the texts come from."""
        return str(load_manifest(DEV_SET).table["gooaq"]["repository"])

    @property
    def revision(self) -> str:
        """Its commit."""
        return str(load_manifest(DEV_SET).table["gooaq"]["revision"])

    def describe(self) -> dict[str, Any]:
        """Return what decides the rows, JSON-able."""
        rows = load_manifest(DEV_SET).table["gooaq"]
        return {
            "rows": {name: rows.get(name) for name in ("repository", "revision", "first_rows", "test_size", "seed")},
            "retriever": self.retriever,
            "choice": self.choice.describe(),
        }

    def say(self) -> str:
        """Return what a reader of the model's card should know, in one phrase."""
        return (
            f"the first rows without those of {DEV_SET}, {self.choice.num_negatives} negatives per question mined with "
            f"{self.retriever}"
        )

    def build(self, path: Path, *, device: str) -> dict[str, Any]:
        """Write the pairs and return what is recorded of them.

        Args:
            path: A Parquet file.
            device: Where the retriever runs.

        Raises:
            RerankBenchError: The hub is out of reach, or what ``mine`` raises.
        """
        manifest = load_manifest(DEV_SET)
        spec = manifest.table["gooaq"]
        _, table = read_gooaq(manifest)
        rows, _ = split_rows(len(table), test_size=spec["test_size"], seed=spec["seed"])
        texts = table.take(pa.array(rows)).rename_columns(["query", "positive"])
        whole = texts.filter(pc.and_(*(_has_words(texts.column(name)) for name in texts.column_names)))
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            pairs = Path(folder) / "pairs.parquet"
            pq.write_table(whole, pairs)
            report = mine(
                MiningRequest(
                    source=SourceRequest(data=DataRequest(sources=(str(pairs),))),
                    form=OutputForm(path=Path(folder) / path.name, shape="pairs"),
                    choice=self.choice,
                    retriever=self.retriever,
                    scorer={"device": device},
                )
            )
            report.path.replace(path)
        return {"blank_rows": len(texts) - len(whole), "mined": report.as_dict() | {"path": path.name}}


def _has_words(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.greater(pc.utf8_length(pc.utf8_trim_whitespace(texts)), 0)
