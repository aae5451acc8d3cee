// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors

// Uses every type of structs.txt, so that the linker keeps their DWARF. It is built, never run.
package main

import (
	"context"

	"go.opentelemetry.io/auto/sdk"
)

func main() {
	_, span := sdk.TracerProvider().Tracer("t").Start(context.Background(), "s")
	span.SetName("n")
	span.End()
}
