"""A run writes what its model read of the relevant documents, and an explanation of it knows what was cut."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_models import write_sequence_classifier

from rerank_bench.data.datasets import load_dataset
from rerank_bench.forensics.explain import ExplainOptions, explain_run
from rerank_bench.pipeline.run import run
from rerank_bench.reporting.pair_tokens import ReadTokens
from rerank_bench.reporting.stored_result import read_stored_result

TINY = Path(__file__).parents[1] / "data" / "tiny"
MAX_LENGTH = 40


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sequence_classifier(tmp_path_factory.mktemp("models") / "classifier", "bert")


def test_tokens_of_relevant_documents_are_the_tokenizers(classifier: Path, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    models = [str(classifier), "word_overlap:score", "oracle"]
    scorer = {"device": "cpu", "max_length": MAX_LENGTH}
    report = run(models, datasets=[TINY], depth=[2, 5], out=tmp_path, scorer=scorer)
    folders = {(out.result["model"]["family"], out.result["request"]["depth"]): out.folder for out in report.outcomes}
    dataset = load_dataset(TINY)
    tokenizer = AutoTokenizer.from_pretrained(classifier)
    expected: dict[str, dict[str, ReadTokens]] = {}
    for query_id, docs in dataset.qrels.items():
        for doc_id, grade in docs.items():
            if grade >= 1 and doc_id in dataset.collection.doc_ids.to_pylist():
                (text,) = dataset.collection.texts_of([doc_id]).values()
                full = len(tokenizer([dataset.queries[query_id]], [text])["input_ids"][0])
                read = ReadTokens(min(full, MAX_LENGTH), is_cut=full > MAX_LENGTH)
                expected.setdefault(query_id, {})[doc_id] = read
    assert {read.is_cut for docs in expected.values() for read in docs.values()} == {True, False}
    for depth in (2, 5):
        assert read_stored_result(folders["sequence-classifier", depth]).tokens("tiny") == expected
    for family in ("callable", "baseline"):
        assert not (folders[family, 5] / "tiny.tokens.tsv").exists()

    explanation = explain_run(folders["sequence-classifier", 5], ExplainOptions(use_texts=False))
    (slicing,) = [slicing for slicing in explanation.slicings if slicing.title == "the document, in run"]
    best = {query.query_id: query.best_doc_id for query in explanation.queries}
    num_cut = sum(expected[query_id][doc_id].is_cut for query_id, doc_id in best.items())
    counts = {label: part.num_queries for label, part in slicing.slices.items()}
    assert counts == {label: n for label, n in (("cut", num_cut), ("read whole", len(best) - num_cut)) if n}
