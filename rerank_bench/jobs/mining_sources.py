"""What is mined: the queries with their positives, and the texts that negatives are looked for in."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from rerank_bench.data.datasets import DEFAULT_SPLIT, load_dataset
from rerank_bench.errors import ConfigError, DataError, describe_unknown
from rerank_bench.jobs.raw_rows import looks_like_file, read_rows
from rerank_bench.progress import note
from rerank_bench.records import POSITIVE_GRADE, Dataset
from rerank_bench.training.loss_choice import check_texts
from rerank_bench.training.positive_pairs import PositivePairs, build_pair_examples, make_pairs, pair_up
from rerank_bench.training.request import DataRequest
from rerank_bench.training.shapes import NAMES_OF_ROLE, parse_columns
from rerank_bench.training.tables import read_files


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceRequest:
    """Where queries, positives and candidates come from.

    Raises:
        ConfigError: Neither data nor a data set, or both.
    """

    data: DataRequest | None = None
    """Files or a hub data set, in any shape that ``train`` reads; or pairs without labels, all positive."""
    dataset: str | None = None
    """A data set: its queries with what is judged relevant."""
    split: str = DEFAULT_SPLIT
    """Of a data set that is a folder."""
    corpus: str | None = None
    """A file or a data set; ``None``: the data set's collection, or all documents of the data."""
    corpus_column: str | None = None
    """Column of a corpus file that holds the texts; ``None``: found by its name."""

    def __post_init__(self) -> None:
        if (self.data is None) == (self.dataset is None):
            msg = (
                "expected training data (--data and its options) or a data set (--dataset) to mine for, one of the two"
            )
            raise ConfigError(msg)
        if self.data is not None and self.split != DEFAULT_SPLIT:
            msg = f"--split {self.split} is for --dataset; the split of a hub data set is --data-split"
            raise ConfigError(msg)


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """Queries, positives, and the distinct texts that negatives are looked for in."""

    pairs: PositivePairs
    corpus: pa.LargeStringArray
    """(N,) distinct texts, none of them blank, the positives among them."""
    num_blank: int
    """Blank texts that were left out of the corpus."""
    name: str
    """What was mined for, and where."""


def load_source(request: SourceRequest) -> Source:
    """Return queries, positives and corpus.

    Raises:
        ConfigError: An unknown data set.
        DataError: The data cannot be read, or hold no positive.
    """
    if request.data is not None:
        examples = build_pair_examples(read_rows(request.data), parse_columns(request.data.columns))
        check_texts(examples)
        pairs, name = pair_up(examples), examples.source
        texts = pairs.others
    else:
        dataset = load_dataset(str(request.dataset), split=request.split)
        pairs, name = _judged_pairs(dataset), dataset.name
        texts = dataset.collection.texts
        if request.split == DEFAULT_SPLIT:
            note(
                f"{name}: the pairs are the judgements that `run` measures with; what is trained on them has seen the test"
            )
    if request.corpus is not None:
        texts = _corpus_texts(request.corpus, request.corpus_column)
        name = f"{name} in {request.corpus}"
    elif request.corpus_column is not None:
        msg = f"--corpus-column {request.corpus_column} is for a corpus file; name one with --corpus"
        raise ConfigError(msg)
    corpus, num_blank = _distinct(texts, pairs.positives)
    if pairs.num_without_positive:
        note(f"{name}: {pairs.num_without_positive:,} queries have no positive and are left out")
    if len(corpus) <= pairs.max_positives:
        msg = (
            f"{name}: {len(corpus)} distinct texts to find negatives in, and one query has {pairs.max_positives} of them as "
            "positives; name a larger corpus with --corpus"
        )
        raise DataError(msg)
    return Source(pairs, corpus, num_blank, name)


def _judged_pairs(dataset: Dataset) -> PositivePairs:
    """Return the queries of a data set with the texts that are judged relevant."""
    relevant = {
        query_id: [doc_id for doc_id, grade in dataset.qrels.get(query_id, {}).items() if grade >= POSITIVE_GRADE]
        for query_id in dataset.queries
    }
    texts = dataset.collection.texts_of(list(dict.fromkeys(d for doc_ids in relevant.values() for d in doc_ids)))
    pairs: dict[str, list[str]] = {}
    for query_id, doc_ids in relevant.items():
        positives = [texts[doc_id] for doc_id in doc_ids if texts[doc_id].strip()]
        if positives and dataset.queries[query_id].strip():
            pairs.setdefault(dataset.queries[query_id], []).extend(positives)
    if not pairs:
        msg = f"{dataset.name}: no query has a document that is judged relevant"
        raise DataError(msg)
    num_left_out = len(set(dataset.queries.values()) - pairs.keys())
    nothing = pa.array([], type=pa.large_string())
    return make_pairs(pairs, others=nothing, num_rows=len(dataset.queries), num_without_positive=num_left_out)


def _corpus_texts(corpus: str, column: str | None) -> pa.LargeStringArray:
    """Return the texts of a file, or of a data set's collection."""
    path = Path(corpus).expanduser()
    if path.is_dir() or not (path.exists() or looks_like_file(corpus)):
        if column is not None:
            msg = f"--corpus-column {column} is for a corpus file; {corpus!r} is a data set"
            raise ConfigError(msg)
        return load_dataset(corpus).collection.texts
    rows = read_files([path])
    names = rows.table.column_names
    if column is not None and column not in names:
        msg = f"{path}: {describe_unknown('column', [column], names)}"
        raise DataError(msg)
    found = [n for n in names if n.lower() in NAMES_OF_ROLE["document"]] or (names if len(names) == 1 else [])
    if column is None and len(found) != 1:
        problem = f"{' and '.join(found)} could all be the texts" if found else "no column is known to hold the texts"
        msg = f"{path}: {problem} (found: {', '.join(names)}); name it with --corpus-column"
        raise DataError(msg)
    texts = rows.table.column(column or found[0])
    if not (pa.types.is_string(texts.type) or pa.types.is_large_string(texts.type)):
        msg = f"{path}: column {column or found[0]!r} holds {texts.type}, expected texts"
        raise DataError(msg)
    return pc.fill_null(texts.cast(pa.large_string()), "").combine_chunks()


def _distinct(texts: pa.LargeStringArray, positives: Sequence[str]) -> tuple[pa.LargeStringArray, int]:
    """Return the distinct texts in the order in which they first occur, positives behind, and the number of blank ones."""
    is_blank = pc.equal(pc.utf8_length(pc.utf8_trim_whitespace(texts)), 0)
    kept = texts.filter(pc.invert(is_blank))
    whole = pa.chunked_array([kept, pa.array(positives, type=pa.large_string())])
    return whole.unique(), len(texts) - len(kept)


def hash_normalised(texts: Iterable[str]) -> NDArray[np.int64]:
    """Return (N,) int64: equal for texts that differ only in case, white space or Unicode form (NFKC)."""
    digests = b"".join(
        hashlib.blake2b(
            " ".join(unicodedata.normalize("NFKC", text).casefold().split()).encode(errors="surrogatepass"),
            digest_size=8,
        ).digest()
        for text in texts
    )
    return np.frombuffer(digests, dtype=np.int64)
