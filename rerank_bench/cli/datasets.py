"""``rerank-bench datasets``: what there is, what a manifest says, whether the data agree with it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from rerank_bench.cli import options
from rerank_bench.cli.console import command, print_json, stdout_console

datasets_app = typer.Typer(help="List, show and verify data sets.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="NAME", help="Data-set name.")]


@datasets_app.command("list")
def list_datasets(*, json: options.Json = False) -> None:
    """List the data sets and suites that have a manifest."""
    with command():
        from rerank_bench.cli.render import render_dataset_list
        from rerank_bench.data.manifests import load_manifest, manifest_names
        from rerank_bench.data.suites import load_suites

        manifests = [load_manifest(name) for name in manifest_names()]
        suites = load_suites()
        if json:
            rows = [{"name": m.name, "title": m.title, "kind": m.kind, "counts": dict(m.counts)} for m in manifests]
            print_json({"datasets": rows, "suites": {name: suite.datasets for name, suite in suites.items()}})
        else:
            render_dataset_list(stdout_console(), manifests, suites)


@datasets_app.command("show")
def show_dataset(name: Name, *, json: options.Json = False) -> None:
    """Show a manifest: source, revision, counts, licence, grades."""
    with command():
        from rerank_bench.cli.render import render_manifest
        from rerank_bench.data.manifests import load_manifest
        from rerank_bench.data.verify import describe_manifest

        description = describe_manifest(load_manifest(name))
        if json:
            print_json(description)
        else:
            render_manifest(stdout_console(), description)


@datasets_app.command("verify")
def verify_dataset(name: Name, *, json: options.Json = False, quiet: options.Quiet = False) -> None:
    """Load a data set and compare its counts and checksums with the manifest; exit code 2 when they differ."""
    with command(quiet=quiet):
        from rerank_bench.cli.render import render_checks
        from rerank_bench.data.verify import verify_dataset as compare

        checks = compare(name)
        is_ok = all(check.is_ok for check in checks)
        if json:
            print_json({"name": name, "is_ok": is_ok, "checks": [asdict(check) for check in checks]})
        else:
            render_checks(stdout_console(), name, checks)
        if not is_ok:
            raise typer.Exit(2)
