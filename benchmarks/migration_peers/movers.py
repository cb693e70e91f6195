"""Each tool's own way to move the rows: set up, run, go on after a kill, cut over, roll back."""

from __future__ import annotations

import compileall
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import isthmus
from benchmarks import migration_cost
from benchmarks.migration_peers.given import Given
from benchmarks.peers import HERE, environment

__all__ = ["Embedflow", "Mover", "OursInLance", "OursInPostgres", "Rebasis", "Vecshift"]

Vectors = dict[str, np.ndarray]
_DIM = 384


@dataclass
class Mover:
    """A tool at work in a folder of its own; ``place`` is made anew by `set_up`."""

    given: Given
    place: Path
    environ: dict[str, str] = field(default_factory=dict[str, str])
    label = store = writes = ""
    can_add = False
    """Whether an application's row can be added once it has cut over."""

    def set_up(self) -> None:
        """An index that holds the old vectors."""
        raise NotImplementedError

    def command(self, what: str) -> list[str]:
        """The command line of ``run``, ``resume``, ``cutover`` or ``rollback``; [] for none."""
        raise NotImplementedError

    def held(self, what: str) -> Vectors:
        """The vectors that stand for ``old`` or ``new``, by id."""
        raise NotImplementedError

    def add(self, name: str, new: np.ndarray, text: str) -> None:
        """What an application of the new model writes after the cut-over."""
        raise NotImplementedError

    def start(self, what: str) -> subprocess.Popen[str] | None:
        """Begin a command; None where the tool has none."""
        line = self.command(what)
        if not line:
            return None
        with (self.place / "log").open("a") as log:
            return subprocess.Popen(
                line, cwd=self.place, stdout=log, stderr=log, text=True,
                env={**os.environ, **self.environ},
            )  # fmt: skip

    def do(self, what: str) -> int:
        """Run a command to its end."""
        process = self.start(what)
        return 0 if process is None else process.wait()


def _renewed(place: Path) -> None:
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)


def _lance_table(place: Path, given: Given, column: str) -> None:
    import lancedb
    import pyarrow as pa

    rows = given.documents("old")
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), rows.shape[1])
    texts = [str(i) for i in range(given.rows)]
    table = pa.table({"id": given.ids(), "text": texts, column: vectors})
    lancedb.connect(str(place / "db")).create_table("docs", table)


def _lance_rows(place: Path, name: str, column: str) -> Vectors:
    import lancedb

    table = lancedb.connect(str(place / "db")).open_table(name).to_arrow()
    rows = np.array(table[column].combine_chunks().flatten()).reshape(len(table), -1)
    return dict(zip(table["id"].to_pylist(), rows, strict=True))


def _sql(uri: str) -> Any:
    import psycopg
    from pgvector.psycopg import register_vector

    connection = psycopg.connect(uri, autocommit=True)
    register_vector(connection)
    return connection


def _sql_table(uri: str, given: Given, column: str) -> None:
    with _sql(uri) as connection:
        connection.execute("drop view if exists docs_live")
        connection.execute("drop table if exists docs cascade")
        connection.execute("drop table if exists docs__new, isthmus_ledger cascade")
        connection.execute(
            f"create table docs (id text primary key, text text not null, {column} vector({_DIM}))"
        )
        copy_to = f"copy docs (id, text, {column}) from stdin (format binary)"
        with connection.cursor().copy(copy_to) as copy:
            copy.set_types(["text", "text", "vector"])
            rows = zip(given.ids(), given.documents("old"), strict=True)
            for number, (name, row) in enumerate(rows):
                copy.write_row((name, str(number), row))


def _sql_rows(uri: str, table: str, column: str) -> Vectors:
    with _sql(uri) as connection:
        found = connection.execute(f"select id, {column} from {table}").fetchall()
    return {i: np.full(_DIM, np.nan) if v is None else v.to_numpy() if hasattr(v, "to_numpy") else v
            for i, v in found}  # fmt: skip


class Rebasis(Mover):
    """Maps the stored vectors in place; a shadow copy holds what they were."""

    label, store = "rebasis 0.1.0", "LanceDB"
    writes = "maps of the stored vectors, in place"
    can_add = True

    def set_up(self) -> None:
        _renewed(self.place)
        _lance_table(self.place, self.given, "vector")
        adapter = self.given.folder / "adapter.rbs"
        if not adapter.exists():
            python = environment("migration-rebasis")
            worker = HERE / "workers" / "migration_rebasis.py"
            subprocess.run(
                [python, "-P", worker, self._url, self.given.folder], check=True,
                capture_output=True, cwd=self.place,
            )  # fmt: skip

    @property
    def _url(self) -> str:
        return f"lancedb://{self.place}/db#docs"

    def command(self, what: str) -> list[str]:
        tool = str(environment("migration-rebasis").with_name("rebasis"))
        usual = ["--state-dir", "state", "--yes"]
        if what == "run":
            return [tool, "migrate", "--adapter", str(self.given.folder / "adapter.rbs"),
                    "--store", self._url, "--no-health-check", *usual]  # fmt: skip
        if what == "cutover":
            return []  # the index that applications read is the one that is written
        told = subprocess.run(
            [tool, "status", "--state-dir", "state", "--json"], cwd=self.place,
            capture_output=True, text=True, check=False,
        ).stdout  # fmt: skip
        job = told.partition("job-")[2][:12]
        if not job:
            return self.command("run")
        if what == "resume":
            return [tool, "resume", f"job-{job}", "--no-health-check", *usual]
        return [tool, "rollback", f"job-{job}", *usual]

    def held(self, what: str) -> Vectors:
        return _lance_rows(self.place, "docs", "vector")

    def add(self, name: str, new: np.ndarray, text: str) -> None:
        import lancedb

        table = lancedb.connect(str(self.place / "db")).open_table("docs")
        table.add([{"id": name, "text": text, "vector": new.tolist()}])


class Vecshift(Mover):
    """True new vectors in a second column, swapped by renaming."""

    label, store = "vecshift 0.4.0", "pgvector"
    writes = "true new vectors, a second column"
    can_add = True

    def set_up(self) -> None:
        _renewed(self.place)
        _sql_table(self.environ["VECSHIFT_DSN"], self.given, "embedding")
        model = f"compat/minilm,url={self.environ['ENCODER']},dims={_DIM},price=0"
        (self.place / "vecshift.yaml").write_text(
            "version: 1\n"
            "source: {type: pgvector, table: docs, vector_column: embedding, text_column: text}\n"
            f'target: {{column: embedding_v2, index: none}}\nmodel: "{model}"\n'
        )
        self._over = False

    def command(self, what: str) -> list[str]:
        tool = str(environment("migration-vecshift").with_name("vecshift"))
        verb = {"run": "apply", "resume": "apply"}.get(what, what)
        self._over = what == "cutover"
        return [tool, verb, "--yes"]

    def held(self, what: str) -> Vectors:
        names = ("embedding_old", "embedding") if self._over else ("embedding", "embedding_v2")
        return _sql_rows(self.environ["VECSHIFT_DSN"], "docs", names[what == "new"])

    def add(self, name: str, new: np.ndarray, text: str) -> None:
        with _sql(self.environ["VECSHIFT_DSN"]) as connection:
            connection.execute(
                "insert into docs (id, text, embedding) values (%s, %s, %s)", (name, text, new)
            )


class Embedflow(Mover):
    """Recalls from the old index and rescores by a cache of new vectors; nothing is moved."""

    label, store = "embedflow 0.8.0", "FAISS"
    writes = "a cache of new vectors; recall stays the old model's"

    def set_up(self) -> None:
        _renewed(self.place)

    def command(self, what: str) -> list[str]:
        if what in ("cutover", "rollback"):
            return []
        return self._line("run")

    def _line(self, what: str) -> list[str]:
        python = str(environment("migration-embedflow"))
        worker = str(HERE / "workers" / "migration_embedflow.py")
        return [python, "-P", worker, what, str(self.place), str(self.given.folder)]

    def held(self, what: str) -> Vectors:
        if what == "old":
            return dict(zip(self.given.ids(), self.given.documents("old"), strict=True))
        subprocess.run(self._line("cached"), check=True, capture_output=True, cwd=self.place)
        with np.load(self.place / "cached.npz") as found:
            return dict(zip(found["ids"].tolist(), found["rows"], strict=True))

    def asked(self) -> float:
        """Recall at 10 of what its search answers."""
        done = subprocess.run(
            self._line("ask"), check=True, capture_output=True, text=True, cwd=self.place
        )
        lists = json.loads(done.stdout.splitlines()[-1])
        ids = self.given.ids()
        return float(np.mean([ids[i] in found for i, found in enumerate(lists)]))


class Ours(Mover):
    """True new vectors in a second collection or a side table; one alias is moved."""

    label = "isthmus"
    writes = "true new vectors, beside the old index"
    can_add = True

    def set_up(self) -> None:
        _renewed(self.place)
        for model in ("old", "new"):
            (self.place / f"{model}.npy").symlink_to(self.given.folder / f"{model}.npy")
        if self.store == "pgvector":
            _sql_table(self.environ["VECSHIFT_DSN"], self.given, "old")
        else:
            _lance_table(self.place, self.given, "old")
        dim = self.given.documents("new").shape[1]
        migration_cost.planned(migration_cost.Given(self._url, self.given.rows, dim, self.place))
        # as pip does with what it installs
        compileall.compile_dir(Path(isthmus.__file__).parent, quiet=1)

    @property
    def _url(self) -> str:
        if self.store == "pgvector":
            return f"{self.environ['VECSHIFT_DSN']}#docs.old"
        return f"lancedb://{self.place}/db#docs.old"

    def command(self, what: str) -> list[str]:
        module = "benchmarks.migration_peers.ours"
        return [sys.executable, "-m", module, what, self._url, str(self.place)]

    def held(self, what: str) -> Vectors:
        if self.store == "pgvector":
            uri = self.environ["VECSHIFT_DSN"]
            return _sql_rows(uri, "docs" if what == "old" else "docs__new", what)
        return _lance_rows(self.place, "docs" if what == "old" else "docs__new", what)

    def add(self, name: str, new: np.ndarray, text: str) -> None:
        from isthmus.stores import open_store
        from isthmus.stores.beside import holder_of, with_second_column

        with open_store(self._url) as opened:
            second, column = holder_of(with_second_column(opened, "new"), "new")
            second.add(np.array([name]), {column: new[None, :]}, {"text": [text]})


class OursInPostgres(Ours):
    """The same in PostgreSQL."""

    store = "pgvector"


class OursInLance(Ours):
    """The same in LanceDB."""

    store = "LanceDB"
