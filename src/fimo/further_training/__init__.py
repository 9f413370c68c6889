"""The gold standard: further training from the final model, with and without each left-out example."""
