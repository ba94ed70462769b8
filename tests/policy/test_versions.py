"""Version folders: complete or absent, and always what was trained."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors import SafetensorError

from policy.errors import CannotWrite, FingerprintMismatch, VersionCorrupt
from policy.versions import (
    MANIFEST,
    TOLERANCE,
    Fingerprint,
    Manifest,
    fingerprint_difference,
    fingerprint_tolerance,
    read_version,
    write_version,
)

FINGERPRINT = Fingerprint([1, 4, 5], [9, 7, 30], [-0.5, -1.5, -2.25])


def save(folder: Path) -> None:
    (folder / "adapter_model.safetensors").write_bytes(b"weights" * 100)
    (folder / "adapter_config.json").write_text("{}")


def write(folder: Path, **changes: object) -> Manifest:
    settings = {
        "version": 3,
        "parent": 1,
        "base_model": "pocket",
        "base_digest": "b" * 64,
        "seed": 7,
        "settings": {"lr": 1e-4},
    } | changes
    return write_version(folder, save=save, fingerprint=FINGERPRINT, **settings)  # type: ignore[arg-type]


def test_what_is_written_is_read(tmp_path: Path) -> None:
    manifest = write(tmp_path / "versions" / "000003")
    assert read_version(tmp_path / "versions" / "000003") == manifest
    assert manifest.fingerprint == FINGERPRINT
    assert set(manifest.files) == {"adapter_model.safetensors", "adapter_config.json"}
    assert [path.name for path in (tmp_path / "versions").iterdir()] == ["000003"]


def test_a_manifest_with_the_former_name_of_the_fingerprint_is_read(tmp_path: Path) -> None:
    manifest = write(tmp_path / "3")
    raw = json.loads((tmp_path / "3" / MANIFEST).read_text())
    raw["probe"] = raw.pop("fingerprint")
    (tmp_path / "3" / MANIFEST).write_text(json.dumps(raw))
    assert read_version(tmp_path / "3") == manifest


@pytest.mark.parametrize(
    "error",
    [OSError(28, "No space left on device"), SafetensorError("I/O error: No space left on device (os error 28)")],
)
def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path: Path, error: Exception) -> None:
    def fails(folder: Path) -> None:
        (folder / "half").write_text("half")
        raise error

    with pytest.raises(CannotWrite, match="^the version cannot be written to .*/3 .*No space left on device"):
        write_version(
            tmp_path / "3",
            version=3,
            parent=None,
            base_model="pocket",
            base_digest="b",
            save=fails,
            fingerprint=FINGERPRINT,
            seed=0,
            settings={},
        )
    assert not list(tmp_path.iterdir())


def test_the_digest_is_that_of_base_and_files_alone(tmp_path: Path) -> None:
    first = write(tmp_path / "1")
    assert write(tmp_path / "2", version=9, seed=1).digest == first.digest
    assert write(tmp_path / "3", base_digest="c" * 64).digest != first.digest


def test_a_damaged_version_is_refused_by_the_file_s_name(tmp_path: Path) -> None:
    folder = tmp_path / "3"
    write(folder)
    with (folder / "adapter_model.safetensors").open("r+b") as file:
        file.seek(50)
        file.write(b"?")
    with pytest.raises(VersionCorrupt, match="adapter_model.safetensors is not what was trained"):
        read_version(folder)
    assert read_version(folder, verify=False).version == 3
    (folder / "adapter_model.safetensors").unlink()
    with pytest.raises(VersionCorrupt, match="lacks adapter_model.safetensors"):
        read_version(folder)


def test_a_changed_manifest_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "3"
    write(folder)
    raw = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps({**raw, "base_digest": "d" * 64}))
    with pytest.raises(VersionCorrupt, match="is not that of its files"):
        read_version(folder)
    for broken in (
        "",
        "{",
        "[]",
        json.dumps({**raw, "fingerprint": None}),
        json.dumps({**raw, "surprise": 1}),
        json.dumps({"version": 3}),
    ):
        (folder / MANIFEST).write_text(broken)
        with pytest.raises(VersionCorrupt, match="cannot be read"):
            read_version(folder)
    (folder / MANIFEST).unlink()
    with pytest.raises(VersionCorrupt, match="is no version folder"):
        read_version(folder)


def test_a_failed_save_leaves_what_was_there(tmp_path: Path) -> None:
    before = write(tmp_path / "3")

    def fail(folder: Path) -> None:
        (folder / "half").write_text("half")
        raise OSError("no space left on device")

    with pytest.raises(OSError, match="no space left"):
        write_version(
            tmp_path / "3",
            version=3,
            parent=1,
            base_model="p",
            base_digest="b",
            save=fail,
            fingerprint=FINGERPRINT,
            seed=1,
            settings={},
        )
    assert read_version(tmp_path / "3") == before
    after = write(tmp_path / "3", seed=8)
    assert read_version(tmp_path / "3") == after
    assert [path.name for path in tmp_path.iterdir()] == ["3"]


def test_the_manifest_is_on_disk_before_the_folder_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The order of the calls: every file, then their folder, then the rename, then the folder above."""
    calls: list[str] = []
    real_fsync, real_rename = os.fsync, Path.rename

    def fsync(handle: int) -> None:
        calls.append(Path(os.readlink(f"/proc/self/fd/{handle}")).name)
        real_fsync(handle)

    def rename(self: Path, target: Path) -> Path:
        calls.append("rename")
        return real_rename(self, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "rename", rename)
    write(tmp_path / "3")
    at = calls.index("rename")
    assert {"adapter_model.safetensors", "adapter_config.json", MANIFEST} <= set(calls[:at])
    assert calls[at - 1].startswith(".3.")
    assert calls[at + 1] == tmp_path.name


def test_the_fingerprint_of_other_weights_is_refused() -> None:
    assert fingerprint_difference(FINGERPRINT, [-0.5, -1.51, -2.25], TOLERANCE["float32"]) == pytest.approx(0.01)
    with pytest.raises(FingerprintMismatch, match="by 0.5 nat"):
        fingerprint_difference(FINGERPRINT, [-0.5, -2.0, -2.25], TOLERANCE["float32"])
    for nan in ([float("nan"), -1.5, -2.25], [-0.5, -1.5, float("nan")]):
        with pytest.raises(FingerprintMismatch):
            fingerprint_difference(FINGERPRINT, nan, TOLERANCE["bfloat16"])
    with pytest.raises(ValueError, match="longer"):
        fingerprint_difference(FINGERPRINT, [-0.5, -1.5], 1.0)
    assert fingerprint_difference(replace(FINGERPRINT, top_ids=[], top_logps=[]), [], 0.0) == 0.0
    assert (
        fingerprint_tolerance("float32") < fingerprint_tolerance("bfloat16") == fingerprint_tolerance("float32", "q8_0")
    )
    assert fingerprint_tolerance("float32", recorded="bfloat16") == fingerprint_tolerance(
        "bfloat16"
    )  # trained on a GPU, served on a CPU
