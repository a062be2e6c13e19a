#!/bin/sh
# Makes target/pixel-engine-lambda.zip, which holds the program and the `bootstrap` that Lambda
# starts. With an argument it is built for that target, such as aarch64-unknown-linux-gnu.
set -eu
cd "$(dirname "$0")/../.."
target=${1:-}

cargo build --locked --profile lambda --bin pixel-engine ${target:+--target "$target"}
program=target/${target:+$target/}lambda/pixel-engine

# provided.al2023 has glibc 2.34, and a program asks for symbols of the glibc it was built with.
newest=$(grep -ao 'GLIBC_2\.[0-9]*' "$program" | sort -u -t . -k 2 -n | tail -n 1)
if [ "${newest#GLIBC_2.}" -gt 34 ]; then
    echo "build.sh: the program needs $newest, and Lambda has 2.34: build it on Amazon Linux 2023 or Debian 11" >&2
    exit 1
fi

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cp "$program" deploy/lambda/bootstrap "$folder"
chmod 755 "$folder/bootstrap" "$folder/pixel-engine"
archive=$PWD/target/pixel-engine-lambda.zip
rm -f "$archive"
(cd "$folder" && python3 -m zipfile -c "$archive" bootstrap pixel-engine)
echo "$archive: $(stat -c %s "$archive") bytes; the program: $(stat -c %s "$program")"
