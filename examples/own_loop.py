"""Search an adapter structure of at most 1,000 parameters in a training loop of your own."""

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from slat_search import SearchPlan, Supernet, controller_for, save_adapter
from slat_search.structure import SearchOptions, find_sites

STEPS = 60

# A small random model; take LlamaForCausalLM.from_pretrained(...) or any other transformer.
torch.manual_seed(0)
config = LlamaConfig(hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4, vocab_size=100)
model = LlamaForCausalLM(config).requires_grad_(False)
text = (torch.arange(12) + torch.randint(0, 80, (STEPS, 8, 1))) % 100  # sequences that count up

supernet = Supernet(model, find_sites(model), options=SearchOptions(warmup=0.0))  # no head to warm up
supernet.register()  # model.parameters(), model.eval(), model.to() ... now reach it
search = controller_for(supernet, SearchPlan(budget=1000), steps=STEPS)
optimizer = torch.optim.AdamW(supernet.adapter.parameters(), lr=1e-2, weight_decay=0.0)
for group in search.parameter_groups():  # of gates that are trained; screening has none
    optimizer.add_param_group(group)

for step, ids in enumerate(text, start=1):
    search.before_step(accumulation=1)
    loss = model(input_ids=ids, labels=ids).loss
    extra = search.loss()
    (loss if extra is None else loss + extra).backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.param_groups[0]["lr"] = 1e-2 * search.lr_factor
    optimizer.step()
    search.after_step(step, optimizer)  # candidates leave the model and the optimizer
    model.zero_grad()
    if step % 20 == 0:
        print(f"step {step}: loss {loss:.3f}, {supernet.params} parameters stand")

adapter = supernet.discretize(optimizer)
print(adapter.structure.describe())
save_adapter(adapter, "adapter.safetensors")
supernet.detach()  # the model is as it was, bit for bit
