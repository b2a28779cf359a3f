"""A model whose files lack something, or do not fit together, is one sentence that names what; never a training on
random weights or unknown words."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import transformers as hf
from click.testing import CliRunner
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from tokenizers import models as kinds
from torch import Tensor

from slat_search import SlatError
from slat_search.cli import main
from slat_search.config import load_config
from slat_search.models.backbone import Backbone, load_backbone
from slat_search.models.registry import model_path
from slat_search.tasks import Example, check_room, encode
from slat_search.training.context import prepare
from tests.conftest import small_config

SOURCE = Path(model_path("minilm"))
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:53aa51172d14\nsize 90868376\n"
Damage = Callable[[Path], None]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """MiniLM's files, with links to those of the package; a test replaces some of them."""
    place = tmp_path / "encoder"
    place.mkdir()
    for file in SOURCE.iterdir():
        if file.is_file():
            (place / file.name).symlink_to(file)
    return place


def write(file: Path, content: str | bytes) -> None:
    file.unlink(missing_ok=True)
    file.write_bytes(content.encode() if isinstance(content, str) else content)


def content(name: str, text: str | bytes) -> Damage:
    return lambda folder: write(folder / name, text)


def without(*names: str) -> Damage:
    def remove(folder: Path) -> None:
        for name in names:
            (folder / name).unlink()

    return remove


def weights(change: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> Damage:
    """Other tensors, or other names of them."""

    def change_them(folder: Path) -> None:
        file = folder / "model.safetensors"
        state = change(load_file(file))
        file.unlink()
        save_file({name: value.contiguous() for name, value in state.items()}, file, metadata={"format": "pt"})

    return change_them


def configuration(**fields: object) -> Damage:
    def change(folder: Path) -> None:
        raw = json.loads((folder / "config.json").read_text()) | fields
        write(folder / "config.json", json.dumps({name: value for name, value in raw.items() if value is not None}))

    return change


def pickled(value: object) -> Damage:
    """The weights as ``pytorch_model.bin``, as they are or whole objects."""

    def change(folder: Path) -> None:
        state = load_file(folder / "model.safetensors")
        (folder / "model.safetensors").unlink()
        torch.save(value(state) if callable(value) else value, folder / "pytorch_model.bin")

    return change


def cut(name: str, size: int) -> Damage:
    return lambda folder: write(folder / name, (folder / name).read_bytes()[:size])


def both(*damages: Damage) -> Damage:
    def change(folder: Path) -> None:
        for damage in damages:
            damage(folder)

    return change


def shards(folder: Path) -> None:
    model = hf.AutoModel.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="30MB")
    (folder / "model-00002-of-00003.safetensors").unlink()


def prefixed(prefix: str) -> Damage:
    return weights(lambda state: {prefix + name: value for name, value in state.items()})


def nan(state: dict[str, Tensor]) -> dict[str, Tensor]:
    state["encoder.layer.2.output.dense.bias"][7] = float("nan")
    return state


QUERY = "encoder.layer.3.attention.self.query"
DAMAGES: dict[str, tuple[Damage, str]] = {
    "prefix module": (prefixed("module."), r"lack embeddings.LayerNorm.bias \(and 100 more\).* take 'module.' off"),
    "prefix model": (prefixed("model."), r"lack .* \(and 100 more\) of a BertModel; .* take 'model.' off"),
    "prefix of two": (prefixed("module.bert."), r"take 'module.bert.' off"),
    "compiled": (prefixed("_orig_mod."), r"take '_orig_mod.' off"),
    "block missing": (
        weights(lambda state: {n: v for n, v in state.items() if "layer.3." not in n}),
        r"lack encoder.layer.3.attention.output.LayerNorm.bias \(and 15 more\) of a BertModel$",
    ),
    "one tensor missing": (
        weights(lambda state: {n: v for n, v in state.items() if n != f"{QUERY}.weight"}),
        rf"lack {QUERY}.weight of a BertModel$",
    ),
    "shape": (
        weights(lambda state: state | {f"{QUERY}.weight": state[f"{QUERY}.weight"][:, :100]}),
        rf"do not fit its config.json: {QUERY}.weight is 384 x 100, and 384 x 384 in a BertModel",
    ),
    "unmerged LoRA": (
        weights(lambda state: state | {f"{QUERY}.lora_A.weight": torch.zeros(4, 384)}),
        "hold an adapter beside the model's own; merge it",
    ),
    "NaN": (weights(nan), "damaged: encoder.layer.2.output.dense.bias holds NaN or infinity"),
    "more blocks said": (configuration(num_hidden_layers=8), r"lack encoder.layer.6.* \(and 31 more\)"),
    "fewer blocks said": (configuration(num_hidden_layers=4), "says 4 blocks, and its weights have 6"),
    "another width said": (configuration(hidden_size=768), r"is 384, and 768 in a BertModel .*\(and 96 more\)"),
    "another vocabulary said": (
        configuration(vocab_size=20_000),
        "embeddings.word_embeddings.weight is 30522 x 384, and 20000 x 384",
    ),
    "heads": (configuration(num_attention_heads=7), "hidden size .384. is not a multiple"),
    "layers in words": (configuration(num_hidden_layers="six"), "num_hidden_layers.*expected int, got str"),
    "no model type": (configuration(model_type=None), "Should have a `model_type` key in its config.json"),
    "unknown model type": (configuration(model_type="mine"), "model type `mine` but Transformers does not recognize"),
    "code of its own": (configuration(model_type="mine", auto_map={"AutoConfig": "a.B"}), "needs code of its own"),
    "quantized": (configuration(quantization_config={"quant_method": "gptq", "bits": 4}), "GPTQ quantized model"),
    "broken configuration": (content("config.json", "{oops"), r"config.json is not JSON \(.*line 1 column 2"),
    "empty configuration": (content("config.json", ""), "config.json is empty"),
    "a list as configuration": (content("config.json", "[]"), "config.json is no JSON object"),
    "no configuration": (without("config.json"), "there is no config.json in the folder$"),
    "pointer": (content("model.safetensors", POINTER), "model.safetensors is a pointer of git-lfs.*`git lfs pull`"),
    "cut off": (cut("model.safetensors", 1_000_000), "cut off: 1,000,000 of 90,868,376 bytes are there"),
    "cut off in the header": (cut("model.safetensors", 100), "model.safetensors is cut off, or no safetensors file"),
    "offsets in words": (
        content("model.safetensors", (70).to_bytes(8, "little") + b'{"a": {"data_offsets": ["0", "4"]}}'.ljust(70)),
        "model.safetensors is cut off, or no safetensors file",
    ),
    "a page in its place": (content("model.safetensors", "<html>not found</html>"), "or no safetensors file"),
    "empty weights": (content("model.safetensors", ""), "model.safetensors is empty"),
    "no weights": (without("model.safetensors"), "no file named model.safetensors"),
    "shard missing": (shards, "model-00002-of-00003.safetensors is missing; model.safetensors.index.json names it"),
    "weight_map is a list": (
        both(shards, content("model.safetensors.index.json", '{"weight_map": []}')),
        "model.safetensors.index.json: weight_map does not name a file for each weight",
    ),
    "pickle cut off": (both(pickled(dict), cut("pytorch_model.bin", 1_000_000)), "pytorch_model.bin is cut off"),
    "pickle empty": (both(pickled(dict), content("pytorch_model.bin", "")), "pytorch_model.bin is empty"),
    "pickle a pointer": (both(pickled(dict), content("pytorch_model.bin", POINTER)), "pytorch_model.bin is a pointer"),
    "pickled object": (pickled(Path("x")), "holds more than weights"),
    "checkpoint of a training": (pickled(lambda s: {"epoch": 3, "state_dict": s}), "seem to be inside 'state_dict'"),
    "no tokenizer": (without("tokenizer.json", "vocab.txt"), "it has no tokenizer"),
    "no tokenizer at all": (
        without("tokenizer.json", "vocab.txt", "tokenizer_config.json", "special_tokens_map.json"),
        "it has no tokenizer",
    ),
    "vocabulary a pointer": (both(without("tokenizer.json"), content("vocab.txt", POINTER)), "vocab.txt is a pointer"),
    "tokenizer a pointer": (content("tokenizer.json", POINTER), "tokenizer.json is a pointer of git-lfs"),
    "tokenizer cut off": (cut("tokenizer.json", 20_000), "tokenizer.json is not JSON"),
    "tokenizer empty": (content("tokenizer.json", ""), "tokenizer.json is empty"),
    "vocabulary cut off": (
        both(without("tokenizer.json"), cut("vocab.txt", 20_000)),
        "has 2,768 tokens, and the model has embeddings for 30,522; .* another model, or cut off",
    ),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_what_cannot_be_loaded_whole_is_one_sentence(folder: Path, name: str) -> None:
    damage, message = DAMAGES[name]
    damage(folder)
    with pytest.raises(SlatError, match=message) as error:
        load_backbone(str(folder))
    assert str(error.value).startswith(f"model.name: cannot load {str(folder)!r}: ")
    assert len(str(error.value).splitlines()) == 1


def test_the_command_line_says_it_without_a_traceback(folder: Path, tmp_path: Path) -> None:
    prefixed("module.")(folder)
    config = tmp_path / "mine.yaml"
    config.write_text("task: {name: bbc-headline, max_rows: 48}\nmodel: {name: encoder}\n")
    result = CliRunner().invoke(main, ["run", str(config), "--out", str(tmp_path / "run")])
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
    assert "take 'module.' off their names" in result.stderr


@pytest.mark.parametrize(
    "harmless",
    [
        prefixed("bert."),
        weights(lambda state: {n: v for n, v in state.items() if "pooler" not in n}),
        weights(lambda state: state | {"cls.predictions.bias": torch.zeros(30_522), "classifier.bias": torch.ones(2)}),
        pickled(dict),
        without("vocab.txt"),
        without("tokenizer.json"),
    ],
)
def test_what_is_whole_still_loads(folder: Path, minilm: Backbone, harmless: Damage) -> None:
    """A head's prefix, no pooler, a head beside it, a pickle, one of two forms of the tokenizer."""
    harmless(folder)
    result = load_backbone(str(folder))
    assert all(torch.equal(v, minilm.model.state_dict()[n]) for n, v in result.model.state_dict().items())
    assert result.tokenizer("Chelsea win away")["input_ids"] == minilm.tokenizer("Chelsea win away")["input_ids"]


NAMES = {
    "/no/such/folder": "not a folder, and no name on the Hugging Face hub",
    "./encodr": "not a folder, and no name on the Hugging Face hub; did you mean encoder?",
    "models/of/mine": "not a folder, and no name on the Hugging Face hub",
    "~/no such": "not a folder, and no name",
    "": "not a folder, and no name",
    "minilmm": "did you mean minilm?",
    "encoder/config.json": "is a file; give the folder that it is in",
    "above": "there is no config.json in the folder; is above/snapshots/1a2b meant?",
    "adapter": "the folder holds an adapter of peft, not a model",
}


@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_nothing_has_is_one_sentence(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "above/snapshots/1a2b").mkdir(parents=True)
    shutil.copy(folder / "config.json", tmp_path / "above/snapshots/1a2b")
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter/adapter_config.json").write_text("{}")
    with pytest.raises(SlatError) as error:
        load_backbone(name)
    assert NAMES[name] in str(error.value)
    assert "\n" not in str(error.value)


def test_a_folder_may_be_named_from_home_or_from_where_one_is(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    elsewhere = tmp_path / "configs"
    elsewhere.mkdir()
    for name in ("~/encoder", "encoder", "../encoder", str(folder)):
        (elsewhere / "mine.yaml").write_text(f"model: {{name: {name}}}")
        assert Path(load_config(elsewhere / "mine.yaml").model.name).resolve() == folder
    assert load_backbone("~/encoder").width == 384


# Tokenizers: those of other models, and those that lack a token to pad with.


def save_tokenizer(folder: Path, words: list[str], **special: str) -> None:
    """Whole words by their number, in the place of the model's own tokenizer."""
    without("tokenizer.json", "vocab.txt", "tokenizer_config.json", "special_tokens_map.json")(folder)
    tokenizer = Tokenizer(kinds.WordLevel({word: number for number, word in enumerate(words)}, unk_token="[UNK]"))
    hf.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(folder)


def many(count: int) -> list[str]:
    return ["[UNK]", *(f"w{number}" for number in range(count - 1))]


def test_a_tokenizer_larger_than_the_embeddings_is_refused(folder: Path) -> None:
    save_tokenizer(folder, many(30_600), unk_token="[UNK]", pad_token="[UNK]")
    with pytest.raises(SlatError, match="numbers tokens up to 30,599, and the model has embeddings for 30,522"):
        load_backbone(str(folder))


def test_a_tokenizer_that_grew_without_the_model_is_refused(folder: Path) -> None:
    tokenizer = hf.AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(["covid19"])
    for file in folder.glob("tokenizer*"):
        file.unlink()
    tokenizer.save_pretrained(folder)
    with pytest.raises(SlatError, match=r"numbers tokens up to 30,522, .*resize_token_embeddings"):
        load_backbone(str(folder))


def test_a_padding_token_that_was_never_embedded_does_no_harm(folder: Path) -> None:
    """Added for batches, as many do with GPT-2; what is padded is masked, so another special token will do."""
    tokenizer = hf.AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"pad_token": "<nothing>"})
    for file in folder.glob("tokenizer*"):
        file.unlink()
    tokenizer.save_pretrained(folder)
    backbone = load_backbone(str(folder))
    data = encode(backbone.tokenizer, [Example(("a b c d",), 0), Example(("a",), 0)], 16)
    assert data.batch([0, 1])["input_ids"].max() < 30_522
    hidden = backbone.model.eval()(**{n: v for n, v in data.batch([0, 1]).items() if n != "labels"}).last_hidden_state
    alone = backbone.model(**{n: v for n, v in data.batch([1]).items() if n != "labels"}).last_hidden_state
    torch.testing.assert_close(hidden[1, : alone.shape[1]], alone[0], atol=1e-5, rtol=1e-5)


def test_a_tokenizer_with_no_token_to_pad_with_is_refused(folder: Path) -> None:
    save_tokenizer(folder, many(30_522))
    with pytest.raises(SlatError, match=r"no token to pad with; name a `pad_token` in its tokenizer_config\.json"):
        load_backbone(str(folder))


def test_any_special_token_pads(folder: Path) -> None:
    save_tokenizer(folder, many(30_522), unk_token="[UNK]", bos_token="w7")
    assert load_backbone(str(folder)).tokenizer.pad_token_id == 8


def test_byte_pairs_without_merges_are_refused(folder: Path) -> None:
    """It would cut every word into letters."""
    without("tokenizer.json", "vocab.txt", "tokenizer_config.json", "special_tokens_map.json")(folder)
    tokenizer = Tokenizer(kinds.BPE({word: number for number, word in enumerate(many(30_522))}, []))
    hf.PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="w0").save_pretrained(folder)
    with pytest.raises(SlatError, match=r"a vocabulary and no merges; is merges\.txt missing\?"):
        load_backbone(str(folder))


def test_a_much_smaller_vocabulary_with_other_special_tokens_is_refused(folder: Path) -> None:
    words = many(24_000)
    save_tokenizer(folder, words, unk_token="[UNK]", pad_token="w8")
    with pytest.raises(SlatError, match=r"has 24,000 tokens, .* another model"):
        load_backbone(str(folder))


def test_words_that_the_tokenizer_does_not_know_are_said(folder: Path) -> None:
    save_tokenizer(folder, many(30_522), unk_token="[UNK]", pad_token="w0")
    config = small_config(model={"name": str(folder)}, task={"name": "bbc-headline", "max_rows": 48})
    with pytest.raises(SlatError, match=r"model.name: 100% of the tokens of task bbc-headline's train texts are unk"):
        prepare(config)


def test_a_vocabulary_of_another_case_is_said(folder: Path, tmp_path: Path) -> None:
    raw = json.loads((folder / "tokenizer.json").read_text())
    raw["normalizer"]["lowercase"] = False
    write(folder / "tokenizer.json", json.dumps(raw))
    write(folder / "tokenizer_config.json", json.dumps({"do_lower_case": False, "tokenizer_class": "BertTokenizer"}))
    rows = [f"Shares Of Company {n} Fall In London,business\nChelsea Win {n} Games Away,sports\n" for n in range(40)]
    (tmp_path / "titles.csv").write_text("text,label\n" + "".join(rows))
    task = {"name": "titles", "train": str(tmp_path / "titles.csv")}
    with pytest.raises(SlatError, match=r"\[UNK\].* to its tokenizer; .* another language, script or case"):
        prepare(small_config(model={"name": str(folder)}, task=task))


def test_ordinary_text_is_known(recwarn: pytest.WarningsRecorder) -> None:
    prepare(small_config(task={"name": "bbc-match", "max_rows": 48}))
    assert not [warning for warning in recwarn if "unknown" in str(warning.message)]


def test_a_length_without_room_for_text_is_refused(minilm: Backbone) -> None:
    """A pair has three special tokens and needs two more."""
    task = {"name": "bbc-match", "max_rows": 48}
    with pytest.raises(SlatError, match=r"task.max_length: 4 tokens leave no room for text, as 3 of them are"):
        prepare(small_config(task={**task, "max_length": 4}))
    check_room(minilm.tokenizer, 5, sides=2)
    check_room(minilm.tokenizer, 3, sides=1)


def test_loading_says_nothing_of_its_own(folder: Path) -> None:
    """A head beside the model is nobody's business: not a line on the terminal."""
    weights(lambda state: state | {"cls.predictions.bias": torch.zeros(30_522)})(folder)
    records: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = records.append  # type: ignore[method-assign]
    logger = logging.getLogger("transformers")
    level = logger.level
    logger.addHandler(handler)
    try:
        load_backbone(str(folder))
    finally:
        logger.removeHandler(handler)
    assert not records
    assert logger.level == level  # as the caller had it


@pytest.mark.parametrize("length", [300, 5000])
def test_a_name_too_long_for_a_folder_is_one_sentence(length: int) -> None:
    with pytest.raises(SlatError, match=r"model\.name: 'x{40}' is no name of a model or folder: File name too long"):
        model_path("x" * length)
