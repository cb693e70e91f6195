"""rebasis: the adapter that its migration writes by, chosen by its own probe."""

import sys
from pathlib import Path

import numpy as np
from rebasis.cli._pipeline import open_target_store
from rebasis.cli._profiles import ProfileOverrides, resolve_profile
from rebasis.core import save_adapter
from rebasis.embed.backends.precomputed import PrecomputedEmbedder
from rebasis.probe.session import probe_store

url, folder = sys.argv[1], Path(sys.argv[2])
old, new = np.load(folder / "old.npy"), np.load(folder / "new.npy")
profiles = [
    resolve_profile(name, ProfileOverrides(dim=rows.shape[1]))
    for name, rows in (("paraphrase-MiniLM-L3-v2", old), ("all-MiniLM-L6-v2", new))
]
embedder = PrecomputedEmbedder(profiles[1], {str(i): row for i, row in enumerate(new)})
found, _ = probe_store(
    open_target_store(url), embedder, size=min(5000, len(old)), heldout=min(1000, len(old) // 5),
    fit_migration=True,
)  # fmt: skip
save_adapter(
    found.migration.adapter, folder / "adapter.rbs", direction="old_to_new",
    old_profile=profiles[0], new_profile=profiles[1], evaluation=found.to_dict(),
)  # fmt: skip
