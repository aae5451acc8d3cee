// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors

// context-reader OBJECT PIN SECONDS: samples all CPUs and prints which thread worked for which span, and how often.
//
// OBJECT is reader.bpf.c compiled; PIN is that of the shared context map.
package main

import (
	"encoding/hex"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// What reader.bpf.c counts by: struct work.
type work struct {
	TID, TGID uint32 // a little-endian tgid << 32 | tid
	TraceID   [16]byte
	SpanID    [8]byte
}

const ticksPerSecond = 97

// run loads the program with the pinned map in place of its own.
func run(object, pin string, seconds int) error {
	contexts, err := ebpf.LoadPinnedMap(pin, nil)
	if err != nil {
		return fmt.Errorf("open the context map: %w", err)
	}
	defer contexts.Close()
	spec, err := ebpf.LoadCollectionSpec(object)
	if err != nil {
		return err
	}
	collection, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{
		MapReplacements: map[string]*ebpf.Map{"traces_ctx_v1": contexts},
	})
	if err != nil {
		return err
	}
	defer collection.Close()

	for cpu := range runtime.NumCPU() {
		event, err := unix.PerfEventOpen(&unix.PerfEventAttr{
			Type:   unix.PERF_TYPE_SOFTWARE,
			Config: unix.PERF_COUNT_SW_CPU_CLOCK,
			Sample: ticksPerSecond,
			Bits:   unix.PerfBitFreq,
		}, -1, cpu, -1, unix.PERF_FLAG_FD_CLOEXEC)
		if err != nil {
			return fmt.Errorf("sample CPU %d: %w", cpu, err)
		}
		attached, err := link.AttachRawLink(link.RawLinkOptions{
			Target:  event,
			Program: collection.Programs["on_tick"],
			Attach:  ebpf.AttachPerfEvent,
		})
		if err != nil {
			return fmt.Errorf("attach to the samples of CPU %d: %w", cpu, err)
		}
		defer unix.Close(event)
		defer attached.Close()
	}
	time.Sleep(time.Duration(seconds) * time.Second)

	var key work
	var ticks uint64
	entries := collection.Maps["ticks"].Iterate()
	for entries.Next(&key, &ticks) {
		fmt.Println(key.TGID, key.TID, hex.EncodeToString(key.TraceID[:]), hex.EncodeToString(key.SpanID[:]), ticks)
	}
	return entries.Err()
}

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: context-reader OBJECT PIN SECONDS")
		os.Exit(2)
	}
	seconds, err := strconv.Atoi(os.Args[3])
	if err == nil {
		err = run(os.Args[1], os.Args[2], seconds)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "context-reader:", err)
		os.Exit(1)
	}
}
