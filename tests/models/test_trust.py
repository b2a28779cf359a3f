"""Code that a model or an adapter names is not run, unless the caller allows it; commits of the hub stay."""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import ray
import torch
from click.testing import CliRunner

import slat_search
from slat_search import SlatError
from slat_search.cli import main
from slat_search.config import Config
from slat_search.inference.saved import write_adapter
from slat_search.models.backbone import load_backbone
from slat_search.models.registry import Source, model_path
from slat_search.provenance import environment
from slat_search.records import Measures, SavedAdapter, TrainingJob
from slat_search.search.runtime import send_code_of_models
from slat_search.training.context import prepare
from tests.conftest import small_config

PACKAGE = Path(slat_search.__file__).parent
LOADERS = ("from_pretrained", "load_dataset")
MARK = "ran"
CODE = f"""
from pathlib import Path
Path(__file__).parent.joinpath({MARK!r}).touch()
Path({{place!r}}).touch()
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

class MyConfig(BertConfig):
    model_type = "mine"

class MyModel(BertModel):
    config_class = MyConfig

class MyTokenizer(PreTrainedTokenizerFast):
    pass
"""
CLASSES = {"AutoConfig": "mine.MyConfig", "AutoModel": "mine.MyModel", "AutoTokenizer": ["mine.MyTokenizer", None]}


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """MiniLM with code beside it that leaves a mark where it runs."""
    folder = shutil.copytree(model_path("minilm"), tmp_path / "hostile")
    (folder / "mine.py").write_text(CODE.format(place=str(tmp_path / MARK)))
    for name in ("config.json", "tokenizer_config.json"):
        fields = json.loads((folder / name).read_text())
        fields |= {"auto_map": CLASSES, "model_type": "mine"} if name == "config.json" else {"auto_map": CLASSES}
        (folder / name).write_text(json.dumps(fields))
    return folder


def config(model: Path | str, **fields: object) -> Config:
    task = {"name": "bbc-headline", "max_rows": 32}
    return small_config(task=task, model={"name": str(model), **fields})


def saved(folder: Path, config: Config) -> Path:
    """An adapter of the bare head."""
    context, _ = prepare(config)
    (model,) = context.models()
    state = {f"head.{name}": value.detach().numpy() for name, value in model.head.state_dict().items()}
    measures = Measures(quality=0.5, quality_perturbed=0.5, retained=1.0, loss=1.0)
    write_adapter(folder, context, TrainingJob("head", "head", 0.01, 0), state, measures)
    return folder


def test_every_call_that_could_run_code_says_that_it_must_not() -> None:
    calls = 0
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in LOADERS:
                if ast.unparse(node.func).startswith("PeftModel"):  # takes the model itself, and none by its name
                    continue
                calls += 1
                text = ast.unparse(node)
                assert (
                    "trust_remote_code=False" in text
                    or "source.options" in text
                    or "**gguf_source" in text
                    or ".options" in text
                ), (path, text)
    assert calls >= 7
    assert Source("x", "x").options == {"trust_remote_code": False}


def test_an_adapter_never_runs_the_code_of_its_model(tmp_path: Path, hostile: Path) -> None:
    """Whatever the adapter says, and whatever is answered on standard input."""
    adapter = saved(tmp_path / "adapter", config("minilm"))
    for trusts in (False, True):
        fields = json.loads((adapter / "adapter.json").read_text())
        fields.pop("digest", None)
        fields["model"] |= {"name": str(hostile), "trust_remote_code": trusts}
        (adapter / "adapter.json").write_text(json.dumps(fields))
        for command in (["predict", str(adapter), "--text", "x"], ["export", str(adapter), "--out", f"{adapter}-out"]):
            ran = CliRunner().invoke(main, command, input="y\n" * 1000)
            assert ran.exit_code == 2, ran.stderr
            assert "code of its own" in ran.stderr, ran.stderr
            assert ("--trust-remote-code" in ran.stderr) == trusts
    assert not list(tmp_path.rglob(MARK))


def test_a_model_of_a_known_kind_is_loaded_without_its_code(tmp_path: Path, hostile: Path) -> None:
    fields = json.loads((hostile / "config.json").read_text())
    (hostile / "config.json").write_text(json.dumps({**fields, "model_type": "bert"}))
    assert type(load_backbone(str(hostile)).model).__module__.startswith("transformers.")
    assert not list(tmp_path.rglob(MARK))


def test_attention_from_the_hub_is_code_too(hostile: Path) -> None:
    fields = json.loads((hostile / "config.json").read_text())
    fields |= {"model_type": "bert", "attn_implementation": "someone/kernel", "_attn_implementation": "someone/kernel"}
    (hostile / "config.json").write_text(json.dumps(fields))
    with pytest.raises(SlatError, match=r"its attention is code of someone/kernel on the hub, which is not run"):
        load_backbone(str(hostile))


def test_code_that_a_configuration_allows_runs_and_its_adapter_asks_again(tmp_path: Path, hostile: Path) -> None:
    trusting = config(hostile, trust_remote_code=True)
    adapter = saved(tmp_path / "adapter", trusting)
    assert (tmp_path / MARK).exists()
    with pytest.raises(SlatError, match="which runs only if you allow it: `slat predict --trust-remote-code`"):
        slat_search.load(adapter)
    send_code_of_models()
    (tmp_path / "sent").write_bytes(ray.cloudpickle.dumps(prepare(trusting)[0].frozen))
    code = f"import pickle; print(type(pickle.load(open({str(tmp_path / 'sent')!r}, 'rb')).model).__name__)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ran.stdout == "MyModel\n", ran.stderr
    predictor = slat_search.load(adapter, trust_remote_code=True)
    assert type(predictor.model.backbone).__name__ == "MyModel"
    assert predictor(["Shares fall"]).shape == (1, 5)
    with pytest.raises(SlatError, match=r"which is not run; `model\.trust_remote_code: true` in a config"):
        prepare(config(hostile))


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """A cache of the hub with two commits of a model, the newer one with other weights; returns both commits."""
    from safetensors.torch import load_file, save_file

    old, new = "a" * 40, "b" * 40
    place = tmp_path / "hub" / "models--some--model"
    for commit in (old, new):
        shutil.copytree(model_path("minilm"), place / "snapshots" / commit)
    weights = load_file(place / "snapshots" / new / "model.safetensors")
    save_file({name: value * 1.01 for name, value in weights.items()}, place / "snapshots" / new / "model.safetensors")
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text(old)
    for module in list(sys.modules.values()):
        if getattr(module, "__name__", "").startswith(("huggingface_hub", "transformers")):
            for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
                if name in vars(module):
                    monkeypatch.setattr(module, name, str(tmp_path / "hub"))
            if "HF_HUB_OFFLINE" in vars(module):
                monkeypatch.setattr(module, "HF_HUB_OFFLINE", True)
    return old, new


def test_an_adapter_reads_the_commit_that_it_was_trained_on(tmp_path: Path, hub: tuple[str, str]) -> None:
    old, new = hub
    context, tasks = prepare(config("some/model"))
    assert context.frozen.revision == old
    assert environment(context, tasks).model.revision == old
    adapter = saved(tmp_path / "adapter", config("some/model"))
    assert SavedAdapter.read(adapter / "adapter.json").revision == old
    (tmp_path / "hub" / "models--some--model" / "refs" / "main").write_text(new)  # the branch moves
    newest, pinned = load_backbone("some/model"), load_backbone("some/model", revision=old)
    assert (newest.revision, pinned.revision) == (new, old)
    assert not torch.equal(next(newest.model.parameters()), next(pinned.model.parameters()))
    assert slat_search.load(adapter)(["Shares fall"]).shape == (1, 5)
    assert prepare(config("some/model", revision=new))[0].frozen.revision == new
    assert prepare(config("some/model"), revision=old)[0].frozen.revision == old  # of a run that is resumed
