"""Fine-tuning in parts: pictures, batches, network, loop, checkpoints, curves, the saved model."""
