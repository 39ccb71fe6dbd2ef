"""Developer sessions; ``nox -l`` lists them, ``nox`` runs the default ones on every Python that is installed."""

from __future__ import annotations

import nox

nox.needs_version = ">=2025.02.09"
nox.options.default_venv_backend = "virtualenv"
nox.options.error_on_missing_interpreters = False
nox.options.sessions = ["tests", "lint", "types"]

PYPROJECT = nox.project.load_toml("pyproject.toml")
PYTHONS = nox.project.python_versions(PYPROJECT)
DEFAULT_MARKERS = "not gpu and not network and not slow"


def install(session: nox.Session, *groups: str) -> None:
    """Install the project in editable form with the pinned versions, and the named dependency groups."""
    requirements = [r for group in groups for r in nox.project.dependency_groups(PYPROJECT, group)]
    # torch first and by its exact version: with it in place, nothing asks for a newer, larger build.
    session.install("-c", "constraints.txt", "torch")
    session.install("-c", "constraints.txt", "-e.", *requirements)


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Run the default test suite (no GPU, no network); when nothing narrows it down, with coverage and our own gate."""
    install(session, "test")
    coverage = ["--cov", "--cov-report=term:skip-covered"] if not session.posargs else []
    session.run("pytest", "-m", DEFAULT_MARKERS, "-n", "2", *coverage, *session.posargs)
    if not session.posargs:
        session.run("python", "tests/self_gate.py")


@nox.session
def lint(session: nox.Session) -> None:
    """Check formatting and lint rules."""
    session.install("-c", "constraints.txt", "ruff")
    session.run("ruff", "format", "--check", ".")
    session.run("ruff", "check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Check types, strictly, in the package, the tests and the benchmarks."""
    install(session, "lint", "test")
    session.run("mypy")


@nox.session(venv_backend="uv", default=False)
def minimums(session: nox.Session) -> None:
    """Run the tests with the lowest versions that pyproject.toml allows."""
    requirements = nox.project.dependency_groups(PYPROJECT, "test")
    session.install("--resolution=lowest-direct", "-e.", *requirements)
    session.run("pytest", "-m", DEFAULT_MARKERS, *session.posargs)


@nox.session(default=False)
def golden(session: nox.Session) -> None:
    """Rewrite the golden files and the CLI reference; review the diff before committing it."""
    install(session, "test")
    session.run("pytest", "tests", "-k", "golden or reference", "--update-golden", *session.posargs)


@nox.session(default=False)
def slow(session: nox.Session) -> None:
    """Run the tests that take minutes: simulations, large collections."""
    install(session, "test")
    session.run("pytest", "-m", "slow", *session.posargs)


@nox.session(default=False, tags=["gpu"])
def gpu(session: nox.Session) -> None:
    """Run the tests that need an accelerator."""
    install(session, "test")
    session.run("pytest", "-m", "gpu", *session.posargs)


@nox.session(default=False)
def bench(session: nox.Session) -> None:
    """Measure speed and memory beside the peers: ``nox -s bench -- first_stage.py --docs 100000``."""
    install(session, "bench")
    arguments = session.posargs or ["first_stage.py"]
    session.run("python", f"benchmarks/{arguments[0]}", *arguments[1:])
