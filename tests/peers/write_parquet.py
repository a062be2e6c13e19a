"""Parquet files as other programs write them; see README.md."""

import argparse
import datetime
import decimal
import math

import duckdb
import peer
import pyarrow
import pyarrow.parquet as parquet

NUMBERS = [0.0, -0.0, 0.1, math.inf, -math.inf, math.nan, 5e-324, None]
ODD = pyarrow.schema(
    [
        pyarrow.field("x_edge_request_id", pyarrow.string()),
        pyarrow.field("always", pyarrow.int32(), nullable=False),
        ("double", pyarrow.float64()),
        ("float", pyarrow.float32()),
        ("flag", pyarrow.bool_()),
        ("day", pyarrow.date32()),
        ("cost", pyarrow.decimal128(20, 4)),
        ("bytes", pyarrow.binary()),
        ("fixed", pyarrow.binary(3)),
        ("nanos", pyarrow.timestamp("ns")),
        ("map", pyarrow.map_(pyarrow.string(), pyarrow.string())),
        ("list", pyarrow.list_(pyarrow.struct([("a", pyarrow.int64()), ("b", pyarrow.list_(pyarrow.string()))]))),
    ]
)  # fmt: skip


def odd_rows(first, count):
    """Every type, with nulls in every place that has room for them."""
    for number in range(first, first + count):
        yield {
            "x_edge_request_id": [None, "-", "", f"id-{number}"][min(number % 9, 3)],
            "always": number - 50,
            "double": NUMBERS[number % len(NUMBERS)],
            "float": NUMBERS[number % 5],
            "flag": [True, False, None][number % 3],
            "day": [datetime.date(1969, 12, 31), None][number % 2],
            "cost": [decimal.Decimal("-12345.6789"), None, decimal.Decimal(number)][number % 3],
            "bytes": [b"\xff\x00", b"", None, b"x" * 100][number % 4],
            "fixed": [b"abc", None][number % 2],
            "nanos": [None, 1_767_600_000_000_000_000 + number][number % 2],
            "map": [None, [], [("a", None)], [("a", ""), ("b", "é" * (number % 70))]][number % 4],
            "list": [None, [], [None], [{"a": None, "b": None}, {"a": number, "b": ["", None]}]][number % 4],
        }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=["duckdb", "firehose", "odd", "text", "table"])
    parser.add_argument("out")
    parser.add_argument("--like", help="a Parquet file whose rows are written, in another way")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--rows", type=int, default=1_000)
    arguments = parser.parse_args()
    if arguments.kind == "duckdb":
        copy = "COPY (SELECT * FROM read_parquet(?)) TO '{}' (FORMAT parquet, COMPRESSION snappy, ROW_GROUP_SIZE 2048)"
        duckdb.connect().execute(copy.format(arguments.out), [arguments.like])
    elif arguments.kind == "firehose":
        table = parquet.read_table(arguments.like)
        parquet.write_table(
            table, arguments.out, compression="snappy", row_group_size=700, store_schema=False, write_page_checksum=True
        )
    elif arguments.kind == "text":
        # A column that the others have as a number.
        table = parquet.read_table(arguments.like)
        at = table.schema.get_field_index("sc_status")
        parquet.write_table(table.set_column(at, "sc_status", table["sc_status"].cast(pyarrow.string())), arguments.out)
    else:
        rows = list(odd_rows(arguments.first, arguments.rows))
        table = pyarrow.Table.from_pylist(rows, schema=ODD)
        if arguments.kind == "odd":
            parquet.write_table(table, arguments.out, row_group_size=300, compression="gzip")
        else:
            # Some columns only, and none that is always there.
            table = table.select(["map", "x_edge_request_id", "double"])
            parquet.write_table(table, arguments.out, compression="lz4", data_page_version="2.0", version="1.0")


if __name__ == "__main__":
    peer.run(main)
