"""Queries over folders of tab-separated lines, as Athena has them; see README.md."""

import json
import sys

import peer


def main():
    import duckdb

    asked = json.load(sys.stdin)
    database = duckdb.connect()
    text = ", ".join(f"'{name}': 'VARCHAR'" for name, _ in asked["columns"])
    types = {"string": "VARCHAR", "bigint": "BIGINT", "double": "DOUBLE"}
    columns = ", ".join(f'TRY_CAST("{name}" AS {types[kind]}) AS "{name}"' for name, kind in asked["columns"])
    # In two steps: DuckDB would have the reader of the files cast, which fails on what is no number.
    database.execute(
        "CREATE TABLE texts AS SELECT * FROM read_csv(?, delim = '\t', header = false, quote = '', escape = '', "
        f"columns = {{{text}}}, hive_partitioning = true, hive_types_autocast = false)",
        [asked["files"]],
    )
    database.execute(f"CREATE VIEW lines AS SELECT {columns}, dt, hour FROM texts")
    for query in asked["queries"]:
        peer.write_line(database.execute(query).fetchall())


peer.run(main)
