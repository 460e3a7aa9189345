# Sourced by every finding: in_a_venv PACKAGE==VERSION ... <<'PY' runs the Python code that follows in a new environment
# with these packages and nothing else, in a temporary folder that is removed afterwards.
set -euo pipefail

in_a_venv() {
    local folder
    folder=$(mktemp -d)
    # shellcheck disable=SC2064
    trap "rm -rf '$folder'" EXIT
    cat >"$folder/finding.py"
    "${PYTHON:-python3}" -m venv "$folder/venv"
    "$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check "$@" 2>"$folder/pip.log" ||
        { cat "$folder/pip.log" >&2; exit 1; }
    (cd "$folder" && env -u PYTHONPATH "$folder/venv/bin/python" -W ignore finding.py)
}
