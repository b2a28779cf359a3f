"""Tasks that are prompts: searched, trained, tested, saved and used as any other."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from slat_search import SlatError
from slat_search.config import Config, Task, Training
from slat_search.inference.label_file import label_rows
from slat_search.inference.predictor import load_predictor
from slat_search.inference.saved import write_adapter
from slat_search.records import TrainingJob
from slat_search.structure import Structure, find_sites
from slat_search.tasks import load_task
from slat_search.tasks.rows import Rows
from slat_search.training.context import Context, prepare
from slat_search.training.evaluate import predict_logits
from slat_search.training.jobs import evaluate_job, train_job
from slat_search.training.trial import search_trial
from tests.conftest import small_config
from tests.decoders import decoder

TASK = {"name": "bbc-headline", "max_rows": 96, "prompt": "Headline: {headline}\nTopic:"}
TRAINING = {"steps": 60, "batch_size": 16}


def prompted(model: Path, **changes: object) -> Config:
    return small_config(**{"task": TASK, "training": TRAINING, "model": {"name": str(model)}, **changes})


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return decoder(tmp_path_factory.mktemp("decoder"))


@pytest.fixture(scope="module")
def words(model: Path) -> Context:
    return prepare(prompted(model))[0]


def lora(context: Context, rate: float = 0.03) -> TrainingJob:
    structure = Structure.lora(find_sites(context.frozen.model), r=8)
    return TrainingJob("slat", "lora", rate, 0, options={"structure": structure.to_dict()})


def test_the_model_as_it_is_stands_beside_what_was_trained(words: Context) -> None:
    bare, state = train_job(words, TrainingJob("head", "head", 0.01, 0))
    assert (bare.params, state, words.head_params) == (0, {}, 0)
    trained, state = train_job(words, lora(words))
    assert trained.validation.loss < bare.validation.loss - 0.05
    assert all(name.startswith("adapter.") for name in state)


def test_a_checkpoint_of_a_trial_whose_atoms_have_all_left(words: Context) -> None:
    """Without a head nothing is left to train."""
    gates = {"kind": "sigmoid", "init": 0.01, "warmup": 0.0, "settle": 0.5}
    config = words.config.model_copy(update={"gates": prompted(Path(), gates=gates).gates})
    starved = replace(words, config=config)
    sampled = {"sparsity": 1e6, "learning_rate": 3e-3, "gate_learning_rate": 1.0, "noise_kind": "none"}
    whole = list(search_trial(starved, {**sampled, "noise_ratio": 0.0}, [40]))
    assert [report["params"] for report in whole] == [0, 0]
    again = list(search_trial(starved, {**sampled, "noise_ratio": 0.0}, [40], whole[0]["checkpoint"]))
    assert [report["loss"] for report in again] == [report["loss"] for report in whole]


@pytest.mark.parametrize(
    ("gates", "sampled"),
    [
        ({"kind": "screening"}, {"budget": 600}),
        ({"kind": "saliency"}, {"budget": 600}),
        ({"kind": "sigmoid"}, {"sparsity": 0.1, "gate_learning_rate": 0.1}),
    ],
)
def test_a_search_needs_no_head(model: Path, gates: dict, sampled: dict) -> None:
    context, _ = prepare(prompted(model, gates=gates))
    job = TrainingJob("search", "search", 0.03, 0, options=sampled)
    bare, _ = train_job(context, TrainingJob("head", "head", 0.01, 0))
    result, _ = train_job(context, job)
    assert result.params > 0
    assert result.params <= 606 or "budget" not in sampled
    assert result.validation.loss < bare.validation.loss


def test_a_search_that_leaves_nothing_is_the_model_as_it_is(model: Path) -> None:
    context, _ = prepare(prompted(model, training={"steps": 30, "batch_size": 16}))
    result, _ = train_job(context, TrainingJob("search", "search", 0.03, 0, options={"budget": 0}))
    bare, _ = train_job(context, TrainingJob("head", "head", 0.01, 0))
    assert result.params == 0
    assert result.validation == bare.validation


def test_a_saved_adapter_answers_as_it_did(words: Context, tmp_path: Path) -> None:
    job = lora(words)
    trained, state = train_job(words, job)
    tested, _ = evaluate_job(words, job, state)
    write_adapter(tmp_path / "adapter", words, job, state, trained.validation)
    predictor = load_predictor(tmp_path / "adapter")
    logits = predict_logits(predictor.model, words.tasks[0].test)
    assert (logits.argmax(1) == words.tasks[0].test.labels).mean() == tested.quality
    texts = ["Chelsea win away", "Markets fall"]
    probabilities = predictor(texts)
    assert probabilities.shape == (2, 5)
    assert np.allclose(probabilities.sum(1), 1)
    again = load_predictor(tmp_path / "adapter")(texts[:1])
    assert np.allclose(again, probabilities[:1], atol=1e-5)  # whatever stands beside it in a batch


def test_a_search_that_was_left_goes_on_as_if_it_never_was(model: Path) -> None:
    context, _ = prepare(prompted(model))
    sampled = {"budget": 600, "learning_rate": 0.03, "noise_kind": "mixed", "noise_ratio": 0.2}
    stops, files, whole = [2, 30], [], []
    for report in search_trial(context, sampled, stops):
        whole.append(report)
        file = io.BytesIO()
        torch.save(report.get("checkpoint"), file)
        files.append(file.getvalue())
    for place in (0, 1):
        checkpoint = torch.load(io.BytesIO(files[place]), weights_only=True)
        again = list(search_trial(context, sampled, stops, checkpoint))
        assert [(r["step"], r["loss"], r["structure"]) for r in again] == [
            (r["step"], r["loss"], r["structure"]) for r in whole[place:]
        ]


def test_perturbed_prompts_keep_their_template(words: Context) -> None:
    tokenizer = words.frozen.tokenizer
    for data in words.tasks[0].test_perturbed.values():
        for start, end in zip(data.offsets, data.offsets[1:], strict=False):
            text = tokenizer.decode(data.ids[start:end])
            assert text.startswith("<s>Headline: ")
            assert text.endswith("\nTopic:")


def test_no_room_for_a_prompt_is_one_sentence(model: Path) -> None:
    with pytest.raises(SlatError, match=r"task.max_length: \d+ tokens leave no room for a prompt beside a response"):
        prepare(prompted(model, task={**TASK, "max_length": 5}))


def test_words_for_labels_that_are_not_there_are_one_sentence(model: Path) -> None:
    with pytest.raises(SlatError, match=r"task.response: no words for the label 'entertainment'"):
        prepare(prompted(model, task={**TASK, "response": {"business": "money", "sports": "games"}}))


@pytest.fixture(scope="module")
def questions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Headlines to be told with their topic in a sentence."""
    data = load_task(Task(name="bbc-headline", max_rows=120), 0)
    rows = [e for split in data.splits.values() for e in split]
    path = tmp_path_factory.mktemp("questions") / "train.jsonl"
    path.write_text("\n".join(json.dumps({"q": e.texts[0], "a": f"It is {data.labels[int(e.label)]}."}) for e in rows))
    return path


def asked(model: Path, train: Path, **fields: object) -> Config:
    task = {"name": "questions", "train": str(train), "prompt": "{q}\nWhat is it? ", "response": "a", **fields}
    return prompted(model, task=task, evaluation={"ratios": [0.1]})


def test_responses_are_learned_measured_and_generated(model: Path, questions: Path, tmp_path: Path) -> None:
    context, _ = prepare(asked(model, questions, max_new_tokens=12))
    bare, _ = train_job(context, TrainingJob("head", "head", 0.01, 0))
    job = lora(context)
    trained, state = train_job(context, job)
    assert trained.validation.loss < bare.validation.loss - 0.5
    assert trained.validation.quality > bare.validation.quality + 0.2
    tested, arrays = evaluate_job(context, job, state)
    assert tested.quality == pytest.approx(float(arrays["0.outputs"][0].mean()))
    write_adapter(tmp_path / "adapter", context, job, state, trained.validation)
    predictor = load_predictor(tmp_path / "adapter")
    responses = predictor.generate(["Chelsea win away", "Markets fall"])
    assert all(response.startswith("It is") for response in responses)
    with pytest.raises(SlatError, match="generates responses, and has no labels"):
        predictor(["Chelsea win away"])
    rows = label_rows(predictor, Rows("file", {"q": ["Chelsea win away", "Markets fall"]}, {}))
    assert rows.columns["predicted"] == responses


def test_a_batch_of_responses_in_parts_has_the_same_gradients(model: Path, questions: Path) -> None:
    losses = []
    for parts in (1, 3):
        training = {"steps": 5, "batch_size": 12, "accumulation": parts}
        context, _ = prepare(asked(model, questions).model_copy(update={"training": Training(**training)}))
        losses.append(train_job(context, lora(context))[0].validation.loss)
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


@pytest.mark.parametrize("metric", ["exact_match", "rouge_l"])
def test_a_search_by_what_is_generated(model: Path, questions: Path, metric: str) -> None:
    config = asked(model, questions, metric=metric, max_new_tokens=6, max_rows=40)
    context, _ = prepare(config.model_copy(update={"training": Training(steps=6, batch_size=16)}))
    result, state = train_job(context, TrainingJob("search", "search", 0.03, 0, options={"budget": 600}))
    assert 0 <= result.validation.quality <= 1
    assert {name.split(".")[0] for name in state} == {"adapter"}
