"""Baselines in a configuration: by name, by set and with fields."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from slat_search import SlatError
from slat_search.config import Config, load_config


def test_baselines_by_name_by_set_and_with_fields() -> None:
    mixed = ["standard", {"method": "lora", "size": 4, "roles": ["all"], "peft": {"use_rslora": True}}, "prefix"]
    config = Config.model_validate({"baselines": mixed})
    labels = [baseline.label for baseline in config.baselines]
    assert labels[:3] == ["lora-8", "lora-2-all", "dora-8"]
    assert labels[-1] == "prefix-16"
    assert config.baselines[-2].title == "LoRA r=4 (all) [use_rslora=True]"
    assert len(set(labels)) == len(labels) == 17
    tiny, other = Config.model_validate(
        {"baselines": [{"method": "peft", "tuner": "tinylora", "peft": {"u": u}} for u in (8, 16)]}
    ).baselines
    assert (tiny.title, other.title) == ("tinylora [u=8]", "tinylora [u=16]")
    assert tiny.label.startswith("peft-tinylora-")
    assert tiny.label != other.label
    assert Config.model_validate(config.model_dump(mode="json")) == config
    few = Config.model_validate({"baselines": "few"}).baselines
    assert [b.method for b in few] == ["lora", "houlsby", "bitfit", "head"]
    assert Config().baselines == Config.model_validate({"baselines": ["few"]}).baselines
    assert Config.model_validate({"baselines": []}).baselines == ()


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"method": "bitfit", "size": 3}, "bitfit takes no size"),
        ({"method": "houlsby", "peft": {"r": 3}}, "houlsby takes no peft"),
        ({"method": "lora", "budget": 3}, "lora takes no budget"),
        ({"method": "lora", "tuner": "boft"}, "lora takes no tuner"),
        ("peft", "peft needs `tuner`"),
        ({"method": "lorra"}, "'lora'.*did you mean lora"),
    ],
)
def test_a_wrong_baseline_is_one_sentence(tmp_path: Path, entry: object, message: str) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(yaml.safe_dump({"baselines": [entry]}))
    with pytest.raises(SlatError, match=message) as caught:
        load_config(path)
    assert "baselines.0" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_a_baseline_takes_by_default_stands_in_the_resolved_configuration() -> None:
    raw = Config.model_validate({"baselines": ["full", "dora"]}).model_dump(mode="json")["baselines"]
    assert raw[0]["learning_rates"] == [3e-5, 1e-4, 3e-4]
    assert (raw[1]["size"], raw[1]["roles"]) == (8, ["q", "v", "qkv"])
