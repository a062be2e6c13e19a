"""DuckDB's COPY from a log to Parquet: see lake.rs. Arguments: the log, the file, the log's fields."""

import json
import os
import sys
import time

import duckdb

WHOLE = {
    "sc-status", "sc-bytes", "cs-bytes", "sc-content-len", "sc-range-start", "sc-range-end", "c-port",
    "cs-headers-count", "asn",
}  # fmt: skip
FRACTIONS = {"time-to-first-byte", "time-taken", "origin-fbl", "origin-lbl"}

log, file, *fields = sys.argv[1:]
types = {
    field: "BIGINT" if field in WHOLE else "DOUBLE" if field in FRACTIONS or field == "timestamp" else "VARCHAR"
    for field in fields
}
columns = ", ".join(f"'{name}': '{kind}'" for name, kind in types.items())
connection = duckdb.connect()
connection.execute("SET threads = 2")
begun = time.perf_counter()
connection.execute(
    f"""COPY (
        SELECT * REPLACE (make_timestamp_ms(CAST(round("timestamp" * 1000) AS BIGINT)) AS "timestamp")
        FROM read_csv('{log}', auto_detect=false, header=false, delim='\t', quote='', escape='', nullstr='-',
                      columns={{{columns}}})
    ) TO '{file}' (FORMAT parquet, CODEC zstd)"""
)
seconds = time.perf_counter() - begun
(rows,) = connection.execute("SELECT count(*) FROM read_parquet(?)", [file]).fetchone()
print(json.dumps({"rows": rows, "bytes": os.path.getsize(file), "seconds": seconds}))
