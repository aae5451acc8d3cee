// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors

// Uses every type of structs.txt, so that the linker keeps their DWARF. It is built, never run.
package main

import (
	"context"
	"fmt"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
)

//go:noinline
func attributes(key string) []attribute.KeyValue {
	return []attribute.KeyValue{attribute.String(key, key)}
}

func main() {
	tracer := otel.GetTracerProvider().Tracer("t")
	_, span := tracer.Start(context.Background(), "s")
	span.SetAttributes(attributes("key")...)
	span.SetName(fmt.Sprint(span.SpanContext()))
	span.End()
	otel.SetTracerProvider(otel.GetTracerProvider())
}
