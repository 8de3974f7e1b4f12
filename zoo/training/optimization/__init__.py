"""How weights are updated: optimizers, schedules of the learning rate, averages of weights."""
