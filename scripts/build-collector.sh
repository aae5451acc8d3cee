#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Copyright The otel_ebpf Authors
# Builds the OpenTelemetry Collector of tests/live/collector (minutes the first time) into $OTEL_EBPF_COLLECTOR_DIR
# (default: build/collector) and prints the path of the binary. Does nothing when it is there.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
dir=${OTEL_EBPF_COLLECTOR_DIR:-$root/build/collector}
manifest=$root/tests/live/collector/manifest.yaml
version=v0.160.0
file_exporter=github.com/open-telemetry/opentelemetry-collector-contrib/exporter/fileexporter

stamp=$(cat "$manifest" "${BASH_SOURCE[0]}" | sha256sum)
if [[ -x $dir/otelcol && -f $dir/stamp && $(<"$dir/stamp") == "$stamp" ]]; then
    echo "$dir/otelcol"
    exit 0
fi
go=$root/scripts/go.sh
"$go" --usable || { echo "build the Collector: no Go that is new enough: run scripts/setup.sh" >&2; exit 1; }

mkdir -p "$dir"
dir=$(cd "$dir" && pwd)
cd "$dir"
export GOFLAGS=-mod=mod GOTOOLCHAIN=auto
[[ -x builder ]] || GOBIN=$dir "$go" install "go.opentelemetry.io/collector/cmd/builder@$version" >&2

# `go mod tidy`, which the builder runs, fails on the file exporter (only its tests need a module that not every proxy
# serves): generate and tidy without it, then add it.
sed -e "s|@OUTPUT@|$dir/source|" -e "s|@GO@|$go|" "$manifest" >with-file.yaml
grep -v fileexporter with-file.yaml >without-file.yaml
./builder --config without-file.yaml --skip-compilation >&2
cd source
"$go" get "$file_exporter@$version" >&2
../builder --config ../with-file.yaml --skip-get-modules --skip-compilation >&2
"$go" build -p 2 -trimpath -ldflags='-s -w' -o ../otelcol . >&2

cd "$dir"
rm -rf source with-file.yaml without-file.yaml
echo "$stamp" >stamp
echo "$dir/otelcol"
