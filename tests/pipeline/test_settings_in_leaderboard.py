"""One model asked in several ways: each way is a row of the leaderboard, and none replaces another."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_language_models import PLAIN, TOKENS, write_causal_lm

from rerank_bench.comparison.opening import open_folder
from rerank_bench.errors import ConfigError
from rerank_bench.pipeline.run import run
from rerank_bench.reporting.labels import label_models
from rerank_bench.reporting.leaderboard import read_rows

TINY = Path(__file__).parents[1] / "data" / "tiny"
INSTRUCTED = "{instruction}: {query} {document}"
SETTINGS = {
    "a": {"template": INSTRUCTED, "instruction": "find it"},
    "b": {"template": INSTRUCTED, "instruction": "judge it"},
    "c": {"template": PLAIN},
}


def test_every_way_to_ask_is_a_row(tmp_path: Path) -> None:
    model, leaderboard = write_causal_lm(tmp_path / "model"), tmp_path / "leaderboard.csv"
    for name, settings in SETTINGS.items():
        scorer = {"device": "cpu", **settings, **TOKENS}
        run([str(model)], [TINY], out=tmp_path / name, leaderboard=leaderboard, scorer=scorer)
        run([str(model)], [TINY], out=tmp_path / name, leaderboard=leaderboard, scorer=scorer)  # replaces its own rows
    rows = read_rows(leaderboard)
    assert len(rows) == 3 * len(SETTINGS)
    assert {row["instruction"] for row in rows} == {"find it", "judge it", ""}
    assert len({row["prompt_fingerprint"] for row in rows}) == 2
    assert len(set(label_models(rows).values())) == len(SETTINGS)
    (label,) = {label for label in label_models(rows).values() if "judge it" in label}
    assert open_folder(f"{leaderboard}:{label}").location.endswith(label)
    with pytest.raises(ConfigError, match=r"'model' stands for several runs: .*“find it”"):
        open_folder(f"{leaderboard}:model")
