"""What a card cites: the works behind what was used, each only where it was."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rerank_bench.reporting.card_training import TrainingRecord

_BIBTEX = {
    "cross-encoder": """\
@misc{nogueira2019passage,
  title = {Passage Re-ranking with {BERT}},
  author = {Nogueira, Rodrigo and Cho, Kyunghyun},
  year = {2019},
  eprint = {1901.04085},
  archivePrefix = {arXiv}
}""",
    "sentence-bert": """\
@inproceedings{reimers2019sentencebert,
  title = {Sentence-{BERT}: Sentence Embeddings using Siamese {BERT}-Networks},
  author = {Reimers, Nils and Gurevych, Iryna},
  booktitle = {Proceedings of EMNLP-IJCNLP},
  year = {2019},
  url = {https://aclanthology.org/D19-1410}
}""",
    "colbert": """\
@inproceedings{khattab2020colbert,
  title = {{ColBERT}: Efficient and Effective Passage Search via Contextualized Late Interaction over {BERT}},
  author = {Khattab, Omar and Zaharia, Matei},
  booktitle = {Proceedings of SIGIR},
  year = {2020},
  doi = {10.1145/3397271.3401075}
}""",
    "monot5": """\
@inproceedings{nogueira2020document,
  title = {Document Ranking with a Pretrained Sequence-to-Sequence Model},
  author = {Nogueira, Rodrigo and Jiang, Zhiying and Pradeep, Ronak and Lin, Jimmy},
  booktitle = {Findings of EMNLP},
  year = {2020},
  doi = {10.18653/v1/2020.findings-emnlp.63}
}""",
    "mse": """\
@misc{hinton2015distilling,
  title = {Distilling the Knowledge in a Neural Network},
  author = {Hinton, Geoffrey and Vinyals, Oriol and Dean, Jeff},
  year = {2015},
  eprint = {1503.02531},
  archivePrefix = {arXiv}
}""",
    "margin-mse": """\
@misc{hofstaetter2020improving,
  title = {Improving Efficient Neural Ranking Models with Cross-Architecture Knowledge Distillation},
  author = {Hofst{\\"a}tter, Sebastian and Althammer, Sophia and Schr{\\"o}der, Michael and Sertkan, Mete and
            Hanbury, Allan},
  year = {2020},
  eprint = {2010.02666},
  archivePrefix = {arXiv}
}""",
    "listnet": """\
@inproceedings{cao2007learning,
  title = {Learning to Rank: From Pairwise Approach to Listwise Approach},
  author = {Cao, Zhe and Qin, Tao and Liu, Tie-Yan and Tsai, Ming-Feng and Li, Hang},
  booktitle = {Proceedings of ICML},
  year = {2007},
  doi = {10.1145/1273496.1273513}
}""",
    "cross-entropy": """\
@inproceedings{bruch2019analysis,
  title = {An Analysis of the Softmax Cross Entropy Loss for Learning-to-Rank with Binary Relevance},
  author = {Bruch, Sebastian and Wang, Xuanhui and Bendersky, Michael and Najork, Marc},
  booktitle = {Proceedings of ICTIR},
  year = {2019},
  doi = {10.1145/3341981.3344221}
}""",
    "lambda": """\
@inproceedings{wang2018lambdaloss,
  title = {The {LambdaLoss} Framework for Ranking Metric Optimization},
  author = {Wang, Xuanhui and Li, Cheng and Golbandi, Nadav and Bendersky, Michael and Najork, Marc},
  booktitle = {Proceedings of CIKM},
  year = {2018},
  doi = {10.1145/3269206.3271784}
}""",
    "lambdarank": """\
@inproceedings{burges2006learning,
  title = {Learning to Rank with Nonsmooth Cost Functions},
  author = {Burges, Christopher J. C. and Ragno, Robert and Le, Quoc Viet},
  booktitle = {Advances in Neural Information Processing Systems 19},
  year = {2006}
}""",
    "ranknet": """\
@inproceedings{burges2005learning,
  title = {Learning to Rank using Gradient Descent},
  author = {Burges, Chris and Shaked, Tal and Renshaw, Erin and Lazier, Ari and Deeds, Matt and Hamilton, Nicole and
            Hullender, Greg},
  booktitle = {Proceedings of ICML},
  year = {2005},
  doi = {10.1145/1102351.1102363}
}""",
    "bm25": """\
@article{robertson2009probabilistic,
  title = {The Probabilistic Relevance Framework: {BM25} and Beyond},
  author = {Robertson, Stephen and Zaragoza, Hugo},
  journal = {Foundations and Trends in Information Retrieval},
  volume = {3},
  number = {4},
  year = {2009},
  doi = {10.1561/1500000019}
}""",
    "beir": """\
@inproceedings{thakur2021beir,
  title = {{BEIR}: A Heterogeneous Benchmark for Zero-shot Evaluation of Information Retrieval Models},
  author = {Thakur, Nandan and Reimers, Nils and R{\\"u}ckl{\\'e}, Andreas and Srivastava, Abhishek and
            Gurevych, Iryna},
  booktitle = {Proceedings of the NeurIPS Track on Datasets and Benchmarks},
  year = {2021},
  eprint = {2104.08663},
  archivePrefix = {arXiv}
}""",
}
_TITLES = {
    "cross-encoder": "Cross-encoders",
    "sentence-bert": "Sentence-BERT",
    "colbert": "ColBERT",
    "monot5": "monoT5",
    "mse": "Distillation",
    "margin-mse": "MarginMSE",
    "listnet": "ListNet",
    "cross-entropy": "Softmax cross-entropy for ranking",
    "lambda": "LambdaLoss",
    "lambdarank": "LambdaRank",
    "ranknet": "RankNet",
    "bm25": "BM25",
    "beir": "BEIR, from which NanoBEIR's data sets are drawn",
}
_OF_FAMILY = {
    "sequence-classifier": "cross-encoder",
    "onnx": "cross-encoder",
    "bi-encoder": "sentence-bert",
    "late-interaction": "colbert",
    "seq2seq": "monot5",
}
_OF_LOSS = {"pairwise-mse": "margin-mse"}
"""Losses that stand in another one's paper."""
_OF_WEIGHTING = {"lambdarank": "lambdarank", "none": "ranknet"}
"""LambdaLoss's weightings that have a paper of their own."""


def render_citations(family: str, results: Sequence[Mapping[str, Any]], training: TrainingRecord | None) -> str | None:
    """Return the works as BibTeX, ``None`` where nothing is cited."""
    keys = list(dict.fromkeys(_keys(family, results, training)))
    return "\n\n".join(f"### {_TITLES[key]}\n\n```bibtex\n{_BIBTEX[key]}\n```" for key in keys) or None


def _keys(family: str, results: Sequence[Mapping[str, Any]], training: TrainingRecord | None) -> Iterator[str]:
    if family in _OF_FAMILY:
        yield _OF_FAMILY[family]
    if training is not None:
        loss = training.loss
        name = _OF_LOSS.get(loss["name"], loss["name"])
        if name in _BIBTEX:
            yield name
        if loss.get("weighting") in _OF_WEIGHTING:
            yield _OF_WEIGHTING[loss["weighting"]]
    blocks = [(name, block) for result in results for name, block in result["datasets"].items()]
    if any("bm25" in str(block["first_stage"].get("name", "")) for _, block in blocks):
        yield "bm25"
    if any("/Nano" in str(block["source"].get("repository", "")) for _, block in blocks):
        yield "beir"
