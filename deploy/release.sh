#!/usr/bin/env bash
# Builds the source archive and the wheel, and checks them as users get them: into dist/, nothing is published.
#
#   deploy/release.sh          build, check the metadata, install the wheel into a new environment, check that its
#                              dependencies agree, list them (SBOM), and run the demo at its smoke scale outside the clone
#   deploy/release.sh --tag    the same for a release: needs a clean working tree and a section of CHANGELOG.md for the
#                              version, and ends with the tag vVERSION, which is not pushed
#
# PYTHON (default: python3) makes the environments, which are deleted at the end; they take about 2 GB.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python="${PYTHON:-python3}"
export PIP_CONSTRAINT="$PWD/constraints.txt" PIP_DISABLE_PIP_VERSION_CHECK=1
unset PYTHONPATH

refuse() { echo "no release: $1" >&2; exit 2; }

if [[ $# -gt 1 || ( $# -eq 1 && $1 != --tag ) ]]; then
    refuse "the only option is --tag"
fi
version="$("$python" -c 'import tomllib; print(tomllib.load(open("pyproject.toml", "rb"))["project"]["version"])')"
if [[ ${1:-} == --tag ]]; then
    changes="$(git status --porcelain)"
    [[ -z $changes ]] || refuse "the working tree has changes; commit them first"
    grep -q "^## \[$version\]" CHANGELOG.md || refuse "CHANGELOG.md has no section [$version]"
    if git rev-parse --quiet --verify "refs/tags/v$version" >/dev/null; then
        refuse "the tag v$version exists; raise the version in pyproject.toml and dwp_sweep/__init__.py"
    fi
fi

scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT

echo "building dwp-sweep $version ..."
"$python" -m venv "$scratch/tools"
"$scratch/tools/bin/pip" install --quiet build twine cyclonedx-bom
"$scratch/tools/bin/python" -m build --outdir "$scratch/dist" . >"$scratch/build.log" || { cat "$scratch/build.log" >&2; exit 1; }
"$scratch/tools/bin/twine" check --strict "$scratch"/dist/*

echo "installing the wheel into a new environment ..."
"$python" -m venv "$scratch/clean"
torch="$(grep '^torch==' constraints.txt)"
"$scratch/clean/bin/pip" install --quiet --no-compile "$torch"
"$scratch/clean/bin/pip" install --quiet --no-compile "$scratch"/dist/*.whl
"$scratch/clean/bin/pip" check
bill="dwp_sweep-$version.cdx.json"
"$scratch/tools/bin/cyclonedx-py" environment "$scratch/clean" --pyproject pyproject.toml --output-reproducible \
    --output-format JSON --output-file "$scratch/$bill"

echo "running the demo from the wheel ..."
mkdir "$scratch/outside"
(
    cd "$scratch/outside"
    "$scratch/clean/bin/dwp-sweep" demo --smoke
    "$scratch/clean/bin/dwp-sweep" plan search_spaces/joint.yaml --smoke >/dev/null
    "$scratch/clean/bin/dwp-sweep" report demo-smoke --out report
    test -s report/index.html
)

mkdir -p dist
mv "$scratch"/dist/* "$scratch/$bill" dist/
echo "checked: dist/dwp_sweep-$version-py3-none-any.whl, dist/dwp_sweep-$version.tar.gz"
echo "all packages that were installed with it, as CycloneDX: dist/$bill"
if [[ ${1:-} == --tag ]]; then
    git tag --annotate "v$version" --message "dwp-sweep $version"
    echo "tagged v$version; push it with: git push origin v$version"
fi
