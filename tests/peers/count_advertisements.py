"""Advertisements and revenue of a report, as DuckDB's SQL finds them in the same lines; see README.md.

Python only splits the lines, undoes escapes and asks its own ipaddress whether an address is in a
network; whatever is counted, SQL counts.
"""

import argparse
import ipaddress
import json
import os
import tempfile

import duckdb
import peer
from count_beacons import first, form_text, is_bot, text

COLUMNS = {
    "time": "BIGINT",
    "event": "VARCHAR",
    "campaign": "VARCHAR",
    "publisher": "VARCHAR",
    "id": "VARCHAR",
    "value": "VARCHAR",
    "currency": "VARCHAR",
    "is_bot": "BOOLEAN",
    "is_data_centre": "BOOLEAN",
}


def events(path, fields, networks):
    with open(path, encoding="utf-8") as log:
        for line in log:
            columns = dict(zip(fields, line.rstrip("\n").split("\t")))
            pairs = (pair.partition("=") for pair in columns["cs-uri-query"].split("&"))
            parameters = {form_text(name): form_text(value) for name, _, value in pairs if value}
            address = ipaddress.ip_address(columns["c-ip"])
            yield {
                "time": round(float(columns["timestamp"]) * 1000),
                "event": first(parameters, ("e", "event", "ev")),
                "campaign": first(parameters, ("campaign", "utm_campaign")),
                "publisher": first(parameters, ("publisher", "pub")),
                "id": first(parameters, ("iid", "imp")),
                "value": parameters.get("value"),
                "currency": parameters.get("currency"),
                "is_bot": is_bot(text(columns["cs-user-agent"])),
                "is_data_centre": any(address in network for network in networks),
            }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("log", help="lines of columns separated by tabs, without a header")
    parser.add_argument("--fields", required=True, help="the columns, separated by commas")
    parser.add_argument("--networks", required=True, help="a file with the networks of data centres")
    arguments = parser.parse_args()
    with open(arguments.networks, encoding="utf-8") as file:
        networks = [line.split("#")[0].strip() for line in file]
    networks = [ipaddress.ip_network(network) for network in networks if network]
    connection = duckdb.connect()
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl", delete=False) as rows:
        for event in events(arguments.log, arguments.fields.split(","), networks):
            rows.write(json.dumps(event) + "\n")
    try:
        connection.execute(
            "CREATE TABLE events AS SELECT * FROM read_json(?, format='newline_delimited', columns=?)",
            [rows.name, COLUMNS],
        )
    finally:
        os.remove(rows.name)
    firings = connection.execute(
        """
        WITH verdicts AS (
            SELECT *, CASE
                WHEN is_bot THEN 'bots'
                WHEN is_data_centre THEN 'data_centres'
                WHEN id IS NOT NULL AND row_number() OVER (
                    PARTITION BY event, id, is_bot, is_data_centre ORDER BY time, campaign, publisher
                ) > 1 THEN 'duplicates'
                ELSE 'net'
            END AS verdict
            FROM events WHERE event IN ('impression', 'viewable', 'click', 'conversion')
        )
        SELECT campaign, publisher, event, count(*),
            count(*) FILTER (verdict = 'bots'), count(*) FILTER (verdict = 'data_centres'),
            count(*) FILTER (verdict = 'duplicates'), count(*) FILTER (verdict = 'net')
        FROM verdicts GROUP BY ALL ORDER BY ALL
        """
    ).fetchall()
    revenue = connection.execute(
        """
        SELECT currency, sum(value::DECIMAL(18, 2))::VARCHAR
        FROM events WHERE event = 'paid' AND NOT is_bot GROUP BY ALL ORDER BY ALL
        """
    ).fetchall()
    peer.write_line({"firings": firings, "revenue": revenue})


peer.run(main)
