"""Checks of a user's .npz: accepted files, refused files and their messages, and the cost of hostile files."""

from __future__ import annotations

import io
import resource
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tuneoff.core.errors import DataError
from tuneoff.data.npz import check_npz_header, read_npz

Arrays = dict[str, np.ndarray]
Save = Callable[..., Path]


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def npy_header(shape: str, descr: str = "'|u1'") -> bytes:
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


def zipped(path: Path, entries: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return path


def refusal(path: Path) -> str:
    """Return the message with which a file is refused; it must be one line."""
    with pytest.raises(DataError) as refused:
        read_npz(path)
    lines = str(refused.value).splitlines()
    assert len(lines) == 1
    assert str(path) in lines[0]
    assert lines[0].endswith(".")
    return lines[0]


def test_a_sound_file_passes_both_checks(arrays: Arrays, save: Save) -> None:
    path = save(arrays)
    assert check_npz_header(path) == []
    raw = read_npz(path)
    assert raw.class_names == ("0", "1", "2", "3")
    assert raw.white == 255
    np.testing.assert_array_equal(raw.x_train, arrays["x_train"])
    np.testing.assert_array_equal(raw.y_test, arrays["y_test"])


def test_a_file_without_a_test_part_passes(arrays: Arrays, save: Save) -> None:
    raw = read_npz(save(arrays, x_test=None, y_test=None))
    assert raw.x_test is None
    assert raw.y_test is None


@pytest.mark.parametrize("dtype", ["uint8", "int64", "float16", ">f4", "float64"])
def test_pixels_may_be_of_any_real_type(arrays: Arrays, save: Save, dtype: str) -> None:
    scaled = {n: a.astype(dtype) if n.startswith("x") else a for n, a in arrays.items()}
    assert read_npz(save(scaled)).white == 255


def test_pixels_from_0_to_1_are_not_scaled(arrays: Arrays, save: Save) -> None:
    raw = read_npz(save(arrays, x_train=arrays["x_train"] / 255, x_test=arrays["x_test"] / 255))
    assert raw.white == 1


@pytest.mark.parametrize("dtype", ["int8", "uint64", "float32"])
def test_labels_of_shape_n_1_and_whole_floats_are_squeezed_to_integers(arrays: Arrays, save: Save, dtype: str) -> None:
    raw = read_npz(save(arrays, y_train=arrays["y_train"].astype(dtype)[:, None], y_test=arrays["y_test"].astype(dtype)[:, None]))
    assert raw.y_train.dtype == np.int64
    np.testing.assert_array_equal(raw.y_train, arrays["y_train"])


@pytest.mark.parametrize("shape", [(4, 7), (8, 8, 1), (8, 4, 3), (5, 5, 4)])
def test_images_may_be_oblong_and_have_one_three_or_four_channels(save: Save, shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).integers(0, 256, (40, *shape), dtype=np.uint8)
    assert read_npz(save({"x_train": x, "y_train": np.arange(40) % 2})).x_train.shape == (40, *shape)


def test_fortran_order_and_compression_are_read(arrays: Arrays, tmp_path: Path) -> None:
    path = tmp_path / "packed.npz"
    np.savez_compressed(path, **{n: np.asfortranarray(a) for n, a in arrays.items()})
    np.testing.assert_array_equal(read_npz(path).x_train, arrays["x_train"])


def header_faults() -> list[tuple[dict[str, Any], str]]:
    x, y = np.zeros((200, 8, 8), np.uint8), np.zeros(200, np.uint8)
    return [
        ({"x_train": None}, "x_train is missing"),
        ({"images": x}, "images is not a known array"),
        ({"x_test": None}, "y_test is present but x_test is not"),
        ({"y_test": None}, "x_test is present but y_test is not"),
        (
            {"x_train": x.reshape(200, 64)},
            "x_train has the shape (200, 64). Images must have the shape (N, H, W) or (N, H, W, C)",
        ),
        ({"x_train": x[:, :3]}, "x_train has the shape (200, 3, 8)"),
        ({"x_train": np.zeros((200, 8, 8, 2), np.uint8)}, "C of 1, 3 or 4"),
        ({"x_train": x.astype(complex)}, "x_train holds values of type complex128. Give integers or floats"),
        ({"x_train": x.astype(bool)}, "x_train holds values of type bool"),
        ({"x_train": x[:0], "y_train": y[:0]}, "x_train is empty"),
        ({"y_train": np.eye(4)[y]}, "convert one-hot labels with argmax(y, 1)"),
        ({"y_train": np.array("seven")}, "y_train holds values of type <U5"),
        ({"y_train": np.array(["cat"] * 200)}, "y_train holds values of type <U3"),
        ({"y_train": y[:199]}, "x_train holds 200 images, but y_train holds 199 labels"),
        ({"x_test": np.zeros((60, 8, 9), np.uint8)}, "The images of x_test have the shape (8, 9), those of x_train (8, 8)"),
        ({"y_train": np.array([0, {}] * 100)}, "y_train holds Python objects. Give integers or floats"),
    ]


@pytest.mark.parametrize(("changes", "sentence"), header_faults(), ids=[s[:40] for _, s in header_faults()])
def test_faults_in_the_headers_are_refused_without_reading_pixels(
    arrays: Arrays, save: Save, changes: dict[str, Any], sentence: str
) -> None:
    path = save(arrays, **changes)
    faults = check_npz_header(path, called="mine.npz")
    assert any(sentence in f for f in faults)
    assert all(f.startswith("mine.npz: ") and f.endswith(".") for f in faults)
    with pytest.raises(DataError, match=r"mine\.npz"):
        read_npz(path)


def test_all_faults_of_the_headers_are_reported_at_once(arrays: Arrays, save: Save) -> None:
    path = save(arrays, x_train=arrays["x_train"].astype(complex), y_train=np.eye(4)[arrays["y_train"]])
    assert len(check_npz_header(path)) == 2


def spoiled(array: np.ndarray, value: float, dtype: str = "float32") -> np.ndarray:
    changed = array.astype(dtype)
    changed.flat[-1] = value
    return changed


@pytest.mark.parametrize(
    ("name", "change", "sentence"),
    [
        ("x_train", lambda x: spoiled(x, np.nan), "x_train holds NaN or infinite pixels"),
        ("x_train", lambda x: spoiled(x, np.inf), "x_train holds NaN or infinite pixels"),
        ("x_test", lambda x: spoiled(x, -np.inf), "x_test holds NaN or infinite pixels"),
        ("x_train", lambda x: spoiled(x, 256, "int32"), "x_train has pixels from 0 to 256. Give values in [0, 255] or [0, 1]"),
        ("x_train", lambda x: x / 127.5 - 1, "x_train has pixels from -1 to 1"),
        ("x_train", lambda x: x * 0, "x_train has the value 0 in every pixel"),
        ("x_test", lambda x: x / 255, "x_train lies in [0, 255], but x_test in [0, 1]"),
        ("y_train", lambda y: y * 0 + 3, "y_train holds only one class (3)"),
        ("y_train", lambda y: y + 1, "y_train holds the labels 1, 2, 3, 4. Number the classes from 0 to 3 without gaps"),
        ("y_train", lambda y: y * 2, "y_train holds the labels 0, 2, 4, 6"),
        ("y_train", lambda y: y.astype(int) - 1, "y_train holds the labels -1, 0, 1, 2"),
        ("y_train", lambda y: y + 0.5, "Labels must be whole numbers: 0, 1, 2 and so on."),
        ("y_train", lambda y: spoiled(y, np.nan), "y_train holds the label nan"),
        ("y_train", lambda y: spoiled(y, 4, "int32"), "y_train holds the label 4 only once"),
        ("y_test", lambda y: spoiled(y, 9, "int32"), "y_test holds the label 9, which y_train does not hold"),
    ],
)
def test_faults_in_the_values_are_refused_too(
    arrays: Arrays, save: Save, name: str, change: Callable[[np.ndarray], np.ndarray], sentence: str
) -> None:
    path = save(arrays, **{name: change(arrays[name])})
    assert check_npz_header(path) == []
    assert sentence in refusal(path)


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x05\x06" + bytes(18), b"\x93NUMPY\x01\x00"])
def test_files_that_are_not_an_npz_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "odd.npz"
    path.write_bytes(content)
    assert refusal(path)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    assert "is not a file. Give an .npz" in refusal(tmp_path / "none.npz")
    assert "is not a file. Give an .npz" in refusal(tmp_path)


@pytest.fixture
def limited_memory() -> Any:
    """Limit the address space to 2 GiB more than the process uses now, so that a hostile file cannot take more."""
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (taken + 2 * 2**30, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.mark.usefixtures("limited_memory")
class TestHostileFiles:
    def test_a_header_that_claims_8_tib_is_refused(self, tmp_path: Path) -> None:
        y = npy(np.array([0, 1]))
        path = zipped(tmp_path / "lie.npz", {"x_train.npy": npy_header(f"({2**43 // 64}, 8, 8)"), "y_train.npy": y})
        assert "8,796,093,022,336 bytes, but the archive holds 128 bytes" in refusal(path)

    def test_a_file_that_inflates_to_4_gib_is_refused_before_it_is_inflated(self, tmp_path: Path) -> None:
        path = tmp_path / "bomb.npz"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("y_train.npy", npy(np.arange(2**26 // 1024) % 2))
            with archive.open("x_train.npy", "w", force_zip64=True) as file:
                file.write(npy_header(f"({2**26 // 1024}, 64, 64)"))
                for _ in range(2**8):
                    file.write(bytes(2**20))
        assert path.stat().st_size < 2**20
        tracemalloc.start()
        sentence = refusal(path)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert "At most 200 times is allowed" in sentence
        assert peak < 2**21

    def test_more_than_the_limit_is_refused_however_it_is_stored(self, arrays: Arrays, save: Save) -> None:
        path = save(arrays)
        faults = check_npz_header(path, limit_bytes=10_000)
        assert ["At most 10,000 bytes in total are allowed" in f for f in faults] == [True]

    def test_an_entry_that_inflates_to_more_than_declared_is_refused(self, arrays: Arrays, tmp_path: Path) -> None:
        path = zipped(tmp_path / "more.npz", {f"{n}.npy": npy(a) for n, a in arrays.items()}, zipfile.ZIP_DEFLATED)
        data = bytearray(path.read_bytes())
        declared = len(npy(arrays["x_train"]))
        place = data.rfind(declared.to_bytes(4, "little"))
        data[place : place + 4] = (declared - 64).to_bytes(4, "little")
        path.write_bytes(data)
        assert "x_train's header declares" in refusal(path)

    def test_an_entry_that_hides_data_behind_an_honest_header_is_refused(self, arrays: Arrays, tmp_path: Path) -> None:
        entries = {f"{n}.npy": npy(a) for n, a in arrays.items()}
        entries["x_train.npy"] += bytes(2**20)
        assert "x_train's header declares" in refusal(zipped(tmp_path / "tail.npz", entries))

    def test_an_entry_that_claims_to_be_longer_than_the_file_is_refused(self, arrays: Arrays, tmp_path: Path) -> None:
        path = zipped(tmp_path / "long.npz", {f"{n}.npy": npy(a) for n, a in arrays.items()})
        data = bytearray(path.read_bytes())
        size = len(npy(arrays["x_train"])).to_bytes(4, "little")
        place = data.rfind(size * 2)
        data[place : place + 8] = (2**31 - 1).to_bytes(4, "little") * 2
        path.write_bytes(data)
        assert "The file is cut off or damaged: write or copy it again" in refusal(path)

    def test_python_objects_are_never_unpickled(self, arrays: Arrays, save: Save, tmp_path: Path) -> None:
        class Trap:
            def __reduce__(self) -> tuple[Any, ...]:
                return (Path.touch, (tmp_path / "sprung",))

        assert "Python objects" in refusal(save(arrays, x_train=np.array([Trap()] * 200, object)))
        assert not (tmp_path / "sprung").exists()

    def test_a_header_that_claims_to_be_4_gib_long_is_not_read(self, tmp_path: Path) -> None:
        header = b"\x93NUMPY\x02\x00" + (2**32 - 1).to_bytes(4, "little")
        path = zipped(tmp_path / "long.npz", {"x_train.npy": header, "y_train.npy": npy(np.array([0, 1]))})
        assert "its header declares a length of 4,294,967,295 bytes" in refusal(path)

    @pytest.mark.parametrize("shape", ["(-1, 8, 8)", "(True, 8, 8)", "(1e9, 8, 8)", "(" * 200 + ")" * 200, "__import__('os')"])
    def test_odd_shapes_in_a_header_are_refused(self, tmp_path: Path, shape: str) -> None:
        path = zipped(tmp_path / "odd.npz", {"x_train.npy": npy_header(shape), "y_train.npy": npy(np.array([0, 1]))})
        assert "x_train has no readable .npy header" in refusal(path)

    def test_the_same_array_twice_is_refused(self, arrays: Arrays, save: Save) -> None:
        path = save(arrays)
        with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("x_train.npy", npy(arrays["x_train"]))
        assert "x_train is in the file more than once" in refusal(path)

    def test_names_are_shown_without_control_characters(self, arrays: Arrays, save: Save) -> None:
        path = save(arrays)
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr("\x1b[2J.npy", b"")
        assert "\\x1b[2J is not a known array" in refusal(path)

    @pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
    def test_compression_that_numpy_does_not_write_is_refused(self, arrays: Arrays, tmp_path: Path, method: int) -> None:
        path = zipped(tmp_path / "odd.npz", {f"{n}.npy": npy(a) for n, a in arrays.items()}, method)
        assert "Write the file with numpy.savez or savez_compressed" in check_npz_header(path)[0]

    def test_a_torn_file_is_refused(self, arrays: Arrays, save: Save) -> None:
        path = save(arrays)
        path.write_bytes(path.read_bytes()[:-500])
        assert "cannot be read as an .npz file" in refusal(path)

    def test_a_flipped_bit_is_noticed(self, arrays: Arrays, save: Save) -> None:
        path = save(arrays)
        data = bytearray(path.read_bytes())
        data[data.find(arrays["x_train"].tobytes()) + 100] ^= 1
        path.write_bytes(data)
        assert check_npz_header(path) == []
        assert "is damaged (Bad CRC-32" in refusal(path)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_no_damage_leads_to_anything_but_a_data_error(arrays: Arrays, tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "fuzzed.npz"
    if not path.exists():
        np.savez_compressed(path.with_suffix(".whole.npz"), **arrays)
        path.touch()
    content = bytearray(path.with_suffix(".whole.npz").read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        # From the end, where the directory is, and from the beginning, where the first headers are.
        place = data.draw(st.integers(-400, 200))
        content[place] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.one_of(st.none(), st.integers(0, len(content))))])
    faults = check_npz_header(path)
    assert all(isinstance(f, str) for f in faults)
    try:
        read_npz(path)
    except DataError:
        return
    assert faults == []


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(header=st.one_of(st.binary(max_size=200), st.text(max_size=150).map(lambda t: npy_header(repr(t), t))))
def test_no_header_leads_to_anything_but_a_sentence(tmp_path: Path, header: bytes) -> None:
    path = zipped(tmp_path / "fuzzed.npz", {"x_train.npy": header, "y_train.npy": npy(np.array([0, 1]))})
    assert check_npz_header(path)
