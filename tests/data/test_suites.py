from __future__ import annotations

from pathlib import Path

import pytest

from rerank_bench.data import suites
from rerank_bench.data.manifests import manifest_names
from rerank_bench.data.suites import load_suites, resolve_datasets
from rerank_bench.errors import ConfigError, ManifestError


@pytest.fixture
def suites_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A suites.toml to write into; the data sets stay the shipped ones."""
    monkeypatch.setattr(suites, "manifest_folder", lambda: tmp_path)
    return tmp_path / "suites.toml"


def test_suites_hold_what_their_names_say() -> None:
    found = load_suites()
    nanobeir = {name for name in manifest_names() if name.startswith("Nano")}
    assert set(found["nanobeir"].datasets) == nanobeir
    assert set(found["nanobeir-11"].datasets) == nanobeir - {"NanoArguAna", "NanoTouche2020"}
    assert found["nanobeir-3"].datasets == ("NanoMSMARCO", "NanoNFCorpus", "NanoNQ")
    assert found["default"].datasets == ("pydocs",)


def test_faults_of_the_suites_file_are_reported_at_once(suites_file: Path) -> None:
    suites_file.write_text(
        '[a]\ntitle = "t"\ndatasets = ["NanoMARCO", "NanoNQ"]\n[b]\ntitle = "t"\ndatasets = ["NanoNQ", "NanoNQ"]\n',
        encoding="utf-8",
    )
    with pytest.raises(
        ManifestError, match=r"suite a: unknown data set 'NanoMARCO'.*suite b: expected data sets, each once"
    ):
        load_suites()
    suites_file.write_text('[a]\ntitle = "t"\nsets = ["NanoNQ"]\n', encoding="utf-8")
    with pytest.raises(
        ManifestError, match=r"unknown key in suites\.a 'sets'; did you mean 'datasets'.*suites\.a\.datasets is missing"
    ):
        load_suites()


def test_nothing_asked_for_is_the_default_suite() -> None:
    selection = resolve_datasets([], [])
    assert selection.datasets == ("pydocs",)
    assert selection.suites == {}


def test_names_come_first_then_suites_each_set_once() -> None:
    selection = resolve_datasets(["nq", "NANOSCIFACT", "NanoNQ"], ["NanoBEIR-3"])
    assert selection.datasets == ("NanoNQ", "NanoSciFact", "NanoMSMARCO", "NanoNFCorpus")
    assert selection.suites == {"nanobeir-3": ("NanoMSMARCO", "NanoNFCorpus", "NanoNQ")}


def test_overlapping_suites() -> None:
    selection = resolve_datasets([], ["nanobeir-3", "nanobeir"])
    assert len(selection.datasets) == len(set(selection.datasets)) == 13
    assert selection.datasets[:3] == ("NanoMSMARCO", "NanoNFCorpus", "NanoNQ")
    assert list(selection.suites) == ["nanobeir-3", "nanobeir"]


def test_all_unknown_names_are_reported_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        resolve_datasets(["NanoNQ", "NanoMARCO", "./absent", "zzz"], ["nanobier", "nanobeir"])
    message = str(caught.value)
    assert "no such folder: './absent'" in message
    assert "unknown data set 'NanoMARCO'; did you mean 'NanoMSMARCO'" in message
    assert "unknown data set 'zzz'." in message
    assert "unknown suite 'nanobier'; did you mean 'nanobeir'" in message
    assert "unknown data set 'NanoNQ'" not in message


def test_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("mine", "NanoNQ", "other/mine"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert resolve_datasets(["mine", "./mine", str(tmp_path / "mine")], []).datasets == ("mine",)
    assert resolve_datasets(["NanoNQ"], []).datasets == ("NanoNQ",)
    assert resolve_datasets(["./NanoNQ"], []).datasets == ("./NanoNQ",)
    with pytest.raises(ConfigError, match="two data sets are called 'mine': mine and other/mine; rename"):
        resolve_datasets(["mine", "other/mine"], [])
    with pytest.raises(ConfigError, match=r"two data sets are called 'NanoNQ': NanoNQ and \./NanoNQ"):
        resolve_datasets(["NanoNQ", "./NanoNQ"], [])
