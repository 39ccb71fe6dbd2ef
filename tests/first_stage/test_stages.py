from __future__ import annotations

import pytest

from rerank_bench.errors import ConfigError
from rerank_bench.first_stage.stages import DenseStage, FusionStage, parse_first_stage


def test_stages_with_an_argument() -> None:
    assert parse_first_stage("dense:org/model") == DenseStage("org/model")
    assert parse_first_stage("fusion:bm25 + dense:org/model") == FusionStage(("bm25", "dense:org/model"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dense:", "names no model"),
        ("fusion:bm25", "names 1 lists, expected two or more"),
        ("fusion:bm25+", "names 1 lists"),
        ("fusion:bm25+bm25", "names 'bm25' twice"),
        ("fusion:bm25+fusion:bm25", "a fusion within a fusion"),
        ("fusion:bm25+bm26", r"'fusion:bm25\+bm26': unknown first stage 'bm26'; did you mean 'bm25'.*parted by '\+'"),
        ("dens:org/model", "unknown first stage 'dens:org/model'"),
    ],
)
def test_a_wrong_stage_is_named(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_first_stage(text)
