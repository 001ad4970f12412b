#!/usr/bin/env bash
# Builds the three images and asks each whether it can do its work: docker/build.sh [NAME], by default transferseg.
set -euo pipefail
cd "$(dirname "$0")/.."

if ! docker info >/dev/null 2>&1; then
  echo "docker/build.sh: skipped, nothing was built: no docker engine answers here"
  exit 0
fi

name=${1:-transferseg}
docker build -f docker/Dockerfile -t "$name:cpu" .
docker build -f docker/Dockerfile.cuda -t "$name:cuda" .
docker build -f docker/Dockerfile.beam -t "$name:beam" --build-arg "BASE=$name:cpu" .

for tag in cpu cuda; do
  docker run --rm "$name:$tag" transferseg --version
  docker run --rm "$name:$tag" python -m pipeline.runners.step --help >/dev/null
done
docker run --rm --entrypoint test "$name:beam" -x /opt/apache/beam/boot
harness=$(sed -n 's/^FROM apache\/beam_python3.10_sdk:\([0-9.]*\).*/\1/p' docker/Dockerfile.beam)
docker run --rm --entrypoint python "$name:beam" -c "import apache_beam; assert apache_beam.__version__ == '$harness'"
echo "built and tried: $name:cpu, $name:cuda, $name:beam"
