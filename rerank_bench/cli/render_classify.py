"""What ``rerank-bench classify`` prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from rerank_bench.cli.render_train import print_rows

if TYPE_CHECKING:
    from rerank_bench.jobs.classify import Classified

NOTES = {
    "these pairs": "these pairs: the threshold that is best on the pairs it is measured on, as peers report; it flatters",
    "dev": "dev: the threshold that is best on the dev pairs",
    "fixed": "fixed: score 0, which is probability 0.5",
}


def render_classified(console: Console, classified: Classified) -> None:
    """Print the measures that do without a threshold, those under each threshold, and those by label."""
    result = classified.result
    labels = ", ".join(f"{count:,} of {label}" for label, count in result["labels"].items())
    rows = {
        "model": str(result["model"]["name"]),
        "pairs": f"{result['pairs']}: {result['num_pairs']:,}, labels {labels}",
    }
    if "binary" in result:
        for name in ("average_precision", "roc_auc"):
            found = result["binary"][name]
            rows[name.replace("_", " ")] = f"{found['value']:.4f}  {_interval(found['ci'])}"
        calibration = result["calibration"]
        rows["calibration"] = (
            f"error (ECE) {calibration['ece']:.4f}, Brier {calibration['brier']:.4f}, if {calibration['assumes']}"
        )
    print_rows(console, rows)
    if "binary" in result:
        console.print()
        _print_thresholds(console, result["binary"]["thresholds"])
    if "by_label" in result:
        console.print()
        _print_labels(console, result["by_label"])
    for picture in classified.pictures:
        console.print(f"picture  {picture}", markup=False, soft_wrap=True)


def _print_thresholds(console: Console, thresholds: Sequence[Mapping[str, Any]]) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for title in ("threshold from", "measure"):
        table.add_column(title)
    for title in ("value", "95% interval", "threshold", "precision", "recall"):
        table.add_column(title, justify="right", no_wrap=True)
    for each in thresholds:
        table.add_row(
            each["chosen_on"],
            "F1" if each["measure"] == "f1" else each["measure"],
            f"{each['value']:.4f}",
            _interval(each["ci"]),
            f"{each['threshold']:.4f}",
            f"{each['precision']:.4f}",
            f"{each['recall']:.4f}",
        )
    console.print(table)
    for origin in dict.fromkeys(each["chosen_on"] for each in thresholds):
        console.print(NOTES[origin], style="dim", markup=False)


def _print_labels(console: Console, by_label: Mapping[str, Any]) -> None:
    print_rows(
        console,
        {
            "F1 macro": f"{by_label['f1_macro']:.4f}  {_interval(by_label['f1_macro_ci'])}",
            "F1 micro": f"{by_label['f1_micro']:.4f}",
            "F1 weighted": f"{by_label['f1_weighted']:.4f}",
            "accuracy": f"{by_label['accuracy']:.4f}  {_interval(by_label['accuracy_ci'])}",
        },
    )
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("label")
    for title in ("pairs", "precision", "recall", "F1"):
        table.add_column(title, justify="right")
    for name, values in by_label["labels"].items():
        numbers = [f"{values[key]:.4f}" for key in ("precision", "recall", "f1")]
        table.add_row(name, f"{values['pairs']:,}", *numbers)
    console.print()
    console.print(table)


def _interval(interval: Sequence[float] | None) -> str:
    return "–" if interval is None else f"{interval[0]:.4f} {interval[1]:.4f}"
