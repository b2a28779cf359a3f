"""The README of an exported adapter: what it is, and code that uses it without this library."""

from __future__ import annotations

from .loaded import LoadedAdapter

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
_WHAT = {
    "merged": "The adapter is merged into the model's own weights.",
    "peft": "An adapter for the peft library.",
}
_ON_PEFT = """## On a class with a head

The adapter belongs on the model without a head, as above. In a class with a head the modules have other names, and peft
refuses the adapter there. Put it on the model inside. The class's own head is new, and wants training:

```python
from peft import PeftModel
from transformers import AutoModelForSequenceClassification

folder = "."  # where this file is
model = AutoModelForSequenceClassification.from_pretrained("{base}"{file}, num_labels={outputs}).float()
PeftModel.from_pretrained({inside}, folder)  # changes it in place; is_trainable=True trains it on
```
"""
_ON_MERGED = """## On a class with a head

The class's own head is new, and wants training; `head.safetensors` is for the code above:

```python
from transformers import AutoModelForSequenceClassification

folder = "."  # where this file is
model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels={outputs})
```
"""


def card(standing: LoadedAdapter, form: str) -> str:
    """Markdown with the front matter of the Hugging Face hub."""
    description = standing.description
    labels, pair = description["labels"], len(description["columns"]) == 2
    measures = ", ".join(
        f"{name} {description['measures'][name]:.3f}" for name in ("quality", "loss") if name in description["measures"]
    )
    texts = '["first text"], ["second text"]' if pair else '["a text", "another"]'
    types = "" if pair else ", return_token_type_ids=False"  # as in training
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
    imported, loaded = _loading(standing, form, base, file)
    return f"""---
base_model: {base}
library_name: {"peft" if form == "peft" else "transformers"}
tags: [slat-search]
---

# Adapter trained by SLAT search

{standing.structure}.

{_WHAT[form]} Validation: {measures}.

```python
import torch
{imported}
folder = "."  # where this file is
tokenizer = AutoTokenizer.from_pretrained(folder)
model = {loaded}.eval()
head = load_file(f"{{folder}}/head.safetensors")

batch = tokenizer({texts}, truncation=True, max_length={description["max_length"]}, padding=True, padding_side="right",
                  return_tensors="pt"{types})
with torch.inference_mode():
    hidden = model(**batch).last_hidden_state
{_POOLING[description["model"]["pooling"]]}    logits = vectors @ head["weight"].T + head["bias"]
{result}```
{_with_a_head(standing, form, base, file)}"""


def _loading(standing: LoadedAdapter, form: str, base: str, file: str) -> tuple[str, str]:
    """Lines that import what is needed, and the expression that loads the model with the adapter."""
    encoder = ".get_encoder()" if standing.is_taken_out else ""
    names = [standing.loader, "AutoTokenizer"]
    first, more = "", ""
    if form == "peft":
        first = "from peft import PeftModel\n"
        loaded = (
            f'PeftModel.from_pretrained({standing.loader}.from_pretrained("{base}"{file}){encoder}.float(), folder)'
        )
    elif encoder:
        kind = type(standing.model)
        names, more = names[1:], f"from {kind.__module__} import {kind.__name__}\n"
        loaded = f"{kind.__name__}.from_pretrained(folder)"
    else:
        loaded = f"{standing.loader}.from_pretrained(folder)"
    return (
        f"{first}from safetensors.torch import load_file\nfrom transformers import {', '.join(names)}\n{more}",
        loaded,
    )


def _with_a_head(standing: LoadedAdapter, form: str, base: str, file: str) -> str:
    """How to put it into a class with a head; an encoder that was merged into has none."""
    outputs = max(1, len(standing.description["labels"]))
    if form == "peft":
        inside = "model.base_model" + (".get_encoder()" if standing.is_taken_out else "")
        return "\n" + _ON_PEFT.format(base=base, file=file, outputs=outputs, inside=inside)
    return "" if standing.loader != "AutoModel" or standing.is_taken_out else "\n" + _ON_MERGED.format(outputs=outputs)
