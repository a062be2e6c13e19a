"""A CloudFormation template as cfn-lint reads it, and what it finds; see README.md."""

import json
import pathlib
import sys

from peer import BadInput, run, write_line


def main():
    from cfnlint.api import ManualArgs, lint_file
    from cfnlint.decode import decode

    [path] = sys.argv[1:]
    template, problems = decode(path)
    if problems:
        raise BadInput("; ".join(str(problem) for problem in problems))
    # I4010 wants descriptions for language models in the template's metadata.
    settings = ManualArgs(include_checks=["I"], ignore_checks=["I4010"], regions=["us-east-1", "eu-west-1"])
    findings = lint_file(pathlib.Path(path), config=settings)
    text = [f"{it.linenumber}: {it.rule.id} {it.message}" for it in findings]
    write_line({"template": json.loads(json.dumps(template)), "findings": text})


run(main)
