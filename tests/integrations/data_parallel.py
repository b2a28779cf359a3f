"""One of several processes that search together, started by torchrun: saves what it found."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from tests.integrations.loops import arguments, classifier, in_trainer, language_model, steady, supernet_on

if __name__ == "__main__":
    folder, make, kind = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    torch.set_num_threads(1)
    model = classifier() if make == "classifier" else language_model()
    supernet = supernet_on(model.model if make == "classifier" else model, kind)
    plan, optimizer = steady(kind)
    args = arguments(folder, int(sys.argv[4]), **optimizer)
    args_rank = args.process_index
    if args_rank:  # what other processes drew at the start must not count
        torch.nn.init.normal_(next(iter(supernet.adapter.parameters())), std=0.0)
    run, trainer = in_trainer(model, supernet, plan, args)
    torch.save((run.structure.to_json(), run.weights, run.loss, args.world_size), folder / f"{args_rank}.pt")
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()  # whose threads, left to the interpreter's end, abort it now and then
