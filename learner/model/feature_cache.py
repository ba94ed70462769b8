"""Features of rated completions, kept by content: most return with every update, and none changes with the policy."""

import logging
import os
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from learner.model.features import completion_features, feature_count
from learner.model.resident import Resident
from store.blobs import pack_ids

log = logging.getLogger(__name__)
Content = tuple[tuple[int, ...], tuple[int, ...]]
LARGEST = 65504.0  # of float16, in which features are kept


class FeatureCache:
    """Features of completions, in memory and in one file of the cache folder, which may be deleted at any time.

    Each completion is computed alone, and rounded to float16: what is found in the cache, and what is computed beside
    others, is the same to the last bit.
    """

    def __init__(self, resident: Resident, folder: Path) -> None:
        self._resident = resident
        self.path = folder / f"features-{resident.base_digest[:16]}.safetensors"
        self._known: dict[str, Tensor] | None = None
        self._used: set[str] = set()
        self._is_new = False

    def features(self, completions: Sequence[Content]) -> Tensor:
        """Return (N, D) float32 features of these completions; those that were never asked for are computed."""
        known = self._read() if self._known is None else self._known
        self._known = known
        keys = [self._key(content) for content in completions]
        new = {key: content for key, content in zip(keys, completions, strict=True) if key not in known}
        found = completion_features(self._resident, list(new.values()), 1, alone=True)
        known |= dict(zip(new, found.nan_to_num().clamp(-LARGEST, LARGEST).half(), strict=True))
        self._is_new = self._is_new or bool(new)
        self._used.update(keys)
        if not keys:
            return torch.zeros(0, feature_count(self._resident))
        return torch.stack([known[key] for key in keys]).float()

    def keep(self) -> None:
        """Write the file anew, and forget what was not asked for since the last call: that bounds both.

        So the file never keeps completions that left the store.
        """
        known = self._known if self._known is not None else {}
        kept = {key: known[key] for key in known if key in self._used}
        if self._is_new or len(kept) < len(known):
            self._write(kept)
        self._known, self._used, self._is_new = kept, set(), False

    def _key(self, content: Content) -> str:
        prompt, ids = content
        return sha256(pack_ids(prompt) + b"|" + pack_ids(ids)).hexdigest()

    def _read(self) -> dict[str, Tensor]:
        if not self.path.exists():
            return {}
        try:
            with safe_open(self.path, "pt") as file:
                keys, values = (file.metadata() or {})["keys"].split(), file.get_tensor("features")
            if values.shape == (len(keys), feature_count(self._resident)):
                return dict(zip(keys, values.unbind(), strict=True))
        except Exception as error:  # half a file or another format: it is only a cache
            log.warning("the features in %s cannot be read (%s); they are computed again", self.path.name, error)
        return {}

    def _write(self, known: dict[str, Tensor]) -> None:
        if not known:
            self.path.unlink(missing_ok=True)
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = self.path.with_suffix(f".{os.getpid()}.tmp")
        save_file({"features": torch.stack(list(known.values()))}, unfinished, {"keys": " ".join(known)})
        unfinished.replace(self.path)
