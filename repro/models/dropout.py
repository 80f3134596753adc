"""Dropout that is cheap on a CPU, where torch draws one number after the other for every element."""

import torch
from torch import Tensor, nn


class Dropout(nn.Dropout):
    """Dropout with 16 random bits an element, four elements to a draw: several times faster than torch's on a CPU.

    The share dropped is p rounded to 1 / 65536, and what stays is scaled by that share. On a GPU it is torch's own.
    """

    def forward(self, states: Tensor) -> Tensor:
        """states: any shape."""
        if states.is_cuda or not self.training or not 0 < self.p < 1:
            return super().forward(states)
        dropped = round(self.p * 65536)
        draws = torch.empty((states.numel() + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
        bits = draws.view(torch.int16)[: states.numel()].view(states.shape)
        kept = torch.ge(
            bits, dropped - 32768, out=torch.empty_like(states)
        )  # 1 or 0, with no pass over booleans
        return states * kept.mul_(65536 / (65536 - dropped))


def make_fast(model: nn.Module) -> None:
    """Put a Dropout in the place of every nn.Dropout of the model."""
    for module in list(model.modules()):
        for name, child in module.named_children():
            if type(child) is nn.Dropout:
                setattr(module, name, Dropout(child.p).train(child.training))
