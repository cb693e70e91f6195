"""Parts worked on by a Ray cluster, of this machine or behind an address."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from typing import Any

from typing_extensions import override

from isthmus.errors import EngineError, missing_extra
from isthmus.scale.engine import LOST, Outcome, PooledEngine, attempt

__all__ = ["Ray"]


class Ray(PooledEngine):
    """Calls as Ray tasks.

    Args:
        address: of a cluster, as ``ray://host:10001`` or ``auto``; None starts one here.
        workers: processes to start here.

    Raises:
        MissingExtraError: without Ray.
        EngineError: if no cluster answers.
    """

    def __init__(self, address: str | None = None, workers: int = 2) -> None:
        try:
            import ray
        except ImportError as error:
            raise missing_extra("ray", "ray", "running on Ray") from error
        self._ray: Any = ray
        self._own = not ray.is_initialized()
        self.here = address is None
        self.where = address or "a Ray cluster on this machine"
        options: dict[str, Any] = {"address": address} if address else {"num_cpus": workers}
        try:
            ray.init(
                **options,
                ignore_reinit_error=True,
                include_dashboard=None if address else False,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
        except (OSError, RuntimeError, ValueError) as error:
            raise EngineError(
                "no Ray cluster answers here", where=self.where, mend="Start one with: ray start"
            ) from error
        self.workers = max(1, int(ray.cluster_resources().get("CPU", 1)))
        # lost workers are counted where those of all engines are
        self._call: Any = ray.remote(max_retries=0, num_cpus=1)(attempt)

    @override
    def _submit(self, fn: Callable[[Any], Any], part: Any) -> Any:
        return self._call.remote(fn, part)

    @override
    def _finished(self, handles: Collection[Any]) -> Collection[Any]:
        done, _ = self._ray.wait(list(handles), num_returns=1)
        return done

    @override
    def _outcome(self, handle: Any) -> Outcome:
        try:
            return self._ray.get(handle)
        except (self._ray.exceptions.WorkerCrashedError, self._ray.exceptions.ObjectLostError):
            return LOST
        except self._ray.exceptions.RayError as error:
            raise EngineError(
                f"Ray ended the work ({type(error).__name__})", where=self.where
            ) from error

    @override
    def _cancel(self, handles: Collection[Any]) -> Collection[Any]:
        if not handles:
            return []
        finished, rest = self._ray.wait(list(handles), num_returns=len(handles), timeout=0)
        for handle in rest:
            self._ray.cancel(handle)
        return finished

    @override
    def close(self) -> None:
        if self._own:
            self._ray.shutdown()
