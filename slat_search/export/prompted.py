"""Code examples in the README of an adapter that answers in words; tests run them."""

from __future__ import annotations

from ..config.prompt import pieces
from ..tasks import Template
from .loaded import LoadedAdapter, facts_json

_LABELS = """words = {words!r}  # token ids of each label's words
scores = []
with torch.inference_mode():
    for word in words.values():
        both = torch.tensor([ids + word])
        logits = model(input_ids=both).logits[0, len(ids) - 1 : -1]
        scores.append(logits.log_softmax(-1)[range(len(word)), word].mean())
probabilities = torch.stack(scores).softmax(0)
print(list(words)[probabilities.argmax()], probabilities)"""
_RESPONSE = """with torch.inference_mode():  # greedy, whatever generation_config.json asks for
    answer = model.generate(torch.tensor([ids]), max_new_tokens={limit}, do_sample=False, repetition_penalty=1.0)
tokens, stop = answer[0, len(ids) :].tolist(), {stop}  # token ids that end a response
over = [place for place in range(len(tokens)) if tokens[place : place + len(stop)] == stop] if stop else []
print(tokenizer.decode(tokens[: over[0]] if over else tokens, skip_special_tokens=True).strip())"""


def prompted_code(loaded: LoadedAdapter, form: str) -> str:
    """Return code that loads the export and prints a label with its probabilities, or a response."""
    prompt = loaded.task.prompt
    assert prompt is not None
    template = template_of(loaded)
    auto = "AutoPeftModelForCausalLM" if form == "peft" else "AutoModelForCausalLM"
    imports = (
        f"import torch\nfrom peft import {auto}\nfrom transformers import AutoTokenizer"
        if form == "peft"
        else f"import torch\nfrom transformers import {auto}, AutoTokenizer"
    )
    if prompt.max_new_tokens:
        answer = _RESPONSE.format(limit=prompt.max_new_tokens, stop=[*template.stop])
    else:
        words = {label: [*ids] for label, ids in zip(loaded.task.labels, prompt.words, strict=True)}
        answer = _LABELS.format(words=words)
    return f"""```python
{imports}

folder = "."  # where this file is
tokenizer = AutoTokenizer.from_pretrained(folder)
model = {auto}.from_pretrained(folder, dtype=torch.float32).eval()

{_prompt_code(template)}
ids = {template.start} + tokenizer(prompt, add_special_tokens=False)["input_ids"]
{answer}
```"""


def _prompt_code(template: Template) -> str:
    """Return the lines that make ``prompt`` from a row."""
    row = f"row = {dict.fromkeys(template.columns, 'a text')!r}"
    if not template.is_chat:
        if any(column.isdigit() for column in template.columns):  # a format string takes digits for positions
            return f'{row}\nprompt = "".join(text + row.get(name, "") for text, name in {pieces(template.texts[0])!r})'
        return f"{row}\nprompt = {template.texts[0]!r}.format(**row)"
    if not template.roles:
        messages = 'messages = [{"role": "user", "content": "a text"}]'
    else:
        chat = [{"role": role, "content": text} for role, text in zip(template.roles, template.texts, strict=True)]
        messages = f"{row}\nmessages = {chat!r}\n"
        messages += 'messages = [{**message, "content": message["content"].format(**row)} for message in messages]'
    return f"{messages}\nprompt = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)"


def template_of(loaded: LoadedAdapter) -> Template:
    """Return the template that the adapter was trained with."""
    prompt = loaded.task.prompt
    assert prompt is not None
    return Template.of(loaded.tokenizer, loaded.task.columns, prompt.prompt, prompt.messages)


def prompt_facts(loaded: LoadedAdapter) -> str:
    """Return the content of ``prompt.json``: the prompt of the adapter and the form of its answers."""
    return facts_json(loaded, "labels", "columns", "max_length", "measures", "prompt")
