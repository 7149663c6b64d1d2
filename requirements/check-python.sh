#!/bin/sh
# Says in one sentence why this Python cannot carry Muniment, before anything is downloaded.
set -eu
python=${1:-python3}

no() {
    echo "muniment: $1" >&2
    exit 1
}

command -v "$python" >/dev/null 2>&1 ||
    no "there is no \`$python\`; install Python 3.11 or newer, or name one: make PYTHON=python3.12"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    no "$("$python" --version) is too old: 3.11 or newer is needed; name one: make PYTHON=python3.12"
# The policy engine and the PostgreSQL of the demo come as wheels for glibc, and the engine's limits
# depend on the size of a thread's stack, which is 128 KiB on musl.
case $("$python" -c 'import sysconfig; print(sysconfig.get_config_var("SOABI") or "")') in
*musl*) no "Alpine (musl) is not supported: cedarpy and PostgreSQL have no wheels for it, and on its \
small thread stacks the policy engine would answer differently" ;;
esac
"$python" -c 'import ensurepip, venv' 2>/dev/null ||
    no "$python has no venv module; on Debian and Ubuntu: apt-get install python3-venv"
