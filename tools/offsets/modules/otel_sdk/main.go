// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors

// Uses every type of structs.txt, so that the linker keeps their DWARF. It is built, never run.
package main

import (
	"context"
	"errors"
	"fmt"

	sdk "go.opentelemetry.io/otel/sdk/trace"
)

func main() {
	provider := sdk.NewTracerProvider(sdk.WithSampler(sdk.TraceIDRatioBased(0.5)))
	_, span := provider.Tracer("t").Start(context.Background(), "s")
	span.RecordError(errors.New("e"))
	span.SetStatus(1, "m")
	span.End()
	fmt.Println(span)
}
