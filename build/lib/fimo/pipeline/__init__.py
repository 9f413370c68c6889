"""One run through its stages, resumable: addresses, artifacts, workers, results."""
