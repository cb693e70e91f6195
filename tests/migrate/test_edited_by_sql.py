"""An application that knows nothing of isthmus edits rows by SQL behind the cut-over."""

from __future__ import annotations

import numpy as np
import pytest
from tests.databases import url_of
from tests.migrate.conftest import filled, opened, plan_of, state_of, text_of


def test_a_row_that_came_late_gets_the_old_vector_of_its_text(
    request, tmp_path, path, models, postgres
):
    """Its old vector was not there to be summed up, and stays where the text alone is edited."""
    psycopg = pytest.importorskip("psycopg")
    url = filled(url_of("postgresql", tmp_path, request), models)
    table = url.rpartition("#")[2]
    plan = plan_of(url, models)
    with opened(plan, path, models) as migration:
        migration.run()
        late = text_of(4000)
        migration.store.add(np.array([4000]), {"vector": models.old.encode([late])},
                            {"text": [late], "rank": [0]})  # fmt: skip
        migration.cut_over()
    edited = {name: text_of(name, edition=2) for name in (9, 4000)}
    with psycopg.connect(postgres, autocommit=True) as sql:
        for name, text in edited.items():
            new = str(models.new.encode([text])[0].tolist())
            sql.execute(f"update {table} set text = %s where id = %s", (text, name))
            sql.execute(f"update {table}__new set new = %s where id = %s", (new, name))
    with opened(plan, path, models) as migration:
        assert migration.rollback().encoded == 2
    after = state_of(url)
    for name, text in edited.items():
        assert after["vector"][name] == models.old.encode([text])[0].tobytes()
