"""The Hydra apps: wiring of the package's rooms, and nothing that computes."""
