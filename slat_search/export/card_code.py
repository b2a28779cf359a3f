"""Code examples in the README of an exported adapter; tests run them."""

from __future__ import annotations

import json

from .loaded import LoadedAdapter
from .target import Target

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
_ON_PEFT = """## On a class with a head of its own

The adapter belongs on the model without a head, as above. In a class with a head the modules have other names, and peft
refuses the adapter there. Put it on the model inside. The class's own head is new, and wants training:

```python
from peft import PeftModel
from transformers import AutoModelForSequenceClassification

folder = "."  # where this file is
model = AutoModelForSequenceClassification.from_pretrained({base}{file}, num_labels={outputs}).float()
PeftModel.from_pretrained({backbone}, folder)  # changes it in place; is_trainable=True trains it on
```"""
_ON_MERGED = """## On a class with a head of its own

The class's own head is new, and wants training; `head.safetensors` is for the code above:

```python
from transformers import AutoModelForSequenceClassification

folder = "."  # where this file is
model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels={outputs})
```"""
_SENTENCES = """## With sentence-transformers

`encode` gives {output}, as the folder has Transformer, Pooling and Dense of that library:

```python
from sentence_transformers import SentenceTransformer

model = SentenceTransformer(".")  # where this file is
values = model.encode({texts}, convert_to_tensor=True){softmax}
```"""
_PIPELINE = {
    "merged": """## As a pipeline

```python
from transformers import pipeline

classify = pipeline("text-classification", model=".", top_k=None)  # where this file is
answers = classify({texts}, truncation=True)
```""",
    "peft": """## As a pipeline

```python
from transformers import pipeline

classify = pipeline("text-classification", model=model, tokenizer=tokenizer, top_k=None)  # as loaded above
answers = classify({texts}, truncation=True)
```""",
}


def code(loaded: LoadedAdapter, form: str, target: Target) -> str:
    """Return code that loads the export and prints labels and probabilities, or numbers."""
    task = loaded.task
    labels, pair = list(task.labels), len(task.columns) == 2
    texts = '["first text"], ["second text"]' if pair else '["a text", "another"]'
    types = "" if pair else ", return_token_type_ids=False"  # as in training
    imports, loading, compute = _loading_code(loaded, form, target)
    if target.task_type == "SEQ_CLS":
        head, result, logits = "", "    print(logits[:, 0])\n", "    logits = model(**batch).logits\n"
    else:
        head = 'head = load_file(f"{folder}/head.safetensors")\n'
        logits = (
            f"    hidden = {compute}.last_hidden_state\n"
            f"{_POOLING[loaded.saved.model.pooling]}"
            '    logits = vectors @ head["weight"].T + head["bias"]\n'
        )
        mean, deviation = task.scale if not labels else (0, 1)
        result = f"    print(logits[:, 0] * {deviation!r} + {mean!r})\n"
    if labels:
        result = f"""    for probabilities in logits.softmax(-1):
        print({labels!r}[probabilities.argmax()], probabilities)
"""
    return f"""```python
{imports}
folder = "."  # where this file is
tokenizer = AutoTokenizer.from_pretrained(folder)
{loading}
{head}
batch = tokenizer({texts}, truncation=True, max_length={task.max_length}, padding=True, padding_side="right",
                  return_tensors="pt"{types})
with torch.inference_mode():
{logits}{result}```"""


def _loading_code(loaded: LoadedAdapter, form: str, target: Target) -> tuple[str, str, str]:
    """Return the import lines, the lines that load ``model``, and the expression for its output."""
    if target.task_type == "SEQ_CLS" and form == "peft":
        imports = (
            "import json\n\nimport torch\nfrom peft import AutoPeftModelForSequenceClassification\n"
            "from transformers import AutoTokenizer\n"
        )
        names = "settings['id2label'] = {int(number): name for number, name in settings['id2label'].items()}\n"
        names = names.replace("'", '"') if loaded.task.labels else ""
        loading = (
            'with open(f"{folder}/classifier.json") as file:\n    settings = json.load(file)\n'
            f"{names}"
            "model = AutoPeftModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32, **settings)\n"
            "model = model.eval()"
        )
        return imports, loading, ""
    if target.task_type == "SEQ_CLS":
        return (
            "import torch\nfrom transformers import AutoModelForSequenceClassification, AutoTokenizer\n",
            "model = AutoModelForSequenceClassification.from_pretrained(folder).eval()",
            "",
        )
    if target.task_type == "CAUSAL_LM":
        auto = "AutoPeftModelForCausalLM" if form == "peft" else "AutoModelForCausalLM"
        source = "peft" if form == "peft" else "transformers"
        backbone = "model.get_base_model().base_model" if form == "peft" else "model.base_model"
        return (
            f"import torch\nfrom {source} import {auto}\nfrom safetensors.torch import load_file\n"
            "from transformers import AutoTokenizer\n",
            f"model = {auto}.from_pretrained(folder, dtype=torch.float32).eval()",
            f"{backbone}(**batch)",
        )
    imports, loading = _headless_code(loaded, form)
    return f"import torch\n{imports}", f"model = {loading}.eval()", "model(**batch)"


def _headless_code(loaded: LoadedAdapter, form: str) -> tuple[str, str]:
    base, file = _base(loaded)
    encoder = ".get_encoder()" if loaded.is_taken_out else ""
    names = [loaded.loader, "AutoTokenizer"]
    peft_import, class_import = "", ""
    if form == "peft":
        peft_import = "from peft import PeftModel\n"
        loading = f"PeftModel.from_pretrained({loaded.loader}.from_pretrained({base}{file}){encoder}.float(), folder)"
    elif encoder:
        model_class = type(loaded.model)
        names, class_import = names[1:], f"from {model_class.__module__} import {model_class.__name__}\n"
        loading = f"{model_class.__name__}.from_pretrained(folder)"
    else:
        loading = f"{loaded.loader}.from_pretrained(folder)"
    imports = f"from safetensors.torch import load_file\nfrom transformers import {', '.join(names)}\n"
    return peft_import + imports + class_import, loading


def _base(loaded: LoadedAdapter) -> tuple[str, str]:
    base, gguf = loaded.published
    return _literal(base), f", gguf_file={_literal(gguf)}" if gguf else ""


def _literal(text: str) -> str:
    """Return a text as a Python literal in double quotes."""
    return json.dumps(text, ensure_ascii=False)


def with_a_head(loaded: LoadedAdapter, form: str, target: Target) -> str:
    """Return code that puts a headless export into a class with a head; empty for a merged encoder."""
    if target.task_type != "FEATURE_EXTRACTION":
        return ""
    outputs = max(1, len(loaded.task.labels))
    if form == "peft":
        base, file = _base(loaded)
        backbone = "model.base_model" + (".get_encoder()" if loaded.is_taken_out else "")
        return _ON_PEFT.format(base=base, file=file, outputs=outputs, backbone=backbone)
    return "" if loaded.loader != "AutoModel" or loaded.is_taken_out else _ON_MERGED.format(outputs=outputs)


def with_sentence_transformers(loaded: LoadedAdapter) -> str:
    """Return code that loads the folder with sentence-transformers."""
    labels = loaded.task.labels
    output = "logits, whose softmax are the probabilities of the labels" if labels else "the numbers"
    softmax = ".softmax(-1)" if labels else ""
    return _SENTENCES.format(output=output, softmax=softmax, texts=_rows(loaded))


def with_pipeline(loaded: LoadedAdapter, form: str) -> str:
    """Return code of a pipeline over the export."""
    if len(loaded.task.columns) == 2:
        texts = '[{"text": "first text", "text_pair": "second text"}]'
    else:
        texts = '["a text", "another"]'
    return _PIPELINE[form].format(texts=texts)


def _rows(loaded: LoadedAdapter) -> str:
    return '[("first text", "second text")]' if len(loaded.task.columns) == 2 else '["a text", "another"]'
