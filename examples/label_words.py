"""What is a headline about? A language model answers in words, and the search finds where few numbers teach it most.

Needs `pip install "slat-search[llm,offline]"`.
"""

import sys

from slat_search import run

STEPS = int(sys.argv[1]) if len(sys.argv) > 1 else 60

result = run(
    {
        "name": "label_words",
        "task": {
            "name": "bbc-headline",  # of your own: {"name": ..., "train": "rows.csv", "label": "topic", ...}
            "max_rows": 8 * STEPS,
            "prompt": "Headline: {headline}\nTopic:",
        },
        "model": "gemma-270m",  # the embedded decoder; any causal language model of the hub does
        "training": {"steps": STEPS, "batch_size": 8},
        "search": {"trials": 2, "num_selected": 1, "final_weights": "inherited"},
        "baselines": ["head", {"method": "lora", "size": 8, "learning_rates": [0.0003, 0.001]}],
        "evaluation": {"kinds": ["typos"], "ratios": [0.2]},
        "seeds": 1,
    },
    out="label-words",
    overwrite=True,
)
print(result.table[["name", "params", "quality"]].to_string(index=False))

headline = "Chelsea win away at Arsenal"
predict = result.predictor()
print(headline, dict(zip(predict.task.labels, predict([headline])[0].round(3), strict=True)))
