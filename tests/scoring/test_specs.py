from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from rerank_bench.errors import ConfigError
from rerank_bench.scoring.specs import ModelSpec, parse_model_spec


@pytest.mark.parametrize(
    ("text", "kind", "value", "revision"),
    [
        ("first-stage", "baseline", "first-stage", None),
        ("random", "baseline", "random", None),
        ("oracle", "baseline", "oracle", None),
        ("demo", "demo", "demo", None),
        ("my_package.scorers:overlap", "callable", "my_package.scorers:overlap", None),
        ("scorers:Overlap.score", "callable", "scorers:Overlap.score", None),
        ("cross-encoder/ms-marco-MiniLM-L6-v2", "hub", "cross-encoder/ms-marco-MiniLM-L6-v2", None),
        ("BAAI/bge-reranker-v2-m3@main", "hub", "BAAI/bge-reranker-v2-m3", "main"),
        ("a/b@refs/pr/4", "hub", "a/b", "refs/pr/4"),
        ("http://127.0.0.1:8000/rerank", "external", "http://127.0.0.1:8000/rerank", None),
        ("https://api.example/v2/rerank#owner/m", "external", "https://api.example/v2/rerank#owner/m", None),
        ("external:http://[::1]:80/rerank?api-version=2", "external", "http://[::1]:80/rerank?api-version=2", None),
    ],
)
def test_a_spec_says_what_is_meant(text: str, kind: str, value: str, revision: str | None) -> None:
    spec = parse_model_spec(text)
    assert (spec.kind, spec.value, spec.revision, spec.text) == (kind, value, revision, text)
    assert spec.scores_texts == (kind not in {"baseline", "run"})


def test_an_existing_folder_is_a_local_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "owner" / "name"
    folder.mkdir(parents=True)
    assert parse_model_spec(str(folder)) == ModelSpec(kind="local", value=str(folder), text=str(folder))
    monkeypatch.chdir(tmp_path)
    assert parse_model_spec("owner/name").kind == "local", "a folder of that name goes before the hub"


def test_a_stored_run_must_exist(tmp_path: Path) -> None:
    path = tmp_path / "bm25.trec"
    path.write_text("1 Q0 a 1 1 x\n")
    assert parse_model_spec(f"run:{path}") == ModelSpec(kind="run", value=str(path), text=f"run:{path}")
    with pytest.raises(ConfigError, match=r"run:.*absent\.trec': no such file; expected 'run:FILE'"):
        parse_model_spec(f"run:{tmp_path / 'absent.trec'}")
    with pytest.raises(ConfigError, match="is a folder; expected 'run:FILE'"):
        parse_model_spec(f"run:{tmp_path}")


@pytest.mark.parametrize("text", ["./models/mine", "/absent/model", "~/absent-model", "a/b/c", "models/", "..\\models"])
def test_a_path_that_does_not_exist_is_named(text: str) -> None:
    with pytest.raises(ConfigError, match=r"no such folder; expected a folder with config.json"):
        parse_model_spec(text)


def test_a_file_is_not_a_model(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"")
    with pytest.raises(ConfigError, match=r"is a file, expected a folder.*'run:"):
        parse_model_spec(str(path))


@pytest.mark.parametrize(("text", "near"), [("frist-stage", "first-stage"), ("Oracle", "oracle"), ("demos", "demo")])
def test_an_unknown_name_gets_the_nearest(text: str, near: str) -> None:
    with pytest.raises(ConfigError, match=rf"unknown model '{text}'; did you mean '{near}'.*hub id 'owner/name'"):
        parse_model_spec(text)


@pytest.mark.parametrize("text", ["", "  ", "a b", "owner/na me"])
def test_what_has_no_form_is_unknown(text: str) -> None:
    with pytest.raises(ConfigError, match="unknown model"):
        parse_model_spec(text)


@pytest.mark.parametrize(
    "text",
    [
        "external:",
        "external:ftp://host/rerank",
        "http://",
        "http:///rerank",
        "https://host:abc/",
        "http://ho st/",
        "http://host/caf\u00e9",
        "http://host/\x00",
        "http://[::1",
    ],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"a rerank endpoint is 'http://HOST:PORT/PATH' or 'https://…'"):
        parse_model_spec(text)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("https://me:hidden@host/rerank", "a user name or password"),
        ("https://hidden@host/rerank", "a user name or password"),
        ("https://host/rerank?api_key=hidden", "a parameter 'api_key'"),
        ("https://host/rerank?v=1&access_token=hidden#m", "a parameter 'access_token'"),
        ("https://host/rerank?sig=hidden", "a parameter 'sig'"),
    ],
)
def test_a_secret_in_an_address_is_refused_and_not_shown(text: str, what: str) -> None:
    with pytest.raises(ConfigError, match=rf"at host holds {what}.*variable RERANK_BENCH_API_KEY") as caught:
        parse_model_spec(text)
    assert "hidden" not in str(caught.value)


def test_parsing_a_spec_loads_no_torch() -> None:
    code = (
        "import sys; from rerank_bench.scoring.loaded_scorer import load_scorer\n"
        "from rerank_bench.scoring import baselines, engine\n"
        "from rerank_bench.scoring.scorer import ScorerConfig\n"
        "from rerank_bench.scoring.specs import parse_model_spec\n"
        "parse_model_spec('demo'); ScorerConfig(device='cuda:1')\n"
        "print([m for m in ('torch', 'transformers', 'tokenizers', 'huggingface_hub') if m in sys.modules])"
    )
    output = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert output.strip() == "[]"
