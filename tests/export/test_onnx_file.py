import hashlib

import onnx
import pytest

from slimprune.errors import VerificationError
from slimprune.export import read_metadata
from slimprune.export.onnx_file import read_onnx, write_bytes


def test_metadata_comes_back_without_prefix_and_seal(written):
    assert read_metadata(written) == {"recipe": "abc"}
    keys = [entry.key for entry in onnx.load(written).metadata_props]
    assert keys == ["slimprune.recipe", "slimprune.sha256"]


def test_the_seal_is_the_digest_of_all_bytes_before_it(written):
    data = written.read_bytes()
    digest = onnx.load(written).metadata_props[-1].value
    piece = onnx.ModelProto()
    piece.metadata_props.add(key="slimprune.sha256", value=digest)
    end = piece.SerializeToString()
    assert data.endswith(end)
    assert hashlib.sha256(data.removesuffix(end)).hexdigest() == digest


def test_any_altered_byte_is_found(written, tmp_path):
    data, path = written.read_bytes(), tmp_path / "altered.onnx"
    for position in [*range(0, len(data), 31), *range(len(data) - 120, len(data))]:
        altered = bytearray(data)
        altered[position] ^= 1
        path.write_bytes(altered)
        with pytest.raises(VerificationError):
            read_onnx(path)


@pytest.mark.parametrize("keep", [0.0, 0.5, 0.999])
def test_a_truncated_file_is_refused(written, tmp_path, keep):
    data, path = written.read_bytes(), tmp_path / "short.onnx"
    path.write_bytes(data[: int(keep * len(data))])
    if keep:
        with pytest.raises(VerificationError):
            read_metadata(path)
    else:
        assert read_metadata(path) == {}


def test_an_absent_file_is_refused(tmp_path):
    with pytest.raises(VerificationError, match="readable ONNX file"):
        read_metadata(tmp_path / "absent.onnx")


def test_a_file_of_another_maker_has_no_metadata_of_ours(written, tmp_path):
    model, path = onnx.load(written), tmp_path / "other.onnx"
    del model.metadata_props[:]
    model.metadata_props.add(key="author", value="someone")
    onnx.save(model, path)
    assert read_metadata(path) == {}


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    path = tmp_path / "model.onnx"
    write_bytes(path, b"old")

    def fail(self, target):
        raise KeyboardInterrupt

    monkeypatch.setattr(type(path), "replace", fail)
    with pytest.raises(KeyboardInterrupt):
        write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
