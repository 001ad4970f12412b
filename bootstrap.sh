#!/usr/bin/env bash
# Makes .venv (Python 3.10 and the locked packages). Does nothing when it already matches the lock.
# VENV and LOCK name another environment and its lock.
set -euo pipefail
cd "$(dirname "$0")"

venv=${VENV:-.venv}
lock=${LOCK:-requirements.lock}
stamp=$venv/.lock.sha256
want=$(cat "$lock" setup.py | sha256sum | cut -d' ' -f1)
if [ -x "$venv/bin/transferseg" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$want" ]; then exit 0; fi

say() { printf '\033[1m[setup]\033[0m %s\n' "$*" >&2; }

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }

# uv lives in its own small environment: system pip may refuse to install (PEP 668).
uv=build/uv/bin/uv
if ! [ -x "$uv" ]; then
  rm -rf build/uv
  if command -v uv >/dev/null 2>&1; then
    mkdir -p build/uv/bin && ln -s "$(command -v uv)" "$uv"
  else
    say "installing uv"
    if ! python3 -m venv build/uv >/dev/null 2>&1; then
      say "python3 has no venv module: installing python3-venv with apt"
      as_root apt-get update -qq && as_root apt-get install -y -qq python3-venv >/dev/null
      rm -rf build/uv && python3 -m venv build/uv
    fi
    build/uv/bin/python -m pip install --quiet --disable-pip-version-check uv
  fi
fi

# A python3.10 on PATH may be a shim that refuses to run, so each candidate must really start.
find_python() {
  local candidate
  for candidate in "${PYTHON:-}" python3.10 "$HOME"/.pyenv/versions/3.10*/bin/python; do
    if [ -n "$candidate" ] && "$candidate" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 10))' >/dev/null 2>&1; then
      command -v "$candidate"; return
    fi
  done
  echo 3.10 # uv downloads one
}

python=$(find_python)
say "making $venv with Python $python"
"$uv" venv --quiet --clear --python "$python" "$venv"
say "installing the locked packages (about 2.7 GB, 40-120 s)"
# Compiled here, once: where Python writes no bytecode (PYTHONDONTWRITEBYTECODE, read-only installs), each process that
# imports TFX would compile 9,000 files again, for 12 s.
"$uv" pip install --quiet --compile-bytecode --python "$venv/bin/python" -r "$lock"
"$uv" pip install --quiet --python "$venv/bin/python" --no-deps -e .
echo "$want" >"$stamp"
say "ready: $venv/bin/transferseg"
