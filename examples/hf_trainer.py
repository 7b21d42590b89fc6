"""Hugging Face: `Trainer` with QPSBGD as its optimizer, on a tiny BERT that is built here.

    pip install transformers accelerate
    python examples/hf_trainer.py

Nothing is downloaded. The task: does the sentence hold the word 7? `to_recorded` lets the real weights of the
linear layers take binary steps. All else, embeddings among them, takes steps of Adam in the same optimizer.
"""

import sys
import tempfile

import torch
from torch import Tensor
from torch.utils.data import Dataset
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments, set_seed

from qpsbgd import QPSBGD
from qpsbgd.nn import to_recorded

WORDS, LENGTH = 32, 12
steps = int(sys.argv[1]) if len(sys.argv) > 1 else 150


class Sentences(Dataset[dict[str, Tensor]]):
    """Random words; half of the sentences hold a 7."""

    def __init__(self, count: int, seed: int) -> None:
        draw = torch.Generator().manual_seed(seed)
        words = torch.randint(8, WORDS, (count, LENGTH), generator=draw)
        self.labels = torch.arange(count) % 2
        places = torch.randint(LENGTH, (count,), generator=draw)
        words[torch.arange(count), places] = torch.where(self.labels == 1, 7, words[:, 0])
        self.words = words

    def __len__(self) -> int:
        return len(self.words)

    def __getitem__(self, number: int) -> dict[str, Tensor]:
        return {"input_ids": self.words[number], "labels": self.labels[number]}


set_seed(0)
model = BertForSequenceClassification(
    BertConfig(
        vocab_size=WORDS, hidden_size=32, num_hidden_layers=1, num_attention_heads=4, intermediate_size=64,
        max_position_embeddings=LENGTH,
    )
)  # fmt: skip
optimizer = QPSBGD(to_recorded(model).parameters(), lr=0.05)
schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps)
with tempfile.TemporaryDirectory() as folder:
    trainer = Trainer(
        model=model,
        args=TrainingArguments(
            output_dir=folder, max_steps=steps, per_device_train_batch_size=64, max_grad_norm=0.0,
            use_cpu=True, report_to="none", save_strategy="no", logging_strategy="no", disable_tqdm=True,
        ),
        train_dataset=Sentences(2048, seed=0),
        eval_dataset=Sentences(512, seed=1),
        compute_metrics=lambda answers: {
            "accuracy": (answers.predictions.argmax(-1) == answers.label_ids).mean()
        },
        optimizers=(optimizer, schedule),
    )  # fmt: skip
    trainer.train()
    print("binary steps of", optimizer.num_qubos, "rows; test accuracy:", trainer.evaluate()["eval_accuracy"])
