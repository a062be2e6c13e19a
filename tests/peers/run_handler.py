"""Runs the handler of a Lambda function, and prints the calls of AWS that it makes; see README.md."""

import json
import sys

import peer


def main():
    import boto3

    program = json.load(sys.stdin)
    called = []
    session = boto3._get_default_session()
    note = lambda model, **_: called.append(f"{model.service_model.endpoint_prefix}:{model.name}")
    session.events.register("before-call", note)
    names = {}
    exec(program["code"], names)
    for event in program["events"]:
        names["handler"](event, None)
    print("\n".join(called))


peer.run(main)
