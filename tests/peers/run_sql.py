"""Rows of queries by DuckDB; what is in Athena's dialect, sqlglot translates. See README.md."""

import json
import sys

import peer


def main():
    import duckdb
    import sqlglot

    asked = json.load(sys.stdin)

    def translated(sql):
        if asked["dialect"] == "duckdb":
            return sql
        # One that the dialect does not have is an error.
        (statement,) = sqlglot.parse(sql, read=asked["dialect"], error_level=sqlglot.ErrorLevel.RAISE)
        return statement.sql(dialect="duckdb", unsupported_level=sqlglot.ErrorLevel.RAISE)

    database = duckdb.connect()
    for statement in asked["tables"]:
        database.execute(statement)
    for statement in asked["views"]:
        database.execute(translated(statement))
    for query in asked["queries"]:
        found = database.execute(translated(query), asked["parameters"])
        peer.write_line([[str(value) if value is not None else None for value in row] for row in found.fetchall()])


peer.run(main)
