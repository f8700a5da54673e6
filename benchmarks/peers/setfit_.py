"""SetFit as a peer: it fine-tunes MiniLM on one task and labels its queries.

Reads a line of JSON for each task on standard input (folder, support, labels, queries, seed,
max_steps) and answers each with a line (predicted, seconds_to_fit, seconds_to_predict, steps). Its
answers go to a copy of standard output, as SetFit prints there.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time

os.environ["HF_HUB_OFFLINE"] = "1"

import torch
from datasets import Dataset
from setfit import SetFitModel, Trainer, TrainingArguments


def answer(request: dict) -> dict:
    """Fine-tune by SetFit's own options, but for `max_steps`; processor time without loading."""
    model = SetFitModel.from_pretrained(request["folder"], local_files_only=True)
    train = Dataset.from_dict({"text": request["support"], "label": request["labels"]})
    with tempfile.TemporaryDirectory() as scratch:
        arguments = TrainingArguments(
            output_dir=scratch,
            seed=request["seed"],
            max_steps=request["max_steps"],
            show_progress_bar=False,
            report_to="none",
            save_strategy="no",
        )
        trainer = Trainer(model=model, args=arguments, train_dataset=train)
        began = time.process_time()
        trainer.train()
        fitted = time.process_time()
        predicted = [int(label) for label in model.predict(request["queries"])]
        done = time.process_time()
    return {
        "predicted": predicted,
        "seconds_to_fit": fitted - began,
        "seconds_to_predict": done - fitted,
        "steps": trainer.st_trainer.state.global_step,
    }


if __name__ == "__main__":
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), file=answers, flush=True)
