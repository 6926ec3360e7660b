"""The photos that a command line names."""

import numpy as np
import pytest
from PIL import Image

from deployment.photos import find_photos
from experiment.errors import InputError


def write(path, height=6, width=8, value=200, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((height, width, 3), value, np.uint8)).save(path, **options)
    return path


def names(*given, own=()):
    return [photo.name for photo in find_photos([str(one) for one in given], own)]


def test_files_folders_and_patterns(tmp_path):
    for name in ("b.jpg", "a.png", "sub/c.JPEG"):
        write(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no photo")
    assert names(tmp_path) == ["a", "b"]
    assert names(tmp_path / "sub", tmp_path / "b.jpg", tmp_path / "b.jpg") == ["c", "b"]
    assert names(tmp_path / "**/*.[jJ]*") == ["b", "c"]


def test_what_is_not_there(tmp_path):
    (tmp_path / "empty").mkdir()
    for given, expected in [("empty", "holds no photos"), ("*.png", "matches no file"), ("x.jpg", "no such file")]:
        with pytest.raises(InputError, match=expected):
            names(tmp_path / given)
    write(tmp_path / "a.jpg"), write(tmp_path / "other/a.png")
    with pytest.raises(InputError, match="one name, 'a'"):
        names(tmp_path, tmp_path / "other")


def test_exif_turns_a_photo(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright
    write(tmp_path / "a.jpg", height=6, width=8, exif=exif)
    (photo,) = find_photos([str(tmp_path)])
    assert photo.read().shape == (3, 8, 6)


def test_tasks_with_images_of_their_own(tmp_path):
    write(tmp_path / "a.jpg", value=100), write(tmp_path / "depth/a.png", value=50)
    (photo,) = find_photos([str(tmp_path)], ("semseg", "depth"))
    read = photo.read()
    assert (read["semseg"].float().mean() - 100).abs() < 3 and read["depth"].unique().tolist() == [50]
    write(tmp_path / "depth/b.png"), write(tmp_path / "semseg/b.png", width=9)
    (tmp_path / "a.jpg").unlink()
    with pytest.raises(InputError, match=r"a\.png.*no such file"):  # semseg has none
        find_photos([str(tmp_path)], ("semseg", "depth"))
    (tmp_path / "depth/a.png").unlink()
    (photo,) = find_photos([str(tmp_path)], ("semseg", "depth"))
    with pytest.raises(InputError, match="8x6 pixels: expected 9x6"):
        photo.read()


def test_a_file_that_is_no_image(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"a\.jpg: cannot be read as an image"):
        find_photos([str(tmp_path)])[0].check()
