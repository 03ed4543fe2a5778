"""Who runs the jobs of `--measure`: processes of this machine, or a Dask cluster."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import partial
from pathlib import Path
from typing import Any

from hwmoe.errors import HwmoeError
from hwmoe.flow.jobs import Job
from hwmoe.flow.measure import SPARE, Result, run_job
from hwmoe.process import end_tools

Answer = Result | HwmoeError
Answers = Generator[tuple[Job, Answer], None, None]
Runner = Callable[[Sequence[Job]], Answers]
"""Jobs -> each with its result, or why there is none, as they finish."""

GRACE = 10.0  # seconds that an interrupted simulation has for keeping its state
CONNECT = 30.0  # seconds that a cluster has to answer


def here(jobs: Sequence[Job], work: Path, processes: int, seconds: float) -> Answers:
    """So many at a time, each for so many seconds at most. When it is closed nothing runs on."""
    pool = ThreadPoolExecutor(processes)
    waiting = {pool.submit(run_job, job, work / job.name, seconds): job for job in jobs}
    try:
        for future in as_completed(waiting):
            yield waiting[future], _answer(future.result)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        while not all(future.done() for future in waiting):
            end_tools(GRACE)
            time.sleep(0.05)


def on_dask(jobs: Sequence[Job], address: str, seconds: float) -> Answers:
    """On the workers of the Dask scheduler at `address`, which have the same hwmoe and tools.

    What runs there when this is closed ends by itself, at the latest when its time is over.
    """
    distributed = _distributed()
    client = _connected(distributed, address)
    try:
        waiting = {
            client.submit(_on_worker, job, seconds, key=f"hwmoe-{job.name}", pure=True): job
            for job in jobs
        }
        try:
            # As if one worker did them all.
            limit = (seconds + SPARE) * len(jobs)
            for future in distributed.as_completed(list(waiting), loop=client.loop, timeout=limit):
                yield waiting.pop(future), _answer(partial(future.result, timeout=CONNECT))
        except (distributed.TimeoutError, TimeoutError):  # not the same in Python 3.10
            for job in waiting.values():
                yield job, HwmoeError(f"no worker of {address} has finished it in {limit:g} s")
        finally:
            with contextlib.suppress(OSError, distributed.TimeoutError):  # it is gone
                client.cancel(list(waiting))
    finally:
        client.close()


def _answer(result: Callable[[], Result]) -> Answer:
    try:
        return result()
    except HwmoeError as error:
        return error
    except Exception as error:  # of a worker: a full disk, killed, another hwmoe
        return HwmoeError(f"{type(error).__name__}: {error}")


def _on_worker(job: Job, seconds: float) -> Result:
    """In a folder that the worker keeps while it lives."""
    worker = _distributed().get_worker()
    return run_job(job, Path(worker.local_directory) / job.name, seconds)


def _distributed() -> Any:
    try:
        import distributed
    except ImportError:
        raise HwmoeError(
            "--scheduler needs dask.distributed. To mend it: pip install 'hwmoe[dask]'"
        ) from None
    return distributed


def check_scheduler(address: str) -> None:
    """`HwmoeError` if nothing answers at `address`, or dask.distributed is not installed."""
    distributed = _distributed()
    try:
        # A client that cannot connect prints a trace when Python ends: look before.
        at = distributed.comm.get_address_host_port(address)
        socket.create_connection(at, timeout=CONNECT).close()
    except (OSError, ValueError, NotImplementedError) as error:
        raise _no_scheduler(address, error) from None


def _connected(distributed: Any, address: str) -> Any:
    """A client; `HwmoeError` if no scheduler answers there, or it has no worker."""
    check_scheduler(address)
    try:
        client = distributed.Client(address, timeout=CONNECT, set_as_default=False)
    except (OSError, ValueError) as error:  # a time-out is an OSError
        raise _no_scheduler(address, error) from None
    try:
        client.wait_for_workers(1, timeout=CONNECT)
    except (distributed.TimeoutError, TimeoutError):  # not the same in Python 3.10
        client.close()
        raise HwmoeError(
            f"--scheduler {address}: it has no worker; start some with `dask worker {address}`"
        ) from None
    return client


def _no_scheduler(address: str, error: Exception) -> HwmoeError:
    return HwmoeError(
        f"--scheduler {address}: no Dask scheduler answers there ({error}); give what `dask "
        "scheduler` prints, as in tcp://host:8786"
    )
