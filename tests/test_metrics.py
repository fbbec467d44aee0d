"""Metrics: JSON lines that survive a crash, and a bar."""

import json
import math
import re

import pytest
from handmade.training.metrics import Metrics, Progress, read_metrics


def test_each_line_is_on_the_disk_when_write_returns(tmp_path):
    path = tmp_path / "new" / "log.jsonl"
    with Metrics(path) as log:
        log.write(0, {"loss": 2.5})
        assert read_metrics(path) == [{"step": 0, "loss": 2.5}]
        log.write(1, {"loss": 2.0, "text": "a\nb"})
    assert [json.loads(line) for line in path.read_text().splitlines()] == [
        {"step": 0, "loss": 2.5},
        {"step": 1, "loss": 2.0, "text": "a\nb"},
    ]


def test_a_resumed_run_has_no_step_twice_and_no_half_line(tmp_path):
    path = tmp_path / "log.jsonl"
    with Metrics(path) as log:
        for step in range(5):
            log.write(step, {"loss": float(step)})
    with path.open("a") as file:
        file.write('{"step": 5, "lo')  # killed here
    assert len(read_metrics(path)) == 5
    with Metrics(path, resume_at=3) as log:
        log.write(3, {"loss": 9.0})
    steps = [(line["step"], line["loss"]) for line in read_metrics(path)]
    assert steps == [(0, 0.0), (1, 1.0), (2, 2.0), (3, 9.0)]
    with Metrics(path):
        pass
    assert read_metrics(path) == []  # a new run begins anew
    assert [p.name for p in tmp_path.iterdir()] == ["log.jsonl"]


def test_a_broken_line_within_is_named(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text('{"step": 0}\nnonsense\n{"step": 1}\n')
    with pytest.raises(ValueError, match="'nonsense' in line 2"):
        read_metrics(path)
    assert read_metrics(tmp_path / "none") == []


def test_what_json_cannot_hold_is_refused(tmp_path):
    with Metrics(tmp_path / "log.jsonl") as log:
        for value in (math.nan, object()):
            with pytest.raises(ValueError, match="values"):
                log.write(0, {"loss": value})
        with pytest.raises(ValueError, match="step"):
            log.write(-1, {})
    assert read_metrics(tmp_path / "log.jsonl") == []


def test_numbers_go_to_tensorboard_where_it_is(tmp_path, monkeypatch):
    heard = []

    class Board:
        def add_scalar(self, *values):
            heard.append(values)

        def close(self):
            heard.append("closed")

    monkeypatch.setattr(
        "handmade.training.metrics._board", lambda folder: Board()
    )
    with Metrics(tmp_path / "log.jsonl", board=True) as log:
        log.write(4, {"loss": 1.5, "text": "no number"})
    assert heard == [("loss", 1.5, 4), "closed"]


def test_without_tensorboard_the_lines_are_written_all_the_same(tmp_path):
    with Metrics(tmp_path / "log.jsonl", board=True) as log:
        log.write(0, {"loss": 1.0})
    assert read_metrics(tmp_path / "log.jsonl")


def test_the_bar_counts_tokens_and_says_the_loss(capsys):
    bar = Progress(4, 100, start=2, every=1e-9)
    for step in (2, 3):
        bar(step, 1.25)
    bar.close()
    said = capsys.readouterr().err
    assert "400/400" in said
    assert "loss 1.250" in said
    assert "tokens/s" in said.replace(" tokens/s", "tokens/s")


def test_the_bar_says_what_time_is_left_and_how_fast_it_goes(
    capsys, monkeypatch
):
    """A clock of a second a step: 100 tokens/s, and two seconds to go."""
    clock = iter(range(100))
    monkeypatch.setattr("tqdm.std.time", lambda: float(next(clock)))
    bar = Progress(4, 100, every=1e-9)
    for step in (0, 1):
        bar(step, 1.25)
    said = capsys.readouterr().err.split("\r")[-1]
    assert "200/400" in said
    assert re.search(r"\d\d:\d\d<\d\d:\d\d, +[\d.]+ tokens/s", said)
    bar.close()
