// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors

// Uses every type of structs.txt, so that the linker keeps their DWARF. It is built, never run.
package main

import (
	"context"
	"fmt"

	"go.opentelemetry.io/otel/trace"
)

//go:noinline
func configuration(option trace.SpanStartOption) any { return trace.NewSpanStartConfig(option) }

func main() {
	parent := trace.NewSpanContext(trace.SpanContextConfig{Remote: true})
	ctx := trace.ContextWithRemoteSpanContext(context.Background(), parent)
	span := trace.SpanFromContext(ctx)
	_, child := span.TracerProvider().Tracer("t", trace.WithSchemaURL("u")).Start(ctx, "s", trace.WithNewRoot())
	child.SetStatus(1, "m")
	child.End()
	fmt.Println(span.SpanContext(), trace.NewTracerConfig(), configuration(trace.WithNewRoot()))
}
