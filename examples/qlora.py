"""Search 4,000 parameters of a language model whose frozen weights are kept in 4 bits, with the SFTTrainer of trl.

Needs `pip install "slat-search[llm,offline,quantized,trainer]"`.
"""

import sys

import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig
from trl import SFTConfig, SFTTrainer

from slat_search import SearchPlan, SlatCallback, Supernet, load_adapter, save_adapter
from slat_search.models.registry import model_path
from slat_search.structure import find_sites
from slat_search.tasks import bbc

STEPS = int(sys.argv[1]) if len(sys.argv) > 1 else 60

name = model_path("gemma-270m")  # the embedded model; any decoder of the hub does
labels, splits = bbc.load("bbc-headline", (0.8, 0.1, 0.1), seed=0)
rows = [{"prompt": f"Headline: {e.texts[0]}\nTopic:", "completion": f" {labels[e.label]}"} for e in splits["train"]]
quantization = BitsAndBytesConfig(
    load_in_4bit=True,
    bnb_4bit_quant_type="nf4",
    bnb_4bit_use_double_quant=True,
    bnb_4bit_compute_dtype=torch.bfloat16,
)


def load():
    model = AutoModelForCausalLM.from_pretrained(name, quantization_config=quantization, dtype=torch.bfloat16)
    return model.requires_grad_(False)


model = load()
print(f"frozen weights: {model.get_memory_footprint() / 1e6:.0f} MB")
supernet = Supernet(model, find_sites(model))
callback = SlatCallback(supernet, SearchPlan(budget=4000))
trainer = SFTTrainer(
    model,
    SFTConfig(
        output_dir="qlora-output",
        max_steps=STEPS,
        learning_rate=1e-3,
        per_device_train_batch_size=8,
        bf16=False,  # weights are in bfloat16 already; this would be mixed precision
        use_cpu=not torch.cuda.is_available(),
        save_strategy="no",
        report_to="none",
    ),
    train_dataset=Dataset.from_list(rows),
    eval_dataset=Dataset.from_list(rows[:64]),
    processing_class=AutoTokenizer.from_pretrained(name),
    callbacks=[callback],
)
trainer.train()
before = trainer.evaluate()
print(callback.structure.describe(), f"loss {before['eval_loss']:.3f}")

file = save_adapter(callback.adapter, "qlora-output")
supernet.detach()
trainer.model = load()
load_adapter(trainer.model, file)
assert abs(trainer.evaluate()["eval_loss"] - before["eval_loss"]) < 1e-3
