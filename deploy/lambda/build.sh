#!/bin/sh
# Makes target/pixel-engine-lambda.zip, which holds the program and the `bootstrap` that Lambda
# starts. With an argument it is built for that target, and STRIP is the program that strips for it:
#   STRIP=aarch64-linux-gnu-strip deploy/lambda/build.sh aarch64-unknown-linux-gnu
set -eu
cd "$(dirname "$0")/../.."
target=${1:-}

cargo build --release --locked -p pixel-engine-cli ${target:+--target "$target"}

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cp "target/${target:+$target/}release/pixel-engine" deploy/lambda/bootstrap "$folder"
# Half of the program is for debuggers. Cargo does not strip it, as its crates have debug settings of
# their own.
"${STRIP:-strip}" "$folder/pixel-engine"
chmod 755 "$folder/bootstrap" "$folder/pixel-engine"

# provided.al2023 has glibc 2.34, and a program asks for symbols of the glibc it was built with.
newest=$(grep -ao 'GLIBC_2\.[0-9]*' "$folder/pixel-engine" | sort -u -t . -k 2 -n | tail -n 1)
newest=${newest:-GLIBC_2.0}
if [ "${newest#GLIBC_2.}" -gt 34 ]; then
    echo "build.sh: the program needs $newest, and Lambda has 2.34: build it on Amazon Linux 2023 or Debian 11" >&2
    exit 1
fi

archive=$PWD/target/pixel-engine-lambda.zip
rm -f "$archive"
(cd "$folder" && python3 -m zipfile -c "$archive" bootstrap pixel-engine)
echo "$archive: $(stat -c %s "$archive") bytes, of a program of $(stat -c %s "$folder/pixel-engine")"
