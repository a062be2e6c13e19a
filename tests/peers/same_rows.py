"""Whether two folders of Parquet files hold the same rows, folder by folder, as pyarrow reads them; see README.md."""

import argparse
import collections
import glob
import os

import peer
import pyarrow
import pyarrow.parquet as parquet


def plain(value):
    """A value as text that tells apart what is different: null from empty, 0.0 from -0.0, a list from a map."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{name}:{plain(inner)}" for name, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(plain, value)) + "]"
    return repr(value)


def rows_of(folder, unique):
    """How often each row comes, by the folder that it is in. Of rows with the same id, one counts."""
    found, seen = collections.Counter(), set()
    types = {}
    for path in sorted(glob.glob(os.path.join(folder, "**", "*.parquet"), recursive=True)):
        name = os.path.relpath(os.path.dirname(path), folder)
        table = parquet.ParquetFile(path).read()
        for field in table.schema:
            types.setdefault(field.name, set()).add(str(field.type))
            if pyarrow.types.is_timestamp(field.type):
                # Python's own have no nanoseconds.
                at = table.schema.get_field_index(field.name)
                table = table.set_column(at, field.name, table[field.name].cast(pyarrow.int64()))
        for row in table.to_pylist():
            if unique and row.get(unique) is not None:
                if (name, row[unique]) in seen:
                    continue
                seen.add((name, row[unique]))
            present = sorted((column, plain(value)) for column, value in row.items() if value is not None)
            found[(name, tuple(present))] += 1
    return found, types


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("before")
    parser.add_argument("after")
    parser.add_argument("--unique", help="a column of ids, of which each counts once in a folder of `before`")
    arguments = parser.parse_args()
    before, types_before = rows_of(arguments.before, arguments.unique)
    after, types_after = rows_of(arguments.after, None)
    differences = [f"only before: {row}"[:2_000] for row in before - after]
    differences += [f"only after: {row}"[:2_000] for row in after - before]
    if types_before != types_after:
        differences.append(f"types: {types_before} {types_after}")
    peer.write_line({"rows": sum(after.values()), "differences": differences[:5]})


if __name__ == "__main__":
    peer.run(main)
