"""Tiny random decoders in folders, with a tokenizer of byte pairs learned from the real text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers as hf
from tokenizers import ByteLevelBPETokenizer
from tokenizers.processors import TemplateProcessing

from slat_search.config import Task
from slat_search.tasks import load_task

CHAT = (
    "{{ bos_token }}{% for m in messages %}<|{{ m['role'] }}|>\n{{ m['content'] | trim }}\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
GROUPED = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
#: class and configuration of each family that differs in positions, ties, caps or windows
FAMILIES: dict[str, tuple[Any, Any]] = {
    "llama": (hf.LlamaForCausalLM, lambda v: hf.LlamaConfig(**GROUPED, intermediate_size=48, vocab_size=v)),
    # in blocks of 64 weights, as bitsandbytes takes them
    "wide": (
        hf.LlamaForCausalLM,
        lambda v: hf.LlamaConfig(**{**GROUPED, "hidden_size": 64}, intermediate_size=128, vocab_size=v),
    ),
    "gpt2": (hf.GPT2LMHeadModel, lambda v: hf.GPT2Config(n_embd=32, n_layer=2, n_head=4, vocab_size=v)),
    "opt": (
        hf.OPTForCausalLM,
        lambda v: hf.OPTConfig(
            hidden_size=32, num_hidden_layers=2, num_attention_heads=4, ffn_dim=48, word_embed_proj_dim=32, vocab_size=v
        ),
    ),
    "gemma3": (
        hf.Gemma3ForCausalLM,
        lambda v: hf.Gemma3TextConfig(
            **GROUPED, intermediate_size=48, head_dim=8, sliding_window=8, final_logit_softcapping=3.0, vocab_size=v
        ),
    ),
    "qwen2": (
        hf.Qwen2ForCausalLM,
        lambda v: hf.Qwen2Config(**GROUPED, intermediate_size=48, tie_word_embeddings=True, vocab_size=v),
    ),
}


def tokenizer(begins: bool = True, chat: bool = True) -> Any:
    """Byte pairs of BBC headlines; ``<s>`` begins every text where ``begins``."""
    pairs = ByteLevelBPETokenizer()
    data = load_task(Task(name="bbc-headline", max_rows=300), 0)
    texts = [e.texts[0] for e in data.splits["train"]]
    pairs.train_from_iterator(texts, vocab_size=600, special_tokens=["<s>", "</s>", "<pad>"], show_progress=False)
    if begins:
        pairs._tokenizer.post_processor = TemplateProcessing(
            single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 0)]
        )
    tokenizer = hf.PreTrainedTokenizerFast(
        tokenizer_object=pairs._tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    )
    tokenizer.chat_template = CHAT if chat else None
    return tokenizer


def decoder(folder: Path, family: str = "llama", begins: bool = True, chat: bool = True) -> Path:
    """A folder with a random model of that family."""
    tokens = tokenizer(begins, chat)
    kind, config = FAMILIES[family]
    torch.manual_seed(0)
    told = config(len(tokens))
    for name in ("bos", "eos", "pad"):
        setattr(told, f"{name}_token_id", getattr(tokens, f"{name}_token_id"))
    model = kind(told)
    for parameter in model.parameters():
        if parameter.ndim > 1:  # random initialization is nearly uniform in what it says
            parameter.data *= 4
    model.save_pretrained(folder)
    tokens.save_pretrained(folder)
    return folder
