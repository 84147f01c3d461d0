import json

import numpy as np
import pytest

from pipeline_steps.rasters.drafts import Drafts, Layer

LAYERS = {"classes": Layer("uint8", 255), "shares": Layer("float32", np.nan, planes=3)}
HEIGHT, WIDTH = 10, 7


def rows(top, count):
    """Return rows of every layer that tell where they belong."""
    place = np.arange(top, top + count)[:, None] * WIDTH + np.arange(WIDTH)
    return {"classes": place % 251, "shares": np.stack([place, -place, place / 2])}


def whole(drafts, name, at_once=4):
    return np.concatenate(list(drafts.read(name, at_once)), axis=1)


def filled(folder, *counts):
    with Drafts(folder, HEIGHT, WIDTH, LAYERS) as drafts:
        for count in counts:
            drafts.append(rows(drafts.rows, count))


def test_rows_come_back_as_they_were_written(tmp_path):
    filled(tmp_path, 3, 1, 6)

    with Drafts(tmp_path, HEIGHT, WIDTH, LAYERS) as drafts:
        assert drafts.is_complete
        np.testing.assert_array_equal(whole(drafts, "shares"), rows(0, HEIGHT)["shares"])
        assert (whole(drafts, "classes", 100)[0] == rows(0, HEIGHT)["classes"]).all()


def test_a_file_holds_plain_rows(tmp_path):
    filled(tmp_path, HEIGHT)

    plain = np.fromfile(tmp_path / "classes.raw", np.uint8).reshape(HEIGHT, WIDTH)
    assert (plain == rows(0, HEIGHT)["classes"]).all()


def cut(file):
    file.write_bytes(file.read_bytes()[:-1])


def lengthen(file):
    file.write_bytes(file.read_bytes() + b"\0" * 100)


def spoil(file):
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)


@pytest.mark.parametrize("name", ["classes.raw", "shares.raw", "rows.jsonl"])
@pytest.mark.parametrize("damage, left", [(cut, 3), (spoil, 3), (lengthen, 7)])
def test_rows_that_are_not_whole_in_all_layers_are_forgotten(tmp_path, name, damage, left):
    filled(tmp_path, 3, 4)
    damage(tmp_path / name)

    with Drafts(tmp_path, HEIGHT, WIDTH, LAYERS) as drafts:
        assert drafts.rows == left
        drafts.append(rows(left, HEIGHT - left))
    filled(tmp_path / "undisturbed", 3, 4, 3)
    for file in ("classes.raw", "shares.raw"):
        assert (tmp_path / file).read_bytes() == (tmp_path / "undisturbed" / file).read_bytes()


def test_a_ledger_of_other_layers_vouches_for_nothing(tmp_path):
    filled(tmp_path, 3)
    (tmp_path / "rows.jsonl").write_text(json.dumps({"rows": 3, "sums": {"classes": 1}}) + "\n")

    with Drafts(tmp_path, HEIGHT, WIDTH, LAYERS) as drafts:
        assert drafts.rows == 0


def test_what_was_drafted_is_removed(tmp_path):
    with Drafts(tmp_path / "drafts", HEIGHT, WIDTH, LAYERS) as drafts:
        drafts.append(rows(0, 2))
        drafts.remove()

    assert not list(tmp_path.iterdir())
