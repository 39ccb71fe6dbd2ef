"""Tiny checkpoints for tests: the exact architectures, random weights, tokenizers over a few hundred pieces.

A folder made here is what ``save_pretrained`` of the official classes writes, so it loads like any published
checkpoint.  Weights are drawn with a larger spread than usual, so that different texts get clearly different scores.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

WORDS = (  # noqa: SIM905 - five lines of words, not a hundred of literals
    "the a of to in and is for with on how what why when stop program after some seconds read write file line text "
    "python list sort search query document model score rank rerank cross encoder token batch length memory device "
    "open close run test data set value number string key map tree graph node edge loop thread lock queue time wait "
    "signal alarm error raise catch return yield import module class function method object type int float bool byte "
    "unicode straße café naïve 東京 über"
).split()

SEQUENCE_CLASSIFIERS = ("bert", "roberta", "xlm-roberta", "modernbert", "deberta-v2", "electra")

MAX_POSITIONS = 64
"""Tokens that each tiny model has positions for (before RoBERTa's offset of two)."""

_SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "initializer_range": 0.3,
}


def write_sequence_classifier(
    folder: Path, architecture: str = "bert", *, num_labels: int = 1, seed: int = 0, **config: Any
) -> Path:
    """Write a sequence classifier with random weights, and its tokenizer, and return the folder."""
    import torch
    from transformers import AutoModelForSequenceClassification

    tokenizer = make_tokenizer(architecture)
    model_config = _config(architecture, tokenizer, num_labels=num_labels, **config)
    torch.manual_seed(seed)
    model = AutoModelForSequenceClassification.from_config(model_config)
    _spread_head(model)
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def write_trunk(folder: Path, architecture: str = "bert", *, seed: int = 0, added_tokens: Sequence[str] = ()) -> Any:
    """Write a transformer without a head, and its tokenizer with some more tokens, and return the tokenizer."""
    import torch
    from transformers import AutoModel

    tokenizer = make_tokenizer(architecture)
    tokenizer.add_tokens(list(added_tokens))
    torch.manual_seed(seed)
    AutoModel.from_config(_config(architecture, tokenizer)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return tokenizer


def write_encoder(
    folder: Path,
    architecture: str = "bert",
    *,
    pooling: str = "mean",
    normalize: bool = True,
    prompts: dict[str, str] | None = None,
    similarity: str | None = None,
    seed: int = 0,
) -> Path:
    """Write a bi-encoder as Sentence Transformers itself saves it, and return the folder."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer

    base = folder.with_name(folder.name + "-trunk")
    write_trunk(base, architecture, seed=seed)
    transformer = Transformer(str(base))
    modules: list[Any] = [transformer, Pooling(_SIZES["hidden_size"], pooling_mode=pooling)]
    if normalize:
        modules.append(Normalize())
    model = SentenceTransformer(modules=modules, prompts=prompts, similarity_fn_name=similarity, device="cpu")
    model.save(str(folder), create_model_card=False)
    return folder


def make_tokenizer(architecture: str) -> Any:
    """Return the tokenizer class that the architecture is published with, over a tiny vocabulary."""
    if architecture in {"bert", "electra", "distilbert"}:
        return _word_piece()
    if architecture == "roberta":
        return _byte_level_roberta()
    if architecture == "modernbert":
        return _byte_level_modernbert()
    return _unigram(architecture)


def _config(architecture: str, tokenizer: Any, **options: Any) -> Any:
    from transformers import AutoConfig

    sizes = _SIZES | {"vocab_size": len(tokenizer), "max_position_embeddings": MAX_POSITIONS}
    for name in ("pad_token_id", "bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id"):
        sizes[name] = getattr(tokenizer, name)
    if architecture in {"roberta", "xlm-roberta"}:
        # Positions start after the padding index, as in the published checkpoints (514 positions for 512 tokens).
        sizes |= {"max_position_embeddings": MAX_POSITIONS + tokenizer.pad_token_id + 1, "type_vocab_size": 1}
    elif architecture == "modernbert":
        sizes |= {"local_attention": 16, "initializer_cutoff_factor": 3.0}
    elif architecture == "deberta-v2":
        # The shape of DeBERTa-v3: no absolute positions, bucketed relative ones in both directions.
        sizes |= {
            "relative_attention": True,
            "position_buckets": 16,
            "pos_att_type": ["p2c", "c2p"],
            "position_biased_input": False,
            "share_att_key": True,
            "norm_rel_ebd": "layer_norm",
            "type_vocab_size": 0,
            "pooler_hidden_size": 32,
        }
    elif architecture == "electra":
        sizes |= {"embedding_size": 24}
    elif architecture == "distilbert":
        sizes |= {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 48}
    return AutoConfig.for_model(architecture, **(sizes | options))


def _spread_head(model: Any) -> None:
    """Make the logits of different texts differ by about one instead of by a hundredth."""
    import torch

    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "classifier" in name or "pooler" in name or name.startswith("head"):
                parameter.normal_(0.0, 0.2 if parameter.dim() > 1 else 0.1)


def _pieces() -> list[str]:
    """Return whole words, then the letters that spell any other text made of them."""
    letters = sorted({letter for word in WORDS for letter in word} | set("abcdefghijklmnopqrstuvwxyz0123456789.,?!-'"))
    return [*WORDS, *(letter for letter in letters if letter not in WORDS)]


def _word_piece() -> Any:
    from transformers import BertTokenizer

    pieces = _pieces()
    continued = [f"##{piece}" for piece in pieces if len(piece) == 1]
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *pieces, *continued]
    return BertTokenizer(
        vocab={token: index for index, token in enumerate(dict.fromkeys(tokens))}, model_max_length=512
    )


def _byte_level_bpe(special: Sequence[str]) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Return (vocabulary, merges) of a byte-level BPE trained on the words."""
    import json

    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=list(special),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([" ".join(WORDS)] * 2, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    return model["vocab"], [tuple(merge) for merge in model["merges"]]


def _byte_level_roberta() -> Any:
    from transformers import RobertaTokenizer

    vocab, merges = _byte_level_bpe(["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
    return RobertaTokenizer(vocab=vocab, merges=merges, model_max_length=MAX_POSITIONS)


def _byte_level_modernbert() -> Any:
    """ModernBERT is published with a plain fast tokenizer: byte-level BPE, BERT's special tokens, no segment ids."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    special = ["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"]
    vocab, merges = _byte_level_bpe(special)
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0",
        pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
        special_tokens=[("[CLS]", vocab["[CLS]"]), ("[SEP]", vocab["[SEP]"])],
    )
    names = {"unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "pad": "[PAD]", "mask": "[MASK]"}
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_input_names=["input_ids", "attention_mask"],
        model_max_length=8192,
        **{f"{name}_token": token for name, token in names.items()},
    )


def _unigram(architecture: str) -> Any:
    from transformers import DebertaV2Tokenizer, XLMRobertaTokenizer

    # Whole words are likelier than the letters that spell them.
    pieces = [("▁", -4.0)]
    for piece in _pieces():
        pieces += [(f"▁{piece}", -3.0 - 0.01 * len(pieces)), (piece, -6.0 - 0.01 * len(pieces))]
    if architecture == "deberta-v2":
        special = [(token, 0.0) for token in ("[PAD]", "[CLS]", "[SEP]", "[UNK]")]
        return DebertaV2Tokenizer(vocab=[*special, *pieces, ("[MASK]", 0.0)], model_max_length=512)
    special = [(token, 0.0) for token in ("<s>", "<pad>", "</s>", "<unk>")]
    return XLMRobertaTokenizer(vocab=[*special, *pieces, ("<mask>", 0.0)], model_max_length=MAX_POSITIONS)
