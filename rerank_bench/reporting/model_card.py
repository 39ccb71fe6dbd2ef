"""The model card: ``README.md`` of a checkpoint, from results and a training's record and from nothing else.

What is not known is left out, or said to be unknown.  The front matter is what the hub reads (``card_metadata``); the
body names view, first stage, depth and protocol of every value (``card_values``), and what was trained on what and how
(``card_training``).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rerank_bench.errors import ConfigError
from rerank_bench.reporting.card_classification import CLASSIFICATION_VALUES, render_classification
from rerank_bench.reporting.card_training import TrainingRecord, render_training, render_training_data, saved_line
from rerank_bench.reporting.card_values import render_conditions, render_values
from rerank_bench.reporting.citations import render_citations
from rerank_bench.reporting.markdown_table import escape_markdown, render_markdown_table
from rerank_bench.storage import write_text

_MARK = "<!-- Written by rerank-bench card, sha256 {digest}; a changed file is not written over. -->"
_MARK_LINE = re.compile(r"\n<!-- Written by rerank-bench card, sha256 ([0-9a-f]{64});[^\n]*-->\n\Z")
_KIND_OF_FAMILY = {
    "sequence-classifier": "a cross-encoder",
    "onnx": "a cross-encoder, exported to ONNX",
    "causal-lm": "a language model that is asked whether a document answers a query",
    "seq2seq": "an encoder-decoder that is asked whether a document answers a query",
    "bi-encoder": "a bi-encoder",
    "static-embedding": "a bi-encoder of static word vectors",
    "late-interaction": "a late-interaction encoder",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class CardFacts:
    """What a card is made from; a result, a training or a classification is there at least."""

    name: str
    """What the model is called."""
    results: Sequence[Mapping[str, Any]] = ()
    """Contents of ``result.json``, all of the same weights."""
    training: TrainingRecord | None = None
    classification: Mapping[str, Any] | None = None
    """What was measured on labelled pairs, in the form of ``card_classification``."""
    hub_id: str | None = None
    """Where the model itself is published."""

    @property
    def family(self) -> str:
        """The model's family; a training makes a classifier with one logit."""
        return str(self.model.get("family", "sequence-classifier"))

    @property
    def model(self) -> Mapping[str, Any]:
        """What a result says of the model, empty where there is none."""
        measured = [*self.results, *([self.classification] if self.classification else [])]
        return dict(measured[0].get("model", {})) if measured else {}


def render_card(facts: CardFacts) -> str:
    """Return the whole card: front matter, body, and a last line by which a card of ours is known."""
    from rerank_bench.reporting.card_metadata import render_metadata

    parts = [f"# {escape_markdown(facts.name)}", _introduction(facts), "## Model", _model(facts)]
    usage = _usage(facts)
    if usage:
        parts += ["## Use", usage]
    parts.append("## Evaluation")
    if facts.results:
        if facts.training is not None and facts.training.chosen_by_evaluation:
            parts.append(
                "The weights were chosen by their value on these very queries, among those of several steps: that flatters "
                "them a little."
            )
        parts += render_values(facts.results)
        parts += ["### What the values stand on", render_conditions(facts.results)]
    else:
        parts.append(_without_results(facts))
    if facts.classification is not None:
        parts += ["### Pair classification", render_classification(facts.classification)]
        if facts.training is not None and facts.training.record["outcome"]["best_by"] in CLASSIFICATION_VALUES:
            parts.append("The weights were chosen by their value on the held-out pairs, among those of several steps.")
    if facts.training is not None:
        parts += ["## Training data", render_training_data(facts.training)]
        parts += ["## Training", render_training(facts.training)]
    parts += ["## Versions", _versions(facts)]
    citations = render_citations(facts.family, facts.results, facts.training)
    if citations:
        parts += ["## Citations", citations]
    return sign(render_metadata(facts) + "\n" + "\n\n".join(parts) + "\n")


def sign(text: str) -> str:
    """Return a card with its last line, which holds the digest of everything above it."""
    digest = hashlib.sha256(text.encode("utf-8")).hexdigest()
    return f"{text}\n{_MARK.format(digest=digest)}\n"


def is_untouched_card(text: str) -> bool:
    """Return whether a file is a card of ours that nobody has changed since."""
    mark = _MARK_LINE.search(text)
    return mark is not None and hashlib.sha256(text[: mark.start()].encode("utf-8")).hexdigest() == mark.group(1)


def write_card(path: Path, card: str, *, overwrite: bool = False) -> None:
    """Write a card.

    Args:
        path: The file; its folder is made.
        card: As ``render_card`` returns it.
        overwrite: Whether a file that somebody wrote or changed may be replaced.

    Raises:
        ConfigError: Such a file stands there, and is left alone.
        EnvironmentMissingError: The folder is read-only or the disk is full.
    """
    if not overwrite and path.exists() and not is_untouched_card(path.read_text(encoding="utf-8", errors="replace")):
        msg = f"{path}: is no card of rerank-bench, or was changed by hand; it is left alone (--overwrite replaces it)"
        raise ConfigError(msg)
    write_text(path, card)


def _introduction(facts: CardFacts) -> str:
    kind = _KIND_OF_FAMILY.get(facts.family, "a reranker")
    what = f"This is {kind}: it scores how well a document answers a query, to rerank what a first stage found."
    if facts.training is not None:
        what += f" It was trained with rerank-bench from {facts.training.base_link}."
    return what


def _without_results(facts: CardFacts) -> str:
    """Return what is known of a model that was measured on no data set: its values on held-out examples, if any."""
    training = facts.training
    values = training.record["outcome"]["values"] if training else {}
    shown = {name: value for name, value in values.items() if name not in CLASSIFICATION_VALUES}
    lines = [[f"held-out {name.removeprefix('held-out ')}", f"{value:.4f}"] for name, value in shown.items()]
    table = f"\n\n{render_markdown_table(['measure', 'value'], lines, num_left=1)}" if lines else ""
    chosen = training is not None and training.record["outcome"]["best_by"] is not None
    note = " The weights were chosen by their value on these examples, which flatters them a little." if chosen else ""
    return f"Not measured on any ranking data set.{note if lines else ''}{table}"


def _model(facts: CardFacts) -> str:
    model = facts.model
    rows = {
        "family": facts.family,
        "architecture": model.get("architecture"),
        "parameters": f"{model['num_parameters']:,}" if model.get("num_parameters") else None,
        "tokens per pair": model.get("max_length") or (facts.training.max_length if facts.training else None),
        "base model": facts.training.base_link if facts.training else None,
        "kept weights": saved_line(facts.training) if facts.training else None,
        "revision": f"`{model['revision']}`" if model.get("revision") else None,
        "weights (SHA-256)": f"`{model['weights_fingerprint']}`" if model.get("weights_fingerprint") else None,
    }
    lines = [[name, str(value)] for name, value in rows.items() if value]
    return render_markdown_table(["", ""], lines, num_left=2)


def _usage(facts: CardFacts) -> str | None:
    """Return how the model is called; nothing for what is not known to load so."""
    name = facts.hub_id or f"path/to/{facts.name}"
    parts = []
    if facts.training is not None:
        parts.append(f"""\
A score is a raw logit: higher is better, comparable within one query only.

```python
from sentence_transformers import CrossEncoder

model = CrossEncoder("{name}")
scores = model.predict([("how to sort a list", "sorted() returns a new list."), ("how to sort a list", "Lists are slow.")])
```""")
    if facts.hub_id or facts.training is not None:
        parts.append(f"```\nrerank-bench run --model {name} --dataset pydocs\n```")
    return "\n\n".join(parts) or None


def _versions(facts: CardFacts) -> str:
    """Return versions of the training and of the evaluation, side by side where both are known."""
    sources = {}
    if facts.training is not None:
        sources["training"] = facts.training.provenance
    measured = [*facts.results, *([facts.classification] if facts.classification else [])]
    if measured and "provenance" in measured[0]:
        sources["evaluation"] = measured[0]["provenance"]
    rows = {title: {"rerank-bench": p.get("rerank_bench"), "python": p.get("python")} for title, p in sources.items()}
    for title, provenance in sources.items():
        rows[title] |= provenance.get("versions", {})
    names = [
        name for name in dict.fromkeys(n for row in rows.values() for n in row) if any(rows[t].get(name) for t in rows)
    ]
    if not names:
        return "Unknown."
    lines = [[name, *(str(row.get(name) or "–") for row in rows.values())] for name in names]
    return render_markdown_table(["", *rows], lines, num_left=1)
