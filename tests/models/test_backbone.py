"""Models of any family and precision become a frozen backbone that everything can be trained on."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers as hf
from safetensors.torch import load_file, save_file

from slat_search import SlatError
from slat_search.baselines import METHODS
from slat_search.config import Config
from slat_search.inference.predictor import load_predictor
from slat_search.inference.saved import write_adapter
from slat_search.models import registry as models
from slat_search.models.backbone import load_backbone
from slat_search.models.registry import model_path
from slat_search.structure import Structure, attach, find_sites
from slat_search.training.context import Context, prepare
from slat_search.training.evaluate import predict_logits
from slat_search.training.jobs import TrainingJob, train_job
from tests.conftest import small_config
from tests.structure.test_families import GROUPED, SMALL
from tests.structure.test_kinds import shake

BF16, F32 = torch.bfloat16, torch.float32
Saved = Callable[..., Path]


@pytest.fixture
def saved(tmp_path: Path) -> Saved:
    """Saves a random model beside MiniLM's tokenizer, as a checkpoint of the given type."""

    def save(model: hf.PreTrainedModel, dtype: torch.dtype = F32) -> Path:
        folder = tmp_path / type(model).__name__
        model.to(dtype).save_pretrained(folder)
        hf.AutoTokenizer.from_pretrained(model_path("minilm")).save_pretrained(folder)
        return folder

    return save


def words() -> dict[str, int]:
    return {"vocab_size": 30_522}


def llama() -> hf.PreTrainedModel:
    torch.manual_seed(0)
    return hf.LlamaModel(hf.LlamaConfig(**(GROUPED | words())))


@pytest.mark.parametrize("dtype", [BF16, torch.float16, F32])
def test_weights_are_float32_whatever_they_were_saved_in(saved: Saved, dtype: torch.dtype) -> None:
    folder = saved(llama(), dtype)
    model = load_backbone(str(folder)).model
    assert {p.dtype for p in model.parameters()} == {F32}
    assert not any(p.requires_grad for p in model.parameters())
    assert torch.equal(model.layers[1].mlp.up_proj.weight, llama().to(dtype).float().layers[1].mlp.up_proj.weight)


def test_a_decoder_keeps_no_keys_and_values(saved: Saved) -> None:
    backbone = load_backbone(str(saved(llama())))
    out = backbone.model(**backbone.tokenizer("Chelsea win away", return_tensors="pt", return_token_type_ids=False))
    assert out.past_key_values is None


def test_an_adapter_on_half_precision_is_kept_and_computed_in_float32(saved: Saved) -> None:
    backbone = load_backbone(str(saved(llama(), BF16)), weights="bfloat16")
    model, sites = backbone.model, find_sites(backbone.model)
    assert {p.dtype for p in model.parameters()} == {BF16}
    batch = backbone.tokenizer("Chelsea win away", return_tensors="pt", return_token_type_ids=False)
    bare = model(**batch).last_hidden_state
    structure = Structure.lora(sites, 2, ("q", "v", "mlp_out")) | Structure.houlsby(sites, 2) | Structure.bitfit(sites)
    adapter = attach(model, structure)
    assert {p.dtype for p in adapter.parameters()} == {F32}
    assert torch.equal(model(**batch).last_hidden_state, bare)  # fresh: bit for bit
    model(**batch).last_hidden_state.float().square().mean().backward()
    assert all(p.grad is not None and p.grad.dtype == F32 for p in adapter.parameters())
    adapter.detach()


def test_merging_leaves_weights_in_their_precision(saved: Saved) -> None:
    backbone = load_backbone(str(saved(llama(), BF16)), weights="bfloat16")
    model = backbone.model
    batch = backbone.tokenizer("Chelsea win away", return_tensors="pt", return_token_type_ids=False)
    bare = model(**batch).last_hidden_state
    adapter = attach(model, Structure.lora(find_sites(model), 2, ("q", "v", "mlp_out")))
    shake(adapter)
    expected = model(**batch).last_hidden_state
    assert not adapter.merge().modules
    assert {p.dtype for p in model.parameters()} == {BF16}
    merged = model(**batch).last_hidden_state
    assert (merged - expected).norm() < 0.1 * (expected - bare).norm()  # rounding of bfloat16, not another function


def half_context(folder: Path, **changes: object) -> Context:
    fields = {"name": str(folder), "weights": "bfloat16", "pooling": "last"}
    return prepare(small_config(model=fields, task={"name": "bbc-headline", "max_rows": 48}, **changes))[0]


def test_every_method_trains_float32_weights_on_half_precision(saved: Saved, tmp_path: Path) -> None:
    others = [{"method": "peft", "tuner": name} for name in ("hira", "loha", "randlora")]
    config = Config.model_validate({"baselines": ["all", *others]})
    context = half_context(saved(llama(), BF16), training={"steps": 2, "batch_size": 8})
    bare = {name: value.clone() for name, value in context.frozen.model.state_dict().items()}
    tried = set()
    for baseline in config.baselines:
        if baseline.same_size:
            baseline = baseline.sized(1000)
        options = baseline.options | {"kinds": {"lora": 2}, "seed": 0}
        unit = TrainingJob(baseline.method, baseline.label, baseline.learning_rates[-1], 0, options=options)
        result, state = train_job(context, unit)
        assert np.isfinite(result.validation.loss), baseline.method
        assert {value.dtype for value in state.values()} == {np.dtype(np.float32)}, baseline.method
        tried.add(baseline.method)
    assert tried == METHODS.keys() - {"slat"}
    left = context.frozen.model.state_dict()
    assert all(torch.equal(value, left[name]) for name, value in bare.items())


def test_the_real_encoder_learns_in_half_precision(tmp_path: Path) -> None:
    """To the loss of float32 and a little, and a saved adapter has the same quality again."""
    fields = {"task": {"name": "bbc-headline", "max_rows": 48}, "training": {"steps": 6, "batch_size": 8}}
    whole, half = (
        prepare(small_config(model={"name": "minilm", "weights": weights}, **fields))[0]
        for weights in ("float32", "bfloat16")
    )
    unit = TrainingJob("uniform", "uniform", 0.01, 0, options={"budget": 20_000})
    (expected, _), (result, state) = train_job(whole, unit), train_job(half, unit)
    assert expected.validation.loss < np.log(len(whole.tasks[0].labels)) - 0.1  # it has learned
    assert result.validation.loss == pytest.approx(expected.validation.loss, rel=0.05)
    write_adapter(tmp_path / "bundle", half, unit, state, result.validation)
    predictor = load_predictor(tmp_path / "bundle")
    assert next(predictor.model.backbone.parameters()).dtype == BF16
    logits = predict_logits(predictor.model, half.tasks[0].validation)
    assert (logits.argmax(axis=1) == half.tasks[0].validation.labels).mean() == result.validation.quality


def test_of_an_encoder_decoder_the_encoder_is_taken(saved: Saved) -> None:
    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2}
    folder = saved(hf.T5Model(hf.T5Config(**sizes, **words())))
    backbone = load_backbone(str(folder))
    assert type(backbone.model) is hf.T5EncoderModel
    assert backbone.width == 16
    context = prepare(small_config(model={"name": str(folder)}, task={"name": "bbc-headline", "max_rows": 48}))[0]
    result, _ = train_job(context, TrainingJob("lora", "lora", 0.003, 0, options={"size": 2, "roles": ["q", "v"]}))
    assert np.isfinite(result.validation.loss)


TRANSLATOR = {
    "d_model": 16, "encoder_layers": 2, "decoder_layers": 1, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32,
    "encoder_attention_heads": 2, "decoder_attention_heads": 2, "max_position_embeddings": 64, "pad_token_id": 0,
    "bos_token_id": 101, "eos_token_id": 102, "decoder_start_token_id": 102, "dropout": 0.3,
}  # fmt: skip
STACK = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2, "decoder_start_token_id": 0}
#: families whose encoder has no class that it could be loaded by
TAKEN_OUT = [
    (hf.BartModel, hf.BartConfig, TRANSLATOR),
    (hf.MBartModel, hf.MBartConfig, TRANSLATOR),
    (hf.PegasusModel, hf.PegasusConfig, TRANSLATOR),
    (hf.BlenderbotModel, hf.BlenderbotConfig, TRANSLATOR),
    (hf.M2M100Model, hf.M2M100Config, TRANSLATOR),
    (hf.LEDModel, hf.LEDConfig, {**TRANSLATOR, "max_encoder_position_embeddings": 64, "attention_window": 8}),
    (hf.LongT5Model, hf.LongT5Config, STACK),
    (hf.SwitchTransformersModel, hf.SwitchTransformersConfig, {**STACK, "num_experts": 2}),
]


@pytest.mark.parametrize(("kind", "config", "fields"), TAKEN_OUT, ids=[kind.__name__ for kind, _, _ in TAKEN_OUT])
def test_the_encoder_is_taken_out_where_it_cannot_be_loaded_alone(
    saved: Saved, kind: type[hf.PreTrainedModel], config: type[hf.PreTrainedConfig], fields: dict[str, object]
) -> None:
    torch.manual_seed(0)
    whole = kind(config(**fields, **words())).eval()
    backbone = load_backbone(str(saved(whole)))
    encoder = whole.get_encoder()
    assert type(backbone.model) is type(encoder)
    assert backbone.width == 16
    assert backbone.params == sum(p.numel() for p in encoder.parameters())
    again = pickle.loads(pickle.dumps(backbone)).model  # as workers get it
    batch = backbone.tokenizer(["Chelsea win away", "Film"], padding=True, return_tensors="pt")
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
    expected = encoder(**inputs).last_hidden_state
    for model in (backbone.model.eval(), again):
        torch.testing.assert_close(model(**inputs).last_hidden_state, expected, atol=1e-6, rtol=1e-6)
    backbone.model.train()
    assert torch.equal(backbone.model(**inputs).last_hidden_state, backbone.model(**inputs).last_hidden_state)


def test_bart_trains(saved: Saved, tmp_path: Path) -> None:
    torch.manual_seed(0)
    folder = saved(hf.BartModel(hf.BartConfig(**TRANSLATOR, **words())))
    task = {"name": "bbc-headline", "max_rows": 48, "max_length": 64}
    context = prepare(small_config(model={"name": str(folder)}, task=task))[0]
    unit = TrainingJob("lora", "lora", 0.003, 0, options={"size": 2, "roles": ["q", "v"]})
    result, state = train_job(context, unit)
    assert np.isfinite(result.validation.loss)
    write_adapter(tmp_path / "adapter", context, unit, state, result.validation)
    logits = predict_logits(load_predictor(tmp_path / "adapter").model, context.tasks[0].validation)
    assert (logits.argmax(axis=1) == context.tasks[0].validation.labels).mean() == result.validation.quality


def test_what_an_unused_decoder_lacks_is_no_fault(saved: Saved) -> None:
    folder = saved(hf.BartModel(hf.BartConfig(**TRANSLATOR, **words())))
    state = load_file(folder / "model.safetensors")
    encoder = {name: value for name, value in state.items() if not name.startswith("decoder.")}
    save_file(encoder, folder / "model.safetensors", metadata={"format": "pt"})
    load_backbone(str(folder))
    lost = {name: value for name, value in encoder.items() if "encoder.layers.1.fc1" not in name}
    save_file(lost, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(SlatError, match=r"lack encoder.layers.1.fc1.bias \(and 1 more\) of a BartEncoder"):
        load_backbone(str(folder))


SOUND = {**TRANSLATOR, "max_source_positions": 50, "max_target_positions": 40, "num_mel_bins": 8}


def test_a_model_that_reads_sound_is_refused(saved: Saved) -> None:
    folder = saved(hf.WhisperModel(hf.WhisperConfig(**SOUND, **words())))
    with pytest.raises(SlatError, match=r"model.name: cannot load .*: whisper is no model of text alone"):
        load_backbone(str(folder))


ENCODER = {**SMALL, **words(), "num_hidden_layers": 1, "max_position_embeddings": 42}
#: families, and the tokens that a table of 42 positions is for
LENGTHS = {
    "BERT": (hf.BertModel, hf.BertConfig, 42),
    "RoBERTa": (hf.RobertaModel, hf.RobertaConfig, 40),
    "RoBERTa, norm first": (hf.RobertaPreLayerNormModel, hf.RobertaPreLayerNormConfig, 40),
    "XLM-RoBERTa": (hf.XLMRobertaModel, hf.XLMRobertaConfig, 40),
    "XLM-RoBERTa-XL": (hf.XLMRobertaXLModel, hf.XLMRobertaXLConfig, 40),
    "CamemBERT": (hf.CamembertModel, hf.CamembertConfig, 40),
    "data2vec": (hf.Data2VecTextModel, hf.Data2VecTextConfig, 40),
    "MPNet": (hf.MPNetModel, hf.MPNetConfig, 40),
    "Longformer": (hf.LongformerModel, hf.LongformerConfig, 40),
    "I-BERT": (hf.IBertModel, hf.IBertConfig, 40),
    "LUKE": (hf.LukeModel, hf.LukeConfig, 40),
    "Nystromformer": (hf.NystromformerModel, hf.NystromformerConfig, 42),
    "XLM": (hf.XLMModel, hf.XLMConfig, 42),
    "GPT-2": (hf.GPT2Model, hf.GPT2Config, 42),
    "OPT": (hf.OPTModel, hf.OPTConfig, 42),
    "BART": (hf.BartModel, hf.BartConfig, 42),
    "LED": (hf.LEDModel, hf.LEDConfig, 40),
}


@pytest.mark.parametrize("family", LENGTHS)
def test_the_longest_text_is_what_the_model_can_read(saved: Saved, family: str) -> None:
    """Some count positions from behind the padding token's number, so that their table is for two tokens fewer."""
    kind, config, longest = LENGTHS[family]
    small = {**ENCODER, **TRANSLATOR, "n_positions": 42, "max_encoder_position_embeddings": 40, "attention_window": 8}
    small |= {"n_embd": 16, "n_layer": 1, "n_head": 2, "emb_dim": 16, "n_layers": 1, "n_heads": 2, "ffn_dim": 32}
    small |= {"entity_vocab_size": 10, "word_embed_proj_dim": 16, "max_position_embeddings": 42, "pad_token_id": 1}
    known = {name: value for name, value in small.items() if hasattr(config(), name)}
    backbone = load_backbone(str(saved(kind(config(**known)))))
    backbone.tokenizer.model_max_length = 10**30  # which says nothing
    assert backbone.longest == longest
    text = torch.full((1, longest), 2_000)
    assert backbone.model(input_ids=text).last_hidden_state.shape == (1, longest, 16)
    with pytest.raises((IndexError, RuntimeError)):
        backbone.model(input_ids=torch.full((1, longest + 1), 2_000))
    backbone.tokenizer.model_max_length = 32
    assert backbone.longest == 32


def test_a_length_that_only_padding_would_need_is_refused(saved: Saved) -> None:
    folder = saved(hf.RobertaModel(hf.RobertaConfig(**{**ENCODER, "max_position_embeddings": 66, "pad_token_id": 1})))
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer"}')  # with no length
    task = {"name": "bbc-headline", "max_rows": 48}
    with pytest.raises(SlatError, match=r"task.max_length: 66 tokens are more than the 64 that the model takes"):
        prepare(small_config(model={"name": str(folder)}, task={**task, "max_length": 66}))
    prepare(small_config(model={"name": str(folder)}, task={**task, "max_length": 64}))


def test_a_model_that_reads_images_too_is_refused(saved: Saved) -> None:
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1}
    text = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "head_dim": 8, **heads, **words()}
    vision = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = hf.Gemma3Config(text_config=text, vision_config=vision | {"image_size": 16, "patch_size": 8})
    with pytest.raises(SlatError, match=r"model.name: cannot load .*: gemma3 is no model of text alone"):
        load_backbone(str(saved(hf.Gemma3Model(config))))


def test_an_embedded_model_names_the_extra_that_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    lost = replace(models.EMBEDDED_MODELS["gemma-270m"], packages=("no_such_package",))
    monkeypatch.setitem(models.EMBEDDED_MODELS, "gemma-270m", lost)
    with pytest.raises(SlatError, match=r"'gemma-270m' needs `pip install slat-search\[llm\]`"):
        load_backbone("gemma-270m")
