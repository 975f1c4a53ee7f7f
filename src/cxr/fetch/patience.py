"""When a server is asked again, and when it is given up: one policy for all transfers.

What a host does to one transfer is known to all others of the stage (`Hosts`):

1. After a failure (no answer, HTTP 5xx, a line that breaks off) nobody asks that host for a
   second; twice as long after each further one, up to a minute. Requests that fail at the
   same time are one failure.
2. After so many failures in a row the host is *down*: transfers go on to their next source
   at once, and one request asks for all whether it is back, at pauses up to five minutes.
3. A host that serves again is as good as new.
4. A refusal (403, 404, a page, a file of another size) is about one file, not the host. It
   is believed after three in a row, and then again in three rounds over all sources: what
   stands before a server may refuse for minutes what it serves afterwards.
5. What is wrong for good (other content, twice) strikes a source out.
6. Sources that only fail are tried until none has served for `Patience.budget` (`Turns`).
"""

import dataclasses
import random
import threading
import time
import urllib.parse
from collections.abc import Iterator, Sequence

# Rounds over all sources that refuse one before it is believed.
_ROUNDS_REFUSED = 3


class TransferError(Exception):
    """This source does not serve the file; another one might.

    Attributes:
        passing: whether this one might, too, later: it did not answer, or broke off.
        refused: whether it said no; somebody else may have answered in its place.
    """

    def __init__(self, reason: str, *, passing: bool = False, refused: bool = False):
        super().__init__(reason)
        self.passing, self.refused = passing, refused


class Stopped(Exception):
    """The transfer was told to stop; what arrived is kept."""


class Clock:
    """Time in seconds, and waiting for it to pass. Tests have one that runs ahead."""

    def now(self) -> float:
        """Seconds since some moment."""
        return time.monotonic()

    def wait(self, event: threading.Event, seconds: float) -> bool:
        """Wait; True as soon as `event` is set."""
        return event.wait(seconds)


@dataclasses.dataclass(frozen=True)
class Patience:
    """How long to wait for a server, and how often to ask again. Times in seconds."""

    connect: float = 10.0
    # Without a byte for this long, a connection counts as stalled; and so long, beside
    # `connect`, an answer may take to begin.
    read: float = 60.0
    # A body that comes slower than this, over so long, is given up for a new connection.
    floor: float = 10_000.0
    window: float = 60.0
    # So many failures in a row, without progress between them, and a host is down.
    tries: int = 8
    # As many for one that never answered: there is no network, or no such server.
    unanswered: int = 3
    # The first pause; each one is twice the last, up to the longest.
    first_pause: float = 1.0
    longest_pause: float = 60.0
    # How long a host that is down is left alone; doubled up to ten times as long.
    between_rounds: float = 30.0
    # A server that asks for a longer pause than this counts as down until then.
    longest_asked: float = 900.0
    # A file that no source serves just now is tried again for so long: a night's outage
    # ends, and nobody is there to start anew.
    budget: float = 6 * 3600.0
    clock: Clock = dataclasses.field(default_factory=Clock)

    def pause(self, tries: int) -> float:
        """Exponential backoff with jitter, so that parallel transfers do not return at once."""
        longest = min(self.longest_pause, self.first_pause * 2 ** min(tries - 1, 20))
        return longest * random.uniform(0.5, 1.0)

    def round_pause(self, rounds: int) -> float:
        """Before another round of all sources, after so many that failed."""
        return self.between_rounds * min(10, 2 ** min(rounds - 1, 20)) * random.uniform(0.5, 1.0)


# For small files with several mirrors: the next mirror is the better second try.
BRIEF = Patience(connect=4.0, read=15.0, window=15.0, tries=2, first_pause=0.5)


class Host:
    """One server, as all transfers of a stage know it. Safe to use from several threads."""

    def __init__(self, name: str, patience: Patience, stop: threading.Event):
        self.name, self.patience, self._stop = name, patience, stop
        self._lock = threading.Lock()
        self._answered = False
        self._forget()

    def _forget(self) -> None:
        self._failures, self._said = 0, ""
        # When the failures began, when the last one was noted, and until when nobody asks.
        self._since, self._noted, self._until = float("inf"), float("-inf"), float("-inf")

    @property
    def _most(self) -> int:
        most = self.patience.tries
        return most if self._answered else min(most, self.patience.unanswered)

    @property
    def down(self) -> bool:
        """Whether transfers had better go elsewhere."""
        return self._failures >= self._most

    def ask(self) -> float:
        """Wait until this host may be asked; the moment at which that is.

        Raises:
            TransferError: if it is down, and another transfer asks or asked a moment ago.
            Stopped: if told to stop meanwhile.
        """
        clock = self.patience.clock
        while True:
            with self._lock:
                now = clock.now()
                left = self._until - now
                if self.down and left > 0:
                    why = f"{self.name} is down ({self._said}); asked again in {left:.0f} s"
                    raise TransferError(why, passing=True)
                if left <= 0:
                    if self.down:
                        # This one asks for all.
                        self._until = now + self.patience.between_rounds
                    return now
            if clock.wait(self._stop, left):
                raise Stopped

    def served(self) -> None:
        """Note that it serves."""
        with self._lock:
            self._answered = True
            self._forget()

    def answered(self) -> None:
        """Note that somebody is there, whatever the answer was."""
        self._answered = True

    def failed(self, asked: float, reason: object, wait: float = 0.0) -> None:
        """Note a failure of a request.

        Args:
            asked: when the request began, from `ask`.
            wait: what the server asks for.
        """
        patience = self.patience
        with self._lock:
            now = patience.clock.now()
            self._since, self._said = min(self._since, now), str(reason)
            # What failed at the same time as another request is no failure of its own.
            if asked >= self._noted:
                self._noted = now
                self._failures += 1
                over = self._failures - self._most + 1
                pause = patience.pause(self._failures) if over < 1 else patience.round_pause(over)
                self._until = max(self._until if wait else 0.0, now + pause)
            if wait > patience.longest_asked:
                self._failures = max(self._failures, self._most)
            self._until = max(self._until, now + wait)

    def due(self) -> float:
        """Seconds until it may be asked again; 0 if it may be now."""
        return max(self._until - self.patience.clock.now(), 0.0)

    def failing(self) -> float:
        """Seconds since it last served."""
        return max(self.patience.clock.now() - self._since, 0.0)


class Hosts:
    """All servers of a stage, and how patient to be with them.

    Attributes:
        patience: when to wait and when to give up.
        stop: ends waits and transfers with `Stopped` once it is set.
    """

    def __init__(self, patience: Patience | None = None, stop: threading.Event | None = None):
        self.patience, self.stop = patience or Patience(), stop or threading.Event()
        self._lock = threading.Lock()
        self._hosts: dict[str, Host] = {}

    def of(self, url: str) -> Host:
        """The server of an address."""
        name = urllib.parse.urlsplit(url).netloc
        with self._lock:
            return self._hosts.setdefault(name, Host(name, self.patience, self.stop))


class Turns:
    """The sources of one file in turn, again and again while one of them may serve yet.

        turns = Turns(urls, hosts)
        for url in turns:
            try:
                return get(url)
            except TransferError as error:
                turns.failed(url, error)
        raise turns.error()

    Args:
        say: told in a few words that, and how long, it waits.
    """

    def __init__(self, urls: Sequence[str], hosts: Hosts, say=lambda note: None):
        self._left, self._hosts, self._say = list(urls), hosts, say
        self._said: dict[str, str] = {}
        self._refused = dict.fromkeys(urls, 0)
        self._rounds, self._since = 0, hosts.patience.clock.now()

    def __iter__(self) -> Iterator[str]:
        while self._left:
            yield from tuple(self._left)
            self._rounds += 1
            if not self._left or self._over():
                return
            pause = min(map(self._pause, self._left))
            self._say(f"no source answers; all are tried again in {pause:.0f} s")
            if self._hosts.patience.clock.wait(self._hosts.stop, pause):
                raise Stopped

    def _over(self) -> bool:
        """Whether what is left has failed for too long, here or for other transfers."""
        patience = self._hosts.patience
        waited = patience.clock.now() - self._since
        return all(
            max(waited, self._hosts.of(url).failing()) > patience.budget for url in self._left
        )

    def _pause(self, url: str) -> float:
        host = self._hosts.of(url)
        return host.due() if host.down else self._hosts.patience.round_pause(self._rounds)

    def hopes(self, url: str) -> bool:
        """Whether this source is still tried."""
        return url in self._left

    def progressed(self) -> None:
        """Note that bytes came: the patience begins anew."""
        self._rounds, self._since = 0, self._hosts.patience.clock.now()

    def failed(self, source: object, reason: Exception) -> None:
        """Note why a source did not serve; one that never will is struck out."""
        known = isinstance(reason, TransferError)
        self._said[str(source)] = str(reason) if known else f"{type(reason).__name__}: {reason}"
        refused, passing = getattr(reason, "refused", False), getattr(reason, "passing", False)
        if source in self._refused:
            self._refused[str(source)] += refused
            if not passing and not (refused and self._refused[str(source)] < _ROUNDS_REFUSED):
                self._left.remove(str(source))

    def error(self) -> TransferError:
        """What each source said last, as one error."""
        return TransferError("; ".join(f"{source}: {why}" for source, why in self._said.items()))
