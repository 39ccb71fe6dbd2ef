"""The tests' own hub, asked by the real client for a model repository."""

from __future__ import annotations

from pathlib import Path

import pytest
from huggingface_hub import HfApi, hf_hub_download, snapshot_download
from huggingface_hub.errors import RepositoryNotFoundError
from loopback_hub import LoopbackHub, use_hub

FILES = {"config.json": b'{"model_type": "bert"}', "sub/model.safetensors": bytes(range(256)) * 40}


def test_model_repositories(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with LoopbackHub() as hub:
        use_hub(monkeypatch, hub, tmp_path)
        first = hub.add_repository("org/model", FILES, repository_type="model")
        second = hub.add_repository("org/model", {**FILES, "config.json": b"{}"}, repository_type="model")
        folder = Path(snapshot_download("org/model", revision=first))
        found = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        assert found == FILES
        newest = Path(hf_hub_download("org/model", "config.json"))
        assert (newest.parent.name, newest.read_bytes()) == (second, b"{}")
        assert sorted(HfApi().list_repo_files("org/model")) == sorted(FILES)
        with pytest.raises(RepositoryNotFoundError):
            snapshot_download("org/model", repo_type="dataset")


def test_an_interrupted_transfer_is_resumed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("time.sleep", lambda _seconds: None)  # between the client's retries
    with LoopbackHub() as hub:
        use_hub(monkeypatch, hub, tmp_path)
        commit = hub.add_repository("org/model", FILES, repository_type="model")
        repository = hub.repositories["model", "org/model"]
        repository.cut_after["sub/model.safetensors"] = 1000
        with pytest.raises(Exception, match="peer closed connection"):
            hf_hub_download("org/model", "sub/model.safetensors", revision=commit)
        repository.cut_after.clear()
        path = hf_hub_download("org/model", "sub/model.safetensors", revision=commit)
        assert Path(path).read_bytes() == FILES["sub/model.safetensors"]
