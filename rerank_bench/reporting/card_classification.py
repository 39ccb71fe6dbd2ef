"""What a card says of labelled pairs: measures, thresholds, and where those come from.

A result has the form of ``classify``'s: ``pairs``, ``num_pairs``, ``binary`` (``average_precision``, ``roc_auc``,
``thresholds``) and, for several labels, ``by_label``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from rerank_bench.reporting.formatting import MISSING, format_value
from rerank_bench.reporting.markdown_table import escape_markdown, render_markdown_table

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

    from rerank_bench.reporting.card_training import TrainingRecord

Block = Mapping[str, Any]
THESE_PAIRS = "these pairs"
CLASSIFICATION_VALUES = frozenset(
    {"average_precision", "accuracy", "accuracy_threshold", "f1", "f1_threshold", "f1_precision", "f1_recall"}
)
"""Names of a training's values that this section shows."""
TASK, TASK_NAME = "text-classification", "Pair classification"
_NAMES = {"f1": "F1", "accuracy": "accuracy", "average_precision": "average precision", "roc_auc": "ROC AUC"}
_LABEL_NAMES = {"accuracy": "accuracy", "f1_macro": "F1, macro", "f1_micro": "F1, micro", "f1_weighted": "F1, weighted"}
_DIGITS = 6


def held_out_result(training: TrainingRecord) -> Block | None:
    """Return what a training measured on its held-out pairs, ``None`` where it had none of that kind."""
    values = training.record["outcome"]["values"]
    if "f1" not in values:
        return None
    at_accuracy = {"measure": "accuracy", "value": values["accuracy"], "threshold": values["accuracy_threshold"]}
    at_f1 = {"measure": "f1", "value": values["f1"], "threshold": values["f1_threshold"]}
    at_f1 |= {name: values[f"f1_{name}"] for name in ("precision", "recall")}
    return {
        "pairs": "held-out pairs",
        "num_pairs": training.record["about"].get("held_out_examples"),
        "binary": {
            "average_precision": {"value": values["average_precision"]},
            "thresholds": [each | {"chosen_on": THESE_PAIRS} for each in (at_f1, at_accuracy)],
        },
    }


def render_classification(result: Block) -> str:
    """Return the tables of one set of pairs, and what its thresholds are."""
    count = f", {result['num_pairs']:,} pairs" if result.get("num_pairs") else ""
    parts = [f"On {escape_markdown(_name(result))}{count}:"]
    if "binary" in result:
        parts += [_render_binary(result["binary"]), _THRESHOLDS]
    if "by_label" in result:
        parts.append(_render_labels(result["by_label"]))
    return "\n\n".join(parts)


_THRESHOLDS = (
    "A threshold is a raw score. One that was chosen on these pairs is the best that they allow: peers report it so, and it "
    "flatters."
)


def _render_binary(binary: Block) -> str:
    lines = []
    for name in ("average_precision", "roc_auc"):
        if name in binary:
            cells = [
                _NAMES[name],
                format_value(binary[name]["value"]),
                _interval(binary[name].get("ci")),
                *[MISSING] * 4,
            ]
            lines.append([f"**{cell}**" for cell in cells[:2]] + cells[2:] if name == "average_precision" else cells)
    for each in binary["thresholds"]:
        numbers = [format_value(each[name]) if name in each else MISSING for name in ("precision", "recall")]
        lines.append(
            [
                _NAMES[each["measure"]],
                format_value(each["value"]),
                _interval(each.get("ci")),
                format_value(each["threshold"]),
                each["chosen_on"],
                *numbers,
            ]
        )
    header = ["measure", "value", "95% interval", "threshold", "chosen on", "precision", "recall"]
    kept = [i for i in range(len(header)) if any(line[i] != MISSING for line in lines)]
    return render_markdown_table([header[i] for i in kept], [[line[i] for i in kept] for line in lines], num_left=1)


def _render_labels(by_label: Block) -> str:
    lines = [[name, format_value(by_label[key])] for key, name in _LABEL_NAMES.items() if key in by_label]
    return render_markdown_table(["measure", "value"], lines, num_left=1)


def _interval(interval: Sequence[float] | None) -> str:
    return MISSING if interval is None else f"{interval[0]:.4f} to {interval[1]:.4f}"


def classification_values(result: Block, *, dataset_type: str) -> Iterator[EvalResult]:
    """Yield every value as the hub's model index has it.

    Args:
        result: What was measured.
        dataset_type: The data set's id on the hub, or what it is called.
    """
    from huggingface_hub import EvalResult

    binary, by_label = result.get("binary", {}), result.get("by_label", {})
    plain = [name for name in ("average_precision", "roc_auc") if name in binary]
    found: list[tuple[str, str, float, dict[str, Any]]] = [(n, _NAMES[n], binary[n]["value"], {}) for n in plain]
    for each in binary.get("thresholds", ()):
        arguments = {"threshold": round(each["threshold"], _DIGITS), "threshold_chosen_on": each["chosen_on"]}
        shown = f"{_NAMES[each['measure']]} (threshold from {each['chosen_on']})"
        found.append((each["measure"], shown, each["value"], arguments))
    found += [(key, name, by_label[key], {}) for key, name in _LABEL_NAMES.items() if key in by_label]
    for metric_type, name, value, arguments in found:
        yield EvalResult(
            task_type=TASK,
            task_name=TASK_NAME,
            dataset_type=dataset_type,
            dataset_name=_name(result),
            metric_type=metric_type,
            metric_name=name,
            metric_value=round(value, _DIGITS),
            metric_args=arguments or None,
        )


def _name(result: Block) -> str:
    """Return what the pairs are called; of a file its last name."""
    return PurePath(str(result["pairs"])).name
