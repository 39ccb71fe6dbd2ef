from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from sample_results import NANOBEIR, make_rows

from rerank_bench.reporting.comparability import model_key
from rerank_bench.reporting.labels import label_models, shorten_datasets, shorten_names


def test_nano_is_dropped() -> None:
    assert shorten_datasets([*NANOBEIR, "pydocs", "nanotech", "Nano"]) == {
        **{name: name.removeprefix("Nano") for name in NANOBEIR},
        "pydocs": "pydocs",
        "nanotech": "nanotech",
        "Nano": "Nano",
    }


def test_nano_stays_where_two_names_would_read_the_same() -> None:
    names = ["NanoSciFact", "scifact", "NanoNQ"]
    assert shorten_datasets(names) == {"NanoSciFact": "NanoSciFact", "scifact": "scifact", "NanoNQ": "NQ"}


def test_a_model_is_cut_in_the_middle() -> None:
    name = "skfrost19/reranker-gte-multilingual-base-msmarco-bce"
    assert shorten_names([name, "demo"], 21) == {name: "skfrost19/…smarco-bce", "demo": "demo"}


def test_names_that_differ_in_the_middle_only_get_a_number() -> None:
    names = [f"organisation/model-{number:02}-with-the-same-end" for number in range(3)]
    short = shorten_names(names, 12)
    assert len(set(short.values())) == 3
    assert short[names[1]].endswith("~2")


@given(st.lists(st.text("ab/-", min_size=1, max_size=30), min_size=1, max_size=12, unique=True), st.integers(8, 24))
def test_short_names_fit_and_stay_apart(names: list[str], width: int) -> None:
    short = shorten_names(names, width)
    assert list(short) == names
    assert len(set(short.values())) == len(names)
    assert all(len(text) <= width for text in short.values())
    assert all(short[name] == name for name in names if len(name) <= width)


def test_settings_tell_two_runs_of_one_model_apart() -> None:
    rows = make_rows(["demo"], {"pydocs": 0.45})
    rows += make_rows(["demo"], {"pydocs": 0.45}, dtype="bfloat16", device="cuda")
    rows += make_rows(["a/b"], {"pydocs": 0.45})
    labels = label_models(rows)
    assert [labels[model_key(row)] for row in rows[::3]] == ["demo [float32 cpu]", "demo [bfloat16 cuda]", "a/b"]


def test_other_weights_and_lengths_are_told() -> None:
    rows = make_rows(["demo"], {"pydocs": 0.45}, weights_fingerprint="ab" * 32)
    rows += make_rows(["demo"], {"pydocs": 0.45}, weights_fingerprint="cd" * 32, max_length=512)
    assert sorted(label_models(rows).values()) == ["demo [abababab 256 tokens]", "demo [cdcdcdcd 512 tokens]"]


def test_instructions_labels_and_prompts_are_told() -> None:
    told = {"instruction": "Given a question,\nretrieve passages that answer it", "prompt_fingerprint": "ab" * 32}
    rows = make_rows(["qwen"], {"pydocs": 0.45})
    for changed in ({}, {"instruction": "Find duplicates"}, {"prompt_fingerprint": "cd" * 32}):
        rows += [row | told | changed for row in make_rows(["qwen"], {"pydocs": 0.45})]
    assert [label_models(rows)[model_key(row)] for row in rows[::3]] == [
        "qwen [no instruction no prompt]",
        "qwen [“Given a questio…s that answer it” prompt abababab]",
        "qwen [“Find duplicates” prompt abababab]",
        "qwen [“Given a questio…s that answer it” prompt cdcdcdcd]",
    ]
    labelled = make_rows(["nli"], {"pydocs": 0.45}) + [
        row | {"positive_label": "entailment"} for row in make_rows(["nli"], {"pydocs": 0.45})
    ]
    assert set(label_models(labelled).values()) == {"nli [no label]", "nli [label entailment]"}
