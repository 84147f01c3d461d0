import re

import pytest

from pipeline_steps.study.errors import StudyError
from pipeline_steps.study.scenes import read_domains, read_scenes

HEADER = "scene\timage\tlabels\televation\tsplit"
GOOD = "good\ta.tif\tb.tif\t\ttrain"


@pytest.fixture
def root(tmp_path):
    for name in ("a.tif", "b.tif", "c.tif", "x/1.jpg", "x/2.jpg", "y/1.png", "y/2.png", "z/1.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    (tmp_path / "two" / "1.png").parent.mkdir()
    (tmp_path / "two" / "1.png").write_text("")
    (tmp_path / "two" / "1.jpg").write_text("")
    return tmp_path


def table(root, *lines, header=HEADER):
    file = root / "scenes.tsv"
    file.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return file


def scenes(root, *lines, made=None, header=HEADER):
    return read_scenes(table(root, *lines, header=header), str(root), made)


def refused(root, *lines, header=HEADER):
    with pytest.raises(StudyError) as caught:
        scenes(root, *lines, header=header)
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_a_row_becomes_a_scene_with_paths_below_the_root(root):
    (scene,) = scenes(root, "town\ta.tif\tb.tif\tc.tif\ttrain").values()

    assert (scene.name, scene.split, scene.is_folder) == ("town", "train", False)
    assert scene.images == (str(root / "a.tif"),)
    assert scene.labels == (str(root / "b.tif"),)
    assert scene.elevation == (str(root / "c.tif"),)


def test_a_pattern_becomes_a_folder_whose_labels_match_by_what_its_wildcards_stand_for(root):
    (scene,) = scenes(root, "tile\tx/*.jpg\ty/*.png\t\ttrain").values()

    assert scene.is_folder
    assert scene.images == (str(root / "x/1.jpg"), str(root / "x/2.jpg"))
    assert scene.labels == (str(root / "y/1.png"), str(root / "y/2.png"))
    assert scene.elevation == ()


def test_a_pattern_of_one_file_is_a_folder_too(root):
    (scene,) = scenes(root, "tile\tz/*.png\t\t\tpredict").values()

    assert scene.is_folder and len(scene.images) == 1


def emptied(root, *names):
    """Make empty files."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("")


def test_names_may_differ_in_what_is_no_wildcard_and_in_leading_zeros(root):
    emptied(
        root, "ortho/top_2_10.tif", "ortho/top_2_9.tif", "dsm/02_10_dsm.tif", "dsm/02_09_dsm.tif"
    )

    row = "town\tortho/top_*_*.tif\t\tdsm/*_*_dsm.tif\tpredict"
    (scene,) = scenes(root, row).values()

    assert scene.raster_names == ("top_2_9", "top_2_10")
    assert scene.elevation == (str(root / "dsm/02_09_dsm.tif"), str(root / "dsm/02_10_dsm.tif"))


def test_one_file_does_not_lie_beside_two_images(root):
    emptied(root, "ortho/top_1.tif", "ortho/top_01.tif", "dsm/dsm_1.tif")

    text = refused(root, "town\tortho/top_*.tif\t\tdsm/dsm_*.tif\tpredict")

    assert f"{root / 'ortho/top_01.tif'}" in text


def test_rasters_are_called_by_their_stem_or_if_that_is_not_theirs_alone_by_their_wildcards(root):
    emptied(root, "mixed/one/img.tif", "mixed/two/img.tif", "mixed/two/b.tif")

    found = scenes(
        root,
        "stems\tx/*.jpg\t\t\tpredict",
        "both\ttwo/*\t\t\tpredict",
        "folders\tmixed/*/img.tif\t\t\tpredict",
    )

    assert found["stems"].raster_names == ("1", "2")
    assert found["both"].raster_names == ("1.jpg", "1.png")
    assert found["folders"].raster_names == ("one", "two")


def test_every_raster_of_a_scene_has_a_name_of_its_own(root):
    emptied(root, "deep/a/b-c/1.tif", "deep/a-b/c/1.tif")

    (scene,) = scenes(root, "town\tdeep/*/*/1.tif\t\t\tpredict").values()

    assert len(set(scene.raster_names)) == 2


def test_terrain_lies_beside_elevation(root):
    header = f"{HEADER}\tterrain"
    (scene,) = scenes(root, "town\ta.tif\t\tb.tif\tpredict\tc.tif", header=header).values()

    assert scene.terrain == (str(root / "c.tif"),)
    assert scene.files == tuple(str(root / name) for name in ("a.tif", "b.tif", "c.tif"))
    text = refused(root, "town\ta.tif\t\t\tpredict\tc.tif", header=header)
    assert text.endswith(":2: elevation is empty, expected a surface for terrain")


LISTED = f"{HEADER}\tlist"


@pytest.mark.parametrize("text", ["2.jpg\n", "2\n\n", "\ufeffelsewhere/2.jpg\n 2.jpg \n", "2"])
def test_a_list_says_by_name_or_stem_which_images_belong_to_the_scene(root, text):
    (root / "some.txt").write_text(text, encoding="utf-8")

    found = scenes(root, "some\tx/?.jpg\ty/?.png\t\ttrain\tsome.txt", header=LISTED)["some"]

    assert found.images == (str(root / "x/2.jpg"),)
    assert found.labels == (str(root / "y/2.png"),)
    assert found.listed == str(root / "some.txt")


@pytest.mark.parametrize(
    "image, text, words",
    [
        ("x/*.jpg", "3.jpg\n", "where 3.jpg is 0 of the images of x/*.jpg; expected one"),
        ("two/*", "1\n", "where 1 is 2 of the images of two/*; expected one"),
        ("x/*.jpg", "\n", "which is empty; expected names"),
        ("x/*.jpg", None, "where no file is; expected a file"),
        ("a.tif", "a.tif\n", "expected none for a single image"),
    ],
)
def test_a_list_that_does_not_fit_is_named(root, image, text, words):
    if text is not None:
        (root / "some.txt").write_text(text)

    said = refused(root, f"some\t{image}\t\t\tpredict\tsome.txt", header=LISTED)

    assert said.startswith(f"{root / 'scenes.tsv'}:2: list is {root / 'some.txt'}, {words}")


@pytest.mark.parametrize("split", ["train", "val", "test", "blocks", "folds"])
def test_every_split_but_predict_needs_labels(root, split):
    assert scenes(root, f"town\ta.tif\tb.tif\t\t{split}")["town"].split == split
    text = refused(root, f"town\ta.tif\t\t\t{split}")
    assert text.endswith(f": labels is empty, expected a path since split is {split}")


def test_one_scene_is_read_without_a_look_at_the_others(root):
    file = table(root, "good\tx/*.jpg\t\t\tpredict", "bad\tgone.tif\tb.tif\t\ttrain")

    assert list(read_scenes(file, str(root), only="good")) == ["good"]
    with pytest.raises(StudyError, match="no scenes found, expected a row of 'neither'"):
        read_scenes(file, str(root), only="neither")


def test_scenes_keep_the_order_of_the_table(root):
    found = scenes(root, "b\ta.tif\tb.tif\t\ttrain", "a\tc.tif\tb.tif\t\ttest")

    assert list(found) == ["b", "a"]


def test_optional_columns_blank_lines_spaces_and_a_byte_order_mark_are_no_trouble(root):
    found = scenes(root, "", "town \t a.tif\tpredict ", "", header="\ufeffscene\timage\tsplit")

    assert found["town"].images == (str(root / "a.tif"),)
    assert found["town"].labels == ()


def test_files_that_a_rule_makes_need_not_exist(root):
    made = str(root / "made")

    found = scenes(root, "town\tmade/a.tif\tmade/b.tif\t\ttrain", made=made)

    assert found["town"].images == (str(root / "made/a.tif"),)


def test_an_absolute_path_is_taken_as_it_is(root):
    found = scenes(root, f"town\t{root / 'a.tif'}\t\t\tpredict")

    assert found["town"].images == (str(root / "a.tif"),)


@pytest.mark.parametrize(
    "row, words",
    [
        ("good\tc.tif\tb.tif\t\ttrain", "scene is 'good' again, expected each name once"),
        ("my town\tc.tif\tb.tif\t\ttrain", "scene is 'my town', expected letters"),
        ("a;rm\tc.tif\tb.tif\t\ttrain", "scene is 'a;rm', expected letters"),
        ("$(ls)\tc.tif\tb.tif\t\ttrain", "scene is '$(ls)', expected letters"),
        ("../up\tc.tif\tb.tif\t\ttrain", "scene is '../up', expected letters"),
        ("-rf\tc.tif\tb.tif\t\ttrain", "scene is '-rf', expected letters"),
        ("\tc.tif\tb.tif\t\ttrain", "scene is '', expected letters"),
        ("town\tc.tif\tb.tif\t\ttraining", "split is 'training', expected one of train, val"),
        ("town\tc.tif\tb.tif\t\t", "split is '', expected one of"),
        ("town\tc.tif\tb.tif", "split is '', expected one of"),
        ("town\t\tb.tif\t\ttrain", "image is empty, expected a path or a pattern"),
        ("town\tgone.tif\tb.tif\t\ttrain", "image is {root}/gone.tif, where no file is"),
        ("town\tx\tb.tif\t\ttrain", "image is {root}/x, where a folder is"),
        ("town\tc.tif\tgone.tif\t\ttrain", "labels is {root}/gone.tif, where no file is"),
        ("town\tc.tif\tb.tif\tgone.tif\ttrain", "elevation is {root}/gone.tif, where no file"),
        ("town\tq/*.jpg\t\t\tpredict", "image is {root}/q/*.jpg, expected it to match"),
        ("town\tx/?.*\ty/*.png\t\ttrain", "labels is y/*.png, expected as many wildcards as image"),
        ("town\tx/*.jpg\tq/*.png\t\ttrain", "labels is {root}/q/*.png, expected it to match"),
        ("town\tx/*.jpg\tz/*.png\t\ttrain", "labels is z/*.png, which has no file for {root}/x/2"),
        ("town\tx/*.jpg\tb.tif\t\ttrain", "labels is b.tif, one file for 2 images"),
        ("town\tc.tif\t\t\ttrain", "labels is empty, expected a path since split is train"),
        ("town\tc.tif\tb.tif\t\ttrain\textra", "6 cells found, expected 5"),
    ],
)
def test_a_row_that_cannot_be_run_is_named_with_file_and_line(root, row, words):
    text = refused(root, GOOD, row)

    assert text.startswith(f"{root / 'scenes.tsv'}:3: ")
    assert words.format(root=root) in text


@pytest.mark.parametrize(
    "header",
    [
        "scene\timage\tlabels\televation",
        "scene\timage\tlabels\televation\tsplits",
        "scene,image,labels,elevation,split",
        "scene\timage\tlabels\theight\tsplit",
        "scene\timage\tlabels\tlabels\tsplit",
    ],
)
def test_wrong_columns_are_named_beside_the_right_ones(root, header):
    text = refused(root, GOOD, header=header)

    assert text.startswith(f"{root / 'scenes.tsv'}:1: columns are {header.split(chr(9))[0]}")
    columns = "scene, image, labels, elevation, terrain, list, domain, split"
    assert text.endswith(f"expected tab-separated {columns}")


def test_one_image_in_two_scenes_names_both(root):
    (root / "link.tif").symlink_to(root / "a.tif")

    text = refused(root, GOOD, "again\tlink.tif\tb.tif\t\ttest")

    assert text.startswith(f"{root / 'scenes.tsv'}:3: image ")
    assert "link.tif is one of 'good' already, expected one scene for an image" in text


def test_wildcards_in_the_root_are_letters_and_folders_match_no_pattern(root):
    inner = root / "data [2024]"
    (inner / "x" / "folder.jpg").mkdir(parents=True)
    (inner / "x" / "1.jpg").write_text("")

    found = read_scenes(table(root, "many\tx/*.jpg\t\t\tpredict"), str(inner))

    assert found["many"].images == (str(inner / "x" / "1.jpg"),)


def test_an_empty_table_is_an_error(root):
    assert "no scenes found" in refused(root)
    assert "columns are none" in refused(root, header="")


def test_a_table_that_cannot_be_read_is_an_error(root):
    (root / "latin.tsv").write_bytes("scène".encode("latin-1"))

    for name in ("gone.tsv", "latin.tsv"):
        with pytest.raises(StudyError, match=re.escape(f"{root / name}: cannot be read")):
            read_scenes(root / name, str(root))


WITH_DOMAIN = f"{HEADER}\tdomain"


def test_a_scene_is_of_the_domain_that_the_table_names(root):
    rows = (f"{GOOD}\tpotsdam", "other\tc.tif\tb.tif\t\ttest\tvaihingen-2")

    found = scenes(root, *rows, header=WITH_DOMAIN)

    assert [scene.domain for scene in found.values()] == ["potsdam", "vaihingen-2"]
    assert read_domains(table(root, *rows, header=WITH_DOMAIN)) == ["potsdam", "vaihingen-2"]


def test_a_table_may_have_no_domain_at_all(root):
    (scene,) = scenes(root, f"{GOOD}\t", header=WITH_DOMAIN).values()

    assert scene.domain == ""
    assert read_domains(table(root, f"{GOOD}\t", header=WITH_DOMAIN)) == []
    assert read_domains(table(root, GOOD)) == []


@pytest.mark.parametrize("empty", [0, 1])
def test_where_one_scene_has_a_domain_all_have_one(root, empty):
    rows = [GOOD, "other\tc.tif\tb.tif\t\ttest"]
    cells = ["potsdam", "potsdam"]
    cells[empty] = ""

    text = refused(root, *map("\t".join, zip(rows, cells, strict=True)), header=WITH_DOMAIN)

    place = f"{root / 'scenes.tsv'}:{empty + 2}"
    assert text == f"{place}: domain is empty, expected a name, as other rows have one"


@pytest.mark.parametrize("domain", ["a b", "-a", "a+b", "a.b", "miou_sd"])
def test_a_domain_that_can_be_no_column_and_no_value_of_a_grid_is_refused(root, domain):
    text = refused(root, f"{GOOD}\t{domain}", header=WITH_DOMAIN)

    assert text.startswith(f"{root / 'scenes.tsv'}:2: domain is {domain!r}, expected letters")


def test_a_step_that_reads_one_row_knows_its_domain(root):
    file = table(root, f"{GOOD}\tnear", "other\tc.tif\tb.tif\t\ttest\tfar", header=WITH_DOMAIN)

    assert read_scenes(file, str(root), only="other")["other"].domain == "far"
