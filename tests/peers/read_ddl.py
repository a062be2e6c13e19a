"""What a statement of Athena makes, as sqlglot reads it; see README.md."""

import sys

import peer


def main():
    import sqlglot
    from sqlglot import exp

    (create,) = sqlglot.parse(sys.stdin.read(), read="athena", error_level=sqlglot.ErrorLevel.RAISE)
    if not isinstance(create, exp.Create) or create.args["properties"].find(exp.ExternalProperty) is None:
        raise peer.BadInput("no CREATE EXTERNAL TABLE")

    def columns(schema):
        kind = lambda column: column.args["kind"].sql(dialect="hive").lower().replace(", ", ",")
        return [[column.name, kind(column)] for column in schema.expressions]

    properties = create.args["properties"].expressions
    partitions = [it for it in properties if isinstance(it, exp.PartitionedByProperty)]
    peer.write_line(
        {
            "table": create.this.this.sql(dialect="duckdb"),
            "columns": columns(create.this),
            "partitions": columns(partitions[0].this) if partitions else [],
            "properties": {it.this.name: it.args["value"].name for it in properties if type(it) is exp.Property},
        }
    )


peer.run(main)
