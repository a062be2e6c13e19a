"""Calls on stdin, what AWS's model of each says of its parameters on stdout; see README.md."""

import peer


def main():
    import botocore.session
    import botocore.validate

    session = botocore.session.Session()
    models = {}
    for _, call in peer.json_lines(["service", "operation"]):
        service = call["service"]
        if service not in models:
            models[service] = session.get_service_model(service)
        shape = models[service].operation_model(call["operation"]).input_shape
        report = botocore.validate.ParamValidator().validate(call["parameters"], shape)
        peer.write_line({"problems": report.generate_report()})


peer.run(main)
