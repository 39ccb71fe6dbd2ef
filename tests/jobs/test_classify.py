"""Labelled pairs from end to end: the values of Sentence Transformers' evaluator, on tiny models and real pairs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_models import make_tokenizer, write_sequence_classifier
from tiny_pairs import some_texts
from typer.testing import CliRunner
from watcher import Watcher

from rerank_bench.cli.app import app
from rerank_bench.errors import ConfigError, DataError, InvalidScoreError
from rerank_bench.jobs.classify import ClassifyRequest, classify
from rerank_bench.progress import use_reporter


def write_pairs(path: Path, *, num_labels: int = 2, count: int = 60, seed: int = 0) -> Path:
    rng = np.random.default_rng(seed)
    queries, docs = some_texts(count, seed=seed + 1), some_texts(count, seed=seed + 2)
    labels = rng.integers(0, num_labels, count)
    rows = zip(queries, docs, labels.tolist(), strict=True)
    path.write_text("".join(json.dumps({"query": q, "text": d, "label": n}) + "\n" for q, d, n in rows))
    return path


def peer_values(folder: Path, pairs: Path, *, is_logit: bool) -> dict[str, float]:
    """The peer's evaluator on the same pairs; thresholds on the logits, or after its default activation."""
    import torch
    from sentence_transformers import CrossEncoder
    from sentence_transformers.cross_encoder.evaluation import CrossEncoderClassificationEvaluator

    rows = [json.loads(line) for line in pairs.read_text().splitlines()]
    evaluator = CrossEncoderClassificationEvaluator(
        [[row["query"], row["text"]] for row in rows], [row["label"] for row in rows], show_progress_bar=False
    )
    activation = torch.nn.Identity() if is_logit else None
    values: dict[str, float] = evaluator(CrossEncoder(str(folder), device="cpu", activation_fn=activation))
    return values


def run_classify(folder: Path | str, pairs: Path, **options: Any) -> Any:
    scorer = {"device": "cpu", **options.pop("scorer", {})}
    return classify(ClassifyRequest(model=str(folder), pairs=pairs, scorer=scorer, **options)).result


def threshold_of(result: Any, measure: str, chosen_on: str) -> Any:
    (found,) = [t for t in result["binary"]["thresholds"] if (t["measure"], t["chosen_on"]) == (measure, chosen_on)]
    return found


@pytest.mark.parametrize("is_logit", [True, False], ids=["logit", "sigmoid"])
@pytest.mark.parametrize("architecture", ["bert", "xlm-roberta"])
def test_binary_values_equal_the_peers(tmp_path: Path, architecture: str, is_logit: bool) -> None:  # noqa: FBT001 - a case
    folder = write_sequence_classifier(tmp_path / "model", architecture)
    pairs = write_pairs(tmp_path / "pairs.jsonl")
    expected = peer_values(folder, pairs, is_logit=is_logit)
    result = run_classify(folder, pairs)
    assert result["binary"]["average_precision"]["value"] == pytest.approx(expected["average_precision"], abs=1e-6)
    accuracy, f1 = threshold_of(result, "accuracy", "these pairs"), threshold_of(result, "f1", "these pairs")
    assert accuracy["value"] == pytest.approx(expected["accuracy"], abs=1e-6)
    ours = (f1["value"], f1["precision"], f1["recall"])
    assert ours == pytest.approx((expected["f1"], expected["precision"], expected["recall"]), abs=1e-6)
    if is_logit:
        assert accuracy["threshold"] == pytest.approx(expected["accuracy_threshold"], abs=1e-5)
        assert f1["threshold"] == pytest.approx(expected["f1_threshold"], abs=1e-5)


@pytest.mark.parametrize("num_labels", [2, 3, 5])
def test_values_by_label_equal_the_peers(tmp_path: Path, num_labels: int) -> None:
    folder = write_sequence_classifier(tmp_path / "model", num_labels=num_labels)
    pairs = write_pairs(tmp_path / "pairs.jsonl", num_labels=num_labels)
    expected = peer_values(folder, pairs, is_logit=True)
    found = run_classify(folder, pairs)["by_label"]
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-6)
    low, high = found["f1_macro_ci"]
    assert low < found["f1_macro"] < high
    assert found["accuracy"] == pytest.approx(found["f1_micro"])


def test_real_pairs_equal_the_peer(shared_data: Path, tmp_path: Path) -> None:
    folder = write_sequence_classifier(tmp_path / "model")
    rows = (shared_data / "pairs_sick" / "trial.jsonl").read_text(encoding="utf-8").splitlines()
    pairs = tmp_path / "sick.jsonl"
    pairs.write_text("\n".join(rows), encoding="utf-8")
    expected = peer_values(folder, pairs, is_logit=True)
    result = run_classify(folder, pairs)
    assert result["num_pairs"] == 500
    assert result["binary"]["average_precision"]["value"] == pytest.approx(expected["average_precision"], abs=1e-6)
    assert threshold_of(result, "f1", "these pairs")["value"] == pytest.approx(expected["f1"], abs=1e-6)


def test_a_named_label_gives_the_one_score(tmp_path: Path) -> None:
    folder = write_sequence_classifier(tmp_path / "model", num_labels=3)
    pairs = write_pairs(tmp_path / "pairs.jsonl")
    with pytest.raises(ConfigError, match=r"the labels are 0 and 1, and model .* say which of them label 1 means"):
        run_classify(folder, pairs)
    values = {
        label: run_classify(folder, pairs, scorer={"positive_label": label})["binary"]["average_precision"]["value"]
        for label in ("0", "1", "2")
    }
    assert len(set(values.values())) == 3
    from rerank_bench.scoring.loaded_scorer import load_scorer

    rows = [json.loads(line) for line in pairs.read_text().splitlines()]
    scores = load_scorer(str(folder), device="cpu", positive_label="2").score([(r["query"], r["text"]) for r in rows])
    from sklearn.metrics import average_precision_score

    assert values["2"] == pytest.approx(average_precision_score([r["label"] for r in rows], scores), abs=1e-9)


def test_labels_are_read_one_way_only(tmp_path: Path) -> None:
    pairs = write_pairs(tmp_path / "pairs.jsonl")
    three = write_sequence_classifier(tmp_path / "three", num_labels=3)
    result = run_classify(three, pairs, scorer={"positive_label": "1"})
    assert "binary" in result
    assert "by_label" not in result  # 1 is the named label here, not the model's second one
    two = write_sequence_classifier(tmp_path / "two", num_labels=2)
    config = json.loads((two / "config.json").read_text())
    names = {"id2label": {"0": "entailment", "1": "not_entailment"}, "label2id": {"entailment": 0, "not_entailment": 1}}
    assert "by_label" in run_classify(two, pairs)
    (two / "config.json").write_text(json.dumps(config | names))
    assert "by_label" not in run_classify(two, pairs)
    dev = write_pairs(tmp_path / "dev.jsonl", num_labels=3)
    with pytest.raises(
        ConfigError, match=r"dev\.jsonl: has the label 2, but .*pairs\.jsonl has 0 and 1; a threshold is for"
    ):
        run_classify(three, pairs, dev=dev, scorer={"positive_label": "1"})


def test_dev_thresholds_are_those_of_the_dev_pairs(tmp_path: Path) -> None:
    folder = write_sequence_classifier(tmp_path / "model")
    pairs, dev = write_pairs(tmp_path / "pairs.jsonl"), write_pairs(tmp_path / "dev.jsonl", seed=7)
    on_dev = run_classify(folder, dev)
    result = run_classify(folder, pairs, dev=dev)
    for measure in ("accuracy", "f1"):
        found = threshold_of(result, measure, "dev")
        assert found["threshold"] == threshold_of(on_dev, measure, "these pairs")["threshold"]
        assert found["value"] <= threshold_of(result, measure, "these pairs")["value"]
        assert threshold_of(result, measure, "fixed")["threshold"] == 0


def test_any_model_that_scores_pairs_will_do(tmp_path: Path) -> None:
    pairs = tmp_path / "pairs.csv"
    pairs.write_text("question,answer,score\nstop a program,stop it,1\nread a file,go home,0\n")
    watcher = Watcher()
    with use_reporter(watcher):
        result = run_classify("word_overlap:score", pairs)
    assert result["binary"]["roc_auc"]["value"] == 1.0
    assert "--device: no effect on word_overlap:score" in watcher.notes


# --- bad input --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            '{"query": "a", "text": "b", "label": 1}\n{"query": "a", "text": "c", "label": 1}\n',
            "all 2 pairs have the label 1",
        ),
        ('{"query": "a", "text": "b", "label": 0.5}\n', r"no whole numbers from 0 \(.*line 1: 0\.5\)"),
        ('{"query": "a", "text": "b", "label": -1}\n', r"no whole numbers from 0 \(.*line 1: -1\)"),
        ('{"query": "a", "text": "b", "label": "yes"}\n', "column 'label' holds string, expected numbers"),
        ('{"query": "a", "text": "b"}\n', "no column is the label"),
        ('{"query": "a", "label": 1}\n', "no column holds the documents"),
        ('{"query": "a", "text": " ", "label": 1}\n', "an empty text"),
        ('{"query": "a", "positive": "b", "negative": "c"}\n', "holds triplets .*, expected pairs"),
        ('{"query": "a", "text": "b", "label": 1}\n{"query": "a", "te', "line 2: is not JSON"),
        ("", "Empty JSON file"),
    ],
)
def test_pairs_that_cannot_be_measured_on(tmp_path: Path, content: str, message: str) -> None:
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text(content)
    with pytest.raises(DataError, match=message):
        run_classify("word_overlap:score", pairs)


def test_labels_that_the_model_does_not_have(tmp_path: Path) -> None:
    pairs = write_pairs(tmp_path / "pairs.jsonl", num_labels=4)
    one, three = (write_sequence_classifier(tmp_path / f"m{n}", num_labels=n) for n in (1, 3))
    with pytest.raises(ConfigError, match=r"pairs\.jsonl: has the label 3, but model .* has one score"):
        run_classify(one, pairs)
    with pytest.raises(ConfigError, match="has the labels LABEL_0, LABEL_1, LABEL_2; is it the right model"):
        run_classify(three, pairs)


def test_a_dev_file_needs_one_score(tmp_path: Path) -> None:
    folder = write_sequence_classifier(tmp_path / "model", num_labels=3)
    pairs = write_pairs(tmp_path / "pairs.jsonl", num_labels=3)
    with pytest.raises(ConfigError, match="--dev is for choosing a threshold of one score"):
        run_classify(folder, pairs, dev=pairs)


def test_logits_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = write_sequence_classifier(tmp_path / "model", num_labels=3)
    weights = load_file(folder / "model.safetensors")
    row = make_tokenizer("bert").convert_tokens_to_ids("queue")  # not among the words that a model is probed with
    weights["bert.embeddings.word_embeddings.weight"][row] = float("nan")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InvalidScoreError, match="expected finite numbers"):
        run_classify(folder, write_pairs(tmp_path / "pairs.jsonl", num_labels=3))


# --- the command ------------------------------------------------------------------------------------------------


def test_the_command_prints_and_writes(tmp_path: Path) -> None:
    folder = write_sequence_classifier(tmp_path / "model")
    pairs, dev = write_pairs(tmp_path / "pairs.jsonl"), write_pairs(tmp_path / "dev.jsonl", seed=7)
    arguments = ["classify", "--model", str(folder), "--pairs", str(pairs), "--dev", str(dev), "--device", "cpu"]
    shown = CliRunner().invoke(app, [*arguments, "--out", str(tmp_path / "out")])
    assert shown.exit_code == 0, shown.output
    assert "dev: the threshold that is best on the dev pairs" in shown.output
    assert "it flatters" in " ".join(shown.output.split())
    printed = json.loads(CliRunner().invoke(app, [*arguments, "--json", "--quiet"]).stdout)
    written = json.loads((tmp_path / "out" / "result.json").read_text())
    assert written["binary"] == printed["binary"]
    for name in ("precision-recall.png", "calibration.png"):
        assert (tmp_path / "out" / name).read_bytes().startswith(b"\x89PNG")


def test_the_command_prints_labels(tmp_path: Path) -> None:
    folder = write_sequence_classifier(tmp_path / "model", num_labels=3)
    pairs = write_pairs(tmp_path / "pairs.jsonl", num_labels=3)
    shown = CliRunner().invoke(app, ["classify", "-m", str(folder), "--pairs", str(pairs), "--device", "cpu"])
    assert shown.exit_code == 0, shown.output
    assert "F1 macro" in shown.output
    assert "LABEL_2" in shown.output
