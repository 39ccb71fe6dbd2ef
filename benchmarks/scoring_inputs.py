"""What the scoring benchmark scores: generated texts, and models of published shapes with random weights.

A random head would read noise: its scores, of the order of 0.02, are sums that cancel out, and float32 leaves an error
of 1e-5 of them (as much between two batch sizes of one library).  So the head reads the first principal component of what
reaches it, with the standard deviation of a trained head's scores.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

DOCS_PER_QUERY = 20
NUM_WORDS = 20_000

Pairs = list[tuple[str, str]]


class Shape(NamedTuple):
    """The sizes of a published model."""

    kind: str
    """``model_type`` of transformers."""
    sizes: dict[str, Any]
    """What differs from the defaults of its configuration class."""
    linear_weights: int
    """Of the trunk's linear layers."""


def bert_shape(layers: int, width: int) -> Shape:
    """Return BERT's shape with heads of 32 numbers."""
    sizes = {"hidden_size": width, "num_attention_heads": width // 32, "intermediate_size": 4 * width}
    return Shape("bert", sizes | {"num_hidden_layers": layers}, layers * 12 * width**2)


XLM_ROBERTA_LARGE = {
    "vocab_size": 250_002,
    "hidden_size": 1_024,
    "num_attention_heads": 16,
    "intermediate_size": 4_096,
    "num_hidden_layers": 24,
    "max_position_embeddings": 8_194,
    "type_vocab_size": 1,
}
SHAPES = {
    "tiny": bert_shape(2, 96),
    "minilm-l6": bert_shape(6, 384),
    "minilm-l12": bert_shape(12, 384),
    # The defaults of both classes are the sizes of the published models; GTE's own code is part of transformers by now.
    "modernbert-base": Shape("modernbert", {}, 22 * (4 * 768**2 + 3 * 768 * 1152)),
    "gte-multilingual-base": Shape("gte", {"vocab_size": 250_048}, 12 * (4 * 768**2 + 3 * 768 * 3072)),
    "xlm-roberta-large": Shape("xlm-roberta", XLM_ROBERTA_LARGE, 24 * (4 * 1024**2 + 2 * 1024 * 4096)),
}
"""The last is that of bge-reranker-v2-m3."""
SCORE_DEVIATION = 3.0
"""Of the scores of trained rerankers, whose logits run from about -11 to 11."""
HEAD_PAIRS = 48


def generate_words(rng: np.random.Generator) -> list[str]:
    """Return distinct words of 2 to 10 letters, shorter ones first."""
    letters = np.asarray(list("etaoinshrdlucmfwypvbgkqjxz"))
    weights = np.linspace(12, 0.2, len(letters))
    lengths = np.sort(np.clip(rng.normal(6, 2, 2 * NUM_WORDS).round().astype(int), 2, 10))
    drawn = ("".join(rng.choice(letters, size=length, p=weights / weights.sum())) for length in lengths)
    return list(dict.fromkeys(drawn))[:NUM_WORDS]


def generate_pairs(words: list[str], num_pairs: int, rng: np.random.Generator, *, is_nanobeir: bool = False) -> Pairs:
    """Return pairs in the order of their queries, with word frequencies after Zipf.

    As in NanoBEIR: passages of 150 words on average, of very different length, each ranked for two queries.
    """
    weights = 1.0 / (np.arange(len(words)) + 2.7)
    bounds = np.cumsum(weights / weights.sum())

    def text(length: float) -> str:
        ranks = np.searchsorted(bounds, rng.random(max(1, round(length))))
        return " ".join(words[min(rank, len(words) - 1)] for rank in ranks)

    pairs: Pairs = []
    while len(pairs) < num_pairs:
        docs = [text(rng.gamma(2, 75.0) if is_nanobeir else rng.gamma(5, 11.2)) for _ in range(DOCS_PER_QUERY)]
        for _ in range(2 if is_nanobeir else 1):
            query = text(rng.gamma(6, 1.0))
            pairs += [(query, doc) for doc in docs]
    return pairs[:num_pairs]


def write_checkpoint(folder: Path, words: list[str], model: str) -> None:
    """Write a checkpoint of a published shape, or a ``tiny`` one, with random weights and a head that reads something."""
    import torch
    from transformers import AutoConfig, AutoModelForSequenceClassification, BertTokenizer, PreTrainedTokenizerFast

    shape = SHAPES[model]
    letters = "abcdefghijklmnopqrstuvwxyz"
    # A tenth of the words is spelled from pieces, as rare words are.
    pieces = [*words[: NUM_WORDS * 9 // 10], *letters, *(f"##{letter}" for letter in letters)]
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    if shape.sizes.get("vocab_size", 0) > 200_000:  # as XLM-R: padding is token 1, and positions count from there
        special = ["[CLS]", "[PAD]", "[SEP]", "[UNK]", "[MASK]"]
    tokens = dict.fromkeys([*special, *pieces])
    tokenizer: Any = BertTokenizer(vocab={token: i for i, token in enumerate(tokens)}, model_max_length=512)
    ids = {"pad_token_id": tokenizer.pad_token_id, "cls_token_id": tokenizer.cls_token_id}
    ids |= {"bos_token_id": tokenizer.cls_token_id, "eos_token_id": tokenizer.sep_token_id}
    ids |= {"sep_token_id": tokenizer.sep_token_id}
    if shape.kind != "bert":  # the others have no segments
        tokenizer = PreTrainedTokenizerFast(
            tokenizer_object=tokenizer.backend_tokenizer,
            model_max_length=512,
            model_input_names=["input_ids", "attention_mask"],
            **{f"{token.strip('[]').lower()}_token": token for token in special},
        )
    torch.manual_seed(0)
    config = AutoConfig.for_model(shape.kind, **({"vocab_size": 30_522, "num_labels": 1} | ids | shape.sizes))
    classifier = AutoModelForSequenceClassification.from_config(config).eval()
    read_first_component(classifier, tokenizer, generate_pairs(words, HEAD_PAIRS, np.random.default_rng(1)))
    classifier.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def read_first_component(classifier: Any, tokenizer: Any, pairs: Pairs) -> None:
    """Let the last linear layer read the direction in which the pairs' vectors differ most."""
    import torch

    (last,) = (
        module for module in classifier.modules() if isinstance(module, torch.nn.Linear) and module.out_features == 1
    )
    read: list[torch.Tensor] = []
    hook = last.register_forward_pre_hook(lambda _module, inputs: read.append(inputs[0]))
    with torch.inference_mode():
        classifier(**tokenizer([q for q, _ in pairs], [d for _, d in pairs], padding=True, return_tensors="pt"))
    hook.remove()
    vectors = read[0]  # (B, H)
    mean = vectors.mean(dim=0)
    direction = torch.linalg.svd(vectors - mean, full_matrices=False).Vh[0]
    weight = direction * (SCORE_DEVIATION / ((vectors - mean) @ direction).std())
    with torch.no_grad():
        last.weight.copy_(weight.unsqueeze(0))
        last.bias.fill_(-float(mean @ weight))
