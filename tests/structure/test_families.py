"""Sites of the families of models, on tiny random models of the real ``transformers`` classes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
import torch
import transformers as hf
from torch import nn

from slat_search.structure import (
    KINDS,
    Candidate,
    SearchOptions,
    Space,
    Supernet,
    find_sites,
)

SMALL = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "vocab_size": 50,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
GROUPED = {**SMALL, "num_key_value_heads": 1, "head_dim": 8}
ENCODER = {"q": 1, "k": 1, "v": 1, "attn_out": 1, "mlp_in": 1, "mlp_out": 1, "norm": 2}
GATED = {"q": 1, "k": 1, "v": 1, "attn_out": 1, "mlp_gate": 1, "mlp_in": 1, "mlp_out": 1}
SPACE = Space({kind: Candidate(2) if KINDS[kind].sized else Candidate(1) for kind in KINDS})

#: family -> (makes the model, roles that each of its 2 blocks has)
FAMILIES: dict[str, tuple[Callable[[], nn.Module], dict[str, int]]] = {
    "BERT": (lambda: hf.BertModel(hf.BertConfig(**SMALL), add_pooling_layer=False), ENCODER),
    "RoBERTa": (lambda: hf.RobertaModel(hf.RobertaConfig(**SMALL), add_pooling_layer=False), ENCODER),
    "ELECTRA": (lambda: hf.ElectraModel(hf.ElectraConfig(**SMALL, embedding_size=16)), ENCODER),
    "DeBERTa-v2": (lambda: hf.DebertaV2Model(hf.DebertaV2Config(**SMALL)), ENCODER),
    "DistilBERT": (
        lambda: hf.DistilBertModel(hf.DistilBertConfig(dim=16, hidden_dim=32, n_layers=2, n_heads=2, vocab_size=50)),
        ENCODER,
    ),
    "T5 encoder": (
        lambda: hf.T5EncoderModel(hf.T5Config(d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2, vocab_size=50)),
        ENCODER,
    ),
    "GPT-2": (
        lambda: hf.GPT2Model(
            hf.GPT2Config(n_embd=16, n_layer=2, n_head=2, vocab_size=50, bos_token_id=1, eos_token_id=2)
        ),
        {"qkv": 1, "attn_out": 1, "mlp_in": 1, "mlp_out": 1, "norm": 2},
    ),
    "OPT": (
        lambda: hf.OPTModel(
            hf.OPTConfig(**{**SMALL, "intermediate_size": 16}, ffn_dim=32, word_embed_proj_dim=16)
        ),
        ENCODER,
    ),
    "GPT-NeoX": (
        lambda: hf.GPTNeoXModel(hf.GPTNeoXConfig(**SMALL)),
        {"qkv": 1, "attn_out": 1, "mlp_in": 1, "mlp_out": 1, "norm": 2},
    ),
    "Llama": (lambda: hf.LlamaModel(hf.LlamaConfig(**GROUPED)), {**GATED, "norm": 2}),
    "Mistral": (lambda: hf.MistralModel(hf.MistralConfig(**GROUPED)), {**GATED, "norm": 2}),
    "Qwen2": (lambda: hf.Qwen2Model(hf.Qwen2Config(**{**SMALL, "num_key_value_heads": 1})), {**GATED, "norm": 2}),
    "Qwen3": (lambda: hf.Qwen3Model(hf.Qwen3Config(**GROUPED)), {**GATED, "norm": 4}),
    "Gemma 2": (lambda: hf.Gemma2Model(hf.Gemma2Config(**GROUPED)), {**GATED, "norm": 4}),
    "Gemma 3": (lambda: hf.Gemma3TextModel(hf.Gemma3TextConfig(**GROUPED)), {**GATED, "norm": 6}),
    "Phi-3": (
        lambda: hf.Phi3Model(hf.Phi3Config(**{**SMALL, "num_key_value_heads": 1})),
        {"qkv": 1, "attn_out": 1, "mlp_in": 1, "mlp_out": 1, "norm": 2},
    ),
}  # fmt: skip
# ModernBERT: the first block has no norm before its attention.
MODERNBERT = {"qkv": 2, "attn_out": 2, "mlp_in": 2, "mlp_out": 2, "norm": 3}


def modernbert() -> nn.Module:
    return hf.ModernBertModel(hf.ModernBertConfig(**SMALL, cls_token_id=1, sep_token_id=2))


CASES = [
    *((make, {role: 2 * n for role, n in roles.items()}) for make, roles in FAMILIES.values()),
    (modernbert, MODERNBERT),
]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("make", "roles"), CASES, ids=[*FAMILIES, "ModernBERT"])
def test_every_projection_and_norm_has_its_role_and_every_kind_works_there(
    make: Callable[[], nn.Module], roles: dict[str, int], dtype: torch.dtype
) -> None:
    torch.manual_seed(0)
    model = make().requires_grad_(False).eval().to(dtype)
    sites = find_sites(model)
    assert Counter(site.role for site in sites) == roles
    ids = torch.randint(3, 50, (2, 5))
    bare = model(input_ids=ids).last_hidden_state
    supernet = Supernet(model, sites, SPACE, SearchOptions("sigmoid"))
    supernet.eval()
    assert torch.equal(model(input_ids=ids).last_hidden_state, bare)
    supernet.train()
    model(input_ids=ids).last_hidden_state.square().mean().backward()
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in supernet.adapter.parameters())
    supernet.discretize()
    supernet.detach()
    assert torch.equal(model(input_ids=ids).last_hidden_state, bare)
