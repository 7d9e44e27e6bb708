"""The registry of files: hashes, resuming, importing, and every way a file can be wrong."""

from __future__ import annotations

import hashlib
import http.server
import pickle
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import backbones
from backbones.loading import check_fits, load, read_state_dict
from likewise import weights
from likewise.cli import run
from likewise.errors import UsageError, WeightsError
from likewise.weights import WeightsFile, fetch_file

LITE = "efficientnet-lite0"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("LIKEWISE_WEIGHTS", str(folder))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return folder


class Server(http.server.ThreadingHTTPServer):
    """Serves one content, byte ranges too; may hang up after ``stop_after`` bytes."""

    content = b""
    stop_after: int | None = None
    ranges: list[str | None]


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.server.ranges.append(wanted)
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
        body = self.server.content[start:]
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: self.server.stop_after])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Handler) as serving:
        serving.ranges = []
        thread = threading.Thread(target=serving.serve_forever)
        thread.start()
        yield serving
        serving.shutdown()
        thread.join()


def known_file(server: Server, content: bytes) -> WeightsFile:
    server.content = content
    return WeightsFile(
        "thing",
        "thing.pth",
        f"sha256:{hashlib.sha256(content).hexdigest()}",
        len(content),
        "MIT",
        url=f"http://127.0.0.1:{server.server_address[1]}/thing.pth",
    )


def test_fetch(server, tmp_path):
    content = bytes(range(256)) * 20_000
    path = fetch_file(known_file(server, content), tmp_path / "there")
    assert path.read_bytes() == content
    assert not list(path.parent.glob("*.part"))


def test_an_interrupted_fetch_goes_on_where_it_stopped(server, tmp_path):
    content = bytes(range(256)) * 20_000
    known = known_file(server, content)
    server.stop_after = 1_500_000
    with pytest.raises(WeightsError, match="closed after"):
        fetch_file(known, tmp_path)
    server.stop_after = None
    assert fetch_file(known, tmp_path).read_bytes() == content
    assert server.ranges == [None, "bytes=1500000-"]


def test_another_file_under_the_same_address_is_refused(server, tmp_path):
    known = known_file(server, b"<html>not the weights</html>")
    with pytest.raises(WeightsError, match=r"sha256 is .* expected 0000"):
        fetch_file(replace(known, hash="sha256:" + "0" * 64), tmp_path)
    assert not list(tmp_path.glob("thing*"))
    with pytest.raises(WeightsError, match="28 bytes, expected 29"):
        fetch_file(replace(known, size=29), tmp_path)


def test_no_network_says_what_to_do(tmp_path):
    known = replace(weights.entry("alexnet"), url="http://127.0.0.1:9/alexnet.pth")
    with pytest.raises(WeightsError) as caught:
        fetch_file(known, tmp_path)
    assert "alexnet-owt-7be5be79.pth" in str(caught.value)
    assert "likewise weights import" in caught.value.hint
    assert LITE in caught.value.hint


def test_find_does_not_fetch_unless_told(cache):
    with pytest.raises(WeightsError, match="not on this machine"):
        weights.find("alexnet", fetch=False)
    with pytest.raises(UsageError, match="no weights 'alexnett'"):
        weights.find("alexnett")


def test_packaged_weights_are_found_and_right():
    path = weights.find(LITE)
    assert path.stat().st_size == weights.entry(LITE).size
    assert backbones.choose() == ("efficientnet-lite0", backbones.choose().reason)


def test_alexnet_runs_as_soon_as_its_weights_are_there(cache):
    cache.mkdir()
    (cache / "alexnet-owt-7be5be79.pth").write_bytes(b"any")
    assert backbones.choose().name == "alexnet"
    with pytest.raises(WeightsError, match="3 bytes, expected 244,408,911 for alexnet: truncated"):
        weights.find("alexnet")


def test_cache_before_package_and_damage_is_seen(cache):
    content = bytearray(weights.find(LITE).read_bytes())
    content[1000] ^= 1
    cache.mkdir()
    place = cache / weights.entry(LITE).file
    place.write_bytes(content)
    assert weights.at_hand(LITE) == place
    with pytest.raises(WeightsError, match="sha256 is"):
        weights.find(LITE)
    assert run(["weights", "verify"]) == 3


def test_import_recognises_by_hash(shared, cache):
    file = shared / "weights" / "face_detection_yunet_2026may.onnx"
    assert weights.import_file(file, fits=check_fits) == ("yunet", cache / file.name)
    assert weights.find("yunet", fetch=False) == cache / file.name


def test_import_of_ones_own_file(shared, cache):
    file = shared / "weights" / "googlenet_bvlc_fp16.safetensors"
    with pytest.raises(WeightsError, match="none of the registered files"):
        weights.import_file(file, fits=check_fits)
    with pytest.raises(WeightsError, match=r"does not fit resnet50: conv1.weight"):
        weights.import_file(file, "resnet50", fits=check_fits)
    name, place = weights.import_file(file, "googlenet-bvlc", fits=check_fits)
    assert weights.find(name, fetch=False) == place
    assert load("googlenet-bvlc").classifier.bias.dtype == torch.float32
    place.write_bytes(place.read_bytes()[:-8])
    with pytest.raises(WeightsError, match="has changed since it was imported"):
        weights.find(name)


def test_state_dict_of_another_architecture_names_the_first_difference(tmp_path):
    state = load(LITE, random_weights=True).state_dict()
    state["_conv_head.weight"] = torch.zeros(640, 320, 1, 1)
    save_file(state, tmp_path / "other.safetensors")
    with pytest.raises(WeightsError) as caught:
        load(LITE, weights=tmp_path / "other.safetensors")
    assert "_conv_head.weight has shape (640, 320, 1, 1), expected (1280, 320, 1, 1)" in str(
        caught.value
    )
    del state["_conv_head.weight"]
    save_file(state, tmp_path / "lacks.safetensors")
    with pytest.raises(WeightsError, match=r"_conv_head.weight \(1280, 320, 1, 1\) is missing"):
        load(LITE, weights=tmp_path / "lacks.safetensors")


@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ".caffemodel"])
@pytest.mark.parametrize("content", ["truncated", "text", "empty"])
def test_damaged_files(suffix, content, tmp_path, shared):
    whole = {
        ".pth": weights.find(LITE),
        ".safetensors": shared / "weights" / "googlenet_bvlc_fp16.safetensors",
        ".caffemodel": shared / "weights" / "face_detection_yunet_2026may.onnx",
    }[suffix].read_bytes()
    path = tmp_path / f"x{suffix}"
    path.write_bytes(
        {"truncated": whole[: len(whole) // 2], "text": b"<html>", "empty": b""}[content]
    )
    with pytest.raises(WeightsError, match="cannot be read") as caught:
        read_state_dict(path)
    assert path.name in str(caught.value)


class Malicious:
    def __reduce__(self):
        return (print, ("this must never run",))


def test_pickles_are_not_run(tmp_path, capsys):
    torch.save({"a": Malicious()}, tmp_path / "bad.pth")
    (tmp_path / "raw.pth").write_bytes(pickle.dumps(Malicious()))
    for name in ("bad.pth", "raw.pth"):
        with pytest.raises(WeightsError, match="cannot be read"):
            read_state_dict(tmp_path / name)
    assert "never" not in capsys.readouterr().out


def test_unknown_backbone_and_layer():
    with pytest.raises(UsageError) as caught:
        backbones.get("alxnet")
    assert "did you mean 'alexnet'" in caught.value.hint
    with pytest.raises(UsageError, match="no layer 'fc9'"):
        backbones.get("alexnet").resolve(["fc9"])


def test_list_prints_every_file(capsys):
    assert run(["weights", "list", "--json"]) == 0
    import json

    shown = json.loads(capsys.readouterr().out)
    assert {row["name"] for row in shown["weights"]} == set(weights.WEIGHTS)
    assert shown["auto"]["name"] == LITE
