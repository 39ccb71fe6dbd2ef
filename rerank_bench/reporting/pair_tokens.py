"""How many tokens a model read of a query with each of its relevant documents: one file per data set of a run folder.

A line is ``query_id``, ``doc_id``, ``tokens`` (of both together, after truncation) and ``cut`` (1 where tokens were lost,
0 where all were read), parted by tabs behind a header.  Only relevant documents that were scored have one, so the file is
small; a model whose tokens nobody counts, such as a service, has no file.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from rerank_bench.errors import ParseError
from rerank_bench.storage import atomic_writer, read_lines

TOKENS_FILE = "{stem}.tokens.tsv"
HEADER = "query_id\tdoc_id\ttokens\tcut"


class ReadTokens(NamedTuple):
    """What a model read of one pair."""

    num_tokens: int
    """Of query and document together, special ones included."""
    is_cut: bool
    """Whether tokens of either were lost."""


PairTokens = Mapping[str, Mapping[str, ReadTokens]]
"""query_id -> doc_id -> what was read of both."""


def write_pair_tokens(path: Path, tokens: PairTokens) -> None:
    """Write the tokens of a data set's pairs, in their order.

    Raises:
        EnvironmentMissingError: The folder is read-only or the disk is full.
    """
    with atomic_writer(path) as file:
        file.write(f"{HEADER}\n")
        for query_id, docs in tokens.items():
            for doc_id, read in docs.items():
                file.write(f"{query_id}\t{doc_id}\t{read.num_tokens}\t{int(read.is_cut)}\n")


def read_pair_tokens(path: Path) -> PairTokens:
    """Return what ``write_pair_tokens`` wrote.

    Raises:
        ParseError: The header or a line is not what it writes.
    """
    tokens: dict[str, dict[str, ReadTokens]] = {}
    for number, line in read_lines(path):
        if number == 1:
            if line != HEADER:
                raise ParseError(path, 1, f"the header is {line!r}, expected {HEADER!r}")
            continue
        fields = line.split("\t")
        if len(fields) != 4 or not fields[2].isdecimal() or fields[3] not in {"0", "1"}:
            problem = f"expected query_id, doc_id, a number of tokens, and 0 or 1, parted by tabs; found {line!r}"
            raise ParseError(path, number, problem)
        query_id, doc_id, num_tokens, is_cut = fields
        tokens.setdefault(query_id, {})[doc_id] = ReadTokens(int(num_tokens), is_cut == "1")
    return tokens
