// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors

// burn uses the CPU in known functions until it is killed: main.outer calls main.middle, which calls main.leaf (no frame)
// and main.inlined (part of middle's code). The line of each loop body ends with its name.
package main

import (
	"context"
	"fmt"
	"runtime/pprof"
)

var sink uint64

//go:noinline
func leaf(n uint64) uint64 {
	for i := uint64(0); i < 2000; i++ {
		n = n*6364136223846793005 + 1442695040888963407 // line: leaf
	}
	return n
}

func inlined(n uint64) uint64 {
	for i := 0; i < 2000; i++ {
		n ^= n<<7 + 1 // line: inlined
	}
	return n
}

//go:noinline
func middle(n uint64) uint64 {
	return leaf(n) + inlined(n) // line: middle
}

//go:noinline
func outer() {
	for i := 0; i < 100; i++ {
		sink += middle(sink) // line: outer
	}
}

func main() {
	pprof.SetGoroutineLabels(pprof.WithLabels(context.Background(), pprof.Labels("route", "/pay", "tenant", "blue")))
	fmt.Println("burning")
	for {
		outer()
	}
}
