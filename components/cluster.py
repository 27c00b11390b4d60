"""A dask cluster, started by somebody else and named by the address of its scheduler, as a pool of workers.

Work and results travel as values: a block goes to a worker with all that it needs, what comes of it is sent back, and
this process alone writes. So a worker that dies leaves nothing half-written; the scheduler gives its blocks to others.
Workers need the same Geoduct, the same files under the same paths, and the credentials of archives in their own
environment.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Executor
from contextlib import contextmanager
from typing import Any

from components.errors import GeoductError, first_line

PATIENCE = 30
"""Seconds that a scheduler may take to answer, and then its first worker to be there."""


@contextmanager
def cluster(scheduler: str) -> Iterator[tuple[Executor, int, Callable[[], bool]]]:
    """The cluster's workers as an executor, how many threads they have, and what tells that the cluster is lost.

    Raises:
        GeoductError: the extra `dask` is not installed, no scheduler answers at that address, it has no workers, or
            it is lost later on.
    """
    try:
        distributed: Any = importlib.import_module("distributed")
    except ImportError:
        raise GeoductError("--scheduler needs dask.distributed; install it with: pip install 'geoduct[dask]'") from None
    where = f"the dask cluster at {scheduler}"
    try:
        client = distributed.Client(scheduler, timeout=PATIENCE, set_as_default=False)
    # An AssertionError is how distributed says that a machine was too busy to start its thread within ten seconds.
    except (OSError, TimeoutError, ValueError, AssertionError) as error:
        raise GeoductError(
            f"--scheduler {scheduler} cannot be reached; expected a dask scheduler's address, such as "
            f"tcp://127.0.0.1:8786 ({first_line(error)})"
        ) from None
    # what it logs of a lost connection, with a traceback, is told once and in our sentence
    logging.getLogger("distributed.client").setLevel(logging.CRITICAL)
    with client:
        try:
            client.wait_for_workers(1, timeout=PATIENCE)
        except TimeoutError:
            raise GeoductError(f"{where} has no workers; start some with: dask worker {scheduler}") from None
        # A block that ends in an error would end so again. Only what a dead worker took with it is done again.
        executor = client.get_executor(pure=False, retries=0)
        try:
            yield executor, sum(client.nthreads().values()), lambda: client.status != "running"
        except distributed.scheduler.KilledWorker as error:
            raise GeoductError(
                f"{where} lost {error.allowed_failures + 1} workers one after the other to the same block; they may "
                "need more memory: see their logs"
            ) from OSError(str(error))
        except (CancelledError, distributed.comm.CommClosedError) as error:
            raise GeoductError(f"{where} is gone: its scheduler does not answer any more") from OSError(str(error))
        except ModuleNotFoundError as error:
            raise GeoductError(f"the workers of {where} lack Geoduct or a library that it needs: {error}") from None
        finally:
            executor.shutdown(wait=False)
