"""A process with a model on a device, seen from the process that started it.

A fresh interpreter, not a fork (CUDA does not survive one), and not multiprocessing's spawn, which would run the user's
own script a second time.
"""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

from rerank_bench import progress
from rerank_bench.scoring.device_worker import Advanced, Computed, Failed, Note, Ready, Start

_CODE = """import json, sys
sys.path[:] = json.loads(sys.argv[1])
from rerank_bench.scoring.device_worker import main
main()
"""
END_SECONDS = 10.0
"""How long a process may take to end by itself before it is killed."""


class WorkerGoneError(Exception):
    """The process ended before it answered; never seen by users."""


@dataclass(slots=True, eq=False)
class WorkerProcess:
    """One process, its connection, and what it was given and has not answered."""

    device: str
    process: subprocess.Popen[bytes]
    connection: Connection
    ready: Ready | None = None
    """``None`` while it loads the model."""
    capacity: int = 2
    """Batches that it takes at a time: one to work on, one to go on with; it may ask for more."""
    in_flight: dict[int, Any] = field(default_factory=dict)
    """Ticket -> indices of the batches that it works on, oldest first."""

    @classmethod
    def start(cls, device: str, start: Start) -> WorkerProcess:
        """Start the process; it loads the model while this returns."""
        ours, theirs = socket.socketpair()
        arguments = [sys.executable, "-c", _CODE, json.dumps(sys.path), str(theirs.fileno())]
        with theirs:
            # A process group of its own: Ctrl-C reaches the process that started it, which ends this one.
            process = subprocess.Popen(  # noqa: S603 - this interpreter and our own code
                arguments,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                process_group=0,
            )
        worker = cls(device, process, Connection(ours.detach()))
        worker.send(start)
        return worker

    def send(self, message: Any) -> None:
        """Send a message; whether the process is still there is found out by ``receive``."""
        try:
            self.connection.send(message)
        except (BrokenPipeError, ConnectionResetError):
            return

    def receive(self) -> Any:
        """Return the next message.

        Raises:
            WorkerGoneError: The process ended.
            RerankBenchError: What the process raised.
            RuntimeError: It met a defect.
        """
        try:
            message = self.connection.recv()
        except (EOFError, ConnectionResetError) as error:
            raise WorkerGoneError from error
        if isinstance(message, Failed):
            if message.error is not None:
                raise message.error
            msg = f"the process on {self.device} failed:\n{message.text}"
            raise RuntimeError(msg)  # noqa: TRY004 - not a wrong type: a defect of ours over there
        if isinstance(message, Ready):
            self.ready = message
        return message

    def call(self, message: Any) -> Any:
        """Send a message and return its answer; of batches in flight nothing will be known.

        Raises:
            WorkerGoneError: The process ended before it answered.
        """
        self.send(message)
        return self.answer()

    def answer(self) -> Any:
        """Return the answer to what was sent last; notes and progress on the way are shown.

        Raises:
            WorkerGoneError: The process ended before it answered.
        """
        with contextlib.ExitStack() as tasks:
            shown: dict[str, progress.Advance] = {}
            while True:
                message = self.receive()
                if isinstance(message, Note):
                    progress.note(message.text)
                elif isinstance(message, Advanced):
                    if message.description not in shown:
                        task = progress.track(message.description, total=message.total, unit=message.unit)
                        shown[message.description] = tasks.enter_context(task)
                    shown[message.description](message.units)
                elif not isinstance(message, Computed):  # those are of a job that ended in an error
                    return message

    def how_it_ended(self) -> str:
        """Return why the process is gone and what can be done about it."""
        try:
            code = self.process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            return f"the process on {self.device} closed its connection"
        if code >= 0:
            return f"the process on {self.device} ended with code {code}; what it said stands above"
        name = signal.Signals(-code).name
        advice = "look above, or into the system's log, for the cause"
        if name == "SIGKILL":
            advice = "the system does that when memory runs short: name fewer devices, or pass a lower --batch-tokens"
        return f"the process on {self.device} was ended by {name} ({advice})"

    def end(self) -> None:
        """Close the connection, which ends the process, and see that it does."""
        self.connection.close()
        try:
            self.process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
