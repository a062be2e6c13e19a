"""Holds Parquet files against the log that they were made of; see README.md.

The log is read here in its own way: nothing of it comes from the engine. DuckDB and pyarrow read the
files, and what a third reader found may be given as JSON lines.
"""

import argparse
import collections
import datetime
import glob
import json
import os
import re
import urllib.parse

import duckdb
import peer
import pyarrow.parquet as parquet

TIMES = {"timestamp", "timestamp(ms)", "date", "time"}
DECIMALS = {"time-taken", "time-to-first-byte", "origin-fbl", "origin-lbl", "cmcd-playback-rate"}
INTEGERS = {
    "sc-status", "sc-bytes", "cs-bytes", "fle-encrypted-fields", "sc-content-len", "sc-range-start", "sc-range-end",
    "c-port", "cs-headers-count", "asn", "x-edge-mqcs", "cmcd-encoded-bitrate", "cmcd-buffer-length",
    "cmcd-object-duration", "cmcd-deadline", "cmcd-measured-throughput", "cmcd-requested-maximum-throughput",
    "cmcd-top-bitrate", "cmcd-version",
}  # fmt: skip
# What bounds of text are cut to.
CUT = 64


def column_name(field):
    return re.sub("[^a-z0-9_]", "_", field.lower().replace(")", ""))


def text(raw):
    return raw.decode("utf-8", "replace")


def form_text(raw):
    """CloudFront's escapes, then those of the form that a query is."""
    form = urllib.parse.unquote_to_bytes(raw).replace(b"+", b" ")
    return text(urllib.parse.unquote_to_bytes(form))


def query_map(raw):
    pairs = (pair.partition(b"=") for pair in raw.split(b"&") if pair)
    return {form_text(name): form_text(value) for name, _, value in pairs}


def number(field, raw):
    """The number, or nothing where the text is not exactly one."""
    if field in INTEGERS:
        return int(raw) if re.fullmatch(rb"-?[0-9]{1,18}", raw) else None
    digits = raw.lstrip(b"-").replace(b".", b"", 1)
    return float(raw) if re.fullmatch(rb"-?[0-9]+(\.[0-9]+)?", raw) and len(digits) <= 15 else None


def seconds_to_millis(raw):
    if not re.fullmatch(rb"[0-9]{1,15}(\.[0-9]*)?", raw):
        return None
    whole, _, fraction = raw.partition(b".")
    return int(whole) * 1000 + int((fraction + b"000")[:3])


def time_of(line):
    if "timestamp" in line:
        return seconds_to_millis(line["timestamp"])
    if "timestamp(ms)" in line:
        return int(line["timestamp(ms)"]) if line["timestamp(ms)"].isdigit() else None
    try:
        both = (line["date"] + b" " + line["time"]).decode()
        moment = datetime.datetime.strptime(both, "%Y-%m-%d %H:%M:%S").replace(tzinfo=datetime.timezone.utc)
        return int(moment.timestamp()) * 1000
    except (KeyError, ValueError):
        return None


def row_of(line, table, promoted):
    """What a table has to hold of a line, absent values left out."""
    row, other = {}, {}
    millis = time_of(line)
    if millis is not None:
        row["timestamp"] = millis
    for field, raw in line.items():
        name = column_name(field)
        if field in TIMES:
            if millis is None:
                other[name] = text(raw)
        elif field not in table:
            other[name] = text(raw)
        elif field in INTEGERS or field in DECIMALS:
            value = number(field, raw)
            if value is None:
                other[name] = text(raw)
            else:
                row[name] = value
        else:
            row[name] = text(raw)
    if "cs-uri-query" in line:
        row["query"] = query_map(line["cs-uri-query"])
        for name in promoted:
            if name in row["query"]:
                row[column_name(f"query_{name}")] = row["query"][name]
    if other:
        row["other"] = other
    return row


def field_name(name):
    """As real-time logs spell it, where both kinds of log have it."""
    return re.sub(r"^cs\((.*)\)$", r"cs-\1", name.lower())


def lines_of(path, fields):
    with open(path, "rb") as log:
        for raw in log.read().split(b"\n"):
            if raw.startswith(b"#Fields:"):
                fields = [field_name(name) for name in raw.decode().split()[1:]]
            if not raw or raw.startswith(b"#"):
                continue
            if fields == ["json"]:
                line = {field_name(name): value.encode() for name, value in json.loads(raw).items()}
            else:
                values = raw.removesuffix(b"\r").split(b"\t")
                if len(values) != len(fields):
                    raise peer.BadInput(f"{path}: {len(values)} columns")
                line = dict(zip(fields, values))
            yield {name: raw for name, raw in line.items() if raw != b"-"}


def canonical(row):
    return json.dumps({name: value for name, value in row.items() if value is not None}, sort_keys=True)


def unique(pairs):
    found = dict(pairs)
    if len(found) != len(pairs):
        raise peer.BadInput(f"a map with a name twice: {pairs}")
    return found


def arrow_rows(file):
    table = file.read()
    columns = {}
    for name in table.column_names:
        column = table[name]
        kind = str(column.type)
        if kind.startswith("timestamp"):
            column = column.cast("int64")
        values = column.to_pylist()
        if kind.startswith("map"):
            values = [value if value is None else unique(value) for value in values]
        columns[name] = values
    for values in zip(*columns.values()):
        yield canonical(dict(zip(columns, values)))


def duck_rows(paths, folders):
    connection = duckdb.connect()
    files = "read_parquet(?, hive_partitioning=false, union_by_name=true)"
    names = [name for name, *_ in connection.execute(f"DESCRIBE SELECT * FROM {files}", [paths]).fetchall()]
    time = "REPLACE (epoch_ms(timestamp) AS timestamp)" if "timestamp" in names else ""
    for row in connection.execute(f"SELECT * {time} FROM {files}", [paths]).fetchall():
        yield canonical(dict(zip(names, row)))


def leaf_values(file, group, path):
    """The values of a leaf that are there, and how many are not."""
    name, *rest = path.split(".")
    column = file.read_row_group(group, columns=[name])[name].combine_chunks()
    if str(column.type).startswith("timestamp"):
        return column.cast("int64").drop_null().to_pylist(), column.null_count
    if not rest:
        return column.drop_null().to_pylist(), column.null_count
    maps = column.to_pylist()
    found = [pair[rest[-1] == "value"] for value in maps if value for pair in value]
    return found, sum(not value for value in maps)


def check_statistics(file, group, index, wrong):
    chunk = file.metadata.row_group(group).column(index)
    values, nulls = leaf_values(file, group, chunk.path_in_schema)
    where = f"row group {group}, {chunk.path_in_schema}"
    statistics = chunk.statistics
    if statistics is None or statistics.null_count != nulls:
        wrong.append(f"{where}: {nulls} nulls, {statistics}")
        return
    if not (chunk.has_offset_index and chunk.has_column_index):
        wrong.append(f"{where}: no page index")
    # Java reads those of doubles; pyarrow does not know yet in which order they are.
    if statistics.has_min_max != bool(values) and chunk.physical_type != "DOUBLE":
        wrong.append(f"{where}: bounds of {len(values)} values: {statistics.has_min_max}")
    if not values or not statistics.has_min_max:
        return
    low, high = statistics.min_raw, statistics.max_raw
    if isinstance(values[0], str):
        as_bytes = lambda bound: bound.encode() if isinstance(bound, str) else bound
        low, high = as_bytes(low), as_bytes(high)
        least, most = min(value.encode() for value in values), max(value.encode() for value in values)
        low_is_right = low == least if len(least) <= CUT else least.startswith(low) and len(low) > CUT - 4
        high_is_right = high == most if len(most) <= CUT else high >= most and len(high) <= max(CUT, len(most))
    else:
        low_is_right, high_is_right = low == min(values), high == max(values)
    if not (low_is_right and high_is_right):
        wrong.append(f"{where}: bounds {low!r} to {high!r}")


def check_order(file, group, sorting, wrong):
    """The rows of the group are in the order that it says."""
    path = file.schema.column(sorting.column_index).path
    values = file.read_row_group(group, columns=[path])[path].to_pylist()
    key = lambda value: (value is None, value.encode() if isinstance(value, str) else value or 0)
    if sorting.descending or sorting.nulls_first or values != sorted(values, key=key):
        wrong.append(f"row group {group}: not sorted by {path}")
    return path


def differences(reader, expected, found):
    missing, more = expected - found, found - expected
    said = [f"{reader} does not have: {row[:2000]}" for row in list(missing)[:3]]
    return said + [f"{reader} has: {row[:2000]}" for row in list(more)[:3]]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--log", required=True, help="the lines, all of which are in the files")
    parser.add_argument("--fields", required=True, help="their columns, separated by commas; `header`, `json`")
    parser.add_argument("--table", help="the fields that the table has, if not those")
    parser.add_argument("--promoted", default="", help="parameters that have a column, separated by commas")
    parser.add_argument("--folders", default="", help="columns that folders are named after and files do not have")
    parser.add_argument("--rows", action="append", default=[], help="rows that another reader found, as JSON lines")
    parser.add_argument("folder")
    arguments = parser.parse_args()
    fields = arguments.fields.split(",")
    table = set((arguments.table or arguments.fields).split(","))
    promoted = [name for name in arguments.promoted.split(",") if name]
    folders = [name for name in arguments.folders.split(",") if name]

    expected = collections.Counter()
    for line in lines_of(arguments.log, fields):
        row = row_of(line, table if arguments.table or len(fields) > 1 else set(line), promoted)
        expected[canonical({name: value for name, value in row.items() if name not in folders})] += 1

    paths = sorted(glob.glob(os.path.join(arguments.folder, "**", "*.parquet"), recursive=True))
    wrong, found, files = [], collections.Counter(), []
    for path in paths:
        with parquet.ParquetFile(path) as file:
            found.update(arrow_rows(file))
            metadata = file.metadata
            chunks = [(group, index) for group in range(metadata.num_row_groups) for index in range(metadata.num_columns)]
            for group, index in chunks:
                check_statistics(file, group, index, wrong)
            orders = {
                check_order(file, group, sorting, wrong)
                for group in range(metadata.num_row_groups)
                for sorting in metadata.row_group(group).sorting_columns
            }
            files.append(
                {
                    "path": os.path.relpath(path, arguments.folder),
                    "rows": metadata.num_rows,
                    "row_groups": metadata.num_row_groups,
                    "sorted_by": sorted(orders),
                    "created_by": metadata.created_by,
                    "codecs": sorted({metadata.row_group(group).column(index).compression for group, index in chunks}),
                    "columns": {
                        file.schema.column(index).path: file.schema.column(index).physical_type
                        + f" {file.schema.column(index).logical_type}"
                        for index in range(metadata.num_columns)
                    },
                }
            )
    wrong += differences("pyarrow", expected, found)
    wrong += differences("DuckDB", expected, collections.Counter(duck_rows(paths, folders)))
    for rows in arguments.rows:
        with open(rows, encoding="utf-8") as lines:
            wrong += differences(rows, expected, collections.Counter(canonical(json.loads(line)) for line in lines))
    peer.write_line({"rows": sum(expected.values()), "differences": wrong, "files": files})


if __name__ == "__main__":
    peer.run(main)
