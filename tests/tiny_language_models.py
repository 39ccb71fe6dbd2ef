"""Tiny language models for tests: the exact architectures, random weights, tokenizers of the published kinds.

Beside ``tiny_models``: decoders and encoder-decoders that answer in words.  The tokenizers know the words that answer,
and the special tokens that the published prompts are written with.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from tiny_models import WORDS

CHAT_TEMPLATE = (
    "<|im_start|>system\nJudge the document.<|im_end|>\n<|im_start|>user\n"
    "<Instruct>: {{ messages | selectattr('role', 'eq', 'system') | map(attribute='content') | first "
    "| default('find it') }}\n"
    "<Query>: {{ messages | selectattr('role', 'eq', 'query') | map(attribute='content') | first }}\n"
    "<Document>: {{ messages | selectattr('role', 'eq', 'document') | map(attribute='content') | first }}<|im_end|>\n"
    "<|im_start|>assistant\n<think>\n\n</think>\n\n"
)
"""Carries a pair in the way that Sentence Transformers hands it over."""

CONVERSATION_TEMPLATE = (
    "{% for message in messages %}{% if message.role in ('system', 'user', 'assistant') %}"
    "<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endif %}{% endfor %}"
)
"""Knows nothing of queries and documents, as the chat templates of most models."""

PLAIN = "Judge.\nA: {query}\nB: {document}\nIs it relevant?"
"""A prompt of its own."""
TOKENS: dict[str, Any] = {"positive_token": "yes", "negative_token": "no"}
"""Its answers."""

DECODERS = ("qwen3", "llama", "mistral", "gemma", "gemma2", "gpt2")
ENCODER_DECODERS = ("t5", "mt5", "bart")

_SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 16,
    "intermediate_size": 48,
    "initializer_range": 0.3,
    "max_position_embeddings": 2048,
}


def write_causal_lm(
    folder: Path,
    architecture: str = "qwen3",
    *,
    chat_template: str | None = None,
    seed: int = 0,
    head: str = "CausalLM",
    **config: Any,
) -> Path:
    """Write a decoder with random weights, and its tokenizer, and return the folder; ``head`` as in ``AutoModelFor…``."""
    import torch
    import transformers
    from transformers import AutoConfig

    tokenizer = make_decoder_tokenizer(architecture)
    tokenizer.chat_template = chat_template
    sizes = dict(_SIZES)
    if architecture == "gpt2":
        sizes = {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 2048, "initializer_range": 0.3}
    elif architecture == "gemma2":
        # A soft cap that bends logits of this size, and a window shorter than the prompts.
        sizes |= {"final_logit_softcapping": 2.0, "sliding_window": 16, "query_pre_attn_scalar": 16}
    settings = AutoConfig.for_model(
        architecture,
        vocab_size=len(tokenizer),
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        **(sizes | config),
    )
    torch.manual_seed(seed)
    getattr(transformers, f"AutoModelFor{head}").from_config(settings).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def write_logit_score(folder: Path, source: Path, *, settings: dict[str, Any] | None = None, **tokens: Any) -> Path:
    """Write a decoder in the layout of Sentence Transformers 5.4 and later, by that library itself."""
    from sentence_transformers import CrossEncoder
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.cross_encoder.modules import LogitScore

    trunk = Transformer(str(source), transformer_task="text-generation")
    model = CrossEncoder(modules=[trunk, LogitScore(**tokens)], device="cpu", **(settings or {}))
    model.save_pretrained(str(folder))
    return folder


def write_seq2seq(folder: Path, architecture: str = "t5", *, seed: int = 0, **config: Any) -> Path:
    """Write an encoder-decoder with random weights, and its tokenizer, and return the folder."""
    import torch
    from transformers import AutoConfig, AutoModelForSeq2SeqLM

    tokenizer = make_t5_tokenizer()
    sizes: dict[str, Any] = {"d_model": 32, "d_kv": 16, "d_ff": 48, "num_layers": 2, "num_heads": 2}
    sizes |= {"initializer_factor": 1.0, "decoder_start_token_id": 0, "n_positions": 2048}
    if architecture == "bart":
        sizes = {"d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "init_std": 0.3}
        sizes |= {f"{side}_attention_heads": 2 for side in ("encoder", "decoder")}
        sizes |= {f"{side}_ffn_dim": 48 for side in ("encoder", "decoder")}
        sizes |= {"max_position_embeddings": 2048, "bos_token_id": 0, "decoder_start_token_id": 1}
    settings = AutoConfig.for_model(
        architecture,
        vocab_size=len(tokenizer),
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        **(sizes | config),
    )
    torch.manual_seed(seed)
    model = AutoModelForSeq2SeqLM.from_config(settings)
    if architecture == "bart":
        model.final_logits_bias.normal_()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def make_decoder_tokenizer(architecture: str) -> Any:
    """Return a tokenizer of the kind that the architecture is published with."""
    if architecture in {"gemma", "gemma2"}:
        return _gemma_tokenizer()
    return _qwen_tokenizer() if architecture == "qwen3" else _llama_tokenizer()


def _special(**tokens: str) -> dict[str, str]:
    """Return a tokenizer's arguments for its special tokens."""
    return {f"{name}_token": token for name, token in tokens.items()}


def _bpe(trainer_options: dict[str, Any], pre_tokenizer: Any, texts: list[str]) -> tuple[dict[str, int], list[Any]]:
    from tokenizers import Tokenizer, models, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.train_from_iterator(texts, trainers.BpeTrainer(show_progress=False, **trainer_options))
    model = json.loads(tokenizer.to_str())["model"]
    return model["vocab"], [tuple(merge) for merge in model["merges"]]


def _qwen_tokenizer() -> Any:
    """Byte-level BPE that joins punctuation to line ends, no token before or after a text."""
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    pattern = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    split = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    texts = [
        " ".join(WORDS),
        "is it?\nno.\nyes:\n\n<Query>: <Document>: <Instruct>: ?\n .\n yes no Yes No true false",
    ] * 4
    vocab, merges = _bpe({"vocab_size": 600, "initial_alphabet": pre_tokenizers.ByteLevel.alphabet()}, split, texts)
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = split
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        **_special(eos="<|im_end|>", pad="<|endoftext|>"),
        model_max_length=131_072,
    )
    fast.add_special_tokens({"additional_special_tokens": ["<|im_start|>"]})
    fast.add_tokens(["<think>", "</think>"])
    return fast


def _llama_tokenizer() -> Any:
    """Byte-level BPE with ``<s>`` before a text and no padding token."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    split = pre_tokenizers.ByteLevel(add_prefix_space=False)
    texts = [" ".join(WORDS), "yes", "no", "Yes", "No"] * 4
    options = {"vocab_size": 500, "initial_alphabet": pre_tokenizers.ByteLevel.alphabet()}
    vocab, merges = _bpe(options | {"special_tokens": ["<s>", "</s>"]}, split, texts)
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges))
    tokenizer.pre_tokenizer = split
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", vocab["<s>"])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, model_max_length=int(1e30), **_special(bos="<s>", eos="</s>")
    )


def _gemma_tokenizer() -> Any:
    """BPE over whole texts whose spaces are letters, ``<bos>`` before a text."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    texts = [" ".join(WORDS).replace(" ", "▁"), "A:▁stop\nB:▁list\nYes▁No▁yes▁no", "Yes", "No", "Yes", "No"] * 4
    letters = sorted(
        {letter for text in texts for letter in text} | set("abcdefghijklmnopqrstuvwxyz?.!'\",:0123456789")
    )
    options = {"vocab_size": 400, "special_tokens": ["<pad>", "<eos>", "<bos>", "<unk>"], "initial_alphabet": letters}
    vocab, merges = _bpe(options, pre_tokenizers.Split("▁", "merged_with_next"), texts)
    names = _special(pad="<pad>", eos="<eos>", bos="<bos>", unk="<unk>")
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges, fuse_unk=True, unk_token=names["unk_token"]))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.Fuse()])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A", pair="<bos> $A <bos> $B", special_tokens=[("<bos>", vocab["<bos>"])]
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=int(1e30), **names)


def make_t5_tokenizer() -> Any:
    """Return a unigram tokenizer as T5's, with the words of monoT5's prompt and answers."""
    from transformers import T5Tokenizer

    words = [*WORDS, "true", "false", "Query", "Document", "Relevant", ":"]
    letters = sorted({letter for word in words for letter in word} | set("abcdefghijklmnopqrstuvwxyz0123456789.,?!-'"))
    pieces = [("▁", -4.0)]
    for piece in dict.fromkeys([*words, *letters]):
        pieces += [(f"▁{piece}", -3.0 - 0.01 * len(pieces)), (piece, -6.0 - 0.01 * len(pieces))]
    special = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -20.0)]
    return T5Tokenizer(vocab=[*special, *pieces], extra_ids=0, model_max_length=int(1e30))


def token_ids(folder: Path, *words: str) -> list[int]:
    """Return the ids that a checkpoint's vocabulary gives words."""
    from transformers import AutoTokenizer

    return [AutoTokenizer.from_pretrained(folder).get_vocab()[word] for word in words]


def copied(source: Path, target: Path, **config: Any) -> Path:
    """Copy a checkpoint and change its config.json."""
    shutil.copytree(source, target)
    path = target / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | config))
    return target
