"""The README of an exported adapter: its description, and code that uses it without this library."""

from __future__ import annotations

from dataclasses import dataclass
from math import isnan
from pathlib import Path

from huggingface_hub import EvalResult, ModelCardData

from .card_code import code, with_a_head, with_pipeline, with_sentence_transformers
from .facts import RunFacts
from .loaded import LoadedAdapter
from .prompted import prompted_code
from .target import Target

_FORM_TEXT = {
    "merged": "The adapter is merged into the model's own weights.",
    "peft": "An adapter for the peft library.",
}
_CLASS_TEXT = {
    "SEQ_CLS": "It is made for `{name}`, which gives the probabilities of the adapter.",
    "CAUSAL_LM": "It is made for `{name}`; the head for the labels lies beside it, in `head.safetensors`.",
    "FEATURE_EXTRACTION": "It is made for the model without a head; the head lies beside it, in `head.safetensors`.",
}
_PROMPTED_TEXT = "It is made for `{name}`, which answers a prompt in words; the prompt is in `prompt.json`."
_UNIFORM_RANK_NOTE = """
All LoRA have one rank and one alpha, and stand at the same projections of all blocks: ranks are filled up with zeros,
which changes no output. vLLM and TGI read nothing else.
"""
_PASS_THROUGH_NOTE = """
The layers of the class before its labels are set so that they pass the text's vector on as it is. That is for
inference: to train on, take a class with a fresh head.
"""


@dataclass(frozen=True)
class Export:
    """An export that a README describes.

    Attributes:
        form: ``merged`` or ``peft``.
        uniform_rank: whether ranks were padded to one.
        with_layout: whether the folder has the layout of sentence-transformers.
        license: identifier of the license; None if it is not known.
        facts: facts from the run; None if there is no run.
    """

    loaded: LoadedAdapter
    form: str
    target: Target
    uniform_rank: bool
    with_layout: bool
    license: str | None
    facts: RunFacts | None


def card(export: Export) -> str:
    """Return the README as Markdown, with the front matter of the Hugging Face hub."""
    target, prompted = export.target, export.loaded.is_prompted
    class_text = _PROMPTED_TEXT if prompted else _CLASS_TEXT[target.task_type]
    sections = [
        f"---\n{front_matter(export)}\n---",
        "# Adapter trained by SLAT search",
        f"{export.loaded.structure}.",
        f"{_FORM_TEXT[export.form]} {class_text.format(name=type(target.model).__name__)}",
    ]
    if target.reason:
        sections.append(f"A class for classification cannot hold the head: {target.reason}.")
    usage = prompted_code(export.loaded, export.form) if prompted else code(export.loaded, export.form, target)
    sections.append(usage)
    if target.task_type == "SEQ_CLS":
        sections.append(with_pipeline(export.loaded, export.form))
        if "score" not in target.saved:
            sections.append(_PASS_THROUGH_NOTE.strip())
    if export.uniform_rank:
        sections.append(_UNIFORM_RANK_NOTE.strip())
    if export.with_layout:
        sections.append(with_sentence_transformers(export.loaded))
    sections += [with_a_head(export.loaded, export.form, target), _data(export), _license(export)]
    return "\n\n".join(section for section in sections if section) + "\n"


def front_matter(export: Export) -> str:
    """Return the front matter, YAML that the hub reads."""
    base, _ = export.loaded.published
    facts = export.facts
    test = facts.test if facts is not None else None
    results = None
    if facts is not None and test is not None:
        results = [
            EvalResult(
                task_type="text-generation" if export.loaded.is_prompted else "text-classification",
                dataset_type=facts.task,
                dataset_name=facts.task,
                dataset_split="test",
                metric_type=facts.metric,
                metric_value=round(test.mean, 4),
            )
        ]
    tags = ["slat-search", *(["peft", "lora"] if export.form == "peft" else [])]
    fields = ModelCardData(
        base_model=None if Path(base).is_dir() else base,
        library_name="peft" if export.form == "peft" else "transformers",
        license=export.license,
        pipeline_tag=_pipeline_tag(export),
        tags=[*tags, "sentence-transformers"] if export.with_layout else tags,
        metrics=None if facts is None else [facts.metric],
        model_name="slat-adapter" if results else None,
        eval_results=results,
    )
    return fields.to_yaml().strip()


def _pipeline_tag(export: Export) -> str | None:
    if export.loaded.is_prompted:
        return "text-generation"
    is_classes = bool(export.loaded.task.labels)
    return "text-classification" if export.target.task_type == "SEQ_CLS" and is_classes else None


def _data(export: Export) -> str:
    measures, facts = export.loaded.task.measures, export.facts
    validation = f"quality {measures.quality:.3f}, loss {measures.loss:.3f}"
    lines = ["## Data and quality", "", f"Validation, of these weights: {validation}."]
    if facts is not None:
        counts = ", ".join(f"{split} {count:,}" for split, count in facts.rows.items())
        lines += ["", f"Trained on {_code(facts.task)} (texts: {counts})."]
        if facts.test is not None:
            test = facts.test
            interval = "" if isnan(test.low) else f" | {test.low:.3f} to {test.high:.3f}"
            header = f" | 95 % interval, over {test.over}" if interval else ""
            seeds = f"{test.seeds} seed{'' if test.seeds == 1 else 's'}"
            lines += [
                "",
                f"| test {facts.metric}, mean of {seeds}{header} |",
                f"|---{'|---' if interval else ''}|",
                f"| {test.mean:.3f}{interval} |",
            ]
    return "\n".join(lines)


def _code(text: str) -> str:
    """Return a name as code in Markdown, whatever characters it has."""
    return f"`{' '.join(text.replace('`', ' ').split())}`"


def _license(export: Export) -> str:
    base, _ = export.loaded.published
    base_model = f"the base model, {_code(base)}" if not Path(base).is_dir() else "the base model"
    if export.license is None:
        return f"## License\n\nNone was named. That of {base_model}, holds for its weights in any case."
    return f"## License\n\n{_code(export.license)}; that of {base_model}, holds for its weights in any case."
