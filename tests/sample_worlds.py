"""A small world that is checked by hand, and random ones for identities; for the tests of forensics."""

from __future__ import annotations

import random
from pathlib import Path

from run_builder import ScoresByQuery, World, write_world

DOCS = {f"d{number:02}": f"document number {number}" for number in range(20)} | {
    "best": "how to mend a broken chain",
    "good": "chains and their care",
    "missed": "a chain that nobody found",
    "twin": "how to mend a broken chain",
}
FILLERS = tuple(f"d{number:02}" for number in range(12))
QUERIES = {
    "q-fell": "mend a chain",
    "q-rose": "care for chains",
    "q-missed": "chain nobody found",
    "q-same": "document one",
    "q-long": "a query of rather many words that goes on and on for a while",
}
QRELS = {
    "q-fell": {"best": 2, "good": 1, "d00": 0},
    "q-rose": {"good": 1},
    "q-missed": {"missed": 1},
    "q-same": {"d01": 1},
    "q-long": {"d02": 1, "missed": 2},
}
CANDIDATES = {
    "q-fell": ("best", "good", "twin", *FILLERS),
    "q-rose": (*FILLERS, "good"),
    "q-missed": FILLERS,
    "q-same": ("d01", "d00"),
    "q-long": ("d00", "d01", "d02"),
}
BEFORE: ScoresByQuery = {
    "q-fell": {"best": 9.0, "good": 8.0, "twin": 1.0},
    "q-rose": {"d00": 1.0},
    "q-missed": {"missed": 1.0},
    "q-same": {"d01": 1.0},
    "q-long": {"d02": 1.0},
}
AFTER: ScoresByQuery = {
    # All fillers above best; twin above them.
    "q-fell": {"twin": 50.0, "good": 20.0, "best": 3.0} | {doc: 10.0 + i for i, doc in enumerate(FILLERS)},
    "q-rose": {"good": 5.0},
    "q-missed": {"missed": 1.0, "d00": 2.0},
    "q-same": {"d01": 1.0},
    "q-long": {"d00": 3.0, "d01": 3.0, "d02": 3.0, "missed": 4.0},
}


def random_world(folder: Path, seed: int, num_queries: int, *, num_docs: int = 60, depth: int = 30) -> World:
    rng = random.Random(seed)
    docs = {f"{folder.name}-{i}": f"text {i} " * rng.randrange(1, 90) for i in range(num_docs)}
    queries = {f"q{i}": "word " * rng.randrange(1, 25) for i in range(num_queries)}
    qrels = {q: {d: rng.choice((-1, 0, 1, 1, 2, 3)) for d in rng.sample(list(docs), 9)} for q in queries}
    for judged in qrels.values():
        judged[next(iter(judged))] = 2
    candidates = {q: tuple(rng.sample(list(docs), rng.randrange(3, depth + 1))) for q in queries}
    return write_world(folder, docs=docs, queries=queries, qrels=qrels, candidates=candidates)


def random_scores(world: World, seed: int) -> ScoresByQuery:
    rng = random.Random(seed)
    # Few distinct scores, so that many tie.
    return {
        q: {d: float(rng.randrange(12)) for d in {*docs, *world.dataset.qrels[q]}}
        for q, docs in world.candidates.items()
    }
