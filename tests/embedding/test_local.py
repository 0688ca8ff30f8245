"""The embedder path:FOLDER, and which model an embedder is."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest

from lesson15.embedding import (
    HashingEmbedder,
    canonical_name,
    check_embedder,
    dimensions_of,
    identity_of,
    open_embedder,
    probe_vector,
    same_model,
)
from lesson15.embedding.identity import hash_of_folder
from lesson15.embedding.minilm import MiniLMEmbedder, model_folder
from lesson15.embedding.sentence import SentenceTransformerEmbedder, dimensions_in
from lesson15.errors import EmbedderNameError, EmbeddingModelError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the folder of MiniLM."""
    return Path(shutil.copytree(model_folder(), tmp_path / "my model"))


@pytest.fixture(scope="module")
def minilm() -> MiniLMEmbedder:
    return MiniLMEmbedder()


@pytest.mark.model
def test_any_model_folder_will_do(folder: Path, minilm: MiniLMEmbedder) -> None:
    name = f"path:{folder}"
    assert dimensions_of(name) == 384
    embedder = open_embedder(name)
    assert (embedder.name, embedder.dimensions) == (name, 384)
    texts = ["a harbour at night", "ein Hafen bei Nacht"]
    assert np.allclose(embedder.embed(texts), minilm.embed(texts), atol=1e-6)


@pytest.mark.parametrize("form", ["path:my model", "path:./x/../my model", "path:my model/"])
def test_a_manifest_keeps_the_absolute_folder(
    folder: Path, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder.parent)
    assert canonical_name(form) == f"path:{folder}"
    monkeypatch.setenv("HOME", str(folder.parent))
    assert canonical_name("path:~/my model") == f"path:{folder}"
    assert canonical_name("hashing") == "hashing"


def test_a_folder_that_holds_no_model_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    for name, part in (
        ("path:", "no folder is named"),
        (f"path:{tmp_path / 'absent'}", "does not exist"),
        (f"path:{tmp_path / 'file'}", "is a file"),
        (f"path:{tmp_path / 'empty'}", "neither modules.json nor config.json"),
    ):
        for call in (check_embedder, canonical_name, dimensions_of, open_embedder):
            with pytest.raises(EmbedderNameError) as caught:
                call(name)
            assert part in str(caught.value)


@pytest.mark.model
@pytest.mark.parametrize("damage", ["model.safetensors", "config.json", "tokenizer.json"])
def test_a_damaged_model_is_an_error_of_the_model(folder: Path, damage: str) -> None:
    path = folder / damage
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 3])
    with pytest.raises(EmbeddingModelError, match="my model"):
        open_embedder(f"path:{folder}")


def test_the_length_of_a_vector_stands_in_the_configuration(folder: Path, tmp_path: Path) -> None:
    assert dimensions_in(folder) == 384
    pooling = json.loads((folder / "1_Pooling" / "config.json").read_text())
    pooling["pooling_mode_max_tokens"] = True
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    assert dimensions_in(folder) == 768
    modules = json.loads((folder / "modules.json").read_text())
    modules.append({"path": "3_Dense", "type": "sentence_transformers.models.Dense"})
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "3_Dense").mkdir()
    (folder / "3_Dense" / "config.json").write_text('{"out_features": 100}')
    assert dimensions_in(folder) == 100
    assert dimensions_in(tmp_path) is None


# --- identity ---------------------------------------------------------------------------------


@pytest.mark.model
def test_an_identity_is_json_and_names_the_weights(minilm: MiniLMEmbedder, folder: Path) -> None:
    identity = identity_of(minilm)
    assert json.loads(json.dumps(identity)) == identity
    assert (identity["name"], identity["dimensions"]) == ("minilm", 384)
    assert identity["sha256"] == hash_of_folder(folder)  # wherever it lies
    assert identity_of(HashingEmbedder()) == {"name": "hashing", "dimensions": 256}
    remote = HashingEmbedder()
    remote.revision = "2025-01"  # type: ignore[attr-defined]
    assert identity_of(remote)["revision"] == "2025-01"


def test_every_file_of_a_model_counts(folder: Path) -> None:
    before = hash_of_folder(folder)
    started = time.monotonic()
    for _ in range(20):
        assert hash_of_folder(folder) == before
    assert time.monotonic() - started < 5  # the weights are read once
    for name in ("model.safetensors", "tokenizer.json", "1_Pooling/config.json"):
        path = folder / name
        content = path.read_bytes()
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        os.utime(path, ns=(time.time_ns(), time.time_ns()))
        assert hash_of_folder(folder) != before
        path.write_bytes(content)
    assert hash_of_folder(folder) == before
    (folder / "README.md").write_text("read me")
    assert hash_of_folder(folder) == before


@pytest.mark.model
def test_probes_tell_models_apart(minilm: MiniLMEmbedder) -> None:
    probe = probe_vector(minilm)
    assert len(json.dumps(probe)) < 8000
    assert same_model(probe, probe_vector(minilm))
    assert not same_model(probe, probe_vector(HashingEmbedder(384)))
    assert not same_model(probe, probe_vector(HashingEmbedder(256)))
    assert not same_model(probe, [0.0] * 384)
    assert not same_model(probe, [float("nan")] * 384)
    assert not same_model(probe, [-value for value in probe])


@pytest.mark.model
@pytest.mark.parametrize("precision", ["float16", "bfloat16", "float64"])
def test_another_precision_is_the_same_model(minilm: MiniLMEmbedder, precision: str) -> None:
    import torch

    other = SentenceTransformerEmbedder(model_folder())
    other.model.to(getattr(torch, precision))
    assert same_model(probe_vector(minilm), probe_vector(other))


@pytest.mark.model
@pytest.mark.parametrize("noise", [0.02, 0.1])
def test_other_weights_are_another_model(minilm: MiniLMEmbedder, noise: float) -> None:
    import torch

    other = SentenceTransformerEmbedder(model_folder())
    generator = torch.Generator().manual_seed(15)
    with torch.no_grad():
        for parameter in other.model.parameters():
            change = torch.randn(parameter.shape, generator=generator) * parameter.std()
            parameter += noise * torch.nan_to_num(change)
    assert not same_model(probe_vector(minilm), probe_vector(other))
