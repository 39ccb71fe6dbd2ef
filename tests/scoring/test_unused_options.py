"""Options that a model cannot use are named, and others are not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from watcher import Watcher

from rerank_bench.pipeline.run import run
from rerank_bench.progress import use_reporter
from rerank_bench.scoring.external_options import ExternalOptions
from rerank_bench.scoring.scorer import ScorerConfig
from rerank_bench.scoring.specs import parse_model_spec
from rerank_bench.scoring.unused_options import note_unused_options

TINY = Path(__file__).parents[1] / "data" / "tiny"
URL = "http://127.0.0.1:1/rerank"


def notes_of(models: list[str], *, allow_missing_queries: bool = False, **options: Any) -> list[str]:
    watcher = Watcher()
    specs = [parse_model_spec(text) for text in models]
    with use_reporter(watcher):
        note_unused_options(specs, ScorerConfig(**options), allow_missing_queries=allow_missing_queries)
    return watcher.notes


@pytest.mark.parametrize(
    ("models", "options", "expected"),
    [
        (["m:f"], {}, []),
        (["m:f"], {"dtype": "bfloat16", "batch_tokens": 9}, ["--dtype: no effect on m:f"]),
        (
            ["m:f", "demo"],
            {"device": "cpu", "revision": "x"},
            ["--device, --revision: no effect on m:f", "--revision: no effect on demo"],
        ),
        ([URL], {"revision": "x", "max_length": 8}, [f"--max-length: no effect on {URL}"]),
        (
            ["demo"],
            {"external": ExternalOptions(docs_per_request=5, model="x")},
            ["--external-model, --external-docs: no effect on demo"],
        ),
        ([URL], {"external": ExternalOptions(timeout_seconds=5)}, []),
        (["oracle", "demo", "random"], {"dtype": "float32"}, []),
        (["oracle", "random"], {"dtype": "float32"}, ["--dtype: no effect on oracle, random"]),
        (["oracle", "m:f"], {"instruction": "x"}, ["--instruction: no effect on oracle, m:f"]),
        (["oracle", "demo"], {"allow_missing_queries": True}, ["--allow-missing-queries: no effect on oracle, demo"]),
    ],
    ids=str,
)
def test_what_does_nothing_is_named(models: list[str], options: dict[str, Any], expected: list[str]) -> None:
    assert notes_of(models, **options) == expected


def test_a_stored_run_takes_missing_queries_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.trec"
    path.write_text("q Q0 d 1 1 t\n")
    assert notes_of([f"run:{path}", "demo", "oracle"], allow_missing_queries=True, max_length=9) == []
    assert notes_of([f"run:{path}"], allow_missing_queries=True, max_length=9) == [
        f"--max-length: no effect on run:{path}"
    ]


def test_a_run_says_it(tmp_path: Path) -> None:
    watcher = Watcher()
    with use_reporter(watcher):
        run(["word_overlap:score"], datasets=[TINY], out=tmp_path, limit=2, scorer={"dtype": "bfloat16"})
    assert "--dtype: no effect on word_overlap:score" in watcher.notes
