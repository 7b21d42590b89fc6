"""PyTorch Lightning: QPSBGD and its schedule in `configure_optimizers`; the rest is Lightning as ever.

pip install pytorch-lightning
python examples/lightning_digits.py
"""

import sys
from typing import Any

import pytorch_lightning as lightning
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from qpsbgd import QPSBGD
from qpsbgd.data.datasets import digits
from qpsbgd.nn import Scale, to_binary


class BinaryNetwork(lightning.LightningModule):  # type: ignore[misc] # which ships no types
    """A 64-256-10 network with weights in {-1, +1}."""

    def __init__(self) -> None:
        super().__init__()
        self.net = to_binary(
            nn.Sequential(nn.Linear(64, 256), nn.BatchNorm1d(256), nn.ReLU(), nn.Linear(256, 10), Scale())
        )

    def training_step(self, batch: Any, number: int) -> Any:
        inputs, labels = batch
        return nn.functional.cross_entropy(self.net(inputs), labels)

    def validation_step(self, batch: Any, number: int) -> None:
        inputs, labels = batch
        self.log("accuracy", (self.net(inputs).argmax(1) == labels).float().mean())

    def configure_optimizers(self) -> Any:
        optimizer = QPSBGD(self.parameters(), lr=0.01)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.trainer.max_epochs)
        return {"optimizer": optimizer, "lr_scheduler": schedule}


lightning.seed_everything(0, verbose=False)
data = digits()
X, y, X_test, y_test = map(torch.tensor, (data.x_train, data.y_train, data.x_test, data.y_test))
trainer = lightning.Trainer(
    max_epochs=int(sys.argv[1]) if len(sys.argv) > 1 else 20,
    accelerator="cpu",
    logger=False,
    enable_checkpointing=False,
    enable_progress_bar=False,
    enable_model_summary=False,
)
model = BinaryNetwork()
trainer.fit(model, DataLoader(TensorDataset(X, y), batch_size=100, shuffle=True))
(result,) = trainer.validate(model, DataLoader(TensorDataset(X_test, y_test), batch_size=500), verbose=False)
print("test accuracy:", result["accuracy"])
