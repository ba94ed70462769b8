"""The server's part of the command `attune`: serve, keys, doctor. Nothing heavy is imported before a command runs."""

import contextlib
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

DataOption = Annotated[
    Path | None,
    typer.Option("--data", help="Folder for everything that lasts.  \\[default: ~/.attune]", show_default=False),
]
ConfigOption = Annotated[Path | None, typer.Option("--config", help="Settings file (TOML).", show_default=False)]
ScopeOption = Annotated[
    list[str] | None,
    typer.Option(
        help="chat, feedback, admin or act-as; may be given more than once.  \\[default: chat feedback]",
        show_default=False,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="For machines.")]


# What the learner's command line takes beside settings, and the settings that it shares with the service.
OF_THE_SERVICE = {
    **dict.fromkeys(("data", "model", "config"), "give it to attune serve itself"),
    **dict.fromkeys(("chat-template", "chat-template-kwargs"), "give it to attune serve itself"),
    **dict.fromkeys(("once", "check", "help"), "attune learn takes it"),
}


def register(app: typer.Typer) -> None:
    """Add the server's commands to `attune`."""
    app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(serve)
    app.command()(doctor)
    app.command("runners")(show_runners)
    app.command()(adopt)
    keys = typer.Typer(help="Make, list and revoke API keys.", no_args_is_help=True)
    keys.command("create")(create_key)
    keys.command("list")(list_keys)
    keys.command("revoke")(revoke_key)
    app.add_typer(keys, name="keys")


def serve(
    context: typer.Context,
    host: Annotated[
        str | None, typer.Option(help="Address to listen on.  \\[default: 127.0.0.1]", show_default=False)
    ] = None,
    port: Annotated[
        int | None, typer.Option(help="TCP port; 0 takes a free one.  \\[default: 8000]", show_default=False)
    ] = None,
    data: DataOption = None,
    model: Annotated[
        str | None,
        typer.Option(help="Name, folder, GGUF file or hub id.  \\[default: pocket]", show_default=False),
    ] = None,
    chat_template: Annotated[
        str | None,
        typer.Option(help="Jinja file, chatml or plain, in place of the model's template.", show_default=False),
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="auto, cpu or cuda.  \\[default: auto]", show_default=False)
    ] = None,
    no_learner: Annotated[bool, typer.Option("--no-learner", help="Serve without learning.")] = False,
    vllm: Annotated[
        str | None,
        typer.Option(help="URL of a vLLM server that generates in place of this machine.", show_default=False),
    ] = None,
    compare: Annotated[
        list[str] | None,
        typer.Option(help="NAME=URL of a backend to compare with; may be given more than once.", show_default=False),
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Answer people, and learn from them meanwhile.

    Every other setting is a flag too, such as --engine.quantize q8_0 or --learner.steps 30: see docs/settings.md.
    """
    from service.errors import CannotStart
    from service.serving import run

    flags: dict[str, Any] = {
        "host": host,
        "port": port,
        "data": data,
        "model": model,
        "chat_template": chat_template,
        "device": device,
        "no_learner": no_learner or None,
    }
    flags |= {"vllm": vllm, "compare": compare or None}
    try:
        own, learner_flags = _without_learner_flags(context.args)
        run(flags | _more_flags(own), config, learner_flags=learner_flags)
    except CannotStart as error:
        _fail(error)


def _without_learner_flags(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Return the arguments without `--learner.PATH VALUE`, and those as the learner takes them: `--PATH VALUE`.

    Raises CannotStart for what is no setting of the learner's own.
    """
    from service.errors import CannotStart

    own: list[str] = []
    learners: list[str] = []
    rest = list(arguments)
    while rest:
        flag = rest.pop(0)
        if not flag.startswith("--learner."):
            own.append(flag)
            continue
        name = flag.removeprefix("--learner.").partition("=")[0]
        if name in OF_THE_SERVICE:
            raise CannotStart(f"--learner.{name} is no setting of the learner's own; {OF_THE_SERVICE[name]}")
        learners.append("--" + flag.removeprefix("--learner."))
        if "=" not in flag:
            if not rest or rest[0].startswith("--"):
                raise CannotStart(f"{flag} needs a value")
            learners.append(rest.pop(0))
    return own, learners


def _more_flags(arguments: list[str]) -> dict[str, str]:
    """Return settings given as `--name value` or `--name=value`, by path. Raises CannotStart for what is no setting."""
    from config.errors import ConfigError
    from config.flags import flags_of
    from service.errors import CannotStart
    from service.settings import NAMES

    try:
        return flags_of(arguments, NAMES)
    except ConfigError as error:
        raise CannotStart(str(error)) from error


def doctor(
    data: DataOption = None,
    model: Annotated[str | None, typer.Option(help="Name, folder, GGUF file or hub id.", show_default=False)] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check this installation and show what is wrong with it."""
    from service.doctor import examine
    from service.errors import CannotStart

    try:
        findings = examine({"data": data, "model": model}, config)
    except CannotStart as error:
        _fail(error)
    if as_json:
        _print_json([{"check": finding.check, "ok": finding.ok, "detail": finding.detail} for finding in findings])
    else:
        for finding in findings:
            print(f"{'ok  ' if finding.ok else 'FAIL'}  {finding.check}: {finding.detail}")
    if not all(finding.ok for finding in findings):
        raise typer.Exit(1)


def show_runners(
    model: Annotated[str | None, typer.Option(help="Name, folder, GGUF file or hub id.", show_default=False)] = None,
    measure: Annotated[bool, typer.Option("--measure", help="Measure this machine first, and keep it.")] = False,
    data: DataOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show which runner answers with a model on this machine, and why."""
    from config.errors import ConfigError
    from policy.errors import PolicyError
    from service.errors import CannotStart
    from service.runner_choice import measured_runners, runner_report
    from service.settings import load_settings

    try:
        settings = load_settings({"data": data, "model": model}, config)
        if measure:
            print("measuring; let the machine rest meanwhile ...", file=sys.stderr)
            measured_runners(settings, lambda line: print(line, file=sys.stderr))
        report = runner_report(settings)
    except (CannotStart, ConfigError, PolicyError, OSError, ValueError, RuntimeError) as error:
        _fail(error)
    if as_json:
        _print_json(report)
        return
    for kind, rates in report["rates"].items():
        print(f"{kind:12}" + "".join(f"{row}: {rate:.3g}   " for row, rate in rates.items()).rstrip())
    print(f"{report['runner']}, since {report['why']}")


def adopt(
    old_data: Annotated[Path, typer.Argument(help="Data folder of another base model; it may be in use.")],
    data: DataOption = None,
    model: Annotated[
        str | None, typer.Option(help="Base model of --data: name, folder, GGUF file or hub id.", show_default=False)
    ] = None,
    chat_template: Annotated[
        str | None, typer.Option(help="Jinja file, chatml or plain, as serve takes it.", show_default=False)
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Bring people's conversations and feedback from one base model's data folder to another's, as text.

    Ids, raters and API keys stay. The other model learns from the feedback anew; versions do not come along.
    """
    from service.adopting import adopt_folder
    from service.errors import CannotStart
    from store.errors import StoreError

    try:
        flags = {"data": data, "model": model, "chat_template": chat_template}
        folder, done = adopt_folder(old_data, flags, config)
    except (CannotStart, StoreError, OSError) as error:
        _fail(error)
    if as_json:
        _print_json({"data": str(folder), "added": dict(done.added), "refused": dict(done.refused)})
        return
    names = {"completions": "answers", "api_keys": "API keys"}
    print(f"{folder} has now also", ", ".join(f"{n} {names.get(table, table)}" for table, n in done.added.items()))
    for reason, number in done.refused.most_common(5):
        print(f"{number} answers are kept but not learned from: {reason}", file=sys.stderr)


def create_key(
    name: Annotated[str, typer.Argument(help="Whose key it is, for people to read.")],
    scope: ScopeOption = None,
    data: DataOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make an API key and show it, once."""
    from service.folders import hint_of_another_folder
    from store.api_keys import make_key
    from store.database import transaction

    folder, db = _open(data, config)
    try:
        with _damage_in_one_line(folder), transaction(db):
            key, secret = make_key(db, name, tuple(scope or ("chat", "feedback")))
    except ValueError as error:
        _fail(error)
    if as_json:
        _print_json({"id": key.id, "name": key.name, "scopes": key.scopes, "rater": key.rater_id, "key": secret})
    else:
        print(secret)
        print(f"key {key.id} ({name}) may {', '.join(key.scopes)}; it is shown this once", file=sys.stderr)
        print(f"it is for the service on the data folder {folder}{hint_of_another_folder(folder)}", file=sys.stderr)


def list_keys(data: DataOption = None, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """List the API keys, without their secrets."""
    from dataclasses import asdict

    from store.api_keys import keys

    folder, db = _open(data, config, must_exist=True)
    with _damage_in_one_line(folder):
        found = keys(db)
    if as_json:
        _print_json([asdict(key) for key in found])
        return
    for key in found:
        print(f"{key.id}  {'revoked' if key.revoked_at else 'in use '}  {' '.join(key.scopes):30}  {key.name}")
    if not found:
        print("there are no keys: the service answers this machine only", file=sys.stderr)


def revoke_key(
    key_id: Annotated[str, typer.Argument(help="The key's id, from `attune keys list`.")],
    data: DataOption = None,
    config: ConfigOption = None,
) -> None:
    """Make an API key useless from now on."""
    from store import api_keys
    from store.database import transaction
    from store.errors import UnknownKey

    folder, db = _open(data, config, must_exist=True)
    try:
        with _damage_in_one_line(folder), transaction(db):
            api_keys.revoke_key(db, key_id)
    except UnknownKey as error:
        _fail(error)


def _open(data: Path | None, config: Path | None, *, must_exist: bool = False) -> tuple[Path, Any]:
    """Return the data folder and its store; with `must_exist` a missing one is an error, else it is made."""
    from service.errors import CannotStart
    from service.folders import hint_of_another_folder, is_data_folder
    from service.settings import load_settings
    from store.database import open_store
    from store.errors import StoreError

    try:
        folder = load_settings({"data": data}, config).data
        if must_exist and not is_data_folder(folder):
            raise CannotStart(
                f"no service was ever started on the data folder {folder}{hint_of_another_folder(folder)}"
            )
        return folder, open_store(folder)
    except (CannotStart, StoreError) as error:
        _fail(error)


@contextlib.contextmanager
def _damage_in_one_line(folder: Path) -> Generator[None, None, None]:
    """End the command with one line where the database is damaged."""
    from store.database import damage_named
    from store.errors import StoreCorrupt

    try:
        with damage_named(folder):
            yield
    except StoreCorrupt as error:
        _fail(error)


def _print_json(value: Any) -> None:
    import json

    print(json.dumps(value, ensure_ascii=False, indent=1))


def _fail(error: Exception) -> NoReturn:
    print(f"error: {error}", file=sys.stderr)
    raise typer.Exit(1)
