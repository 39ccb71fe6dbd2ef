from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from rerank_bench.data import manifests
from rerank_bench.data.manifests import find_manifest_name, load_manifest, manifest_names, read_manifest
from rerank_bench.errors import ConfigError, DataError, ManifestError

# Queries, documents, judgements and the start of the commit, as published; written out here a second time on purpose.
NANOBEIR = {
    "NanoArguAna": (50, 3635, 50, "8f4a982d"),
    "NanoClimateFEVER": (50, 3408, 148, "96741bfa"),
    "NanoDBPedia": (50, 6045, 1158, "438f1c25"),
    "NanoFEVER": (50, 4996, 57, "a8bfdf1b"),
    "NanoFiQA2018": (50, 4598, 123, "4163ba03"),
    "NanoHotpotQA": (50, 5090, 100, "d79c0cdd"),
    "NanoMSMARCO": (50, 5043, 50, "7b8ff22f"),
    "NanoNFCorpus": (50, 2953, 2518, "dd542a7e"),
    "NanoNQ": (50, 5035, 57, "77540146"),
    "NanoQuoraRetrieval": (50, 5046, 70, "2ab2d73e"),
    "NanoSCIDOCS": (50, 2210, 244, "484eb905"),
    "NanoSciFact": (50, 2919, 56, "309f1d1a"),
    "NanoTouche2020": (49, 5745, 932, "0d2f26ed"),
}


def test_every_shipped_manifest_can_be_read_and_describes_itself() -> None:
    names = manifest_names()
    assert set(names) >= {*NANOBEIR, "gooaq-dev", "gooaq-dev-st"}
    for name in names:
        manifest = load_manifest(name)
        assert manifest.name == name
        for key in ("title", "description", "licence", "homepage", "citation", "text_rule"):
            assert manifest.table[key].strip(), (name, key)
        assert manifest.grades, name


@pytest.mark.parametrize("name", NANOBEIR)
def test_nanobeir_is_pinned(name: str) -> None:
    manifest = load_manifest(name)
    queries, documents, judgements, commit = NANOBEIR[name]
    assert manifest.counts == {"queries": queries, "documents": documents, "judgements": judgements}
    assert manifest.hub_source.repository == f"zeta-alpha-ai/{name}"
    assert re.fullmatch(rf"{commit}[0-9a-f]{{32}}", manifest.hub_source.revision)
    assert manifest.drops_self_match == (name == "NanoArguAna")
    assert manifest.published is not None
    assert manifest.published.repository == f"sentence-transformers/{name}-bm25"


def test_nanobeir_adds_up() -> None:
    assert sum(load_manifest(name).counts["queries"] for name in NANOBEIR) == 649
    assert sum(load_manifest(name).counts["documents"] for name in NANOBEIR) == 56_723


def test_published_lists_equal_the_pinned_checksums(shared_data: Path) -> None:
    pinned = json.loads((shared_data.parent / "design" / "published_bm25_lists.json").read_text(encoding="utf-8"))
    unpinned = []
    for name in NANOBEIR:
        published = load_manifest(name).published
        assert published is not None
        if name in pinned:
            assert published.revision == pinned[name]["revision"]
            assert published.files == pinned[name]["parquet"]
        else:
            assert (published.revision, published.files) == ("main", {})
            unpinned.append(name)
    assert unpinned == ["NanoArguAna", "NanoTouche2020"]


def test_gooaq_manifests_state_the_split() -> None:
    full, first_part = load_manifest("gooaq-dev"), load_manifest("gooaq-dev-st")
    for manifest in (full, first_part):
        spec = manifest.table["gooaq"]
        assert (spec["test_size"], spec["seed"], spec["rows"]) == (1000, 12, 3_012_496)
        assert spec["revision"] == "b089f728748a068b7bc5234e5bcf5b25e3c8279c"
    assert "first_rows" not in full.table["gooaq"]
    assert first_part.table["gooaq"]["first_rows"] == 100_000


@pytest.mark.parametrize("spelling", ["NanoMSMARCO", "nanomsmarco", "msmarco", "MsMarco"])
def test_names_have_no_case_and_a_short_form(spelling: str) -> None:
    assert find_manifest_name(spelling) == "NanoMSMARCO"
    assert load_manifest(spelling).name == "NanoMSMARCO"


def test_unknown_name_offers_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"unknown data set 'nanomsmarca'; did you mean 'NanoMSMARCO'"):
        load_manifest("nanomsmarca")


def test_all_problems_of_a_manifest_are_reported_at_once(bad_files: Path) -> None:
    with pytest.raises(ManifestError) as caught:
        read_manifest(bad_files / "manifest_many_faults.toml", is_shipped=True)
    message = str(caught.value)
    for problem in (
        "manifest_many_faults.toml",
        "unknown key in the top table 'license'; did you mean 'licence'",
        "title is '', expected some text",
        "licence is missing",
        "description is missing",
        "text_rule is '{text} {title}', expected '{title} {text}' or '{text}'",
        "drops_self_match is 'no', expected true or false",
        "unknown key in counts 'docs'",
        "counts.queries is -1, expected a whole number of at least 0",
        "grades has the keys 'high', expected whole numbers",
        "hub.files.a.parquet.sha256 is 'abc', expected the 64 lower-case hex digits",
        "hub.corpus.text is missing",
        "hub.queries.text is 5, expected some text",
    ):
        assert problem in message
    assert ": 14 problems: " in message  # these, and homepage and citation that are missing: see the next assertion
    assert "homepage is missing; citation is missing" in message


@pytest.mark.parametrize(
    ("file", "message"),
    [
        (
            "manifest_unknown_kind.toml",
            r"unknown kind 'hup'; did you mean 'hub'\? Known: beir, gooaq, hub, pydocs, trec",
        ),
        ("manifest_not_toml.toml", "is not TOML in UTF-8: .*line 1"),
        ("manifest_wrong_types.toml", r"aliases is 'x', expected a list of strings; counts is 3, expected a table"),
        ("manifest_wrong_types.toml", r"files\.qrels is \['test\.tsv'\], expected a table"),
        ("manifest_files_no_table.toml", "files is 'corpus.jsonl', expected a table"),
        ("corpus_latin1.jsonl", "is not TOML in UTF-8"),
    ],
)
def test_bad_manifest(bad_files: Path, file: str, message: str) -> None:
    with pytest.raises(ManifestError, match=message):
        read_manifest(bad_files / file)


def test_missing_manifest_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nothing\.toml: no such file"):
        read_manifest(tmp_path / "nothing.toml")


def test_title_rule_needs_a_title_column(tmp_path: Path) -> None:
    text = (manifests.manifest_folder() / "NanoNQ.toml").read_text(encoding="utf-8")
    path = tmp_path / "x.toml"
    path.write_text(text.replace('"{text}"', '"{title} {text}"'), encoding="utf-8")
    with pytest.raises(ManifestError, match=r"text_rule is '\{title\} \{text\}', but hub.corpus names no title column"):
        read_manifest(path)


def test_file_and_name_must_agree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = manifests.manifest_folder()
    (tmp_path / "Other.toml").write_bytes((source / "NanoNQ.toml").read_bytes())
    monkeypatch.setattr(manifests, "manifest_folder", lambda: tmp_path)
    with pytest.raises(ManifestError, match=r"name is 'NanoNQ', expected the file's own name 'Other'"):
        load_manifest("other")


def test_two_sets_cannot_share_an_alias(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "A.toml").write_text('aliases = ["short"]', encoding="utf-8")
    (tmp_path / "B.toml").write_text('aliases = ["Short"]', encoding="utf-8")
    monkeypatch.setattr(manifests, "manifest_folder", lambda: tmp_path)
    with pytest.raises(ManifestError, match="'Short' stands for both A and B"):
        find_manifest_name("short")


def test_an_installation_without_manifests_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifests, "__file__", str(tmp_path / "rerank_bench" / "data" / "manifests.py"))
    with pytest.raises(DataError, match=r"no data_manifests folder in or beside .*install rerank-bench again"):
        manifests.manifest_folder()


def test_hub_source_is_for_hub_sets_only(tmp_path: Path) -> None:
    path = tmp_path / "dataset.toml"
    path.write_text(
        'name = "x"\nkind = "beir"\n[files]\ncorpus = "c"\nqueries = "q"\nqrels = {test = "t"}\n', encoding="utf-8"
    )
    with pytest.raises(ManifestError, match="kind 'beir' comes from no repository"):
        _ = read_manifest(path).hub_source
