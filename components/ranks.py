"""The processes of one run: which of them this is, how they meet, and how all of them end when one does.

A component that can use several processes ("ranks") is started that often by `srun` or `torchrun`, or starts its own
further ranks on one machine. Rank 0 alone stages, publishes and speaks; every other rank keeps a connection to it, on
which it learns where rank 0 works and says what went wrong. The kernel closes the connection of a process that dies,
so the others hear of it at once and never wait for the timeout of a collective. No torch here: data components read
this module too.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any

from components.errors import GeoductError, Halted

PATIENCE = 120.0
"""Seconds in which all ranks must have come together: a cold start of a container on a busy file system takes long."""

GRACE = 20.0
"""Seconds that a rank has to end by itself once another has; a collective on a GPU may wait for the dead forever."""

HEARING = 5.0
"""Seconds that a rank in trouble waits: for news of what caused it, or for rank 0 to tidy up. Not longer, for rank 0
may itself wait in a collective on the CPU until the process at its other end is gone."""

LOST = 1
"""Exit code of a run that lost one of its ranks."""

_KEEPALIVE = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 4}
"""A machine that went off without a word is noticed after half a minute."""


@dataclass(frozen=True)
class Place:
    """Which process of a run this is: `rank` of `size`, the one numbered `local` on its machine; rank 0's address."""

    rank: int = 0
    size: int = 1
    local: int = 0
    address: str = "127.0.0.1"
    port: int = 0


_LAUNCHERS = (
    ("RANK", "WORLD_SIZE", "LOCAL_RANK"),  # torchrun and its like; first, for it may run within a step of srun
    # Within a batch script, outside srun, SLURM_PROCID and SLURM_NTASKS are set as well; this one is not.
    ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID"),
)


def here(environment: Mapping[str, str] = os.environ) -> Place:
    """Our place, from the variables of `torchrun` or `srun`, and from MASTER_ADDR and MASTER_PORT.

    Raises:
        GeoductError: there are several ranks, and a variable is missing or no number.
    """
    for rank, size, local in _LAUNCHERS:
        if rank in environment and size in environment and environment[size] != "1":
            names = (rank, size, local, "MASTER_PORT")
            number = {name: _number(environment, name) for name in names}
            if not environment.get("MASTER_ADDR"):
                raise GeoductError(f"{size} is {number[size]}, but MASTER_ADDR is not set; expected the host of rank 0")
            return Place(number[rank], number[size], number[local], environment["MASTER_ADDR"], number["MASTER_PORT"])
    return Place()


def _number(environment: Mapping[str, str], name: str) -> int:
    try:
        return int(environment[name])
    except KeyError:
        raise GeoductError(f"this is one of several ranks, but {name} is not set; expected a number") from None
    except ValueError:
        raise GeoductError(f"{name} is {environment[name]!r}; expected a number") from None


def speaks() -> bool:
    """Whether this process tells the user what happens: rank 0 does so for all."""
    try:
        return here().rank == 0
    except GeoductError:
        return True


@dataclass(frozen=True)
class _End:
    """How a run ends: what rank 0 has yet to tell, and the exit code."""

    code: int
    sentence: str = ""
    kept: bool = True

    def error(self) -> GeoductError:
        return Halted(self.sentence, self.code) if self.kept else GeoductError(self.sentence)


class Ranks:
    """All ranks of a run as one of them sees them; a run of one process has no peers.

    `peers` holds rank 0's connections to all others, or another rank's to rank 0.
    """

    def __init__(self, place: Place, peers: Mapping[int, Connection] | None = None) -> None:
        self.rank, self.size, self.local, self.address = place.rank, place.size, place.local, place.address
        self._peers = dict(peers or {})
        self._news = threading.Condition()
        self._ready: dict[int, str] = {}
        self._values: deque[Any] = deque()
        self._done: set[int] = set()
        self._gone: set[int] = set()
        self._closing = False
        self._end: _End | None = None
        self._force: threading.Timer | None = None
        if self._peers:
            threading.Thread(target=self._listen, name="geoduct-ranks", daemon=True).start()

    def meet(self, run: str) -> None:
        """Wait until every rank is ready for the same `run`: the same component, parameters and inputs.

        Raises:
            GeoductError: on rank 0, another rank is not, with its reason.
        """
        if self.rank:
            self._tell(ready=run)
            return
        self._await(lambda: len(self._ready) == self.size - 1)
        for rank, other in sorted(self._ready.items()):
            if other != run:
                raise GeoductError(f"rank {rank} of {self.size} has other parameters or inputs than rank 0")

    def share(self, value: Any) -> Any:
        """What rank 0 gives, as JSON holds it; every rank gets it, once the ranks have met."""
        if self.rank:
            self._await(lambda: bool(self._values))
            return self._values.popleft()
        self._tell(value=value)
        return value

    @contextmanager
    def blaming(self) -> Iterator[None]:
        """Around work in which the ranks talk to each other: an error that another's end caused becomes that end."""
        try:
            yield
        except GeoductError:
            raise
        except Exception as error:
            with self._news:
                self._news.wait_for(lambda: self._end is not None, timeout=HEARING if self._peers else 0)
            if self._end:
                raise self._ending(self._end) from error
            raise

    def _await(self, ready: Callable[[], bool]) -> None:
        with self._news:
            self._news.wait_for(lambda: self._end is not None or ready())
        if self._end:
            raise self._ending(self._end)

    def _ending(self, end: _End) -> GeoductError | SystemExit:
        return SystemExit(end.code) if self.rank else end.error()

    def _tell(self, **message: Any) -> None:
        with self._news:
            for connection in self._peers.values():
                try:
                    connection.send_bytes(json.dumps(message).encode())
                except OSError:
                    continue  # it is gone, which the listener hears of

    def _listen(self) -> None:
        peers = {connection: rank for rank, connection in self._peers.items()}
        while peers:
            for connection in wait(list(peers)):
                assert isinstance(connection, Connection)
                try:
                    message = json.loads(connection.recv_bytes())
                except (EOFError, OSError):
                    message = {"gone": True}
                self._hear(peers[connection], message)
                if "gone" in message:
                    del peers[connection]
                    with self._news:
                        connection.close()

    def _hear(self, rank: int, message: dict[str, Any]) -> None:
        with self._news:
            match message:
                case {"ready": run}:
                    self._ready[rank] = run
                case {"value": value}:
                    self._values.append(value)
                case {"done": True}:
                    self._done.add(rank)
                case {"end": {"code": code, "sentence": sentence, "kept": kept}}:
                    self._finish(_End(code, sentence, kept))
                case {"gone": True}:
                    self._gone.add(rank)
                    if rank not in self._done:
                        self._finish(_End(LOST, f"rank {rank} of {self.size} has died; the same command goes on"))
            self._news.notify_all()

    def _finish(self, end: _End) -> None:
        if self._end or self._closing:
            return
        self._end = end
        if self.rank == 0:
            self._tell(end={"code": end.code, "sentence": "", "kept": True})
        elif self.rank == 1 and end.code == LOST and end.sentence:
            print(f"geoduct: {end.sentence}", file=sys.stderr, flush=True)  # rank 0 can no longer say so
        self._force = threading.Timer(GRACE, self._leave, [end])
        self._force.daemon = True
        self._force.start()

    def _leave(self, end: _End) -> None:
        """End a process whose main thread waits for what will never come."""
        if self.rank == 0:
            print(f"geoduct: {end.sentence}", file=sys.stderr, flush=True)
        os._exit(end.code)

    def close(self, error: BaseException | None) -> None:
        """Tell the others how this rank ended, and hang up.

        Raises:
            SystemExit: on any rank but 0 after a GeoductError, which rank 0 tells.
        """
        with self._news:
            self._closing = True  # what others say and who hangs up from now on changes nothing
        match error:
            case None:
                self._tell(done=True)
            case GeoductError():
                kept = isinstance(error, Halted)
                self._tell(end={"code": error.code, "sentence": str(error), "kept": kept})
            case SystemExit() | KeyboardInterrupt():
                code = error.code if isinstance(error, SystemExit) and isinstance(error.code, int) else 128 + 2
                sentence = f"rank {self.rank} of {self.size} was ended by a signal; the same command goes on"
                self._tell(end={"code": code, "sentence": sentence, "kept": True})
        with self._news:
            for connection in self._peers.values():
                if not connection.closed:
                    with socket.socket(fileno=os.dup(connection.fileno())) as twin, suppress(OSError):
                        twin.shutdown(socket.SHUT_WR)
            if self.rank and error is not None:
                # Where srun kills the other tasks once one has failed, rank 0 has yet to tidy up and to speak.
                self._news.wait_for(lambda: 0 in self._gone, timeout=HEARING)
            if self._force:
                self._force.cancel()
        if self.rank and isinstance(error, GeoductError):
            raise SystemExit(error.code) from None


ALONE = Ranks(Place())
"""The only rank of a run of one process."""


@contextmanager
def together(place: Place, start: int = 1, command: Sequence[str] = ()) -> Iterator[Ranks]:
    """Bring the ranks of a run together, and see to it that they end together.

    Args:
        place: of this process.
        start: so many ranks are to run on this machine; if this is the only one, the others are started.
        command: the words of a process that becomes another rank of the same run.

    Raises:
        GeoductError: a rank has not come, or on rank 0, another rank failed, with its words.
        SystemExit: on any other rank, some rank failed, which rank 0 tells.
    """
    if place.size == 1 and start == 1:
        yield ALONE
        return
    children: list[subprocess.Popen[bytes]] = []
    with ExitStack() as stack:
        if place.rank:
            ranks = Ranks(place, {0: _call(place)})
        else:
            server = stack.enter_context(_server(place))
            if place.size == 1:
                place = Place(0, start, port=server.getsockname()[1])
                children = [subprocess.Popen(command, env=_environment(place, rank)) for rank in range(1, start)]
                for child in children:
                    stack.callback(_reap, child)
            ranks = Ranks(place, _gather(place, server, children))
            server.close()
        try:
            yield ranks
        except BaseException as error:
            ranks.close(error)
            raise
        ranks.close(None)


def _environment(place: Place, rank: int) -> dict[str, str]:
    mine = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": place.size, "MASTER_PORT": place.port}
    return {**os.environ, **{name: str(value) for name, value in mine.items()}, "MASTER_ADDR": place.address}


def _reap(child: subprocess.Popen[bytes]) -> None:
    try:
        child.wait(GRACE)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def _server(place: Place) -> socket.socket:
    try:
        # On all interfaces: MASTER_ADDR may name one that this machine itself resolves to loopback.
        return socket.create_server(("" if place.port else place.address, place.port), backlog=place.size)
    except OSError as error:
        raise GeoductError(
            f"rank 0 cannot listen on MASTER_PORT {place.port} ({error.strerror}); choose another port"
        ) from None


def _gather(place: Place, server: socket.socket, children: Sequence[subprocess.Popen[bytes]]) -> dict[int, Connection]:
    """Rank 0's connections to all others."""
    peers: dict[int, Connection] = {}
    deadline = time.monotonic() + PATIENCE
    server.settimeout(1.0)
    while len(peers) < place.size - 1:
        try:
            connection = _connection(server.accept()[0])
        except TimeoutError:
            if time.monotonic() < deadline and all(child.poll() is None for child in children):
                continue
            missing = ", ".join(str(r) for r in range(1, place.size) if r not in peers)
            raise GeoductError(
                f"of {place.size} ranks, {missing} did not come to port {place.port} of {place.address}; look whether "
                f"each task was started, and within {PATIENCE:.0f} s"
            ) from None
        rank = _hello(connection, place.size)
        if rank is None or rank in peers:
            connection.close()  # a stranger, or a rank of another run
        else:
            peers[rank] = connection
    return peers


def _hello(connection: Connection, size: int) -> int | None:
    """The number of the rank that calls, if it is one of ours."""
    try:
        if connection.poll(10):
            match json.loads(connection.recv_bytes(1024)):
                case {"rank": int(rank), "size": int(total)} if total == size and 0 < rank < size:
                    return rank
    except (EOFError, OSError, ValueError):
        pass
    return None


def _call(place: Place) -> Connection:
    """Another rank's connection to rank 0."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            connection = _connection(socket.create_connection((place.address, place.port), timeout=5))
            connection.send_bytes(json.dumps({"rank": place.rank, "size": place.size}).encode())
            return connection
        except OSError as error:
            if time.monotonic() > deadline:
                print(
                    f"geoduct: rank {place.rank} of {place.size} does not reach rank 0 at MASTER_ADDR {place.address}, "
                    f"MASTER_PORT {place.port} ({error}); look whether it was started, and whether that name is right",
                    file=sys.stderr,
                )
                raise SystemExit(LOST) from None
            time.sleep(0.2)


def _connection(sock: socket.socket) -> Connection:
    sock.setblocking(True)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, seconds in _KEEPALIVE.items():
        if hasattr(socket, name):  # not every system has all of them
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), seconds)
    return Connection(sock.detach())
