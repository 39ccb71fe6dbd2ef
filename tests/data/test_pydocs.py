from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import bm25s
import ir_measures
import pytest
import Stemmer
from bm25s.stopwords import STOPWORDS_EN_PLUS
from ir_measures import R, nDCG

from rerank_bench.data import pydocs
from rerank_bench.data.manifests import load_manifest, manifest_folder
from rerank_bench.data.pydocs import build_pydocs_collection, load_pydocs
from rerank_bench.errors import DataError, EnvironmentMissingError, ParseError
from rerank_bench.ranking import rank_docs
from rerank_bench.records import Collection, Dataset

FILES = manifest_folder() / "pydocs"
STEM = Stemmer.Stemmer("english").stemWord


@pytest.fixture(scope="module")
def missing() -> list[str]:
    table = load_manifest("pydocs").table["pydocs"]["missing"]
    return list(table[f"{sys.version_info.major}.{sys.version_info.minor}"])


@pytest.fixture(scope="module")
def dataset(missing: list[str]) -> Dataset:
    """The shipped set; that it loads means that every judged id exists here, or is listed as missing."""
    return load_pydocs(FILES / "queries.jsonl", FILES / "qrels.tsv", missing=missing)


@pytest.fixture(scope="module")
def text_by_id(dataset: Dataset) -> dict[str, str]:
    ids: list[str] = dataset.collection.doc_ids.to_pylist()
    texts: list[str] = dataset.collection.texts.to_pylist()
    return dict(zip(ids, texts, strict=True))


# --- the collection -----------------------------------------------------------------------------------------------


def test_ids_are_the_names_that_people_use(text_by_id: dict[str, str]) -> None:
    for doc_id in (
        "print", "str.join", "itertools.islice", "pathlib.Path.glob", "pathlib.PurePath.with_suffix", "asyncio.wait_for",
        "asyncio.TaskGroup", "concurrent.futures.ThreadPoolExecutor", "random.randint", "tarfile.open", "os.path.join",
        "socket.socket.settimeout", "collections.abc.Mapping", "typing.Optional", "unittest.main", "json", "TimeoutError",
    ):  # fmt: skip
        assert doc_id in text_by_id
    for doc_id in (
        "asyncio.tasks.wait_for", "posixpath.join", "random.Random.randint", "socket.SocketType.settimeout", "os.error",
        "builtins.print", "pathlib.PosixPath.glob", "Exception.with_traceback", "this", "tkinter", "__main__",
    ):  # fmt: skip
        assert doc_id not in text_by_id


def test_a_text_is_name_signature_and_docstring(text_by_id: dict[str, str]) -> None:
    assert text_by_id["random.randint"].startswith("random.randint(a, b)\n\nReturn random integer in range [a, b]")
    # The class has no docstring of its own; what its __init__ says stands in for it.
    assert "max_workers: The maximum number of threads" in text_by_id["concurrent.futures.ThreadPoolExecutor"]
    assert text_by_id["json"].startswith("json\n\nJSON (JavaScript Object Notation)")


def test_no_text_stands_twice_and_none_is_generated(dataset: Dataset, text_by_id: dict[str, str]) -> None:
    assert 5_000 < len(dataset.collection) < 7_000
    assert len(set(text_by_id.values())) == len(text_by_id) == len(dataset.collection)
    assert sorted(text_by_id) == list(text_by_id)
    for doc_id, text in text_by_id.items():
        assert not re.search(r"Alias for field number|0x[0-9a-f]{6}", text), doc_id
        assert not doc_id.rpartition(".")[2].startswith("_")
        assert len(doc_id.split()) == 1
        for path in (sys.executable, sys.base_prefix):  # default values of platform.architecture and xmlrpc.server
            assert path not in text.partition("\n")[0], doc_id


def test_neither_process_nor_environment_counts(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The module's fixture was built under another hash seed: each walk is a process of its own, with a random one."""
    (tmp_path / "json.py").write_text("raise SystemExit('what is installed hides the library')\n")
    monkeypatch.chdir(tmp_path)
    strange = {"PYTHONPATH": str(tmp_path), "PYTHONHASHSEED": "1", "PYTHONOPTIMIZE": "2", "PYTHONWARNINGS": "error"}
    strange |= {"COLUMNS": "40", "TERM": "xterm", "LC_ALL": "C", "HOME": "/", "USER": "somebody", "TZ": "Asia/Tokyo"}
    for name, value in strange.items():
        monkeypatch.setenv(name, value)
    again = build_pydocs_collection()
    assert again.doc_ids.equals(dataset.collection.doc_ids)
    assert again.texts.equals(dataset.collection.texts)


def test_the_walk_says_nothing_and_warns_of_nothing() -> None:
    script = Path(pydocs.__file__).with_name("pydocs_walk.py")
    done = subprocess.run([sys.executable, "-I", "-S", str(script)], check=True, capture_output=True)
    assert done.stderr == b""
    assert json.loads(done.stdout).keys() == {"docs", "failed"}


def test_no_interpreter_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(EnvironmentMissingError, match=r"python could not collect the documentation .* No such file"):
        build_pydocs_collection()
    monkeypatch.setattr(sys, "executable", "")
    with pytest.raises(EnvironmentMissingError, match=r"sys\.executable is empty"):
        build_pydocs_collection()


# --- queries and judgements ---------------------------------------------------------------------------------------


def test_the_manifest_describes_the_files(dataset: Dataset, missing: list[str]) -> None:
    manifest = load_manifest("pydocs")
    num_judgements = sum(map(len, dataset.qrels.values()))
    assert manifest.counts == {
        "queries": len(dataset.queries),
        "judgements": num_judgements + dataset.source["missing_judgements"],
    }
    assert {grade for judged in dataset.qrels.values() for grade in judged.values()} == set(manifest.grades)
    assert manifest.text_rule == dataset.source["text_rule"]
    assert dataset.source["missing_documents"] == sorted(missing)


def test_every_query_has_an_answer(dataset: Dataset) -> None:
    assert len(dataset.queries) >= 90
    assert [query_id for query_id, judged in dataset.qrels.items() if 2 not in judged.values()] == []


def key_words(text: str) -> set[str]:
    """Stemmed words of two letters or more, taken apart at capitals and underscores, without stop words."""
    apart = re.sub(r"([a-z0-9])([A-Z])", r"\1 \2", text).lower()
    return {STEM(word) for word in re.findall(r"[^\W_]{2,}", apart) if word not in STOPWORDS_EN_PLUS}


def heading(doc_id: str, text: str) -> str:
    """The name and the first line of the docstring; a signature that C code writes there is not taken for the line."""
    lines = text.partition("\n\n")[2].splitlines()
    first = next((line for line in lines if line and not re.match(r"[\w.]+ ?\(", line)), "")
    return f"{doc_id} {first}"


def test_most_queries_share_no_key_word_with_their_answers(dataset: Dataset, text_by_id: dict[str, str]) -> None:
    free = [
        query_id
        for query_id, query_text in dataset.queries.items()
        if not any(
            grade == 2 and key_words(query_text) & key_words(heading(doc_id, text_by_id[doc_id]))
            for doc_id, grade in dataset.qrels[query_id].items()
        )
    ]
    assert len(free) > 0.5 * len(dataset.queries)


def test_no_query_is_nearly_another(dataset: Dataset) -> None:
    words = {query_id: key_words(text) for query_id, text in dataset.queries.items()}
    assert len(set(dataset.queries.values())) == len(dataset.queries)
    near = [(a, b) for a in words for b in words if a < b and len(words[a] & words[b]) > 0.5 * len(words[a] | words[b])]
    assert near == []


def bm25_run(collection: Collection, queries: dict[str, str], depth: int) -> dict[str, dict[str, float]]:
    def tokenize(texts: list[str]) -> list[list[str]]:
        return list(
            bm25s.tokenize(
                texts, stopwords="en", stemmer=Stemmer.Stemmer("english"), return_ids=False, show_progress=False
            )
        )

    retriever = bm25s.BM25(method="lucene", k1=1.5, b=0.75)
    retriever.index(tokenize(collection.texts.to_pylist()), show_progress=False)
    ids: list[str] = collection.doc_ids.to_pylist()
    run = {}
    for query_id, terms in zip(queries, tokenize(list(queries.values())), strict=True):
        scores = retriever.get_scores(terms)
        ranked = rank_docs(query_id, ids, scores, depth=depth)
        run[query_id] = {d: -float(i) for i, d in enumerate(ranked.doc_ids) if ranked.scores[i] > 0}
    return run


def test_bm25_has_work_left_but_finds_most(dataset: Dataset) -> None:
    run = bm25_run(dataset.collection, dict(dataset.queries), depth=100)
    values = ir_measures.calc_aggregate([nDCG @ 10, R @ 100], {q: dict(j) for q, j in dataset.qrels.items()}, run)
    assert 0.30 <= values[nDCG @ 10] <= 0.70
    assert values[R @ 100] >= 0.85


# --- bad files ----------------------------------------------------------------------------------------------------

QUERIES = '{"_id": "a", "text": "join words"}\n'
QRELS = "query-id\tcorpus-id\tscore\na\tstr.join\t2\n"


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    queries, qrels = tmp_path / "queries.jsonl", tmp_path / "qrels.tsv"
    queries.write_text(QUERIES)
    qrels.write_text(QRELS)
    return queries, qrels


@pytest.fixture
def small_walk(monkeypatch: pytest.MonkeyPatch) -> None:
    """The documents are not what these tests are about."""
    monkeypatch.setattr(pydocs, "_walk", lambda: ({"str.join": "text", "str.split": "other"}, {"lzma": "no _lzma"}))


@pytest.mark.usefixtures("small_walk")
def test_unknown_documents_are_an_error_unless_listed(files: tuple[Path, Path]) -> None:
    queries, qrels = files
    qrels.write_text(QRELS + "a\tstr.jion\t1\na\tlzma.open\t1\n")
    with pytest.raises(
        DataError, match=r"qrels\.tsv: 2 judged documents .* 'lzma\.open', 'str\.jion'; .* import: lzma"
    ):
        load_pydocs(queries, qrels, missing=[])
    with pytest.raises(DataError, match=r"1 judged documents are not in .* \(first: 'str\.jion'"):
        load_pydocs(queries, qrels, missing=["lzma.open"])
    dataset = load_pydocs(queries, qrels, missing=["lzma.open", "str.jion", "str.split"], name="other")
    assert dataset.qrels == {"a": {"str.join": 2}}
    assert dataset.source["missing_judgements"] == 2
    assert dataset.source["missing_documents"] == ["lzma.open", "str.jion"]
    assert dataset.name == "other"


@pytest.mark.usefixtures("small_walk")
def test_fingerprints_tell_what_changed(files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    queries, qrels = files
    before = load_pydocs(queries, qrels, missing=[]).fingerprints
    monkeypatch.setattr(pydocs, "_walk", lambda: ({"str.join": "text", "str.split": "changed"}, {}))
    after = load_pydocs(queries, qrels, missing=[]).fingerprints
    assert before["corpus"] != after["corpus"]
    assert (before["queries"], before["qrels"]) == (after["queries"], after["qrels"])
    qrels.write_text(QRELS.replace("\t2", "\t1"))
    assert load_pydocs(queries, qrels, missing=[]).fingerprints["qrels"] != after["qrels"]


@pytest.mark.parametrize(
    ("queries_text", "qrels_text", "error", "message"),
    [
        (QUERIES + "{oops\n", QRELS, ParseError, r"queries\.jsonl, line 2: is not JSON"),
        (QUERIES + '{"_id": "b"}\n', QRELS, ParseError, r"queries\.jsonl, line 2: has no field 'text'"),
        (QUERIES + QUERIES, QRELS, ParseError, r"queries\.jsonl, line 2: id 'a' stands already in line 1"),
        (QUERIES, QRELS + "a\tstr.split\n", ParseError, r"qrels\.tsv, line 3: expected 3 tab-separated fields"),
        (QUERIES, QRELS + "a\tstr.split\tgood\n", ParseError, r"qrels\.tsv, line 3: relevance is 'good'"),
        (QUERIES, QRELS + "a\tstr.join\t1\n", ParseError, r"qrels\.tsv, line 3: document 'str\.join' .* judged before"),
        (QUERIES, QRELS + "b\tstr.join\t1\n", DataError, r"qrels\.tsv: 1 judged queries are not in .* \(first: 'b'\)"),
        (QUERIES + '{"_id": "c", "text": "x"}\n', QRELS, DataError, r"1 queries have no judgement in .* 'c'"),
    ],
    ids=["json", "field", "twice", "fields", "grade", "judged twice", "unknown query", "unjudged"],
)
@pytest.mark.usefixtures("small_walk")
def test_bad_files_name_the_line(
    files: tuple[Path, Path], queries_text: str, qrels_text: str, error: type[DataError], message: str
) -> None:
    files[0].write_text(queries_text)
    files[1].write_text(qrels_text)
    with pytest.raises(error, match=message):
        load_pydocs(*files, missing=[])


@pytest.mark.usefixtures("small_walk")
def test_a_missing_file_is_named(tmp_path: Path, files: tuple[Path, Path]) -> None:
    with pytest.raises(DataError, match=r"nothing\.jsonl: no such file"):
        load_pydocs(tmp_path / "nothing.jsonl", files[1], missing=[])
