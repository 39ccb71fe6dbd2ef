"""transformers' own loop around our batches, losses and evaluation."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import torch
import transformers
from accelerate.utils import broadcast_object_list
from transformers.trainer_pt_utils import LengthGroupedSampler

from rerank_bench.errors import ConfigError, ScoringError
from rerank_bench.scoring.loading import quiet_transformers
from rerank_bench.training.base_model import head_parameters
from rerank_bench.training.callbacks import LogWriter, ProgressCallback, StopAtTheEnd
from rerank_bench.training.collation import Collator, ExampleItems, score_batch
from rerank_bench.training.examples import Examples
from rerank_bench.training.held_out import held_out_values
from rerank_bench.training.job_folder import CHECKPOINT_PREFIX, column_name
from rerank_bench.training.loss_choice import loss_function
from rerank_bench.training.outcome import TrainingOutcome
from rerank_bench.training.recipe import Recipe
from rerank_bench.training.watch import Watch

EVALUATED = ".evaluated"
"""Folder inside the job's where the weights stand while they are evaluated."""

NUM_GROUPS = 2
"""transformers' own: with and without weight decay."""


class LengthGroups(LengthGroupedSampler):  # type: ignore[misc]  # transformers has no types
    """Batches of similar length, in an order that depends on seed and epoch alone.

    transformers' own draws from the global generator, so that a resumed epoch would be another one than was begun.

    Args:
        lengths: Of the examples.
        batch_size: Examples per batch.
        seed: Of the recipe.
    """

    def __init__(self, lengths: list[int], batch_size: int, seed: int) -> None:
        super().__init__(batch_size, lengths=lengths, generator=torch.Generator())
        self._seed = seed
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the order; called by the data loader."""
        self._epoch = epoch

    def __iter__(self) -> Iterator[int]:
        self.generator.manual_seed(self._seed + self._epoch)
        return iter(super().__iter__())


class GroupTrainer(transformers.Trainer):  # type: ignore[misc]  # transformers has no types
    """transformers' Trainer over groups of documents, with losses and an evaluation of our own."""

    def __init__(
        self,
        *,
        recipe: Recipe,
        examples: Examples,
        watch: Watch,
        model: Any,
        args: transformers.TrainingArguments,
        collator: Collator,
        tokenizer: Any,
        loggers: Sequence[transformers.TrainerCallback] = (),
    ) -> None:
        callbacks: list[transformers.TrainerCallback] = [StopAtTheEnd(), ProgressCallback(), LogWriter(), *loggers]
        if recipe.patience is not None:
            callbacks.append(transformers.EarlyStoppingCallback(early_stopping_patience=recipe.patience))
        super().__init__(
            model=model,
            args=args,
            data_collator=collator,
            train_dataset=ExampleItems(examples),
            eval_dataset=ExampleItems(examples),  # never read: ``evaluate`` is ours; the base class wants one
            processing_class=tokenizer,
            callbacks=callbacks,
        )
        self.remove_callback(transformers.PrinterCallback)  # prints to stdout, which is for results
        self.model_accepts_loss_kwargs = False  # our losses are means over a part of the batch
        self._recipe = recipe
        self._examples = examples
        self._watch = watch
        self._loss = loss_function(recipe.loss)
        self._started = time.perf_counter()
        self.control: Any

    def create_optimizer(self, *args: Any, **options: Any) -> Any:
        """Return the optimizer; the head and the pooler have groups of their own where their rate is another."""
        optimizer = super().create_optimizer(*args, **options)
        rate = self._recipe.head_learning_rate
        if rate is not None and len(optimizer.param_groups) == NUM_GROUPS:
            head = {id(parameter) for parameter in head_parameters(self.model)}
            for group in list(optimizer.param_groups):
                own = [parameter for parameter in group["params"] if id(parameter) in head]
                group["params"] = [parameter for parameter in group["params"] if id(parameter) not in head]
                if own:
                    optimizer.add_param_group({**group, "params": own, "lr": rate})
        return optimizer

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,  # noqa: FBT001, FBT002  the base class's signature
        num_items_in_batch: Any = None,  # noqa: ARG002
    ) -> Any:
        """Return the recipe's loss of a batch, () float32."""
        scores = score_batch(model, inputs)  # (B, G)
        with torch.autocast(scores.device.type, enabled=False):
            loss = self._loss(scores, inputs["targets"], inputs["mask"])
        if not torch.isfinite(loss):
            self._refuse(f"the loss is {loss.item()}", inputs["indices"].tolist())
        return (loss, scores) if return_outputs else loss

    def _refuse(self, problem: str, indices: list[int]) -> None:
        places = ", ".join(self._examples.place(i) for i in indices[:3])
        msg = (
            f"step {self.state.global_step + 1}: {problem} (batch of {places} …); the last good checkpoint is kept in "
            f"{self.args.output_dir}. Lower the learning rate, or train in float32"
        )
        raise ScoringError(msg)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Save, unless the weights are no numbers any more: a good checkpoint must not give way to them."""
        if not all(bool(torch.isfinite(p).all()) for p in self.model.parameters()):
            msg = f"step {self.state.global_step}: the weights are not finite; the last good checkpoint is kept"
            raise ScoringError(msg)
        super()._save_checkpoint(model, trial)

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        """Return a random order, or one of batches of similar length."""
        if not self._recipe.group_by_length:
            return super()._get_train_sampler(train_dataset)
        return LengthGroups(_num_chars(self._examples).tolist(), self._recipe.batch_size, self._recipe.seed)

    def evaluate(
        self,
        eval_dataset: Any = None,  # noqa: ARG002  the base class's signature
        ignore_keys: Any = None,  # noqa: ARG002
        metric_key_prefix: str = "eval",
    ) -> dict[str, float]:
        """Return the values of the weights as they are, ``eval_`` before each name; the first process measures."""
        values: list[dict[str, float] | None] = [None]
        if self.is_world_process_zero():
            # Dropout must not depend on how often, or whether, there is an evaluation.
            with torch.random.fork_rng():
                values = [self._measure()]
        if self.args.world_size > 1:
            broadcast_object_list(values)
        found = {f"{metric_key_prefix}_{name}": value for name, value in (values[0] or {}).items()}
        best_by = self.args.metric_for_best_model
        if best_by is not None and best_by not in found:
            known = ", ".join(name.removeprefix("eval_") for name in found)
            msg = f"best_by is {best_by.removeprefix('eval_')!r}, which is not measured; measured here: {known}"
            raise ConfigError(msg)
        self.log(dict(found))
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, found)
        return found

    def _measure(self) -> dict[str, float]:
        values: dict[str, float] = {}
        if self._watch.held_out is not None:
            size = self._recipe.batch_size
            with self.compute_loss_context_manager():
                values |= held_out_values(
                    self.model, self._watch.held_out, self.data_collator, self._loss, batch_size=size
                )
        if self._watch.evaluate is not None:
            # Through a folder: what is measured is what anyone who loads the checkpoint measures.
            folder = Path(self.args.output_dir) / EVALUATED
            try:
                self._write_model(folder)
                values |= self._watch.evaluate(folder)
            finally:
                shutil.rmtree(folder, ignore_errors=True)
        return values

    def _write_model(self, folder: Path) -> None:
        with quiet_transformers():
            self.accelerator.unwrap_model(self.model).save_pretrained(folder)
            self.processing_class.save_pretrained(folder)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Record values, with the seconds that this process has trained."""
        super().log({**logs, "seconds": round(time.perf_counter() - self._started, 2)}, start_time)

    def take_finished(self, checkpoint: Path) -> bool:
        """Take over weights and history of a checkpoint at the last step; return ``False`` where steps are left.

        transformers 5.x would train one step more when it resumes there in the middle of an epoch, and go on for at least
        one evaluation where the training was stopped early.
        """
        state = transformers.TrainerState.load_from_json(str(checkpoint / transformers.trainer.TRAINER_STATE_NAME))
        if state.global_step < state.max_steps and not self._was_stopped(state):
            return False
        self._load_weights(checkpoint)
        self.state = state
        return True

    def _was_stopped(self, state: transformers.TrainerState) -> bool:
        """Return whether the evaluations up to the checkpoint ran out of patience."""
        patience = self._recipe.patience
        kept = state.stateful_callbacks.get(transformers.EarlyStoppingCallback.__name__)
        if patience is None or kept is None:
            return False
        kept = kept[0] if isinstance(kept, list) else kept
        return bool(kept["attributes"]["early_stopping_patience_counter"] >= patience)

    def _load_weights(self, checkpoint: Path) -> None:
        with quiet_transformers():
            found = type(self.accelerator.unwrap_model(self.model)).from_pretrained(checkpoint, dtype=torch.float32)
        self.model.load_state_dict(found.state_dict())

    def keep_best(self, folder: Path, *, seconds: float, resumed_from: int) -> TrainingOutcome:
        """Write the chosen weights to the job's folder and say what they are."""
        best_by = self.args.metric_for_best_model
        step = (self.state.best_global_step or None) if best_by else None
        if step is not None and step != self.state.global_step:
            self._load_weights(folder / f"{CHECKPOINT_PREFIX}{step}")
        if self.is_world_process_zero():
            self._write_model(folder)
        saved = step or self.state.global_step
        measured = [entry for entry in self.state.log_history if entry["step"] == saved]
        values = {column_name(n): v for e in measured for n, v in e.items() if n.startswith("eval_")}
        return TrainingOutcome(
            folder=folder,
            steps=self.state.global_step,
            saved_step=saved,
            best_by=best_by.removeprefix("eval_") if best_by else None,
            best_value=self.state.best_metric if best_by else None,
            values=values,
            seconds=seconds,
            resumed_from=resumed_from,
            precision="bfloat16" if self.args.bf16 else "float16" if self.args.fp16 else "float32",
        )


def _num_chars(examples: Examples) -> Any:
    """Return (N,) characters of each example's longest pair: a stand-in for tokens that costs nothing."""
    docs = pc.utf8_length(examples.docs).to_numpy(zero_copy_only=False)  # (M,)
    queries = pc.utf8_length(examples.queries).to_numpy(zero_copy_only=False)  # (N,)
    return np.maximum.reduceat(docs, examples.offsets[:-1]) + queries
