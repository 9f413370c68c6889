"""From a config to a run, once: the only room that knows Hydra, OmegaConf and Weights & Biases."""

from fimo.compat import tune_process

tune_process()  # before torch is imported
