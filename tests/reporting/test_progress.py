"""Progress as plain lines: now and then, at each end, never a flood. As bars: in a terminal."""

import io

import pytest

from secateur.reporting.progress import BarProgress, LineProgress, duration, progress_on


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_lines_come_every_few_seconds_and_at_the_end():
    stream, clock = io.StringIO(), Clock()
    with LineProgress(stream, every_seconds=5, clock=clock) as progress:
        for done in range(1, 101):
            clock.now += 0.2
            progress.advance("prune", done, 100, "loss 0.5")
        clock.now += 1
        progress.advance("finetune", 1, 2)
        progress.advance("finetune", 2, 2)
        progress.say("done")
    lines = stream.getvalue().splitlines()
    assert lines[0] == "prune: 26/100 (26 %) in 5 s, about 14 s left; loss 0.5"
    assert [line.partition(" ")[0] for line in lines] == ["prune:"] * 4 + ["finetune:", "done"]
    assert lines[3].startswith("prune: 100/100 (100 %) in 20 s")
    assert lines[4] == "finetune: 2/2 (100 %) in 0 s"


def test_bars_are_for_terminals(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    assert isinstance(progress_on(Terminal()), BarProgress)
    assert isinstance(progress_on(io.StringIO()), LineProgress)
    monkeypatch.setenv("TERM", "dumb")
    assert isinstance(progress_on(Terminal()), LineProgress)


def test_a_bar_shows_phase_share_and_detail_as_they_are(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    stream = Terminal()
    with BarProgress(stream) as progress:
        progress.advance("prune", 1, 2, "[bold]loss[/bold]")
        progress.advance("prune", 2, 2, "[bold]loss[/bold]")
        progress.say("[red]a line[/red]")
    shown = stream.getvalue()
    assert "prune" in shown
    assert "100%" in shown
    assert "[bold]loss[/bold]" in shown
    assert "[red]a line[/red]" in shown


@pytest.mark.parametrize(("seconds", "text"), [(0.2, "0 s"), (59.4, "59 s"), (61, "1 min 01 s"), (600, "10 min 00 s")])
def test_duration(seconds, text):
    assert duration(seconds) == text
