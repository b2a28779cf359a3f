"""Run in the environment that holds the ``adapters`` library: its Houlsby and Pfeiffer adapters with random weights.

    python reference.py MODEL_FOLDER BATCH.safetensors OUT_FOLDER

Writes ``NAME.safetensors`` with every adapter weight and the last hidden state.
"""

import sys
from pathlib import Path

import adapters
import torch
from adapters import DoubleSeqBnConfig, SeqBnConfig
from safetensors.torch import load_file, save_file
from transformers import AutoModel

# The library's own Pfeiffer default reads its input after one more pass through the layer norm; without it the
# function is the one that Structure.pfeiffer documents.
CONFIGS = {
    "houlsby": DoubleSeqBnConfig(reduction_factor=48, non_linearity="gelu"),
    "pfeiffer": SeqBnConfig(reduction_factor=48, non_linearity="relu", original_ln_before=False),
}

model_folder, batch_file, out = sys.argv[1], sys.argv[2], Path(sys.argv[3])
batch = load_file(batch_file)
for name, config in CONFIGS.items():
    model = AutoModel.from_pretrained(model_folder, add_pooling_layer=False).eval()
    adapters.init(model)
    model.add_adapter(name, config=config)
    model.set_active_adapters(name)
    generator = torch.Generator().manual_seed(0)
    weights = {n: p for n, p in model.named_parameters() if f".adapters.{name}." in n}
    with torch.no_grad():
        for p in weights.values():
            p.copy_(0.05 * torch.randn(p.shape, generator=generator))
        output = model(**batch).last_hidden_state
    state = {n: p.detach().contiguous() for n, p in weights.items()}
    save_file({**state, "output": output}, out / f"{name}.safetensors")
