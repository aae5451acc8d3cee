// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors

package main

import (
	"sync/atomic"
	"syscall"
)

// Each function that burns has a loop of its own and calls nothing: a sample in it has it as its innermost function.

//go:noinline
func burnServer(n int) uint64 {
	x := uint64(n) | 1
	for ; n > 0; n-- {
		x = step(x)
	}
	return x
}

//go:noinline
func burnNested(n int) uint64 {
	x := uint64(n) | 1
	for ; n > 0; n-- {
		x = step(x)
	}
	return x
}

//go:noinline
func burnChild(n int) uint64 {
	x := uint64(n) | 1
	for ; n > 0; n-- {
		x = step(x)
	}
	return x
}

//go:noinline
func burnLeft(n int) uint64 {
	x := uint64(n) | 1
	for ; n > 0; n-- {
		x = step(x)
	}
	return x
}

//go:noinline
func burnOutside(n int) uint64 {
	x := uint64(n) | 1
	for ; n > 0; n-- {
		x = step(x)
	}
	return x
}

// step is inlined: one round of a xorshift generator.
func step(x uint64) uint64 {
	x ^= x << 13
	x ^= x >> 7
	return x ^ x<<17
}

var kept atomic.Uint64

//go:noinline
func keep(x uint64) { kept.Store(x) }

var perMillisecond int

// calibrate finds how many rounds take a millisecond of CPU.
func calibrate() {
	const n = 20_000_000
	begin := cpuTime()
	keep(burnOutside(n))
	perMillisecond = int(n * 1000 / (cpuTime() - begin + 1))
}

func rounds(us int) int { return us * perMillisecond / 1000 }

// cpuTime is that of the process, in microseconds.
func cpuTime() int64 {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		fail(err)
	}
	return usage.Utime.Nano()/1000 + usage.Stime.Nano()/1000
}
