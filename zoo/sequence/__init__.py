"""Networks on series."""

from zoo.sequence.autoregression import Autoregression
from zoo.sequence.bilstm import BiLSTM
from zoo.sequence.elman import Elman
from zoo.sequence.gru import GRU
from zoo.sequence.jordan import Jordan
from zoo.sequence.lstm import LSTM
from zoo.sequence.peephole_lstm import PeepholeLSTM
