"""Formats: arrays and weights as the bytes of a file, and back. What files are called is not known here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
import xarray as xr
from safetensors import SafetensorError
from safetensors.torch import load_file as load_safetensors
from safetensors.torch import save as save_safetensors

from fimo.errors import UserError, short
from fimo.models.checkpoint import tied


def from_dataset(dataset: xr.Dataset) -> bytes:
    """A NetCDF file (h5netcdf, zlib level 4), in chunks of one step: steps are what is read apart from each other."""
    encoding = {
        name: {
            "zlib": True,
            "complevel": 4,
            "chunksizes": tuple(1 if d == "step" else n for d, n in array.sizes.items()),
        }
        for name, array in dataset.data_vars.items()
    }
    return bytes(dataset.to_netcdf(engine="h5netcdf", encoding=encoding))


def open_dataset(path: Path) -> xr.Dataset:
    """The Dataset in a NetCDF file; values are read when they are asked for."""
    return xr.open_dataset(path, engine="h5netcdf")


def read_dataset(path: Path) -> xr.Dataset:
    """The Dataset in a NetCDF file with its values; the file is closed."""
    with open_dataset(path) as dataset:
        return dataset.load()


def from_weights(weights: Mapping[str, torch.Tensor]) -> bytes:
    """A safetensors file; a weight that is tied to an earlier one is left out, since it is the same tensor."""
    same = tied(weights)
    return save_safetensors({name: t.detach().cpu().contiguous() for name, t in weights.items() if name not in same})


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """The weights in a safetensors file.

    Raises:
        UserError: where the file is none.
    """
    try:
        return load_safetensors(path)
    except SafetensorError as reason:
        raise UserError(f"{path} can't be read as safetensors ({short(reason)}).") from reason
