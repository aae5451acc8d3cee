// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors

// Burns CPU with and without pprof labels, until stdin ends. Worker i, and a goroutine that it starts, have the labels
// worker=wI and trace_id=32 digits; the last worker has twelve more.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"runtime/pprof"
	"strings"
	"sync"
)

var sink uint64

//go:noinline
func burnLabelled(n uint64) (sum uint64) {
	for i := uint64(0); i < n; i++ {
		sum = sum*6364136223846793005 + i
	}
	return
}

//go:noinline
func burnChild(n uint64) (sum uint64) {
	for i := uint64(0); i < n; i++ {
		sum = sum*6364136223846793005 + i
	}
	return
}

//go:noinline
func burnPlain(n uint64) (sum uint64) {
	for i := uint64(0); i < n; i++ {
		sum = sum*6364136223846793005 + i
	}
	return
}

const workers = 4
const steps = 500000

func work(index int) {
	labels := []string{"worker", fmt.Sprintf("w%d", index), "trace_id", strings.Repeat(fmt.Sprintf("%02x", index+1), 16)}
	if index == workers-1 {
		for i := 0; i < 12; i++ {
			labels = append(labels, fmt.Sprintf("more%d", i), "x")
		}
	}
	for {
		pprof.Do(context.Background(), pprof.Labels(labels...), func(context.Context) {
			sink += burnLabelled(steps)
			var wait sync.WaitGroup
			wait.Add(1)
			go func() {
				sink += burnChild(steps)
				wait.Done()
			}()
			wait.Wait()
		})
		sink += burnPlain(steps)
	}
}

func main() {
	for i := 0; i < workers; i++ {
		go work(i)
	}
	io.Copy(io.Discard, os.Stdin)
}
