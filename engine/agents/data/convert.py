"""Writes the lists of this folder from the packages that README.md names.

The browsers' and systems' rules are read as plain values, so that nothing of `ua_parser` runs.
"""

import ast
import importlib.metadata
import importlib.util
import json
import re
import sys
from pathlib import Path

FOLDER = Path(__file__).parent

# Where an entry has several tags, the first of these is its kind; otherwise its own first tag.
# They say most about what the visit was for.
FIRST = ["browser-automation", "ai-crawler"]

# Mail services that fetch the images of messages, which the list counts as previews.
MAIL_PROXIES = {"FastmailUA", "GoogleImageProxy", "Shortwave Image Fetcher", "YahooMailProxy"}


def package_file(package, name):
    """A file of an installed package, which is not imported."""
    spec = importlib.util.find_spec(package)
    if spec is None:
        sys.exit(f"convert.py: {package} is not installed: see README.md")
    return Path(spec.origin).parent / name


def write(name, rows):
    """One row a line, its columns separated by tabs; empty ones at the end are left out."""
    lines = []
    for row in rows:
        columns = [column or "" for column in row]
        if any(character in column for column in columns for character in "\t\r\n"):
            sys.exit(f"convert.py: a column of {row} has a tab or a line break")
        lines.append("\t".join(columns).rstrip("\t") + "\n")
    (FOLDER / name).write_text("".join(lines), encoding="utf-8")
    print(f"{name}: {len(lines)} lines")


def bot_name(entry):
    """What the pattern finds in the first example that the list has of it, without version and comment."""
    found = (re.search(entry["pattern"], example) for example in entry["instances"])
    text = next((match[0] for match in found if match), entry["pattern"].replace("\\", ""))
    return re.split(r"/\d|;| \(", text.strip(" /();"))[0]


def bot_kind(entry):
    if entry["pattern"] in MAIL_PROXIES:
        return "mail-proxy"
    tags = entry["tags"]
    return next((tag for tag in FIRST if tag in tags), tags[0])


def bots():
    path = package_file("crawleruseragents", "crawler-user-agents.json")
    for entry in json.loads(path.read_text(encoding="utf-8")):
        yield bot_kind(entry), bot_name(entry), entry["pattern"]


def uap_rules():
    """The arguments of each matcher in the three lists: browsers, systems, devices."""
    module = ast.parse(package_file("ua_parser_builtins", "matchers.py").read_text(encoding="utf-8"))
    lists = next(node.value for node in module.body if isinstance(node, ast.AnnAssign))
    return [[[ast.literal_eval(value) for value in call.args] for call in rules.elts] for rules in lists.elts]


def main():
    write("bots.tsv", bots())
    browsers, systems, _devices = uap_rules()
    # Regex, family, major version; of a system only the family is asked for.
    write("browsers.tsv", (rule[:3] for rule in browsers))
    write("systems.tsv", (rule[:2] for rule in systems))
    for package in ["crawler-user-agents", "ua-parser-builtins"]:
        print(package, importlib.metadata.version(package))


main()
