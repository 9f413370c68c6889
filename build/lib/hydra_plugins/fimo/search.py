"""The search that goes on, under a name that Hydra accepts."""

from fimo.app import search


class Search(search.Search):
    """See `fimo.app.search`."""
