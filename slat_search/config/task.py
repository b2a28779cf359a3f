"""Section on the task: its text, its labels and its metric."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, WithJsonSchema, field_validator, model_validator

from ..errors import did_you_mean
from ..plugins import Registry, names
from .prompt import ALPACA, Message, as_text, check_words, columns
from .section import Positive, Section, by_name, check_all

#: metrics of classification
CLASSIFICATION = ("accuracy", "f1", "macro_f1", "matthews")
#: metrics of tasks whose label is a number
REGRESSION = ("pearson", "spearman")
#: metrics of responses; the last two generate them
RESPONSE = ("token_accuracy", "exact_match", "rouge_l")


def _check_metric(name: str) -> str:
    """Validate the name of a metric of this package or of another."""
    metrics = (*CLASSIFICATION, *REGRESSION, *RESPONSE, *names("slat_search.metrics"))
    if name not in metrics:
        raise ValueError(f"unknown metric; metrics are {', '.join(metrics)}{did_you_mean(name, metrics)}")
    return name


def is_of_numbers(metric: str) -> bool:
    """Return whether a metric measures numbers, so that the task is a regression."""
    if metric in (*CLASSIFICATION, *REGRESSION, *RESPONSE):
        return metric in REGRESSION
    from ..metrics import METRICS  # only for a metric of another package, as the import takes a second

    return bool(getattr(METRICS[metric], "of_numbers", False))


Metric = Annotated[
    str,
    AfterValidator(_check_metric),
    WithJsonSchema({"enum": [*CLASSIFICATION, *REGRESSION, *RESPONSE], "type": "string"}),
]
Quoting = Literal["quoted", "none"]
Split = Literal["train", "validation", "test"]


def _glue(subset: str, text: tuple[str, ...], metric: Metric, **fields: Any) -> dict[str, Any]:
    return {"hub": "nyu-mll/glue", "subset": subset, "text": text, "metric": metric, **fields}


#: name -> fields of the embedded tasks, which are cut from BBC News
EMBEDDED: dict[str, dict[str, Any]] = {
    "bbc-headline": {"text": ("headline",), "label": "topic"},
    "bbc-topic": {"text": ("article",), "label": "topic"},
    "bbc-match": {"text": ("headline", "article"), "label": "match"},
}
#: name -> fields of tasks on the Hugging Face hub, with their official metric. Where the labels of the test split are
#: hidden, as in all of these but mrpc, the validation split is the test and a new one is cut from train; mrpc does the
#: same, so that its numbers can be compared with those that papers report on the development set.
_HUB: dict[str, dict[str, Any]] = {
    "sst2": _glue("sst2", ("sentence",), "accuracy"),
    "cola": _glue("cola", ("sentence",), "matthews"),
    "mrpc": _glue("mrpc", ("sentence1", "sentence2"), "f1", hub_splits={"train": "train", "test": "validation"}),
    "qqp": _glue("qqp", ("question1", "question2"), "f1"),
    "stsb": _glue("stsb", ("sentence1", "sentence2"), "pearson"),
    "mnli": _glue(
        "mnli", ("premise", "hypothesis"), "accuracy", hub_splits={"train": "train", "test": "validation_matched"}
    ),
    "qnli": _glue("qnli", ("question", "sentence"), "accuracy"),
    "rte": _glue("rte", ("sentence1", "sentence2"), "accuracy"),
    "boolq": _glue("boolq", ("question", "passage"), "accuracy", hub="aps/super_glue"),
    "cb": _glue("cb", ("premise", "hypothesis"), "macro_f1", hub="aps/super_glue"),
}
#: name -> fields of the tasks that are known by name beside the embedded ones: those of the hub, and those of other
#: packages, which may also name files
PRESETS: Registry[Mapping[str, Any]] = Registry("slat_search.tasks", Mapping, _HUB)


def _duplicate(names: Sequence[str]) -> str:
    return next(name for name in names if names.count(name) > 1)


def _fill_in_prompt(data: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a task, with those that follow from its prompt filled in."""
    for name in ("prompt", "chat"):
        if data.get(name) is not None and not isinstance(data[name], str):
            raise ValueError(f"{name} is a text; write it in quotes, as YAML reads braces as a mapping")
    if not isinstance(data.get("messages") or (), list | tuple):
        raise ValueError("messages is a list of role and content")
    data = {**data, "response": as_text(data.get("response"))}
    if data.get("prompt") in ALPACA:
        data["response"] = data["response"] or "output"
    if data.get("chat") is not None or isinstance(data["response"], str):
        data.setdefault("metric", "token_accuracy")
    if data.get("chat") is not None:
        data.setdefault("text", (data["chat"],))
    elif data.get("prompt") in ALPACA:
        data.setdefault("text", columns(ALPACA[data["prompt"]]))
    elif "text" not in data:
        contents = [data.get("prompt"), *(_content(message) for message in data.get("messages") or ())]
        data["text"] = columns([content for content in contents if isinstance(content, str)])
    return data


def _content(message: Any) -> Any:
    return message.get("content") if isinstance(message, dict) else getattr(message, "content", None)


class Task(Section):
    """Labelled text: an embedded task or a preset by its name, files of your own, or a dataset of the hub."""

    name: str = Field(
        "bbc-headline", description="embedded task or preset (see `slat tasks`), or any name for your own text"
    )
    train: Path | None = Field(
        None,
        description="your file: .csv, .tsv, .jsonl, .json or .parquet; a folder of train, validation (or valid, val, "
        "dev, eval) and test files, or one that `datasets` saved",
    )
    validation: Path | None = Field(None, description="your validation file; cut from train when absent")
    test: Path | None = Field(None, description="your test file; cut from train when absent")
    hub: str | None = Field(None, description="dataset on the Hugging Face hub, or a folder laid out as one")
    subset: str | None = Field(None, description="configuration of the hub dataset, e.g. `sst2` of `nyu-mll/glue`")
    hub_splits: dict[Split, str] = Field(
        {}, description="what the splits are called there; default: train, validation and test, as far as they exist"
    )
    text: tuple[str, ...] = Field(
        ("text",),
        description="text column, or two of them for text pairs; with a `prompt` the columns that it names",
        min_length=1,
    )
    prompt: str | None = Field(
        None,
        description="what a causal language model reads, a format string over columns: `Review: {sentence}`; or "
        "`alpaca`, for columns instruction, input and output. The model answers in words, and no head is trained",
    )
    messages: tuple[Message, ...] = Field(
        (), description="in the place of `prompt`: messages for the chat template of the model's tokenizer"
    )
    chat: str | None = Field(
        None,
        description="in the place of `prompt`: column of whole chats, lists of messages (`role`, `content`, or "
        "ShareGPT's `from`, `value`); the last one, the assistant's, is the response",
    )
    response: str | dict[str, str] | None = Field(
        None,
        description="what answers a prompt: a column of responses; or the words for each label, of which the most "
        "probable ones, per token, are predicted. Default: the names of the labels",
    )
    max_new_tokens: int = Field(
        64, ge=1, description="most tokens of a response that is generated, for `exact_match`, `rouge_l` and `predict`"
    )
    label: str = Field("label", description="label column; a number where the metric is a correlation")
    label_names: tuple[str, ...] | None = Field(
        None,
        min_length=2,
        description="names of the labels: in the order of integer labels, which count from 0 or from 1, or all that "
        "text labels may be; default: as found",
    )
    metric: Metric = Field(
        "accuracy",
        description="quality measure; `pearson` and `spearman` make it a regression; "
        "`token_accuracy` (the default there), `exact_match` and `rouge_l` are those of responses",
    )
    positive: str | None = Field(
        None,
        description="label whose F1 is measured, with `metric: f1`; default: the second of `label_names`, of the "
        "dataset's own names, of two numbers, of no and yes or of false and true; else the rarer label in train",
    )
    quoting: Quoting | None = Field(
        None,
        description="how .csv and .tsv files are written: `quoted`, where a field may stand in double quotes, or "
        "`none`, where a quote is text and every line a row; default: `quoted` for .csv, `none` for .tsv",
    )
    max_length: int = Field(128, ge=4, description="longer texts are cut to this many tokens")
    split: tuple[Positive, Positive, Positive] = Field(
        (0.65, 0.15, 0.2), description="shares of train, validation and test where splits are cut here"
    )
    max_rows: int | None = Field(
        None, ge=10, description="use at most this many rows of each split, drawn by seed, label by label"
    )

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, data: Any) -> Any:
        """Fill in the fields of a preset that the user leaves out, and those that follow from the prompt."""
        data = by_name(data)
        if not isinstance(data, dict):
            return data
        if data.get("train") is None and data.get("hub") is None:
            name = data.get("name", cls.model_fields["name"].default)
            data = {**EMBEDDED.get(name, PRESETS.get(name, {})), **data} if isinstance(name, str) else data
        return _fill_in_prompt(data) if data.get("prompt") or data.get("messages") or data.get("chat") else data

    @field_validator("label_names", "positive", mode="before")
    @classmethod
    def _check_label_text(cls, raw: Any) -> Any:
        """Return labels as text; labels that YAML has read as another type are rejected.

        Raises:
            ValueError: a label that YAML has read as true, false, null, a float or a date.
        """
        names = raw if isinstance(raw, list | tuple) else [raw]
        if any(isinstance(name, bool | float | date) or (name is None and raw is not None) for name in names):
            raise ValueError("YAML reads no, yes, null, 1.0 and dates as other than text; write labels in quotes")
        names = tuple(str(name).strip() if isinstance(name, str | int) else name for name in names)
        return names if isinstance(raw, list | tuple) else names[0]

    @model_validator(mode="after")
    def _check_fields(self) -> Task:
        check_all(self._problems())
        return self

    def _problems(self) -> Iterator[str]:
        """Yield a sentence for each contradiction between fields."""
        if self.hub is not None and self.train is not None:
            yield "train (a file) and hub (a dataset of the hub) are two sources; give one"
        if self.train is None and (self.validation is not None or self.test is not None):
            yield "validation and test files need a train file"
        if self.hub is None and (self.subset is not None or self.hub_splits):
            yield "subset and hub_splits belong to hub, which is not given"
        if self.label_names is not None and len(set(self.label_names)) < len(self.label_names):
            yield f"label_names has {_duplicate(self.label_names)!r} twice"
        if self.positive is not None and self.metric != "f1":
            yield f"positive names the label that f1 is measured of; the metric is {self.metric}"
        if self.positive is not None and self.label_names is not None and self.positive not in self.label_names:
            yield f"positive {self.positive!r} is not among label_names: {', '.join(self.label_names)}"
        if self.is_regression and self.label_names is not None:
            yield f"{self.metric} measures numbers, which have no label_names"

    @model_validator(mode="after")
    def _check_prompt(self) -> Task:
        if (self.metric in RESPONSE) != self.is_generated:
            if self.metric in RESPONSE:
                raise ValueError(f"metric: {self.metric} measures a response of the model's own, and none is asked for")
            raise ValueError(f"metric: {self.metric} measures labels; of a response {', '.join(RESPONSE)} do")
        if not self.is_prompted:
            if self.response is not None:
                raise ValueError("response answers a prompt, which is not given")
            if len(self.text) > 2:
                raise ValueError(f"text has {len(self.text)} columns; one or two go without a prompt")
            return self
        if sum((self.prompt is not None, bool(self.messages), self.chat is not None)) > 1:
            raise ValueError("prompt, messages and chat are forms of one thing; give one")
        if self.chat is not None:
            if self.response is not None or self.text != (self.chat,):
                raise ValueError("chat holds the prompt and the response; leave out text and response")
            return self
        if self.is_regression:
            raise ValueError(f"{self.metric} measures numbers, and a prompt is answered by words")
        if missing := [column for column in columns(self.templates) if column not in self.text]:
            raise ValueError(f"the prompt names {missing[0]!r}, which is not among text: {', '.join(self.text)}")
        answer = self.response if isinstance(self.response, str) else self.label
        if answer in self.text:
            raise ValueError(f"the prompt names {answer!r}, which is the answer")
        if self.messages and self.messages[-1].role != "user":
            raise ValueError(f"messages: the last one is of the {self.messages[-1].role}, and the model answers a user")
        if isinstance(self.response, dict):
            check_words(self.response)
            if self.label_names is not None and set(self.label_names) != set(self.response):
                label = min(set(self.label_names) ^ set(self.response))
                raise ValueError(f"response and label_names are of the same labels; {label!r} is in one alone")
        return self

    @property
    def prompt_fields(self) -> dict[str, Any]:
        """``prompt`` and ``messages`` as JSON values."""
        return self.model_dump(mode="json", include={"prompt", "messages"})

    @property
    def is_prompted(self) -> bool:
        """Whether a causal language model answers in words, so that there is no head."""
        return bool(self.templates) or self.chat is not None

    @property
    def is_generated(self) -> bool:
        """Whether the answer is a generated response rather than a label."""
        return isinstance(self.response, str) or self.chat is not None

    @property
    def templates(self) -> tuple[str, ...]:
        """Format strings of the prompt: one, or one per message; none where a head reads the text, or where a row is a
        whole chat."""
        if self.prompt in ALPACA:
            return ALPACA[self.prompt][:1]
        return (self.prompt,) if self.prompt is not None else tuple(message.content for message in self.messages)

    @property
    def is_regression(self) -> bool:
        """Whether labels are numbers."""
        return is_of_numbers(self.metric)
