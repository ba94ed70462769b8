"""`attune adopt`: the checks before, and the model that encodes the text."""

import contextlib
from pathlib import Path
from typing import Any

from policy.errors import PolicyError
from policy.model import model_digest
from policy.served_model import ServedModel, record_served
from service.adoption import Adopted, adopt, copied_store
from service.errors import CannotStart
from service.folders import is_data_folder
from service.settings import ServeSettings, load_settings
from store.database import open_store, transaction
from store.folder_lock import lock_folder
from store.versions import ensure_base_version, get_version


def adopt_folder(old: Path, flags: dict[str, Any], config: Path | None) -> tuple[Path, Adopted]:
    """Add what people did in a data folder to another, which is made if need be; return that folder and what was added.

    Raises CannotStart for a folder or model that cannot be used, StoreError.
    """
    settings = load_settings(flags, config)
    if not is_data_folder(old):
        raise CannotStart(f"no service was ever started on the data folder {old}")
    if old.resolve() == settings.data.resolve():
        raise CannotStart(f"{old} is the folder to adopt from; name the other model's with --data")
    settings = settings.model_copy(update={"model": _model_name(settings)})
    digest = model_digest(settings.model)
    with copied_store(old) as theirs:
        if get_version(theirs, 0).digest == digest:
            raise CannotStart(f"{old} belongs to the model {settings.model} already; serve it with --data {old}")
        with contextlib.closing(open_store(settings.data)) as ours, lock_folder(settings.data, "service"):
            with transaction(ours):
                ensure_base_version(ours, digest)
            record_served(settings.data, ServedModel(settings.model, digest, _template(settings)))
            return settings.data, adopt(theirs, ours, _encoder(settings))


def _model_name(settings: ServeSettings) -> str:
    from service.serving import model_name

    return model_name(settings)


def _template(settings: ServeSettings) -> str | None:
    from policy.chat_template import read_template

    return read_template(settings.chat_template) if settings.chat_template is not None else None


def _encoder(settings: ServeSettings) -> Any:
    """Return what encodes a conversation and an answer. The tokenizer's library takes its time."""
    from policy.chat import load_tokenizer, render_completion

    try:
        tokenizer = load_tokenizer(settings.model, settings.chat_template, settings.chat_template_kwargs)
    except PolicyError as error:
        raise CannotStart(str(error)) from error
    return lambda messages, text: render_completion(tokenizer, messages, text)
