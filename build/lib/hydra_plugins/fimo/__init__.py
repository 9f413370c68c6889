"""What Hydra takes from packages of this name only: the launcher of Ray jobs, and the search that goes on."""
