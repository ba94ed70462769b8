"""The policy's part of the command line. Light: what is heavy is imported when a command runs."""

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add `attune export-model`."""
    app.command("export-model")(export_model)


def export_model(
    version: Annotated[int, typer.Argument(min=0, help="Version number; 0 is the base model.")],
    out: Annotated[Path, typer.Option(help="New file (gguf) or new folder (hf, peft).")],
    format: Annotated[str, typer.Option(help="gguf (llama.cpp, Ollama), hf (a whole Hugging Face folder) or peft (the adapter alone).")] = "gguf",
    data: Annotated[Path | None, typer.Option(help="Data folder of the service.  \\[default: ~/.attune]", show_default=False)] = None,
    model: Annotated[str | None, typer.Option(help="Base model, if it has moved since.", show_default=False)] = None,
    dtype: Annotated[str, typer.Option(help="Weights of a gguf: f16, f32 or q8_0.")] = "f16",
) -> None:
    """Write a version's weights, checked against its manifest, for other programs."""
    from policy.errors import PolicyError
    from policy.exports import export, weights_of

    try:
        written = export(weights_of(data or Path.home() / ".attune", version, model), format, out, dtype)
    except (PolicyError, OSError) as error:
        typer.echo(f"attune: {error}", err=True)
        raise typer.Exit(1) from None
    typer.echo(str(written))
