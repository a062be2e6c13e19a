"""Four numbers of a report from DuckDB: see report.rs. The columns are those of realtime-46."""

import json
import sys
import time

import duckdb

TIMESTAMP, ADDRESS, AGENT, QUERY, COLUMNS = 0, 1, 17, 20, 46

connection = duckdb.connect()
connection.execute("SET threads = 2")
begun = time.perf_counter()
columns = ", ".join(f"'c{number}': 'VARCHAR'" for number in range(COLUMNS))
# The log is read once, and only what the questions need is kept.
connection.execute(
    f"""CREATE TEMP TABLE beacons AS SELECT c{TIMESTAMP}::DOUBLE AS time, hash(c{ADDRESS}, c{AGENT}) AS visitor,
    regexp_extract(c{QUERY}, '(?:^|&)url=([^&]*)', 1) AS page
    FROM read_csv(?, auto_detect=false, header=false, delim='\t', quote='', escape='', columns={{{columns}}})""",
    [sys.argv[1]],
)
beacons, visitors = connection.execute("SELECT count(*), count(DISTINCT visitor) FROM beacons").fetchone()
pages = connection.execute("SELECT page, count(*) AS n FROM beacons GROUP BY page ORDER BY n DESC LIMIT 20").fetchall()
hours = connection.execute("SELECT floor(time / 3600), count(*) FROM beacons GROUP BY 1 ORDER BY 1").fetchall()
seconds = time.perf_counter() - begun
print(json.dumps({"seconds": seconds, "beacons": beacons, "visitors": visitors, "pages": len(pages), "hours": len(hours)}))
