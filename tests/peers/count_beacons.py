"""The numbers of a report, as DuckDB's SQL finds them in the same lines; see README.md.

Python only splits the lines and undoes escapes; whatever is counted, SQL counts.
"""

import argparse
import functools
import json
import os
import tempfile
import urllib.parse

import crawleruseragents
import duckdb
import peer

# Of the parameters that trackers use, the names that a report looks for by itself.
EVENT = ("e", "event", "ev")
PAGE = ("url", "u")
REFERRER = ("ref", "r")
VISITOR = ("uid", "user_id")
CAMPAIGN = ("utm_source", "utm_medium", "utm_campaign")


def text(raw):
    """A field: CloudFront's escapes are undone."""
    return urllib.parse.unquote_to_bytes(raw).decode("utf-8", "replace")


def form_text(raw):
    """A name or value of a query: CloudFront's escapes, then those of the form that it is."""
    form = urllib.parse.unquote_to_bytes(raw).replace(b"+", b" ")
    return urllib.parse.unquote_to_bytes(form).decode("utf-8", "replace")


def first(parameters, names):
    return next((parameters[name] for name in names if parameters.get(name)), None)


def page(url):
    """Host and path."""
    if url is None:
        return None, None
    url = url.split("?")[0].split("#")[0]
    split = urllib.parse.urlsplit(url)
    return split.netloc.lower(), split.netloc.lower() + (split.path or "/")


@functools.cache
def is_bot(user_agent):
    return crawleruseragents.is_crawler(user_agent)


def beacons(path, fields):
    with open(path, encoding="utf-8") as log:
        for line in log:
            values = [None if value == "-" else value for value in line.rstrip("\n").split("\t")]
            if len(values) != len(fields):
                raise peer.BadInput(f"{path}: {len(values)} columns")
            beacon = dict(zip(fields, values))
            pairs = (pair.partition("=") for pair in (beacon["cs-uri-query"] or "").split("&"))
            parameters = {form_text(name): form_text(value) for name, _, value in pairs if value}
            url = first(parameters, PAGE)
            if url is None and beacon["cs-referer"] is not None:
                url = text(beacon["cs-referer"])
            host, name = page(url)
            uid = first(parameters, VISITOR)
            campaign = [parameters.get(name) for name in CAMPAIGN]
            yield {
                "time": round(float(beacon["timestamp"]) * 1000),
                "visitor": f"i {uid}" if uid else f"a {beacon['c-ip']} {beacon['cs-user-agent']}",
                "event": first(parameters, EVENT),
                "host": host,
                "page": name,
                "referrer": page(first(parameters, REFERRER))[0],
                "campaign": " / ".join(part or "-" for part in campaign) if any(campaign) else None,
                "is_bot": is_bot(text(beacon["cs-user-agent"] or "")),
                **beacon,
            }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("log", help="lines of columns separated by tabs, without a header")
    parser.add_argument("--fields", required=True, help="the columns, separated by commas")
    parser.add_argument("--session-gap", type=int, default=30 * 60 * 1000, help="milliseconds")
    arguments = parser.parse_args()
    connection = duckdb.connect()
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl", delete=False) as rows:
        for beacon in beacons(arguments.log, arguments.fields.split(",")):
            rows.write(json.dumps(beacon) + "\n")
    try:
        connection.execute(
            "CREATE TABLE beacons AS SELECT * FROM read_json(?, format='newline_delimited', sample_size=-1)",
            [rows.name],
        )
    finally:
        os.remove(rows.name)

    def one(sql):
        return connection.execute(sql).fetchone()

    def counts(value):
        found = connection.execute(
            f"SELECT {value} AS value, count(*), count(*) FILTER (is_bot) FROM beacons GROUP BY 1 HAVING value IS NOT NULL"
        )
        return {str(name): [count, bots] for name, count, bots in found.fetchall()}

    def quantiles(field):
        milliseconds = f'round("{field}"::DOUBLE * 1000)::BIGINT'
        found = one(f"SELECT quantile_disc({milliseconds}, [0.5, 0.9, 0.99]), max({milliseconds}) FROM beacons")
        return dict(zip(("p50", "p90", "p99"), found[0])) | {"max": found[1]}

    connection.execute(
        """CREATE TABLE people AS SELECT * FROM beacons WHERE visitor NOT IN (SELECT visitor FROM beacons WHERE is_bot)"""
    )
    sessions = one(
        f"""SELECT count(*) FILTER (pause IS NULL OR pause > {arguments.session_gap}) FROM
        (SELECT time - lag(time) OVER (PARTITION BY visitor ORDER BY time) AS pause FROM people)"""
    )
    referrer = "CASE WHEN referrer IS NULL THEN '(direct)' WHEN referrer = host THEN '(own site)' ELSE referrer END"
    columns = {
        "events": "event",
        "pages": "page",
        "referrers": referrer,
        "campaigns": "campaign",
        "countries": '"c-country"',
        "edge_locations": '"x-edge-location"',
        "asns": "asn",
        "statuses": "\"sc-status\"",
        "results": '"x-edge-result-type"',
        "detailed_results": '"x-edge-detailed-result-type"',
        "methods": '"cs-method"',
        "protocols": '"cs-protocol-version"',
    }
    peer.write_line(
        {
            "beacons": one("SELECT count(*) FROM beacons")[0],
            "people": one("SELECT count(DISTINCT visitor) FROM people")[0],
            "bots": one("SELECT count(DISTINCT visitor) FROM beacons WHERE is_bot")[0],
            "sessions": sessions[0],
            "by_hour": counts("time // 3600000 * 3600"),
            "people_by_day": {
                str(day): visitors
                for day, visitors in connection.execute(
                    "SELECT time // 86400000 * 86400, count(DISTINCT visitor) FROM beacons WHERE NOT is_bot GROUP BY 1"
                ).fetchall()
            },
            "sc_bytes": one('SELECT sum("sc-bytes"::BIGINT)::BIGINT FROM beacons')[0],
            "tables": {name: counts(value) for name, value in columns.items()},
            "latency": {field: quantiles(field) for field in ("time-taken", "time-to-first-byte")},
            "doubled_ids": one('SELECT count("x-edge-request-id") - count(DISTINCT "x-edge-request-id") FROM beacons')[0],
        }
    )


if __name__ == "__main__":
    peer.run(main)
