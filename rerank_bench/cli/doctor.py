"""``rerank-bench doctor``: a model's self-test."""

from __future__ import annotations

from typing import Annotated

import typer

from rerank_bench.cli import options
from rerank_bench.cli.console import command, print_json, stdout_console

EXIT_UNUSABLE = 2


def doctor(
    *,
    model: Annotated[
        str,
        typer.Option("--model", "-m", metavar="SPEC", help="Hub id, local folder, demo or module:callable."),
    ] = "demo",
    device: options.Device = "auto",
    dtype: options.Dtype = options.DtypeChoice.auto,
    max_length: options.MaxLength = None,
    family: options.Family = None,
    revision: options.Revision = None,
    trust_remote_code: options.TrustRemoteCode = False,
    code_revision: options.CodeRevision = None,
    positive_label: options.PositiveLabel = None,
    instruction: options.Instruction = None,
    template: options.Template = None,
    positive_token: options.PositiveToken = None,
    negative_token: options.NegativeToken = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Load a model and examine it: what it is, whether it ranks what anyone would, whether its scores can be relied on.

    Exit code 2 when a score is not finite or depends on batch or order; warnings leave it at 0.
    """
    with command(quiet=quiet):
        from rerank_bench.cli.render_doctor import render_examination
        from rerank_bench.doctor.examination import examine
        from rerank_bench.scoring.templates import read_template

        found = examine(
            model,
            device=device,
            dtype=dtype.value,
            max_length=max_length,
            family=family,
            revision=revision,
            trust_remote_code=trust_remote_code,
            code_revision=code_revision,
            positive_label=positive_label,
            instruction=instruction,
            template=None if template is None else read_template(template),
            positive_token=positive_token,
            negative_token=negative_token,
        )
        if json:
            print_json(found.as_dict())
        else:
            render_examination(stdout_console(), found)
        if found.has_failed:
            raise typer.Exit(EXIT_UNUSABLE)
