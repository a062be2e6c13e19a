"""Calls on stdin, what AWS's SDK for Python makes of the replies on stdout; see README.md."""

import base64
import datetime

import peer


def decoded(parameters):
    """Parameters as the SDK wants them: `Data` in bytes."""
    if isinstance(parameters, dict):
        return {
            key: base64.b64decode(value) if key == "Data" else decoded(value) for key, value in parameters.items()
        }
    if isinstance(parameters, list):
        return [decoded(value) for value in parameters]
    return parameters


def readable(value):
    """A reply without what JSON cannot hold."""
    if isinstance(value, dict):
        return {key: readable(member) for key, member in value.items() if key != "ResponseMetadata"}
    if isinstance(value, list):
        return [readable(member) for member in value]
    if hasattr(value, "read"):
        value = value.read()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    return value.isoformat() if isinstance(value, datetime.datetime) else value


def main():
    import boto3
    import botocore.config
    import botocore.exceptions

    # The server's checks are the subject, not the SDK's; and each call is one request.
    config = botocore.config.Config(parameter_validation=False, retries={"total_max_attempts": 1})
    clients = {}
    for _, call in peer.json_lines(["service", "operation"]):
        service = call["service"]
        if service not in clients:
            clients[service] = boto3.client(service, config=config)
        try:
            reply = getattr(clients[service], call["operation"])(**decoded(call["parameters"]))
        except botocore.exceptions.ClientError as error:
            status = error.response["ResponseMetadata"]["HTTPStatusCode"]
            peer.write_line({"status": status, "error": readable(error.response["Error"])})
        except botocore.exceptions.BotoCoreError as error:
            peer.write_line({"status": 0, "error": {"Code": type(error).__name__, "Message": str(error)}})
        else:
            peer.write_line({"status": 200, "reply": readable(reply)})


peer.run(main)
