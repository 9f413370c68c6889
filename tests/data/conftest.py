import pytest
from configs import DATA, data_module
from own_tables import CLASSES, TARGET, write


@pytest.fixture
def load_table(tmp_path):
    def from_content(name, content, *overrides, task=CLASSES, target=TARGET):
        write(tmp_path / name, content)
        return data_module("csv", DATA, f"data.source.file={tmp_path / name}", target, task, *overrides).load()

    return from_content
