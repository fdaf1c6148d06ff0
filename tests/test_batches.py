"""What a network is fed with: batches, drawn digits and pictures, the same bits every time."""

from __future__ import annotations

import hashlib
import io
import struct
import time
import zlib

import numpy as np
import pytest
from PIL import Image

from striate import data
from striate.data import Dataset, Loader
from striate.errors import ConfigError, DtypeError, FormatError, LimitError

LOADED = data.pen("test", count=300)

# ---- batches


def batches(loader, epoch, start=0):
    return [(x.tobytes(), y.tolist()) for x, y in loader.epoch(epoch, start)]


def test_an_epoch_is_each_image_once_in_an_order_of_its_own():
    loader = Loader(LOADED, 32, seed=7)
    orders = [loader.order(epoch) for epoch in range(3)]
    assert all(np.array_equal(np.sort(order), np.arange(300)) for order in orders)
    assert not np.array_equal(orders[0], orders[1])
    assert not np.array_equal(orders[0], Loader(LOADED, 32, seed=8).order(0))
    assert np.concatenate([y for _, y in loader.epoch(1)]).tolist() == LOADED.labels[orders[1]].tolist()
    assert [len(y) for _, y in loader.epoch(0)] == [32] * 9 + [12] and len(loader) == 10
    assert [len(y) for _, y in Loader(LOADED, 32, drop_last=True).epoch(0)] == [32] * 9
    assert np.array_equal(next(Loader(LOADED, 300, shuffle=False).epoch(0))[1], LOADED.labels)


def test_any_step_of_any_epoch_can_be_entered_again():
    loader = Loader(LOADED, 64, seed=3)
    for epoch in (0, 5):
        whole = batches(loader, epoch)
        for start in range(len(loader) + 1):
            assert batches(Loader(LOADED, 64, seed=3), epoch, start) == whole[start:]


def test_normalisation_is_what_the_formula_says():
    rng = np.random.default_rng(0)
    coloured = Dataset("c", rng.integers(0, 256, (50, 3, 4, 5), np.uint8), np.zeros(50, np.int64), ("a",), "here")
    mean, std = data.statistics(coloured)
    exact = coloured.images / 255
    np.testing.assert_allclose(mean, exact.mean((0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(std, exact.std((0, 2, 3)), rtol=1e-12)
    x, y = next(Loader(coloured, 50, shuffle=False, mean=mean, std=std).epoch(0))
    expected = (exact - np.reshape(mean, (3, 1, 1))) / np.reshape(std, (3, 1, 1))
    np.testing.assert_allclose(x, expected, atol=1e-6)
    assert (x.dtype, y.dtype) == (np.float32, np.int64)
    plain = next(Loader(coloured, 50, shuffle=False).epoch(0))[0]
    assert np.array_equal(plain, data.as_float(coloured.images)) and plain.max() <= 1
    with pytest.raises(DtypeError, match="uint8"):
        data.as_float(plain)


@pytest.mark.parametrize(
    ("match", "arguments"),
    [
        ("batch_size must be an integer of at least 1, got 0", {"batch_size": 0}),
        ("batch_size must be an integer of at least 1, got True", {"batch_size": True}),
        ("batch_size must be an integer, got 1.5", {"batch_size": 1.5}),
        ("batch_size must be an integer, got '3'", {"batch_size": "3"}),
        ("no step would be left", {"batch_size": 301, "drop_last": True}),
        ("seed must be", {"seed": -1}),
        ("mean must be 1 numbers", {"mean": 0.1}),
        ("mean must be 1 finite numbers", {"mean": (0.1, 0.2)}),
        ("std must be 1 finite numbers", {"std": (float("nan"),)}),
        ("std must be positive", {"std": (0.0,)}),
    ],
)
def test_a_loaders_arguments(match, arguments):
    with pytest.raises(ConfigError, match=match):
        Loader(LOADED, **({"batch_size": 8} | arguments))


def test_a_loaders_positions():
    with pytest.raises(ConfigError, match="epoch must be"):
        Loader(LOADED, 100).order(-1)
    with pytest.raises(ConfigError, match="start must be a step from 0 to 3, got 4"):
        Loader(LOADED, 100).epoch(0, start=4)


# ---- pen


def test_pen_draws_the_same_bytes_on_every_machine():
    first = data.pen("train", count=100)
    assert hashlib.sha256(first.images.tobytes()).hexdigest() == (
        "811e5b4ba7df84c735a5ece92118427d0c7a30a0290d244c53b66576ab14fa44"
    )


def test_an_image_depends_on_seed_split_and_number_alone():
    assert np.array_equal(data.pen("test", count=37).images, LOADED.images[:37])
    assert np.array_equal(data.pen("test", count=37).transforms, LOADED.transforms[:37])
    for other in (data.pen("train", count=37), data.pen("test", count=37, seed=1)):
        assert not np.array_equal(other.images, LOADED.images[:37])


def test_pen_draws_every_digit_in_every_style_and_within_the_frame():
    drawn = data.pen("train", count=3000)
    seen = set(zip(drawn.labels.tolist(), drawn.transforms["style"].tolist(), strict=True))
    assert seen == {(digit, style) for digit in range(10) for style in range(3)}
    assert np.bincount(drawn.labels).min() > 240
    assert 0.11 < drawn.images.mean() / 255 < 0.16  # MNIST has 0.131
    ink = drawn.images.reshape(3000, -1).astype(np.int64).sum(1) / 255
    assert ink.min() > 10 and ink.max() < 300


def test_the_transformations_are_those_that_were_drawn():
    drawn = data.pen("train", count=3000)
    t, pixels = drawn.transforms, drawn.images[:, 0].astype(np.float64)
    mass = pixels.sum((1, 2))
    rows, columns = np.mgrid[:28, :28] - 13.5
    x, y = ((pixels * axis).sum((1, 2)) / mass for axis in (columns, rows))
    lean = -((pixels * rows * columns).sum((1, 2)) / mass - x * y) / ((pixels * rows**2).sum((1, 2)) / mass - y * y)
    height = (pixels.max(2) > 127).sum(1)
    ones, ovals = drawn.labels == 1, (drawn.labels == 0) & (t["style"] == 0)
    for measured, known, least in (  # by moments of the pixels, the wobble being the noise
        (x[ovals], t["dx"][ovals], 0.8),
        (y[ovals], t["dy"][ovals], 0.8),
        (mass, t["thickness"] * t["scale"], 0.6),
        (height, t["scale"], 0.5),
        (lean[ones], (t["slant"] + np.tan(np.radians(t["rotation"])))[ones], 0.7),
    ):
        assert np.corrcoef(measured, known)[0, 1] > least


def test_pen_is_drawn_in_seconds():
    start = time.process_time()
    data.pen("test", count=2000)
    seconds = time.process_time() - start
    print(f"pen: {70_000 / 2000 * seconds:.1f} s for 70,000 images, from 2,000")
    assert seconds < 2


@pytest.mark.parametrize(
    ("match", "arguments"), [("split", {"split": "valid"}), ("count", {"count": 0}), ("count", {"count": 60_001})]
)
def test_pens_arguments(match, arguments):
    with pytest.raises(ConfigError, match=f"pen: {match} must"):
        data.pen(**arguments)


# ---- pictures


def picture(path, pixels, mode=None, **options):
    Image.fromarray(pixels, mode).save(path, **options) if mode else Image.fromarray(pixels).save(path, **options)
    return path


SEVEN = LOADED.images[np.flatnonzero(LOADED.labels == 7)[0], 0]


@pytest.mark.parametrize("suffix", ["png", "bmp"])
def test_a_picture_of_the_networks_size_is_read_as_it_is(tmp_path, suffix):
    pixels, inverted = data.read_image(picture(tmp_path / f"7.{suffix}", SEVEN), (28, 28))
    assert np.array_equal(pixels, SEVEN[None]) and not inverted


def test_dark_on_light_is_inverted_unless_told_otherwise(tmp_path):
    path = picture(tmp_path / "7.png", 255 - SEVEN)
    pixels, inverted = data.read_image(path, (28, 28))
    assert np.array_equal(pixels, SEVEN[None]) and inverted
    pixels, inverted = data.read_image(path, (28, 28), invert=False)
    assert np.array_equal(pixels, 255 - SEVEN[None]) and not inverted
    assert np.array_equal(data.read_image(picture(path, SEVEN), (28, 28), invert=True)[0], 255 - SEVEN[None])


def test_kinds_of_png_come_out_alike(tmp_path):
    light = 255 - SEVEN
    clear = np.dstack([np.zeros((28, 28, 3), np.uint8), SEVEN])  # black ink on nothing
    deep = SEVEN.astype(np.uint16) * 257
    palette = Image.fromarray(light).convert("P")
    kinds = {"rgb": np.dstack([light] * 3), "clear": clear, "deep": deep}
    for name, pixels in kinds.items():
        assert np.array_equal(data.read_image(picture(tmp_path / f"{name}.png", pixels), (28, 28))[0], SEVEN[None]), (
            name
        )
    palette.save(tmp_path / "palette.png")
    assert np.array_equal(data.read_image(tmp_path / "palette.png", (28, 28))[0], SEVEN[None])


def test_a_jpeg_in_any_colours_and_turned_by_its_camera(tmp_path):
    grey = Image.fromarray(SEVEN).resize((280, 280))
    turned = Image.Exif()
    turned[0x0112] = 6  # to be shown a quarter turn clockwise
    for name, image, options in (
        ("grey", grey, {}),
        ("cmyk", grey.convert("CMYK"), {}),
        ("exif", grey.rotate(90), {"exif": turned}),
    ):
        image.save(tmp_path / f"{name}.jpg", **options)
        pixels, _ = data.read_image(tmp_path / f"{name}.jpg", (28, 28))
        assert np.abs(pixels[0].astype(int) - SEVEN).mean() < 6, name


def test_a_picture_keeps_its_proportions(tmp_path):
    wide = np.full((10, 40, 3), (10, 20, 30), np.uint8)
    wide[4:6, 10:30] = 200
    pixels, inverted = data.read_image(picture(tmp_path / "wide.png", wide), (20, 20), 3)
    assert pixels.shape == (3, 20, 20) and not inverted
    assert pixels[:, 0, 0].tolist() == [10, 20, 30] and pixels[:, 9, 10].tolist() == [200] * 3


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width, height, pixels=b""):
    header = struct.pack(">2I5B", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")


def saved(kind, **options):
    file = io.BytesIO()
    Image.fromarray(SEVEN).save(file, kind, **options)
    return file.getvalue()


PNG = saved("PNG")
PICTURES = {
    "empty": (b"", FormatError, "whole PNG"),
    "text": (b"seven", FormatError, "whole PNG"),
    "gif": (saved("GIF"), FormatError, "whole PNG"),
    "tiff": (saved("TIFF"), FormatError, "whole PNG"),
    "ico": (saved("ICO"), FormatError, "whole PNG"),
    "half-png": (PNG[: len(PNG) // 2], FormatError, "whole PNG"),
    "png-signature": (PNG[:8], FormatError, "whole PNG"),
    "half-jpeg": (saved("JPEG")[:300], FormatError, "whole PNG"),
    "half-bmp": (saved("BMP")[:200], FormatError, "whole PNG"),
    "png-crc": (PNG[:20] + b"\xff" + PNG[21:], FormatError, "whole PNG"),
    "no-pixels": (png(28, 28), FormatError, "whole PNG"),
    "size-0": (png(0, 28), FormatError, "whole PNG"),
    "animated": (saved("PNG", save_all=True, append_images=[Image.new("L", (28, 28))]), FormatError, "2 frames"),
    "large": (png(10_000, 10_000), LimitError, "50000000 pixels"),
    "bomb": (png(60_000, 60_000), LimitError, "50000000 pixels"),
    "largest": (png(2**31 - 1, 2**31 - 1), LimitError, "50000000 pixels"),
}


@pytest.mark.parametrize("name", PICTURES)
def test_a_broken_picture_is_one_sentence_soon(tmp_path, name):
    content, error, match = PICTURES[name]
    path = tmp_path / "picture.png"
    path.write_bytes(content)
    start = time.perf_counter()
    with pytest.raises(error, match=match) as caught:
        data.read_image(path, (28, 28))
    assert time.perf_counter() - start < 1 and str(path) in str(caught.value)


def test_read_images_arguments(tmp_path):
    path = picture(tmp_path / "7.png", SEVEN)
    with pytest.raises(ConfigError, match="channels must be 1 or 3, got 2"):
        data.read_image(path, (28, 28), 2)
    with pytest.raises(ConfigError, match="size"):
        data.read_image(path, (0, 28))
