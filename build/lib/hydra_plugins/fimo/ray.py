"""The launcher of Ray jobs, under a name that Hydra accepts."""

from fimo.app import ray


class RayLauncher(ray.RayLauncher):
    """See `fimo.app.ray`."""
