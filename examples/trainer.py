"""Search an adapter structure of 1,000 parameters with the Trainer of transformers: what is a headline about?

Needs `pip install "slat-search[offline,trainer]"`.
"""

import sys

import numpy as np
from transformers import AutoModelForSequenceClassification, AutoTokenizer, Trainer, TrainingArguments

from slat_search import SearchPlan, SlatCallback, Supernet, load_adapter, save_adapter
from slat_search.models.registry import model_path
from slat_search.structure import find_sites
from slat_search.tasks import bbc

STEPS = int(sys.argv[1]) if len(sys.argv) > 1 else 200

name = model_path("minilm")  # the embedded model; any encoder or decoder of the hub does
labels, splits = bbc.load("bbc-headline", (0.8, 0.1, 0.1), seed=0)
tokenizer = AutoTokenizer.from_pretrained(name)
model = AutoModelForSequenceClassification.from_pretrained(name, num_labels=len(labels))
model.base_model.requires_grad_(False)  # the head stays trainable


def encoded(examples):
    return [{**tokenizer(text), "labels": label} for text, label in ((e.texts[0], e.label) for e in examples)]


supernet = Supernet(model.base_model, find_sites(model.base_model))
callback = SlatCallback(supernet, SearchPlan(budget=1000))
trainer = Trainer(
    model,
    TrainingArguments(
        output_dir="trainer-output",
        max_steps=STEPS,
        learning_rate=3e-3,
        warmup_steps=0.06,
        per_device_train_batch_size=32,
        eval_strategy="steps",
        eval_steps=max(1, STEPS // 4),  # of the structure as it would be if the search ended here
        save_strategy="no",
        report_to="none",
    ),
    train_dataset=encoded(splits["train"]),
    eval_dataset=encoded(splits["validation"][:256]),
    processing_class=tokenizer,
    compute_metrics=lambda p: {"accuracy": float(np.mean(p.predictions.argmax(-1) == p.label_ids))},
    callbacks=[callback],
)
trainer.train()
before = trainer.evaluate()
print(callback.structure.describe(), before["eval_accuracy"])

trainer.save_model("trainer-output/model")  # backbone, head and adapter
save_adapter(callback.adapter, "trainer-output/adapter.safetensors")  # the adapter alone
supernet.detach()  # the backbone is as it was, bit for bit

again = AutoModelForSequenceClassification.from_pretrained("trainer-output/model")
load_adapter(again.base_model, "trainer-output/model")
after = Trainer(again, trainer.args, eval_dataset=trainer.eval_dataset, processing_class=tokenizer).evaluate()
assert abs(after["eval_loss"] - before["eval_loss"]) < 1e-4
