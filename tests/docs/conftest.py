import pytest

from tests.docs.place import Place


@pytest.fixture
def place(tmp_path, request, monkeypatch):
    return Place(tmp_path, request, monkeypatch)
