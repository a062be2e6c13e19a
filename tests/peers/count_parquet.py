"""How many rows of Parquet files have which values, as DuckDB reads them and the names of folders; see README.md."""

import argparse
import os

import duckdb
import peer


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder")
    parser.add_argument("columns", nargs="+")
    arguments = parser.parse_args()
    files = os.path.join(arguments.folder, "**", "*.parquet")
    columns = ", ".join(f'"{name}"' for name in arguments.columns)
    found = duckdb.connect().execute(
        f"SELECT {columns}, count(*) FROM read_parquet(?, hive_partitioning=true, hive_types_autocast=false) GROUP BY ALL",
        [files],
    )
    peer.write_line(
        {"/".join(f"{name}={value}" for name, value in zip(arguments.columns, row)): row[-1] for row in found.fetchall()}
    )


if __name__ == "__main__":
    peer.run(main)
