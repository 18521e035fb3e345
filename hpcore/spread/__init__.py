"""One function over many jobs, on this machine's cores or on a Dask scheduler's workers.

Dask's `distributed`, because it is plain Python that pip installs, needs no service of its own,
takes workers that come and go, and does the work of a worker that died again elsewhere. The
function is to be pure: then the results are the same whichever way they were computed.
"""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any, TypeVar

from hpcore.errors import HpcoreError

CONNECT_SECONDS = 10
RETRIES = 5
"""How often a job is begun anew when the worker that had it died."""

Job = TypeVar("Job")
Result = TypeVar("Result")


class CannotSpread(HpcoreError):
    """There is no scheduler at the address, or the package is not installed."""


def spread(
    function: Callable[[Job], Result],
    jobs: Sequence[Job],
    scheduler: str | None = None,
    tell: Callable[[int, Result], None] = lambda _done, _result: None,
    failed: Callable[[Job, str], Result] | None = None,
) -> tuple[Result, ...]:
    """`function` of each of `jobs`, in their order; `tell` hears how many are done, and the last.

    `scheduler` is the address of a Dask scheduler; None stands for this machine's cores.
    `failed` makes a result of a job whose workers all died, or whose function raised. Raises
    CannotSpread; without `failed`, also what the function raised.
    """
    try:
        import dask  # noqa: PLC0415 - an extra
        import distributed  # noqa: PLC0415
    except ImportError:
        raise CannotSpread(
            "this needs the package distributed; install it with: pip install distributed"
        ) from None
    # distributed has no types
    make_cluster: Any = distributed.LocalCluster
    make_client: Any = distributed.Client
    as_completed: Any = distributed.as_completed
    with ExitStack() as stack:
        if scheduler is None:
            cores = {"n_workers": os.cpu_count() or 1, "threads_per_worker": 1}
            quiet = {"dashboard_address": ":0", "silence_logs": logging.CRITICAL}
            own = stack.enter_context(tempfile.TemporaryDirectory(prefix="hpcore-"))
            # else Dask leaves a directory behind
            stack.enter_context(dask.config.set({"temporary-directory": own}))
            cluster = stack.enter_context(make_cluster(**cores, **quiet, local_directory=own))
            client = stack.enter_context(make_client(cluster))
        else:
            client = stack.enter_context(_connected(make_client, scheduler))
        futures = client.map(function, jobs, retries=RETRIES, pure=False)
        place = {future.key: n for n, future in enumerate(futures)}
        results: dict[int, Result] = {}
        for future in as_completed(futures):
            n = place[future.key]
            error = future.exception() if failed is not None else None
            if error is None or failed is None:
                results[n] = future.result()
            else:
                results[n] = failed(jobs[n], str(error))
            tell(len(results), results[n])
    return tuple(results[n] for n in range(len(jobs)))


def _connected(client: Any, scheduler: str) -> Any:
    try:
        return client(scheduler, timeout=CONNECT_SECONDS)
    except (OSError, ValueError, TypeError) as error:
        raise CannotSpread(
            f"no Dask scheduler answers at {scheduler} ({type(error).__name__}: {error}); start "
            "one with `dask scheduler` and give its address, such as tcp://127.0.0.1:8786"
        ) from None
