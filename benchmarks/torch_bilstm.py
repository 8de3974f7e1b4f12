"""The PyTorch baseline of `benchmarks.bilstm`: a BiLSTM with `torch.nn.LSTM`."""

import torch
from torch import nn
from torch.nn import functional

from benchmarks import contest


class BiLSTM(nn.Module):
    """Series (B, T, F) to a forecast of one step and value (B, 1, 1)."""

    def __init__(self, features, units, layers, dropout):
        super().__init__()
        self.lstm = nn.LSTM(
            features, units, layers, batch_first=True, dropout=dropout, bidirectional=True
        )
        self.head = nn.Linear(2 * units, 1)
        for name, bias in self.lstm.named_parameters():
            if name.startswith("bias_hh"):  # redundant with bias_ih; ours has one bias
                nn.init.zeros_(bias).requires_grad_(False)

    def forward(self, x):
        """Predict from the last state of both directions."""
        _, (last, _) = self.lstm(x)
        return self.head(torch.cat([last[-2], last[-1]], -1))[:, None]


def steps(x, y, units, layers, dropout, threads=None):
    """Build the model and its timed steps, see `contest.torch_steps`; targets y (B, 1, 1)."""
    torch.manual_seed(0)
    net = BiLSTM(x.shape[-1], units, layers, dropout)
    return contest.torch_steps(net, functional.mse_loss, x, y, threads=threads)
