from __future__ import annotations

from pathlib import Path

import pytest

from rerank_bench.data.manifests import read_manifest
from rerank_bench.data.trec import load_trec_folder, read_topics
from rerank_bench.errors import ConfigError, DataError, ParseError

SGML = """<top>
<num> Number: 301
<title> International
Organized Crime

<desc> Description:
Identify organizations that participate.
<narr> Narrative:
A relevant document must name one.
</top>

<top><num>302</num><title>Topic: Polio &amp; post-polio</title></top>
"""

CORPUS = '{"_id": "a", "text": "x"}\n{"_id": "b", "title": "t", "text": "y"}\n'


def write_collection(folder: Path) -> None:
    (folder / "corpus.jsonl").write_text(CORPUS, encoding="utf-8")
    (folder / "topics.set.txt").write_text("1\tone\n2\t\n", encoding="utf-8")
    (folder / "qrels.set.txt").write_text("1 0 b 2\n1 0 a 0\n", encoding="utf-8")


def test_sgml_topics(tmp_path: Path) -> None:
    path = tmp_path / "topics"
    path.write_text(SGML, encoding="utf-8")
    assert read_topics(path) == {"301": "International Organized Crime", "302": "Polio &amp; post-polio"}


def test_tsv_and_jsonl_topics(tmp_path: Path) -> None:
    tsv, lines = tmp_path / "topics.tsv", tmp_path / "topics.jsonl"
    tsv.write_text("7\ta b\tc\n\n8\t\n", encoding="utf-8")
    lines.write_text('{"_id": 7, "text": "a b\\tc"}\n{"_id": "8", "text": ""}\n', encoding="utf-8")
    assert read_topics(tsv) == read_topics(lines) == {"7": "a b\tc", "8": ""}


def test_dl_2019_topics(shared_data: Path) -> None:
    topics = read_topics(shared_data / "trec_dl_2019" / "topics.dl19-passage.txt")
    assert len(topics) == 43
    assert topics["156493"] == "do goldfish grow"


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("topics_no_tab.txt", "line 2: expected topic id, tab, text; found no tab: 'q2 second'"),
        ("topics_repeated.txt", "line 2: topic 'q1' stands already in line 1"),
        ("topics_space_in_id.txt", "line 1: topic id 'q 1' is empty or holds white space"),
        ("topics_open.txt", "line 1: <top> is never closed"),
        ("topics_nested.txt", "line 3: <top> opens inside the topic of line 1"),
        ("topics_no_title.txt", "line 1: topic has no <title>, found num, desc"),
        ("topics_stray_end.txt", "line 1: </top> without <top>"),
        ("topics_empty.txt", "holds no topic"),
    ],
)
def test_bad_topics(bad_files: Path, file: str, message: str) -> None:
    with pytest.raises(ParseError, match=message):
        read_topics(bad_files / file)


def test_folder(tmp_path: Path) -> None:
    write_collection(tmp_path)
    dataset = load_trec_folder(tmp_path)
    assert dataset.name == tmp_path.name
    assert dataset.queries == {"1": "one", "2": ""}
    assert dataset.qrels == {"1": {"b": 2, "a": 0}}
    assert dataset.collection.texts_of(["b", "a"]) == {"b": "t y", "a": "x"}


def test_folder_must_be_unambiguous(tmp_path: Path) -> None:
    write_collection(tmp_path)
    (tmp_path / "qrels.other.txt").write_text("1 0 b 2\n", encoding="utf-8")
    with pytest.raises(
        DataError, match=r"qrels\.\* matches 2 files \(qrels\.other\.txt, qrels\.set\.txt\), expected one"
    ):
        load_trec_folder(tmp_path)
    for path in tmp_path.glob("qrels.*"):
        path.unlink()
    with pytest.raises(DataError, match=r"qrels\.\* matches no file, expected one; name the files in a dataset\.toml"):
        load_trec_folder(tmp_path)
    (tmp_path / "corpus.jsonl").unlink()
    with pytest.raises(DataError, match=r"holds no corpus\.jsonl"):
        load_trec_folder(tmp_path)


def test_manifest_names_the_files(tmp_path: Path) -> None:
    write_collection(tmp_path)
    (tmp_path / "dev.qrels").write_text("2 0 a 1\n", encoding="utf-8")
    path = tmp_path / "dataset.toml"
    path.write_text(
        'name = "named"\nkind = "trec"\ntext_rule = "{text}"\ndrops_self_match = true\n[files]\n'
        'corpus = "corpus.jsonl"\nqueries = "topics.set.txt"\nqrels = {test = "qrels.set.txt", dev = "dev.qrels"}\n',
        encoding="utf-8",
    )
    dataset = load_trec_folder(tmp_path, split="dev", manifest=read_manifest(path))
    assert (dataset.name, dataset.drops_self_match, dataset.qrels) == ("named", True, {"2": {"a": 1}})
    assert dataset.collection.texts_of(["b"]) == {"b": "y"}
    with pytest.raises(ConfigError, match=r"unknown split 'train'.* Known: dev, test"):
        load_trec_folder(tmp_path, split="train", manifest=read_manifest(path))
