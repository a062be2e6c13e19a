"""Delivered objects as DuckDB reads them, and a second count by Python's own decompressors; see README.md."""

import argparse
import decimal
import glob
import hashlib
import json
import os
import zlib

import peer

CHUNK = 1 << 20
# Above any line that a test writes; DuckDB stops at 2 MiB (TSV) and 16 MiB (JSON) of its own accord.
LONGEST_LINE = 128 << 20
NOTHING = {"members": 0, "bytes": 0, "lines": 0, "largest_window": 0, "members_not_at_line_end": 0}


def find_objects(paths):
    """The files that the paths stand for, in order; hidden and temporary names are not objects."""
    objects = []
    for path in paths:
        if os.path.isdir(path):
            for folder, _, names in os.walk(path):
                objects += [os.path.join(folder, name) for name in names if not name.startswith((".", "_"))]
        else:
            found = [name for name in glob.glob(path, recursive=True) if os.path.isfile(name)]
            if not found:
                raise peer.BadInput(f"no object at {path}")
            objects += found
    return sorted(set(objects))


def members(path):
    """The decompressed bytes of a file in chunks; a number marks the start of a member or frame and is its window.

    Member by member, and not `gzip.open`, so that they are counted, and so that bytes after the last one that are
    no member are an error instead of being ignored.
    """
    with open(path, "rb") as file:
        if path.endswith(".gz"):
            # The window of gzip is always 32 KiB.
            start = lambda data: (zlib.decompressobj(wbits=16 + zlib.MAX_WBITS), 1 << 15)
        elif path.endswith(".zst"):
            import zstandard

            # A limit of 8 MiB, as Athena's reader has: an object past it must not pass for readable.
            decompressor = zstandard.ZstdDecompressor(max_window_size=8 << 20)
            start = lambda data: (decompressor.decompressobj(), zstandard.get_frame_parameters(data).window_size)
        else:
            yield 0
            while data := file.read(CHUNK):
                yield data
            return
        member = None
        while data := file.read(CHUNK):
            while data:
                if member is None:
                    # A header cut by the end of the chunk would not show its window.
                    if len(data) < 32:
                        data += file.read(CHUNK)
                    member, window = start(data)
                    yield window
                yield member.decompress(data)
                data = member.unused_data
                if member.eof:
                    member = None
        if member is not None:
            raise peer.BadInput(f"{path} ends inside a member or frame")


def measure(path):
    """What the object holds, without DuckDB."""
    import zstandard

    totals = dict(NOTHING)
    last = b"\n"
    try:
        for part in members(path):
            if isinstance(part, int):
                totals["members"] += 1
                totals["largest_window"] = max(totals["largest_window"], part)
                totals["members_not_at_line_end"] += last != b"\n"
            elif part:
                totals["bytes"] += len(part)
                totals["lines"] += part.count(b"\n")
                last = part[-1:]
    except (OSError, zlib.error, zstandard.ZstdError) as error:
        raise peer.BadInput(f"{path}: {error}") from None
    if last != b"\n":
        totals["lines"] += 1
        totals["members_not_at_line_end"] += 1
    return totals


def tsv(arguments):
    """The relation of all rows, and as SQL: the bytes of a row, the text of a column, the number in a column."""
    # Nothing is guessed: a dialect that DuckDB sniffs would hide a line that it cannot split.
    relation = (
        "read_csv($objects, auto_detect=false, header=false, all_varchar=true, delim='\t', quote='', escape='', "
        f"comment='', new_line='\\n', encoding='{arguments.encoding}', max_line_size={LONGEST_LINE}, "
        f"columns={{{', '.join(f'c{index}: VARCHAR' for index in range(arguments.columns))}}})"
    )

    def text(key):
        if not key.isdecimal() or int(key) >= arguments.columns:
            raise peer.BadInput(f"column `{key}` is not a number from 0 to {arguments.columns - 1}")
        # DuckDB reads an empty field as NULL, but it is there.
        return f"coalesce(c{int(key)}, '')"

    # In latin-1 a byte is a character, and DuckDB holds the upper half of them as two bytes.
    length = "strlen" if arguments.encoding == "utf-8" else "length"
    # And one for the tab or newline after it.
    width = " + ".join(f"coalesce({length}(c{index}), 0) + 1" for index in range(arguments.columns))
    return relation, width, text, lambda key: f"try_cast({text(key)} AS DECIMAL(38, 6))"


def jsonl(arguments):
    """As `tsv`; a key that begins with a slash is a JSON pointer into nested objects."""
    relation = f"read_ndjson_objects($objects, maximum_object_size={LONGEST_LINE})"

    def pointer(key):
        return quoted(key if key.startswith("/") else "/" + key.replace("~", "~0"))

    def text(key):
        return f"json_extract_string(json, {pointer(key)})"

    # A number in quotes is text, and must not be summed.
    return relation, "strlen(json)", text, lambda key: (
        f"CASE WHEN json_type(json, {pointer(key)}) IN ('BIGINT', 'UBIGINT', 'HUGEINT', 'UHUGEINT', 'DOUBLE') "
        f"THEN try_cast({text(key)} AS DECIMAL(38, 6)) END"
    )


def quoted(text):
    return "'" + text.replace("'", "''") + "'"


def first_lines(error):
    """DuckDB's message without its list of possible fixes and settings."""
    lines = str(error).strip().splitlines()
    end = next((i for i, line in enumerate(lines) if not line or line.startswith("Possible")), len(lines))
    return "; ".join(line[:200] for line in lines[:end])


def number(value):
    """A sum as a JSON number, without a fraction where there is none."""
    value = decimal.Decimal(0) if value is None else value
    return int(value) if value == value.to_integral_value() else float(value)


def column(query, text, with_values):
    """Count, distinct count and digest of the column's values in the order of their bytes."""
    absent, distinct = query(f"SELECT count(*) - count({text}), count(DISTINCT {text}) FROM rows").fetchone()
    digest = hashlib.sha256()
    values = []
    present = 0
    sorted_values = query(f"SELECT {text} AS value FROM rows WHERE value IS NOT NULL ORDER BY value COLLATE C")
    while chunk := sorted_values.fetchmany(1 << 16):
        present += len(chunk)
        for (value,) in chunk:
            digest.update(value.encode() + b"\n")
        if with_values:
            values += [value for (value,) in chunk]
    summary = {"present": present, "absent": absent, "distinct": distinct, "sha256": digest.hexdigest()}
    return summary | {"values": values} if with_values else summary


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("paths", nargs="+", metavar="PATH", help="a file, a folder with all that is below, or a glob")
    parser.add_argument("--format", choices=["tsv", "jsonl"], required=True)
    parser.add_argument("--columns", type=int, help="how many columns a TSV line has")
    parser.add_argument("--column", help="column from 0, or JSON key, whose values to report")
    parser.add_argument("--values", action="store_true", help="list them too, sorted by their bytes")
    parser.add_argument("--sum", action="append", default=[], help="column or key to add up (repeatable)")
    parser.add_argument("--encoding", choices=["utf-8", "latin-1"], default="utf-8", help="latin-1 takes any bytes")
    arguments = parser.parse_args()
    if arguments.format == "tsv" and (arguments.columns or 0) < 1:
        parser.error("--format tsv needs --columns N, the number of columns of a line")
    import duckdb

    objects = find_objects(arguments.paths)
    totals = dict(NOTHING)
    for path in objects:
        for name, value in measure(path).items():
            totals[name] = max(totals[name], value) if name == "largest_window" else totals[name] + value

    report = {"objects": len(objects), "rows": 0, **totals, "sums": {}}
    if objects:
        relation, width, text, numeric = (tsv if arguments.format == "tsv" else jsonl)(arguments)
        # What is missing in the wheel must fail, not be fetched behind the test's back.
        offline = {"autoinstall_known_extensions": False, "autoload_known_extensions": False}
        connection = duckdb.connect(config=offline)

        def query(sql):
            # DuckDB picks the codec by the name: .gz, .zst. All members and frames are read (2.0.0; a test holds it).
            return connection.execute(f"WITH rows AS (FROM {relation}) {sql}", {"objects": objects})

        try:
            # All columns, since DuckDB checks the encoding only of those that it is asked for.
            report["rows"], duckdb_bytes = query(f"SELECT count(*), sum({width}) FROM rows").fetchone()
            if arguments.column is not None:
                report["column"] = column(query, text(arguments.column), arguments.values)
            for key in arguments.sum:
                count, total = query(f"SELECT count({numeric(key)}), sum({numeric(key)}) FROM rows").fetchone()
                report["sums"][key] = {"count": count, "sum": number(total)}
            if arguments.format == "jsonl":
                # The schema that a user gets who names the objects and nothing else.
                described = connection.execute(
                    "DESCRIBE FROM read_json_auto($objects, format='newline_delimited', union_by_name=true)",
                    {"objects": objects},
                ).fetchall()
                report["types"] = {row[0]: row[1] for row in described}
        except duckdb.Error as error:
            raise peer.BadInput(f"DuckDB: {first_lines(error)}") from None
        # The newline after the last line of an object may be missing.
        if arguments.format == "tsv" and not 0 <= (duckdb_bytes or 0) - totals["bytes"] <= len(objects):
            raise peer.BadInput(f"DuckDB reads {duckdb_bytes} bytes, but there are {totals['bytes']}")
    if report["rows"] != report["lines"]:
        raise peer.BadInput(f"DuckDB reads {report['rows']} rows, but there are {report['lines']} lines")
    print(json.dumps(report))


peer.run(main)
