"""What a card says of a training: data, hyper-parameters, log, energy and hardware, as the job's record has them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from rerank_bench.reporting.formatting import MISSING
from rerank_bench.reporting.markdown_table import escape_markdown, render_markdown_table

MAX_LOSS_ROWS = 40
"""Rows of the log without an evaluation that a card shows, evenly thinned; ``log.csv`` has them all."""
_TEXT_CHARS = 240
_DOCS_SHOWN = 3
_LOG_FIRST = ("epoch", "step", "loss", "held-out loss")
_MEAN = "nDCG@10"
_LOG_LEFT_OUT = frozenset(
    {"learning_rate", "grad_norm", "seconds", "accuracy_threshold", "f1_threshold", "f1_precision", "f1_recall"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRecord:
    """One finished training, as its folder has it."""

    record: Mapping[str, Any]
    """The content of ``training.json``."""
    log: Sequence[Mapping[str, str]]
    """The rows of ``log.csv``."""
    defaults: Mapping[str, Any]
    """Every hyper-parameter with its default, the loss aside."""
    base_hub_id: str | None
    """The base model's id, where it is on the hub."""
    data_hub_id: str | None
    """The data set's id, where it is on the hub."""

    @property
    def recipe(self) -> Mapping[str, Any]:
        """Every hyper-parameter as it was."""
        return dict(self.record["job"]["recipe"])

    @property
    def loss(self) -> Mapping[str, Any]:
        """Name and options of the loss."""
        return dict(self.recipe["loss"])

    @property
    def max_length(self) -> int | None:
        """Tokens that a pair was cut to; ``None`` where the base model's files decided and nothing recorded it."""
        statistics = self.record.get("statistics")
        length: int | None = statistics["tokens"]["max_length"] if statistics else self.recipe["max_length"]
        return length

    @property
    def chosen_by_evaluation(self) -> bool:
        """Whether the weights are the best by a ranking measure, not the last or the best on held-out examples."""
        return self.record["outcome"]["best_by"] not in {None, "loss", "average_precision", "accuracy", "f1"}

    @property
    def provenance(self) -> Mapping[str, Any]:
        """Versions, command, machine and time of the training's start."""
        return dict(self.record["about"].get("provenance", {}))

    @property
    def base_link(self) -> str:
        """The base model as a reader can find it; a folder goes by its last name."""
        if self.base_hub_id is not None:
            revision = f" at `{self.recipe['revision']}`" if self.recipe.get("revision") else ""
            return f"[{self.base_hub_id}](https://huggingface.co/{self.base_hub_id}){revision}"
        name = PurePath(self.recipe["model"]).name
        return f"`{name}`, all-MiniLM-L6-v2 as rerank-bench embeds it" if name == "demo" else escape_markdown(name)


def saved_line(training: TrainingRecord) -> str:
    """Return which step's weights these are, and why."""
    outcome = training.record["outcome"]
    line = f"step {outcome['saved_step']} of {outcome['steps']}"
    if outcome["best_by"] is None:
        return f"{line}, the last"
    return f"{line}, the best by {escape_markdown(outcome['best_by'])} ({outcome['best_value']:.4f})"


# --- data -------------------------------------------------------------------------------------------------------


def render_training_data(training: TrainingRecord) -> str:
    """Return source, counts, lengths, contamination, and the first examples."""
    about, statistics = training.record["about"], training.record.get("statistics")
    rows = {
        "source": _data_source(training),
        "shape": f"{about['shape']} ({escape_markdown(about['columns'])})",
        "examples": f"{training.record['job']['data']['examples']:,}",
        **({"held out": f"{about['held_out_examples']:,} examples"} if about.get("held_out_examples") else {}),
        **(_statistics(statistics) if statistics else {"statistics": "unknown"}),
        **{f"left out: {reason}": f"{count:,}" for reason, count in about["dropped"].items()},
        **{
            f"texts of {escape_markdown(name)} in it": _contamination(found)
            for name, found in about["contamination"].items()
        },
        "fingerprint": f"`{training.record['job']['data']['fingerprint']}`",
    }
    parts = [render_markdown_table(["", ""], [[name, value] for name, value in rows.items()], num_left=2)]
    if statistics and statistics["shown"]:
        parts += ["The first examples:", _examples(statistics["shown"])]
    return "\n\n".join(parts)


def _data_source(training: TrainingRecord) -> str:
    data, built = training.record["about"]["data"], training.record["about"].get("built")
    if built is not None:
        repository = built["repository"]
        link = f"[{repository}](https://huggingface.co/datasets/{repository}) at `{built['revision']}`"
        return f"`{data['sources'][0]}`: {link}, {built['said']}"
    if training.data_hub_id is None:
        # A folder's place on somebody's machine is no information; what is in it has a fingerprint.
        return ", ".join(escape_markdown(PurePath(source).name) for source in data["sources"])
    link = f"[{training.data_hub_id}](https://huggingface.co/datasets/{training.data_hub_id})"
    places = [f"{name} `{data[name]}`" for name in ("config", "split", "revision") if data.get(name)]
    return ", ".join([link, *places])


def _statistics(statistics: Mapping[str, Any]) -> dict[str, str]:
    low, high = statistics["group_sizes"]
    tokens = statistics["tokens"]
    return {
        "pairs": f"{statistics['num_pairs']:,}",
        "documents per query": f"{low}" if low == high else f"{low} to {high}",
        "labels": _labels(statistics["labels"]),
        "tokens per pair": f"median {tokens['p50']}, 90% {tokens['p90']}, 99% {tokens['p99']}, longest {tokens['max']} "
        f"({tokens['sampled_pairs']:,} pairs sampled)",
        "pairs cut": f"{tokens['truncated_share']:.1%} at {tokens['max_length']} tokens",
    }


def _labels(labels: Mapping[str, Any]) -> str:
    share = f"{labels['positive_share']:.1%} above 0"
    if "counts" in labels:
        return f"{', '.join(f'{count:,} of {label}' for label, count in labels['counts'].items())} ({share})"
    return f"{labels['min']:g} to {labels['max']:g}, mean {labels['mean']:.3g} ({share})"


def _contamination(found: Mapping[str, Any]) -> str:
    if not found["queries"] and not found["documents"]:
        return "none"
    return f"{found['queries']:,} examples with one of its queries, {found['documents']:,} with one of its documents"


def _examples(shown: Sequence[Mapping[str, Any]]) -> str:
    lines = []
    for example in shown:
        pairs = list(zip(example["documents"], example["labels"], strict=True))
        for number, (doc, label) in enumerate(pairs[:_DOCS_SHOWN]):
            lines.append([_text(example["query"]) if number == 0 else "", _text(doc), f"{label:g}"])
        if len(pairs) > _DOCS_SHOWN:
            lines.append(["", f"… {len(pairs) - _DOCS_SHOWN} more", ""])
    return render_markdown_table(["query", "document", "label"], lines, num_left=2)


def _text(text: str) -> str:
    flat = " ".join(text.split())
    cut = flat if len(flat) <= _TEXT_CHARS else flat[: _TEXT_CHARS - 1] + "…"
    return escape_markdown(cut)


# --- hyper-parameters and log -----------------------------------------------------------------------------------


def render_training(training: TrainingRecord) -> str:
    """Return loss, hyper-parameters, log, and what the training took."""
    changed, unchanged = _split_hyperparameters(training)
    return "\n\n".join(
        [
            f"Loss: {_loss(training.loss)}",
            "### Hyper-parameters that are not the defaults",
            _values_list(changed) or "None.",
            _folded(f"All {len(changed) + len(unchanged)} hyper-parameters", _values_list(changed | unchanged)),
            "### Log",
            _log(training),
            "### Cost",
            _cost(training),
        ]
    )


def _split_hyperparameters(training: TrainingRecord) -> tuple[dict[str, Any], dict[str, Any]]:
    recipe = {name: value for name, value in training.recipe.items() if name not in {"model", "revision", "loss"}}
    changed = {name: value for name, value in recipe.items() if value != training.defaults.get(name)}
    return changed, {name: value for name, value in recipe.items() if name not in changed}


def _loss(loss: Mapping[str, Any]) -> str:
    options = ", ".join(f"{name} {_plain(value)}" for name, value in loss.items() if name != "name")
    return f"`{loss['name']}`" + (f" ({options})" if options else "")


def _values_list(values: Mapping[str, Any]) -> str:
    return "\n".join(f"- `{name}`: {_plain(value)}" for name, value in values.items())


def _plain(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def _log(training: TrainingRecord) -> str:
    """Return the table of the log, the row of the saved step bold."""
    rows = training.log
    columns = [name for name in _LOG_FIRST if any(row.get(name) for row in rows)]
    values = [
        name for name in dict.fromkeys(n for row in rows for n in row) if name not in {*_LOG_FIRST, *_LOG_LEFT_OUT}
    ]
    if sum(name.endswith(f" {_MEAN}") for name in values) == 1:  # the mean of one data set is its value
        values = [name for name in values if name != _MEAN]
    saved = str(training.record["outcome"]["saved_step"])
    kept = thin_rows(rows, values, saved)
    lines = []
    for row in kept:
        cells = [_number(name, row.get(name, "")) for name in (*columns, *values)]
        lines.append([f"**{cell}**" if row["step"] == saved else cell for cell in cells])
    note = "The row of the saved weights is bold."
    if len(kept) < len(rows):
        note += f" {len(kept)} of {len(rows)} rows: `log.csv` has them all."
    table = render_markdown_table([*map(escape_markdown, (*columns, *values))], lines, num_left=0)
    return f"{table}\n\n{note}"


def thin_rows(rows: Sequence[Mapping[str, str]], values: Sequence[str], saved: str) -> list[Mapping[str, str]]:
    """Return the rows with an evaluation, the saved one, and of the others at most ``MAX_LOSS_ROWS``, evenly spread."""
    others = [i for i, row in enumerate(rows) if row["step"] != saved and not any(row.get(name) for name in values)]
    stride = math.ceil(len(others) / MAX_LOSS_ROWS) or 1
    left_out = set(others) - set(others[::stride])
    return [row for i, row in enumerate(rows) if i not in left_out]


def _number(name: str, text: str) -> str:
    if not text:
        return MISSING
    return text if name == "step" else f"{float(text):.4f}"


def _cost(training: TrainingRecord) -> str:
    outcome, hardware = training.record["outcome"], training.record.get("hardware") or {}
    machine = hardware.get("machine") or training.provenance.get("machine") or "unknown"
    rows = {
        "time": f"{outcome['seconds'] / 60:.1f} minutes, evaluations included" + _resumed(outcome),
        "precision of the forward pass": outcome["precision"],
        "machine": escape_markdown(machine),
        "accelerator": escape_markdown(hardware["accelerator"]) if hardware.get("accelerator") else None,
        "processes": hardware.get("processes"),
        "energy": _energy(training.record.get("energy")) + (_resumed(outcome) if training.record.get("energy") else ""),
        "started": training.provenance.get("utc_time"),
        "command": _command(training.provenance.get("command")),
    }
    return render_markdown_table(["", ""], [[name, str(value)] for name, value in rows.items() if value], num_left=2)


def _resumed(outcome: Mapping[str, Any]) -> str:
    return f", from step {outcome['resumed_from']} on" if outcome["resumed_from"] else ""


def _energy(energy: Mapping[str, Any] | None) -> str:
    if not energy:
        return "unknown (no energy counter could be read on this machine)"
    parts = ", ".join(f"{escape_markdown(name)} {joules / 3600:.2f} Wh" for name, joules in energy["joules"].items())
    source = energy.get("source", "counters")
    said = "the parts of the machine that have a counter" if source == "counters" else f"as {source} estimates it"
    return f"{parts} ({said}; emissions depend on where the machine stands, and are not known)"


def _command(command: str | None) -> str | None:
    """Return the command line; folders of the machine that it ran on are cut to their last name."""
    if not command:
        return None
    words = [PurePath(word).name if word.startswith(("/", "~")) else word for word in command.split(" ")]
    return f"`{' '.join(words).replace('|', ' ')}`"


def _folded(summary: str, body: str) -> str:
    return f"<details>\n<summary>{summary}</summary>\n\n{body}\n\n</details>"
