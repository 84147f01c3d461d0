import contextlib
import io
import logging

from pipeline_steps.study import progress
from pipeline_steps.study.progress import track


def test_all_work_is_yielded_in_order_and_its_end_is_logged(caplog):
    with caplog.at_level(logging.INFO):
        assert list(track(iter("abc"), 3, "town", "bands")) == ["a", "b", "c"]

    assert len(caplog.records) == 1
    assert caplog.records[0].getMessage().startswith("town: 3 of 3 bands, ")


def test_long_work_is_logged_as_it_goes(caplog):
    with caplog.at_level(logging.INFO):
        list(track(range(3), 3, "town", every=0))

    starts = [record.getMessage().partition(",")[0] for record in caplog.records]
    assert starts == ["town: 1 of 3 it", "town: 2 of 3 it", "town: 3 of 3 it"]


def test_work_begins_only_when_it_is_asked_for():
    begun = []

    tracked = track((begun.append(i) for i in range(3)), 3, "town")

    assert begun == []
    next(tracked)
    assert begun == [0]


def test_a_terminal_shows_a_bar_beside_the_log(monkeypatch, caplog):
    screen = io.StringIO()
    monkeypatch.setattr(progress, "_terminal", lambda: contextlib.nullcontext(screen))

    with caplog.at_level(logging.INFO):
        list(track(range(3), 3, "town", "bands"))

    assert "town:   0%" in screen.getvalue()
    assert "0/3" in screen.getvalue()
    assert len(caplog.records) == 1
