"""Which rows may stand in one table: those that agree on protocol, depth and fingerprints (protocol, section 7).

Rows of one data set that disagree are spread over several tables.  The first table takes, for every data set, the
variant with the most models; what is left goes into further tables, each with the reason why.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rerank_bench.reporting.columns import COMPARABILITY_COLUMNS, MODEL_COLUMNS, Row
from rerank_bench.reporting.rows import suite_fingerprints

ModelKey = tuple[object, ...]
"""A row's values in ``MODEL_COLUMNS``."""

_SHOWN_HEX = 8
"""Digits of a fingerprint that a reason shows."""

Variant = list[Row]
"""Rows of one data set (or suite) that compare with one another."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparableRows:
    """Rows that may stand in one table."""

    variant_by_dataset: Mapping[str, Variant]
    variant_by_suite: Mapping[str, Variant]
    differences: tuple[str, ...]
    """Why these rows do not stand in the first table, one sentence each; empty for the first table."""

    @property
    def rows(self) -> list[Row]:
        """Every row, data sets first."""
        variants = [*self.variant_by_dataset.values(), *self.variant_by_suite.values()]
        return [row for variant in variants for row in variant]


def split_comparable(rows: Sequence[Row]) -> list[ComparableRows]:
    """Return the rows in as few groups as their comparability allows, the biggest first.

    Args:
        rows: Rows of one view.
    """
    sections: dict[tuple[int, int], list[Row]] = {}
    for row in rows:
        sections.setdefault((row["protocol_version"], row["depth"]), []).append(row)
    ordered = sorted(sections.items(), key=lambda item: (-len(item[1]), -item[0][0], item[0][1]))
    groups: list[ComparableRows] = []
    for _, section in ordered:
        for datasets, suites in _layers(section):
            differences = _differences(groups[0], datasets, suites) if groups else ()
            groups.append(ComparableRows(variant_by_dataset=datasets, variant_by_suite=suites, differences=differences))
    return groups


def _layers(rows: Sequence[Row]) -> list[tuple[dict[str, Variant], dict[str, Variant]]]:
    """Return (data sets, suites) per table, for rows of one protocol and depth."""
    uses = Counter(row["first_stage"] for row in rows)
    datasets = _variants([row for row in rows if row["kind"] == "dataset"], uses)
    suites = _variants([row for row in rows if row["kind"] == "suite"], uses)
    num_layers = max((len(variants) for variants in datasets.values()), default=0)
    layers: list[tuple[dict[str, Variant], dict[str, Variant]]] = [
        ({name: variants[i] for name, variants in datasets.items() if i < len(variants)}, {}) for i in range(num_layers)
    ]
    for name, variants in suites.items():
        for variant in variants:
            # A suite stands beside exactly the data sets that it is the mean of; without them, by itself.
            for members, taken in layers:
                if name not in taken and _is_mean_of(variant[0], members):
                    taken[name] = variant
                    break
            else:
                layers.append(({}, {name: variant}))
    return layers


def _variants(rows: Sequence[Row], uses: Counter[str]) -> dict[str, list[Variant]]:
    """Return name -> its variants, the one to prefer first.

    The commonest first stage leads, so that one table has one first stage where it can.
    """
    by_name: dict[str, dict[tuple[object, ...], Variant]] = {}
    for row in rows:
        identity = tuple(row[column] for column in COMPARABILITY_COLUMNS)
        by_name.setdefault(row["dataset"], {}).setdefault(identity, []).append(row)

    def preference(variant: Variant) -> tuple[object, ...]:
        models = {model_key(row) for row in variant if row["family"] != "baseline"}
        return -uses[variant[0]["first_stage"]], -len(models), variant[0]["candidates_fingerprint"]

    return {name: sorted(variants.values(), key=preference) for name, variants in sorted(by_name.items())}


def _is_mean_of(suite: Row, members: Mapping[str, Variant]) -> bool:
    names = suite["datasets"].split(";")
    if any(name not in members for name in names):
        return False
    expected = suite_fingerprints([members[name][0] for name in names])
    return all(suite[column] == value for column, value in expected.items())


def model_key(row: Row) -> ModelKey:
    """Return what tells two models apart, two settings of one model included."""
    return tuple(row[column] for column in MODEL_COLUMNS)


def _differences(
    first: ComparableRows, datasets: Mapping[str, Variant], suites: Mapping[str, Variant]
) -> tuple[str, ...]:
    """Return why these rows do not stand in the first table, each field named."""
    here = next(iter([*datasets.values(), *suites.values()]))[0]
    above = first.rows[0]
    sentences = [
        f"{column} is {here[column]}, above {above[column]}"
        for column in ("protocol_version", "depth")
        if here[column] != above[column]
    ]
    if sentences:
        return tuple(sentences)
    for name, variant in datasets.items():
        sentences += _field_differences(name, variant[0], first.variant_by_dataset[name][0])
    for name, variant in suites.items():
        if name in first.variant_by_suite:
            sentences += _field_differences(name, variant[0], first.variant_by_suite[name][0])
        else:
            sentences.append(f"{name}: its data sets do not stand above with the same fingerprints")
    return tuple(sentences)


def _field_differences(name: str, here: Row, above: Row) -> list[str]:
    fields = [column for column in ("first_stage", *COMPARABILITY_COLUMNS) if here[column] != above[column]]
    return [f"{name}: {field} is {_short(here[field])}, above {_short(above[field])}" for field in fields]


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) < 64 else f"{text[:_SHOWN_HEX]}…"
