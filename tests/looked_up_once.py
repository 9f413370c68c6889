"""What Hydra and OmegaConf look up anew for every config, looked up once by the tests: files, patterns, a digest."""

import pickle
from functools import cache

import omegaconf._utils
import omegaconf.base
import omegaconf.grammar_parser
from hydra._internal import config_loader_impl, target_policy
from hydra._internal.config_repository import CachingConfigRepository

from fimo.app.errors import CONFIG_DIR

_files: dict = {}


class SharedRepository(CachingConfigRepository):
    """Config files by name, read once for all configs where no folder but the project's own is searched."""

    def load_config(self, config_path):
        cached = f"config_path={config_path}"
        if any(source.scheme() == "file" and source.path != str(CONFIG_DIR) for source in self.get_sources()):
            return super().load_config(config_path)
        if cached not in self.cache and config_path in _files:
            self.cache[cached] = pickle.loads(_files[config_path])
        loaded = super().load_config(config_path)
        if loaded is not None and config_path not in _files:
            _files[config_path] = pickle.dumps(loaded)
        return loaded


def look_up_once():
    """From here on."""
    config_loader_impl.CachingConfigRepository = SharedRepository
    parse = cache(omegaconf.grammar_parser.parse)
    for module in (omegaconf.base, omegaconf._utils):
        module.parse = parse
    target_policy._validated_target_policy = cache(target_policy._validated_target_policy)
