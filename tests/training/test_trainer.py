"""The trainer on tiny data: it learns, it is reproducible, it survives a kill, and what it writes loads everywhere."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny_training import examples_of, list_rows, pair_rows, write_jsonl

from rerank_bench.errors import ConfigError, DataError, ScoringError
from rerank_bench.scoring.loaded_scorer import load_scorer
from rerank_bench.training.base_model import load_base
from rerank_bench.training.collation import Collator
from rerank_bench.training.examples import Examples
from rerank_bench.training.group_trainer import GroupTrainer
from rerank_bench.training.job_folder import finish_job
from rerank_bench.training.outcome import TrainingOutcome
from rerank_bench.training.recipe import LossRecipe, Recipe
from rerank_bench.training.settings import training_settings
from rerank_bench.training.trainer import train
from rerank_bench.training.watch import Watch

JOB = {"data": "tiny"}
LAMBDA = LossRecipe(name="lambda")


def recipe_of(base: Path, **values: Any) -> Recipe:
    defaults: dict[str, Any] = {"batch_size": 4, "learning_rate": 1e-3, "precision": "float32", "log_steps": 2}
    return Recipe(model=str(base), **(defaults | values))


def run(recipe: Recipe, examples: Examples, folder: Path, **options: Any) -> TrainingOutcome:
    job = JOB | {"recipe": recipe.describe()}
    outcome = train(recipe, examples, folder, job=job, device="cpu", **options)
    finish_job(folder, outcome.as_dict())
    return outcome


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def log_rows(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / "log.csv").read_text().splitlines()))


def same_weights(one: Path, other: Path) -> bool:
    a, b = weights(one), weights(other)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def scores_of(folder: Path, examples: Examples) -> list[np.ndarray[Any, Any]]:
    scorer = load_scorer(str(folder), device="cpu")
    return [
        scorer.score([(group.query, doc) for doc in group.docs])
        for group in map(examples.__getitem__, range(len(examples)))
    ]


@pytest.mark.parametrize("loss", [LAMBDA, LossRecipe(name="cross-entropy"), LossRecipe(name="bce", pos_weight=3.0)])
def test_it_overfits_a_tiny_set(loss: LossRecipe, tiny_base: Path, tmp_path: Path) -> None:
    examples = examples_of(tmp_path, list_rows(8))
    recipe = recipe_of(tiny_base, loss=loss, batch_size=8, max_steps=60, epochs=60, learning_rate=3e-3)
    outcome = run(recipe, examples, tmp_path / "out")
    assert outcome.steps == 60
    assert [int(np.argmax(scores)) for scores in scores_of(tmp_path / "out", examples)] == [1] * 8


def test_a_checkpoint_loads_everywhere_with_the_same_scores(tiny_base: Path, tmp_path: Path) -> None:
    from sentence_transformers import CrossEncoder
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    examples = examples_of(tmp_path, pair_rows(12))
    out = tmp_path / "out"
    run(recipe_of(tiny_base, max_steps=3, max_length=8), examples, out)
    pairs = [(examples[i].query, examples[i].docs[0]) for i in range(12)]
    ours = load_scorer(str(out), device="cpu").score(pairs)
    theirs = CrossEncoder(str(out), device="cpu").predict(pairs)
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
    tokenizer = AutoTokenizer.from_pretrained(out)
    model = AutoModelForSequenceClassification.from_pretrained(out).eval()
    assert tokenizer.model_max_length == 8
    with torch.inference_mode():
        plain = [model(**tokenizer(q, d, truncation=True, return_tensors="pt")).logits.item() for q, d in pairs]
    np.testing.assert_allclose(ours, plain, atol=1e-5)
    assert (out / "model.safetensors").is_file()
    assert ours.std() > 1e-3


def test_a_seeded_run_is_the_same_bit_for_bit(tiny_base: Path, tmp_path: Path) -> None:
    examples = examples_of(tmp_path, list_rows(10))
    recipe = recipe_of(tiny_base, loss=LAMBDA, epochs=2, mini_batch=5)
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        run(replace(recipe, seed=seed), examples, tmp_path / name)
    assert same_weights(tmp_path / "a", tmp_path / "b")
    assert not same_weights(tmp_path / "a", tmp_path / "c")


def test_evaluation_does_not_change_the_training(tiny_base: Path, tmp_path: Path) -> None:
    examples = examples_of(tmp_path, pair_rows(16))
    run(recipe_of(tiny_base), examples, tmp_path / "a")
    watch = Watch(held_out=examples, evaluate=lambda _folder: {"quality": float(torch.rand(1))})
    run(recipe_of(tiny_base, eval_steps=1), examples, tmp_path / "b", watch=watch)
    assert same_weights(tmp_path / "a", tmp_path / "b")


def without_dropout(base: Path, folder: Path) -> Path:
    """Dropout draws other numbers for other shapes of batches."""
    shutil.copytree(base, folder)
    config = json.loads((folder / "config.json").read_text())
    config |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_accumulated_parts_and_mini_batches_give_the_same_training(tiny_base: Path, tmp_path: Path) -> None:
    base = without_dropout(tiny_base, tmp_path / "base")
    examples = examples_of(tmp_path, pair_rows(16))
    run(recipe_of(base, batch_size=8), examples, tmp_path / "whole")
    run(recipe_of(base, batch_size=8, accumulation=2), examples, tmp_path / "accumulated")
    run(recipe_of(base, batch_size=8, mini_batch=3), examples, tmp_path / "mini")
    run(recipe_of(base, batch_size=8, gradient_checkpointing=True), examples, tmp_path / "checkpointed")
    for name in ("accumulated", "mini", "checkpointed"):
        for key, value in weights(tmp_path / "whole").items():
            torch.testing.assert_close(weights(tmp_path / name)[key], value, atol=2e-4, rtol=0, msg=f"{name}: {key}")


def test_a_killed_run_goes_on_and_ends_at_the_same_weights(tiny_base: Path, tmp_path: Path) -> None:
    folder = tmp_path / "texts"
    folder.mkdir()
    rows = list_rows(12)
    recipe = recipe_of(tiny_base, loss=LAMBDA, epochs=5, eval_steps=4, keep_checkpoints=1)
    examples = examples_of(folder, rows)
    run(recipe, examples, tmp_path / "whole")
    script = tmp_path / "killed.py"
    script.write_text(
        f"""
import contextlib, os, signal, sys
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
import torch
from pathlib import Path
torch.set_num_threads(1)  # as in this process: sums depend on it
from rerank_bench.progress import use_reporter
from rerank_bench.training.recipe import LossRecipe, Recipe
from rerank_bench.training.trainer import train
from rerank_bench.training.shapes import build_examples
from rerank_bench.training.tables import read_files

class Kill:
    @contextlib.contextmanager
    def task(self, *_):
        yield lambda units: None
    def note(self, message):
        if message.startswith("step 10/"):
            os.kill(os.getpid(), signal.SIGKILL)

recipe = Recipe(model={str(tiny_base)!r}, loss=LossRecipe(name="lambda"), batch_size=4, learning_rate=1e-3,
                precision="float32", log_steps=2, epochs=5, eval_steps=4, keep_checkpoints=1)
with use_reporter(Kill()):
    train(recipe, build_examples(read_files([Path({str(folder / "train.jsonl")!r})])), Path({str(tmp_path / "killed")!r}),
          job={{"data": "tiny", "recipe": recipe.describe()}}, device="cpu")
"""
    )
    killed = subprocess.run([sys.executable, str(script)], check=False, capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not (tmp_path / "killed" / "model.safetensors").exists()
    # A kill may also leave half of a checkpoint; it does not count.
    half = tmp_path / "killed" / "checkpoint-12"
    half.mkdir()
    (half / "trainer_state.json").write_text('{"epoch": 4')
    outcome = run(recipe, examples, tmp_path / "killed")
    assert outcome.resumed_from == 8
    assert outcome.steps == 15
    assert same_weights(tmp_path / "killed", tmp_path / "whole")
    logs = [log_rows(tmp_path / name) for name in ("whole", "killed")]
    for whole, resumed in zip(*logs, strict=True):
        assert {k: v for k, v in whole.items() if k != "seconds"} == {
            k: v for k, v in resumed.items() if k != "seconds"
        }


def test_the_best_checkpoint_is_kept_and_what_was_measured_is_what_was_saved(tiny_base: Path, tmp_path: Path) -> None:
    examples = examples_of(tmp_path, pair_rows(16))
    seen: list[dict[str, torch.Tensor]] = []

    def evaluate(folder: Path) -> Mapping[str, float]:
        seen.append(weights(folder))
        return {"quality": [0.1, 0.3, 0.9, 0.5, 0.2][len(seen) - 1]}

    out = tmp_path / "out"
    recipe = recipe_of(tiny_base, eval_steps=1, keep_checkpoints=1)
    outcome = run(recipe, examples, out, watch=Watch(evaluate=evaluate, best_by="quality"))
    assert (outcome.saved_step, outcome.best_value, outcome.steps) == (2, 0.9, 4)
    assert outcome.values["quality"] == 0.9
    assert all(torch.equal(value, seen[2][name]) for name, value in weights(out).items())
    assert sorted(path.name for path in out.glob("checkpoint-*")) == ["checkpoint-2", "checkpoint-4"]
    rows = log_rows(out)
    assert [(row["step"], row["quality"]) for row in rows] == [
        ("0", "0.1"),
        ("1", "0.3"),
        ("2", "0.9"),
        ("3", "0.5"),
        ("4", "0.2"),
    ]
    assert (out / "curves.png").read_bytes().startswith(b"\x89PNG")
    record = json.loads((out / "training.json").read_text())
    assert record["state"] == "finished"
    assert record["outcome"]["saved_step"] == 2
    assert not (out / ".evaluated").exists()


def test_lower_is_better_for_the_loss_and_patience_ends_early(tiny_base: Path, tmp_path: Path) -> None:
    examples = examples_of(tmp_path, pair_rows(16))
    recipe = recipe_of(tiny_base, eval_steps=1, epochs=10, learning_rate=0.3, patience=2, keep_checkpoints=9)
    outcome = run(recipe, examples, tmp_path / "out", watch=Watch(held_out=examples, best_by="loss"))
    rows = log_rows(tmp_path / "out")
    losses = [float(row["held-out loss"]) for row in rows[1:]]
    assert outcome.best_value == min(losses)
    assert outcome.steps < 40


def test_patience_counts_on_after_an_interruption(tiny_base: Path, tmp_path: Path) -> None:
    examples = examples_of(tmp_path, pair_rows(16))
    recipe = recipe_of(tiny_base, eval_steps=1, epochs=10, patience=2)
    values = {0: 0.1, 1: 0.9, 2: 0.5, 3: 0.4, 4: 0.3}

    def watch_from(step: int, *, interrupted_at: int | None = None) -> Watch:
        steps = iter(range(step, 40))

        def evaluate(_folder: Path) -> Mapping[str, float]:
            now = next(steps)
            if now == interrupted_at:
                raise KeyboardInterrupt
            return {"quality": values[now]}

        return Watch(evaluate=evaluate, best_by="quality")

    whole = run(recipe, examples, tmp_path / "whole", watch=watch_from(0))
    assert (whole.steps, whole.saved_step) == (3, 1)  # 0.5 and 0.4 are no better than 0.9
    with pytest.raises(KeyboardInterrupt):
        run(recipe, examples, tmp_path / "cut", watch=watch_from(0, interrupted_at=3))
    again = run(recipe, examples, tmp_path / "cut", watch=watch_from(3))
    assert (again.resumed_from, again.steps, again.saved_step) == (2, 3, 1)
    assert same_weights(tmp_path / "cut", tmp_path / "whole")


def test_a_training_that_stopped_early_and_was_killed_takes_no_more_steps(tiny_base: Path, tmp_path: Path) -> None:
    examples = examples_of(tmp_path, pair_rows(64))
    recipe = recipe_of(tiny_base, eval_steps=1, patience=2, epochs=1, keep_checkpoints=5)
    values = iter([0.5, 0.9, 0.5, 0.4, 1.0, 1.1])
    watch = Watch(evaluate=lambda _folder: {"quality": next(values)}, best_by="quality")
    done = run(recipe, examples, tmp_path / "out", watch=watch)
    assert done.steps < 16
    before = weights(tmp_path / "out")
    (tmp_path / "out" / "model.safetensors").unlink()
    record = json.loads((tmp_path / "out" / "training.json").read_text())
    (tmp_path / "out" / "training.json").write_text(json.dumps(record | {"state": "running"}))
    again = run(recipe, examples, tmp_path / "out", watch=watch)
    assert (again.resumed_from, again.steps, again.saved_step) == (done.steps, done.steps, done.saved_step)
    assert all(torch.equal(value, before[name]) for name, value in weights(tmp_path / "out").items())


def test_a_resumed_epoch_has_the_batches_that_it_began_with(tiny_base: Path, tmp_path: Path) -> None:
    examples = examples_of(tmp_path, pair_rows(16))
    recipe = recipe_of(tiny_base, group_by_length=True, epochs=3, eval_steps=2, keep_checkpoints=9)

    def stop_at(number: int) -> Watch:
        calls = iter(range(100))

        def evaluate(_folder: Path) -> Mapping[str, float]:
            if next(calls) == number:
                raise KeyboardInterrupt
            return {"quality": 0.5}

        return Watch(evaluate=evaluate)

    run(recipe, examples, tmp_path / "whole", watch=stop_at(99))
    with pytest.raises(KeyboardInterrupt):
        run(recipe, examples, tmp_path / "cut", watch=stop_at(4))  # at step 8 of 12; the checkpoint of step 6 stands
    again = run(recipe, examples, tmp_path / "cut", watch=stop_at(99))
    assert (again.resumed_from, again.steps) == (6, 12)
    assert same_weights(tmp_path / "cut", tmp_path / "whole")


def test_batches_of_similar_length_hold_every_example_once(tiny_base: Path, tmp_path: Path) -> None:
    examples = examples_of(tmp_path, pair_rows(64))
    lengths = [len(examples[i].query) + len(examples[i].docs[0]) for i in range(64)]
    padding = {}
    for grouped in (True, False):
        recipe = recipe_of(tiny_base, group_by_length=grouped)
        model, tokenizer, max_length = load_base(recipe)
        settings = training_settings(recipe, tmp_path / "out", best_by=None, measures=False, device="cpu")
        trainer = GroupTrainer(
            recipe=recipe,
            examples=examples,
            watch=Watch(),
            model=model,
            args=settings,
            collator=Collator(tokenizer, max_length, None),
            tokenizer=tokenizer,
        )
        batches = [batch["indices"].tolist() for batch in trainer.get_train_dataloader()]
        assert sorted(i for batch in batches for i in batch) == list(range(64))
        padding[grouped] = sum(max(lengths[i] for i in batch) - lengths[j] for batch in batches for j in batch)
    assert padding[True] < padding[False] / 2
    run(recipe_of(tiny_base, group_by_length=True), examples, tmp_path / "out")


@pytest.mark.parametrize("checkpointing", [False, True])
def test_frozen_embeddings_stay_and_all_else_learns(tiny_base: Path, tmp_path: Path, *, checkpointing: bool) -> None:
    recipe = recipe_of(tiny_base, freeze_embeddings=True, gradient_checkpointing=checkpointing)
    run(recipe, examples_of(tmp_path, pair_rows(8)), tmp_path / "out")
    trained = weights(tmp_path / "out")
    before = weights(tiny_base)
    frozen = "bert.embeddings.word_embeddings.weight"
    assert torch.equal(trained[frozen], before[frozen])
    unchanged = [name for name, value in trained.items() if name in before and torch.equal(value, before[name])]
    assert unchanged == [frozen]


def test_a_training_that_was_killed_after_its_last_step_takes_none_more(tiny_base: Path, tmp_path: Path) -> None:
    examples = examples_of(tmp_path, pair_rows(16))
    recipe = recipe_of(tiny_base, max_steps=3)  # of four in an epoch
    done = run(recipe, examples, tmp_path / "out")
    before = weights(tmp_path / "out")
    log = (tmp_path / "out" / "log.csv").read_text()
    (tmp_path / "out" / "model.safetensors").unlink()
    record = json.loads((tmp_path / "out" / "training.json").read_text())
    (tmp_path / "out" / "training.json").write_text(json.dumps(record | {"state": "running"}))
    again = run(recipe, examples, tmp_path / "out")
    assert (again.resumed_from, again.steps, again.saved_step) == (3, 3, done.saved_step)
    assert all(torch.equal(value, before[name]) for name, value in weights(tmp_path / "out").items())
    assert (tmp_path / "out" / "log.csv").read_text() == log


def test_another_job_is_refused_and_so_is_a_finished_one(tiny_base: Path, tmp_path: Path) -> None:
    examples = examples_of(tmp_path, pair_rows(8))
    recipe = recipe_of(tiny_base)
    run(recipe, examples, tmp_path / "out")
    with pytest.raises(ConfigError, match=r"another training: recipe\.learning_rate is 0\.001 there and 0\.002 here"):
        run(replace(recipe, learning_rate=2e-3), examples, tmp_path / "out")
    # Killed between the last checkpoint and the end: nothing is trained again, and the same weights are written.
    cut = tmp_path / "cut"
    shutil.copytree(tmp_path / "out", cut)
    (cut / "model.safetensors").unlink()
    record = json.loads((cut / "training.json").read_text())
    (cut / "training.json").write_text(json.dumps(record | {"state": "running"}))
    again = run(recipe, examples, cut)
    assert (again.resumed_from, again.steps, again.saved_step) == (2, 2, 2)
    assert same_weights(cut, tmp_path / "out")
    with pytest.raises(ConfigError, match="this very training, finished"):
        run(recipe, examples, tmp_path / "out")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("")
    with pytest.raises(ConfigError, match="is not empty and holds no training"):
        run(recipe, examples, tmp_path / "mine")


def test_a_loss_that_is_no_number_stops_and_keeps_the_last_good_checkpoint(tiny_base: Path, tmp_path: Path) -> None:
    rows = pair_rows(8)
    examples = examples_of(tmp_path, rows)
    recipe = recipe_of(
        tiny_base,
        loss=LossRecipe(name="mse"),
        eval_steps=1,
        epochs=20,
        learning_rate=1e30,
        schedule="constant",
        warmup=0.0,
        max_grad_norm=1e30,
    )
    with pytest.raises(
        ScoringError, match=r"step \d+: (the loss is (nan|inf) \(batch of .*train\.jsonl, line|the weights)"
    ):
        run(recipe, examples, tmp_path / "out")
    kept = sorted((tmp_path / "out").glob("checkpoint-*"))
    assert all(torch.isfinite(value).all() for folder in kept for value in weights(folder).values())
    assert not (tmp_path / "out" / "model.safetensors").exists()


def test_what_is_not_measured_cannot_choose(tiny_base: Path, tmp_path: Path) -> None:
    examples = examples_of(tmp_path, list_rows(8))
    recipe = recipe_of(tiny_base, loss=LAMBDA)
    with pytest.raises(ConfigError, match="best_by is 'average_precision', which is not measured; measured here: loss"):
        run(recipe, examples, tmp_path / "out", watch=Watch(held_out=examples, best_by="average_precision"))
    with pytest.raises(ConfigError, match="measured here: nothing"):
        run(recipe, examples, tmp_path / "out", watch=Watch(best_by="loss"))
    watch = Watch(held_out=examples, evaluate=lambda _: {"nDCG@10": 0.5}, best_by="ndgc")
    with pytest.raises(ConfigError, match="best_by is 'ndgc', which is not measured; measured here: loss, nDCG@10"):
        run(recipe, examples, tmp_path / "out2", watch=watch)
    with pytest.raises(ConfigError, match="patience counts evaluations without a better value; say how often"):
        run(replace(recipe, patience=1), examples, tmp_path / "out")


def test_base_models_that_cannot_be_trained_are_named(tiny_base: Path, tmp_path: Path) -> None:
    examples = examples_of(tmp_path, pair_rows(8))
    without = tmp_path / "without"
    shutil.copytree(tiny_base, without)
    (without / "tokenizer.json").unlink()
    with pytest.raises(ScoringError, match="holds no tokenizer"):
        run(recipe_of(without), examples, tmp_path / "out")
    trunkless = tmp_path / "trunkless"
    shutil.copytree(tiny_base, trunkless)
    tensors = {name: value for name, value in weights(tiny_base).items() if "layer.1." not in name}
    from safetensors.torch import save_file

    save_file(tensors, trunkless / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ScoringError, match=r"16 weights of the trunk .* are not in the checkpoint"):
        run(recipe_of(trunkless), examples, tmp_path / "out")
    with pytest.raises(ConfigError, match="model 'oracle' cannot be trained"):
        run(Recipe(model="oracle"), examples, tmp_path / "out")
    with pytest.raises(ConfigError, match="precision float16 needs a GPU"):
        run(recipe_of(tiny_base, precision="float16"), examples, tmp_path / "out")
    with pytest.raises(DataError, match="every example has one document"):
        run(recipe_of(tiny_base, loss=LAMBDA), examples, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_new_head_comes_from_the_seed(tmp_path: Path) -> None:
    from tiny_models import write_encoder

    write_encoder(tmp_path / "encoder")
    examples = examples_of(tmp_path, pair_rows(8))
    recipe = recipe_of(tmp_path / "encoder", max_steps=1)
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        run(replace(recipe, seed=seed), examples, tmp_path / name)
    assert same_weights(tmp_path / "a", tmp_path / "b")
    heads = [weights(tmp_path / name)["classifier.weight"] for name in ("a", "c")]
    assert (heads[0] - heads[1]).abs().max() > 1e-3


@pytest.mark.slow
def test_two_processes_train_as_one_does(tiny_base: Path, tmp_path: Path) -> None:
    base = without_dropout(tiny_base, tmp_path / "base")
    write_jsonl(tmp_path / "pairs.jsonl", pair_rows(20))  # 16 to train on: two whole batches
    common = [
        "-m",
        "rerank_bench",
        "train",
        "--model",
        str(base),
        "--data",
        str(tmp_path / "pairs.jsonl"),
        "--device",
        "cpu",
    ]
    common += ["--batch-size", "8", "--precision", "float32", "--lr", "1e-3", "--held-out", "4"]
    two = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc_per_node",
        "2",
        *common,
        "--out",
        str(tmp_path / "two"),
    ]
    for command in ([sys.executable, *common, "--out", str(tmp_path / "one")], two):
        done = subprocess.run(
            command, check=False, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("checkpoint") == 1
    for name, value in weights(tmp_path / "one").items():
        torch.testing.assert_close(weights(tmp_path / "two")[name], value, atol=2e-4, rtol=0, msg=name)
    assert [row["step"] for row in log_rows(tmp_path / "two")] == ["0", "2"]
