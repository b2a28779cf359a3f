"""The README of an exported adapter: what it is, and code that uses it without this library."""

from __future__ import annotations

from .standing import Standing

_POOLING = {
    "mean": """    mask = batch["attention_mask"].unsqueeze(-1)
    vectors = (hidden * mask).sum(1) / mask.sum(1)
""",
    "first": """    vectors = hidden[:, 0]
""",
    "last": """    last = batch["attention_mask"].sum(1) - 1
    vectors = hidden[torch.arange(len(hidden)), last]
""",
}
_LOADED = {
    "merged": """model = {loader}.from_pretrained(folder).eval()
""",
    "peft": """model = PeftModel.from_pretrained({loader}.from_pretrained("{base}"{file}).float(), folder).eval()
""",
}


def card(standing: Standing, form: str) -> str:
    """Markdown with the front matter of the Hugging Face hub."""
    description = standing.description
    labels, pair = description["labels"], len(description["columns"]) == 2
    measures = ", ".join(
        f"{name} {description['measures'][name]:.3f}" for name in ("quality", "loss") if name in description["measures"]
    )
    texts = '["first text"], ["second text"]' if pair else '["a text", "another"]'
    if labels:
        result = f"""    for probabilities in logits.softmax(-1):
        print({labels!r}[probabilities.argmax()], probabilities)
"""
    else:
        mean, spread = description["scale"]
        result = f"""    print(logits[:, 0] * {spread!r} + {mean!r})
"""
    base, gguf = standing.published
    file = f', gguf_file="{gguf}"' if gguf else ""
    peft = "from peft import PeftModel\n" if form == "peft" else ""
    what = {
        "merged": "The adapter is merged into the model's own weights.",
        "peft": "An adapter for the peft library.",
    }
    return f"""---
base_model: {base}
library_name: {"peft" if form == "peft" else "transformers"}
tags: [slat-search]
---

# Adapter trained by SLAT search

{standing.structure}.

{what[form]} Validation: {measures}.

```python
import torch
{peft}from safetensors.torch import load_file
from transformers import {standing.loader}, AutoTokenizer

folder = "."  # where this file is
tokenizer = AutoTokenizer.from_pretrained(folder)
{_LOADED[form].format(loader=standing.loader, base=base, file=file)}head = load_file(f"{{folder}}/head.safetensors")

batch = tokenizer({texts}, truncation=True, max_length={description["max_length"]}, padding=True, padding_side="right",
                  return_tensors="pt")
with torch.inference_mode():
    hidden = model(**batch).last_hidden_state
{_POOLING[description["model"]["pooling"]]}    logits = vectors @ head["weight"].T + head["bias"]
{result}```
"""
