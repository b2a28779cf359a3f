"""The layout of sentence-transformers around an exported model: Transformer, Pooling and Dense.

It holds any of our poolings with any linear head, without code of its own: JSON and safetensors alone.
"""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import save_file

from ..files import write_json
from .head import LinearHead

#: pooling -> its flag in all versions of sentence-transformers
_FLAGS = {"mean": "pooling_mode_mean_tokens", "first": "pooling_mode_cls_token", "last": "pooling_mode_lasttoken"}
_MODULES = ("Transformer", "Pooling", "Dense")


def write_sentence_layout(out: Path, head: LinearHead, max_length: int) -> None:
    """Write the files that ``SentenceTransformer(out)`` reads beside the model; its ``encode`` gives logits, or the
    numbers of a regression."""
    outputs, width = head.weight.shape
    paths = ("", "1_Pooling", "2_Dense")
    write_json(
        out / "modules.json",
        [
            {"idx": number, "name": str(number), "path": path, "type": f"sentence_transformers.models.{kind}"}
            for number, (kind, path) in enumerate(zip(_MODULES, paths, strict=True))
        ],
    )
    write_json(out / "sentence_bert_config.json", {"max_seq_length": max_length, "do_lower_case": False})
    write_json(out / "config_sentence_transformers.json", {"prompts": {}, "default_prompt_name": None})
    for path in paths[1:]:
        (out / path).mkdir()
    write_json(
        out / "1_Pooling" / "config.json",
        {"word_embedding_dimension": width, **{flag: kind == head.pooling for kind, flag in _FLAGS.items()}},
    )
    write_json(
        out / "2_Dense" / "config.json",
        {
            "in_features": width,
            "out_features": outputs,
            "bias": True,
            "activation_function": "torch.nn.modules.linear.Identity",
        },
    )
    weights = {"linear.weight": head.weight.contiguous(), "linear.bias": head.bias.contiguous()}
    save_file(weights, out / "2_Dense" / "model.safetensors", metadata={"format": "pt"})
