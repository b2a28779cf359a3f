"""Search an adapter structure of 2,000 parameters of a language model with the SFTTrainer of trl.

Needs `pip install "slat-search[offline,trainer]"`.
"""

import sys

from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from trl import SFTConfig, SFTTrainer

from slat_search import SearchPlan, SlatCallback, Supernet, load_adapter, save_adapter
from slat_search.structure import find_sites
from slat_search.tasks import bbc

STEPS = int(sys.argv[1]) if len(sys.argv) > 1 else 60

# A small random model with a tokenizer of its own; take AutoModelForCausalLM.from_pretrained(...) and its tokenizer.
texts = [example.texts[0] for example in bbc.load("bbc-headline", (0.8, 0.1, 0.1), seed=0)[1]["train"]]
words = Tokenizer(models.WordLevel(unk_token="<unk>"))
words.pre_tokenizer = pre_tokenizers.Whitespace()
words.train_from_iterator(texts, trainers.WordLevelTrainer(vocab_size=500, special_tokens=["<unk>", "<pad>", "</s>"]))
tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="<unk>", pad_token="<pad>", eos_token="</s>")
config = LlamaConfig(hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4, vocab_size=500)
model = LlamaForCausalLM(config).requires_grad_(False)

supernet = Supernet(model, find_sites(model))
callback = SlatCallback(supernet, SearchPlan(budget=2000))
trainer = SFTTrainer(
    model,
    SFTConfig(
        output_dir="sft-output",
        max_steps=STEPS,
        learning_rate=3e-3,
        per_device_train_batch_size=8,
        gradient_accumulation_steps=2,
        bf16=False,
        save_strategy="no",
        report_to="none",
    ),
    train_dataset=Dataset.from_dict({"text": texts}),
    processing_class=tokenizer,
    callbacks=[callback],
)
trainer.train()
print(callback.structure.describe())

file = save_adapter(callback.adapter, "sft-output")
supernet.detach()  # the model is as it was, bit for bit
adapter = load_adapter(model, file)
print(f"{file}: {adapter.structure.params} parameters")
