"""What the pool of workers uses of Ray, in this process: workers answer in any order, and die when they are to."""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass, field
from functools import cache
from typing import Any, ClassVar

from fleet_models import OverlapWorker

from rerank_bench.scoring.ray_serving import DeviceLost


class RayError(Exception):
    """As Ray's: a worker is gone."""


class RayTaskError(RayError):
    """As Ray's: a call raised an exception."""


class exceptions:  # noqa: N801 - called as the module is
    RayError = RayError
    RayTaskError = RayTaskError


class cloudpickle:  # noqa: N801 - as above
    @staticmethod
    def register_pickle_by_value(_module: Any) -> None: ...


@dataclass(eq=False)
class Reference:
    """A call, and its answer once it has one."""

    actor: Actor
    method: str
    arguments: tuple[Any, ...]
    answer: Any = None


@dataclass(eq=False)
class Stored:
    """An object of the object store."""

    value: Any


@dataclass(eq=False)
class Method:
    actor: Actor
    name: str

    def remote(self, *arguments: Any) -> Reference:
        reference = Reference(self.actor, self.name, arguments)
        self.actor.waiting.append(reference)
        return reference


@dataclass(eq=False)
class Actor:
    """A worker: its calls are answered in their order, as Ray's are."""

    worker: OverlapWorker
    waiting: deque[Reference] = field(default_factory=deque)
    is_dead: bool = False

    def __getattr__(self, name: str) -> Method:
        return Method(self, name)


@cache
def introduction() -> dict[str, Any]:
    """What every worker says: it reads a hundred files."""
    return OverlapWorker().introduce()


@dataclass
class InProcessRay:
    """A cluster of some cores."""

    num_cores: int = 2
    draw: random.Random = field(default_factory=lambda: random.Random(0))
    deadly: int | None = None
    """A worker that is given this item dies."""
    num_deaths: int = 0
    """Workers that die at a call of ``run``, one after the other."""
    loses_device: bool = False
    """They do not die then, but say that CUDA has failed."""
    exceptions: ClassVar[Any] = exceptions
    cloudpickle: ClassVar[Any] = cloudpickle
    answered: list[Reference] = field(default_factory=list)

    def nodes(self) -> list[dict[str, Any]]:
        return [{"Alive": True, "Resources": {"CPU": float(self.num_cores)}}]

    def is_initialized(self) -> bool:
        return True

    def remote(self, _kind: type) -> InProcessRay:
        return self

    def options(self, **resources: Any) -> Any:
        assert resources == {"num_cpus": 1, "num_gpus": 0, "scheduling_strategy": "SPREAD"}
        return _Class()

    def kill(self, actor: Actor) -> None:
        actor.is_dead = True

    def put(self, value: Any) -> Stored:
        return Stored(value)

    def wait(self, references: list[Reference], *, num_returns: int, timeout: float) -> tuple[list[Reference], None]:
        """Let workers work until one answer at least is there; with no time to wait, none works."""
        while timeout and not any(self._has_answer(reference) for reference in references):
            actor = self.draw.choice(list({id(r.actor): r.actor for r in references if r.actor.waiting}.values()))
            for _ in range(self.draw.randint(1, len(actor.waiting))):
                self._work(actor)
        there = [reference for reference in references if self._has_answer(reference)]
        self.draw.shuffle(there)
        return there[:num_returns], None

    def get(self, reference: Reference | Stored) -> Any:
        if isinstance(reference, Stored):
            return reference.value
        if reference not in self.answered:
            msg = "the worker died"
            raise RayError(msg)
        return reference.answer

    def _has_answer(self, reference: Reference) -> bool:
        return reference.actor.is_dead or reference in self.answered

    def _work(self, actor: Actor) -> None:
        if actor.is_dead or not actor.waiting:
            return
        reference = actor.waiting.popleft()
        if reference.method == "run":
            items = [int(item) for batch in reference.arguments[1] for item in batch]
            is_unlucky = self.num_deaths > 0 and self.draw.random() < 0.5
            self.num_deaths -= is_unlucky
            if (is_unlucky or self.deadly in items) and self.loses_device:
                reference.answer = DeviceLost("Traceback …\nRuntimeError: CUDA error: an illegal memory access")
                self.answered.append(reference)
                return
            if is_unlucky or self.deadly in items:
                actor.is_dead = True
                return
        if reference.method == "introduce":
            reference.answer = introduction()
        else:
            reference.answer = getattr(actor.worker, reference.method)(*reference.arguments)
        self.answered.append(reference)


class _Class:
    def remote(self) -> Actor:
        return Actor(OverlapWorker())
