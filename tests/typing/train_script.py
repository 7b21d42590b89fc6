"""A user's script that trains, as type checkers see it; see solve_script.py."""

import torch
from torch import Tensor, nn

from qpsbgd import QPSBGD
from qpsbgd.baselines import BinaryConnect
from qpsbgd.export import binary_weights
from qpsbgd.nn import BinaryLinear, Scale, to_binary
from qpsbgd.solvers import NativeSolver


class Network(nn.Module):
    """Two layers, one of them converted."""

    def __init__(self) -> None:
        super().__init__()
        self.first = BinaryLinear(4, 8)
        self.second = to_binary(nn.Linear(8, 2))
        self.scale = Scale()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.scale(self.second(torch.tanh(self.first(x))))
        return out


def main() -> None:
    model = Network()
    optimizer: torch.optim.Optimizer
    for optimizer in (
        QPSBGD(
            model.parameters(), lr=0.01, memory="momentum", scale="auto", solver=NativeSolver(num_threads=1)
        ),
        BinaryConnect(model.parameters(), lr=0.01),
    ):
        schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1)
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(torch.ones(3, 4)), torch.zeros(3, 2))
        loss.backward()  # pyright: ignore[reportUnknownMemberType]  # torch's own
        optimizer.step()
        schedule.step()
    weights: dict[str, Tensor] = binary_weights(model)
    print(sorted(weights))
    try:
        QPSBGD(model.parameters(), memory="momentun")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    except ValueError as error:
        print(error)


if __name__ == "__main__":
    main()
