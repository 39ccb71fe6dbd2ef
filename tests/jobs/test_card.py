"""Cards of real trainings and runs, and of what is none."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard
from tiny_job import TINY, tiny_request
from tiny_training import pair_rows, write_jsonl
from typer.testing import CliRunner

from rerank_bench.cli.app import app
from rerank_bench.errors import ConfigError, DataError
from rerank_bench.jobs.card import make_card
from rerank_bench.jobs.classify import ClassifyRequest, classify
from rerank_bench.jobs.train import run_training
from rerank_bench.pipeline.run import run
from rerank_bench.reporting.model_card import is_untouched_card


@pytest.fixture
def copied_job(tiny_job: Path, tmp_path: Path) -> Path:
    """The finished training, to be changed."""
    return Path(shutil.copytree(tiny_job, tmp_path / "job"))


def run_tiny(model: str | Path, out: Path, **options: Any) -> Path:
    """The run folder of a model on the tiny data set."""
    report = run(models=[str(model)], datasets=[TINY], depth=5, out=out, scorer={"device": "cpu"}, **options)
    return report.outcomes[0].folder


def values_in(card: str) -> dict[tuple[str, str], float]:
    return {(v.metric_args["view"], v.metric_type): v.metric_value for v in ModelCard(card).data.eval_results or []}


def test_train_leaves_a_card_of_the_weights_that_it_kept(tiny_job: Path, tmp_path: Path) -> None:
    card = (tiny_job / "README.md").read_text(encoding="utf-8")
    assert is_untouched_card(card)
    record = json.loads((tiny_job / "training.json").read_text())
    assert values_in(card)["end_to_end", "ndcg@10"] == pytest.approx(record["outcome"]["best_value"], abs=1e-6)
    assert record["statistics"]["num_examples"] == record["job"]["data"]["examples"]
    assert f"| **{record['outcome']['saved_step']}** |" in card
    assert "| tiny nDCG@10 |" in card
    assert "| nDCG@10 |" not in card  # the mean of one data set
    assert make_card(tiny_job) == card
    measured = json.loads((run_tiny(tiny_job, tmp_path) / "result.json").read_text())
    for view in ("injected", "end_to_end"):
        value = measured["datasets"]["tiny"]["views"][view]["measures"]["nDCG@10"]["reranked"]
        assert values_in(card)[view, "ndcg@10"] == pytest.approx(value, abs=1e-6)


def test_a_run_of_a_checkpoint_has_its_training_in_the_card(copied_job: Path, tmp_path: Path) -> None:
    folder = run_tiny(copied_job, tmp_path / "runs")
    assert "## Training data" in make_card(folder)
    assert make_card(folder / "result.json") == make_card(folder)
    for path in copied_job.glob("checkpoint-*/model.safetensors"):
        if path.read_bytes() != (copied_job / "model.safetensors").read_bytes():
            shutil.copy(path, copied_job / "model.safetensors")
            break
    else:
        pytest.fail("every checkpoint has the weights that were kept")
    assert "## Training data" not in make_card(folder)  # other weights by now


def test_a_training_on_labelled_pairs_has_them_in_its_card(tiny_base: Path, tmp_path: Path) -> None:
    dev = write_jsonl(tmp_path / "dev.jsonl", pair_rows(20, seed=1))
    request = tiny_request(
        tiny_base,
        tmp_path,
        sources=[str(write_jsonl(tmp_path / "pairs.jsonl", pair_rows(12)))],
        held_out=str(dev),
        loss="bce",
        evaluate=["none"],
        best_by="f1",
        max_steps=2,
    )
    outcome = run_training(request, tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    entries = {v.metric_type: v for v in ModelCard(card).data.eval_results or []}
    assert entries.keys() == {"average_precision", "accuracy", "f1"}
    assert entries["f1"].task_type == "text-classification"
    for name, entry in entries.items():
        assert entry.metric_value == pytest.approx(outcome.values[name], abs=1e-6)
    assert entries["f1"].metric_args["threshold"] == pytest.approx(outcome.values["f1_threshold"], abs=1e-6)
    assert "On held-out pairs, 20 pairs:" in card
    assert "The weights were chosen by their value on the held-out pairs" in card
    assert "| held out | 20 examples |" in card
    assert f"| F1 | {outcome.values['f1']:.4f} | {outcome.values['f1_threshold']:.4f} | these pairs |" in card


def test_a_classification_has_a_card(tiny_base: Path, tmp_path: Path) -> None:
    pairs = write_jsonl(tmp_path / "my-pairs.jsonl", pair_rows(20, seed=1))
    request = ClassifyRequest(model=str(tiny_base), pairs=pairs, out=tmp_path / "out", scorer={"device": "cpu"})
    binary = classify(request).result["binary"]
    card = make_card(tmp_path / "out")
    entries = ModelCard(card).data.eval_results or []
    assert {entry.dataset_name for entry in entries} == {"my-pairs.jsonl"}
    assert str(tmp_path) not in card
    found = {(e.metric_type, (e.metric_args or {}).get("threshold_chosen_on")): e.metric_value for e in entries}
    for each in binary["thresholds"]:
        assert found[each["measure"], each["chosen_on"]] == pytest.approx(each["value"], abs=1e-6)
    assert found["roc_auc", None] == pytest.approx(binary["roc_auc"]["value"], abs=1e-6)
    assert "## Training" not in card


def test_a_card_of_the_hub_s_model_names_it(tmp_path: Path, tiny_base: Path) -> None:
    folder = run_tiny(tiny_base, tmp_path)
    result = json.loads((folder / "result.json").read_text())
    result["model"] |= {"spec": "owner/name@main", "name": "owner/name", "revision": "0" * 40}
    (folder / "result.json").write_text(json.dumps(result))
    assert "rerank-bench run --model owner/name --dataset" in make_card(folder)


def test_a_folder_that_is_gone_is_no_model_of_the_hub_s(tmp_path: Path, tiny_base: Path) -> None:
    folder = run_tiny(tiny_base, tmp_path)
    result = json.loads((folder / "result.json").read_text())
    result["model"]["spec"] = "models/tiny"
    (folder / "result.json").write_text(json.dumps(result))
    assert "models/tiny" not in make_card(folder)


def test_a_hand_written_readme_survives_the_end_of_a_training(tiny_base: Path, tmp_path: Path) -> None:
    request = tiny_request(tiny_base, tmp_path, max_steps=1)
    out = tmp_path / "out"
    out.mkdir()
    (out / "training.json").write_text("{}")  # stands for a job that was interrupted
    with pytest.raises(ConfigError):
        run_training(request, out)
    (out / "training.json").unlink()
    run_training(request, out)
    record = json.loads((out / "training.json").read_text())
    del record["outcome"]
    (out / "training.json").write_text(json.dumps(record | {"state": "running"}))
    (out / "README.md").write_text("My own words.\n")
    run_training(request, out)  # goes on at its last step
    assert (out / "README.md").read_text() == "My own words.\n"
    assert json.loads((out / "training.json").read_text())["state"] == "finished"


def test_a_limited_run_is_stated(tmp_path: Path, tiny_base: Path) -> None:
    card = make_card(run_tiny(tiny_base, tmp_path, limit=3))
    assert "Only the first 3 queries of each data set were measured" in card
    assert not values_in(card)


def test_what_has_no_card_is_refused(tmp_path: Path, copied_job: Path) -> None:
    with pytest.raises(DataError, match="no such run folder or checkpoint"):
        make_card(tmp_path / "absent")
    with pytest.raises(DataError, match=r"result\.json: no such file; a run folder without it is not finished"):
        make_card(tmp_path)
    with pytest.raises(ConfigError, match="'oracle', which is a baseline and no model"):
        make_card(run_tiny("oracle", tmp_path / "runs"))
    (copied_job / "log.csv").unlink()
    with pytest.raises(DataError, match=r"log\.csv: no such file, though training\.json says"):
        make_card(copied_job)
    record = json.loads((copied_job / "training.json").read_text())
    (copied_job / "training.json").write_text(json.dumps(record | {"state": "running"}))
    with pytest.raises(DataError, match="the training is not finished"):
        make_card(copied_job)


def test_a_training_without_its_weights_has_no_card(copied_job: Path) -> None:
    (copied_job / "model.safetensors").unlink()
    with pytest.raises(DataError, match="holds no whole checkpoint"):
        make_card(copied_job)


def test_the_command_writes_and_leaves_alone(tiny_job: Path, tmp_path: Path) -> None:
    def invoke(*arguments: object) -> Any:
        return CliRunner().invoke(app, ["card", *map(str, arguments)])

    printed = invoke(tiny_job)
    assert printed.exit_code == 0, printed.output
    assert printed.stdout == make_card(tiny_job)
    path = tmp_path / "cards" / "README.md"
    assert invoke(tiny_job, "--output", path).exit_code == 0
    assert path.read_text(encoding="utf-8") == printed.stdout
    path.write_text("My own words.\n")
    refused = invoke(tiny_job, "--output", path)
    assert refused.exit_code == 2
    assert "is left alone" in refused.stderr
    assert path.read_text() == "My own words.\n"
    assert invoke(tiny_job, "--output", path, "--overwrite").exit_code == 0
    assert path.read_text(encoding="utf-8") == printed.stdout
    assert "--overwrite needs a file" in invoke(tiny_job, "--overwrite").stderr
