"""Train a small adapter in a loop of one's own, write it for peft, and load it again without this library.

    python examples/export_and_reload.py

Prints the probabilities of the trained model and of the reloaded one, and how far they are apart.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
from peft import AutoPeftModelForSequenceClassification
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from slat_search import Structure, attach
from slat_search.export import to_peft
from slat_search.models.registry import model_path
from slat_search.structure import find_sites

TEXTS = ["Chelsea win away at Arsenal", "Shares fall after a surprise rise in interest rates"]
LABELS = ["sport", "business"]
STEPS = 5


def main() -> float:
    """Return the largest difference between the probabilities before and after."""
    torch.manual_seed(0)
    base = model_path("minilm")  # or any name on the Hugging Face hub
    tokenizer = AutoTokenizer.from_pretrained(base)
    names = {"num_labels": len(LABELS), "id2label": dict(enumerate(LABELS))}
    model = AutoModelForSequenceClassification.from_pretrained(base, **names).eval()
    model.requires_grad_(False)
    model.classifier.requires_grad_(True)

    sites = [site for site in find_sites(model) if site.role in ("q", "v") and site.layer >= 4]
    adapter = attach(model, Structure.lora(sites, r=2))
    print(adapter.structure.describe())

    batch = tokenizer(TEXTS, padding=True, return_tensors="pt")
    labels = torch.tensor([0, 1])
    trained = [*adapter.parameters(), *model.classifier.parameters()]
    optimizer = torch.optim.AdamW(trained, lr=0.01)
    for _ in range(STEPS):
        loss = model(**batch, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        before = model(**batch).logits.softmax(-1)

    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "for-peft"
        to_peft(adapter, model, out=out)
        again = AutoPeftModelForSequenceClassification.from_pretrained(out, **names).eval()
        with torch.no_grad():
            after = again(**batch).logits.softmax(-1)

    for text, one, two in zip(TEXTS, before, after, strict=True):
        best = LABELS[int(one.argmax())]
        print(f"{best:<10}{one.max():.4f} trained, {two[one.argmax()]:.4f} reloaded   {text}")
    apart = float((before - after).abs().max())
    print(f"largest difference: {apart:.1e}")
    return apart


if __name__ == "__main__":
    main()
