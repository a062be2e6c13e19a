"""Reads user agents with crawler-user-agents and ua-parser; what they say as JSON lines."""

import argparse
import re

from peer import json_lines, run, write_line


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", action="store_true", help="write the list's own user agents instead")
    arguments = parser.parse_args()

    import crawleruseragents
    from ua_parser import Domain
    from ua_parser.basic import Resolver
    from ua_parser.matchers import OSMatcher, UserAgentMatcher
    from ua_parser.utils import fa_simplifier
    from ua_parser_builtins.lazy import MATCHERS

    entries = crawleruseragents.CRAWLER_USER_AGENTS_DATA
    if arguments.examples:
        for entry in entries:
            for example in entry["instances"]:
                write_line(example)
        return

    # Python's own regular expressions: the package would prefer a parser that shares its code with ours.
    # Those that are finite automata read `{0,100}` as `*`, and so does the package with them.
    browsers = [
        UserAgentMatcher(fa_simplifier(it.regex), it.family, it.major, it.minor, it.patch, it.patch_minor)
        for it in MATCHERS[0]
    ]
    systems = [
        OSMatcher(fa_simplifier(it.regex), it.family, it.major, it.minor, it.patch, it.patch_minor)
        for it in MATCHERS[1]
    ]
    resolve = Resolver((browsers, systems, []))
    patterns = [re.compile(entry["pattern"]) for entry in entries]
    for _, line in json_lines(["user_agent"]):
        user_agent = line["user_agent"]
        first = next((place for place, pattern in enumerate(patterns) if pattern.search(user_agent)), None)
        found = resolve(user_agent, Domain.USER_AGENT | Domain.OS)
        write_line({
            "is_crawler": crawleruseragents.is_crawler(user_agent),
            "tags": [] if first is None else entries[first]["tags"],
            "browser": found.user_agent and [found.user_agent.family, found.user_agent.major],
            "system": found.os and found.os.family,
        })


run(main)
