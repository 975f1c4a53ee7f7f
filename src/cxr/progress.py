"""Progress bars that stay a few lines: in a terminal, in JupyterLab, in a log."""

import contextlib
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator

# A terminal repaints this often; a notebook's every repaint is a message, so less often.
_TERMINAL_SECONDS, _NOTEBOOK_SECONDS = 0.1, 0.5

# Who reads a log wants to know that it goes on, and to find the end again.
_LOG_SECONDS = 60

_logs: list[Callable[[str], None]] = []


@contextlib.contextmanager
def logged(write: Callable[[str], None]) -> Iterator[None]:
    """While the block runs, every block of bars tells `write` a line a minute, too."""
    _logs.append(write)
    try:
        yield
    finally:
        _logs.remove(write)


class Bar:
    """One line: a label, how much of `total` is done, the rate and the time left."""

    def __init__(
        self, bars: "Bars", label: str, total: int | None, unit: str, within: "Bar | None" = None
    ):
        self._bars, self.label, self.total, self.unit = bars, label, total, unit
        self.within = within
        # Work found done at the start counts as done, but not towards the rate.
        self.done, self.reused, self.note = 0, 0, ""
        self._start = time.monotonic()
        self._stop: float | None = None

    def advance(self, amount: int = 1, *, reused: bool = False) -> None:
        """Count `amount` more as done; `reused` work was there already."""
        with self._bars.lock:
            self.done += amount
            self.reused += amount if reused else 0
        if self.within is not None:
            self.within.advance(amount, reused=reused)
        self._bars.refresh()

    def take_back(self) -> None:
        """Count nothing as done any more: the work has to be done in another way."""
        reused = self.reused
        self.advance(-reused, reused=True)
        self.advance(-self.done)

    def restart(self) -> None:
        """Start the clock again: the work that the line stands for begins now."""
        self._start = time.monotonic()

    def say(self, note: str) -> None:
        """Show a short note behind the bar, such as "verifying"."""
        self.note = note
        self._bars.refresh()

    def finish(self, note: str = "") -> None:
        """Stop the clock; the line stays."""
        self.note, self._stop = note, time.monotonic()
        self._bars.refresh(force=True)

    def line(self) -> str:
        """The bar as text, 100 characters at most when the note is short."""
        seconds = max((self._stop or time.monotonic()) - self._start, 1e-9)
        rate = (self.done - self.reused) / seconds
        share = min(self.done / self.total, 1.0) if self.total else 0.0
        filled = round(20 * share)
        bar = f"[{'#' * filled}{'.' * (20 - filled)}] {share:4.0%}" if self.total else ""
        amount = quantity(self.done, self.unit)
        if self.total:
            amount += f" of {quantity(self.total, self.unit)}"
        if self._stop is not None:
            clock = duration(seconds)
        elif rate > 0 and self.total:
            clock = f"{duration((self.total - self.done) / rate)} left"
        else:
            clock = ""
        pace = f"{quantity(rate, self.unit)}/s" if rate >= 1 else ""
        parts = (f"{self.label:<18}", bar, amount, pace, clock, self.note)
        return "  ".join(part for part in parts if part)


class Bars:
    """A block of bars, repainted in place; in a file or a pipe, a line a minute and the end.

    Safe to use from several threads.

        with progress.Bars() as bars:
            bar = bars.add("films", total=len(films), unit="films")
            for film in films:
                bar.advance()
    """

    def __init__(self):
        self.lock = threading.RLock()
        self._bars: list[Bar] = []
        self._painted, self._lines, self._handle = 0.0, 0, None
        self._told, self._over = time.monotonic(), threading.Event()
        self._notebook = _in_notebook()
        self._terminal = not self._notebook and sys.stderr.isatty()

    def add(
        self,
        label: str,
        *,
        total: int | None = None,
        unit: str = "films",
        within: Bar | None = None,
    ) -> Bar:
        """Add a line; `unit` "B" is shown in kB, MB or GB; `within` counts along."""
        with self.lock:
            bar = Bar(self, label, total, unit, within)
            self._bars.append(bar)
        self.refresh(force=True)
        return bar

    def refresh(self, *, force: bool = False) -> None:
        """Repaint, unless that was done a moment ago."""
        pause = _NOTEBOOK_SECONDS if self._notebook else _TERMINAL_SECONDS
        with self.lock:
            if not force and time.monotonic() - self._painted < pause:
                return
            self._painted = time.monotonic()
            self._tell()
            lines = [bar.line() for bar in self._bars]
            if self._notebook:
                self._paint_notebook("\n".join(lines))
            elif self._terminal:
                up = f"\x1b[{self._lines}A" if self._lines else ""
                # A line that wraps, or leaves at the top, would not be found by the next repaint.
                width, height = shutil.get_terminal_size()
                width, lines = width - 1, lines[: max(height - 1, 1)]
                _show(up + "".join(f"\x1b[2K{line[:width]}\n" for line in lines))
                self._lines = len(lines)

    def _tell(self) -> None:
        """Once a minute, say in a line how far the work is, where nothing is repainted."""
        if time.monotonic() - self._told < _LOG_SECONDS or not self._bars:
            return
        self._told = time.monotonic()
        first, *others = self._bars
        notes = (f"{b.label}: {b.note}" for b in others if b.note and b._stop is None)
        line = "  |  ".join((first.line(), *notes))
        for write in _logs:
            write(line)
        if not self._notebook and not self._terminal:
            _show(f"{line}\n")

    def _tick(self) -> None:
        # Work that waits reports nothing, and its clock goes on all the same.
        while not self._over.wait(1):
            self.refresh()

    def __enter__(self) -> "Bars":
        if not self._notebook:
            threading.Thread(target=self._tick, daemon=True).start()
        return self

    def __exit__(self, kind, error, trace) -> None:
        self._over.set()
        for bar in self._bars:
            if bar._stop is None:
                bar._stop = time.monotonic()
        self.refresh(force=True)
        if not self._notebook and not self._terminal:
            for bar in self._bars:
                _show(f"{bar.line()}\n")

    def _paint_notebook(self, text: str) -> None:
        from IPython.display import display

        bundle = {"text/plain": text}
        if self._handle is None:
            self._handle = display(bundle, raw=True, display_id=True)
        else:
            self._handle.update(bundle, raw=True)


def _show(text: str) -> None:
    """Write to the terminal or log; a reader who has gone away does not end the work."""
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(text)
        sys.stderr.flush()


def _in_notebook() -> bool:
    """Whether a Jupyter kernel runs this process."""
    shell = sys.modules.get("IPython") and sys.modules["IPython"].get_ipython()
    return shell is not None and shell.__class__.__name__ == "ZMQInteractiveShell"


def quantity(amount: float, unit: str) -> str:
    """An amount with its unit: bytes in kB, MB or GB (powers of 1000), others with commas."""
    if unit != "B":
        return f"{amount:,.0f} {unit}"
    for scale, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if amount >= scale:
            return f"{amount / scale:,.1f} {name}"
    return f"{amount:,.0f} B"


def duration(seconds: float) -> str:
    """Seconds as "4 s", "3 min 20 s" or "2 h 05 min"."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02d} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"
