"""Training of one network with PyTorch: model, optimizer step, precision, checkpoints, inherited weights."""
