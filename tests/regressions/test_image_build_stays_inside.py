"""Building the tiny image once overwrote the host's busybox: a recipe file was written through a link to it."""

from pathlib import Path

import pytest

from pileus.drivers.image.build.recipe import install_files


def test_a_recipe_file_replaces_a_link_and_leaves_alone_what_it_led_to(tmp_path: Path) -> None:
    host_file = tmp_path / "host"
    host_file.write_text("the host's own")
    (tmp_path / "recipe").mkdir()
    (tmp_path / "recipe/ping").write_text("#!/bin/sh\n")
    (tmp_path / "root").mkdir()
    (tmp_path / "root/ping").symlink_to(host_file)
    install_files(tmp_path / "recipe", tmp_path / "root")
    assert host_file.read_text() == "the host's own"
    assert (tmp_path / "root/ping").read_text() == "#!/bin/sh\n"
    assert not (tmp_path / "root/ping").is_symlink()


def test_a_directory_that_leads_out_of_the_image_is_refused(tmp_path: Path) -> None:
    (tmp_path / "recipe/etc").mkdir(parents=True)
    (tmp_path / "recipe/etc/passwd").write_text("root")
    (tmp_path / "host").mkdir()
    (tmp_path / "root").mkdir()
    (tmp_path / "root/etc").symlink_to(tmp_path / "host")
    with pytest.raises(ValueError, match="leads out"):
        install_files(tmp_path / "recipe", tmp_path / "root")
    assert not (tmp_path / "host/passwd").exists()
