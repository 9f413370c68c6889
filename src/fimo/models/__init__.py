"""Networks, objectives and the training of the final model."""
