// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors

package main

import (
	"fmt"
	"net/http"
	"runtime"
	"strconv"
	"syscall"
	"time"
)

// What the program tells of itself, as arguments of getppid, which takes none.
const (
	tellMagic     = 0x6f74656c
	tellNow       = 0 // this goroutine runs now
	tellThread    = 1 // this thread runs this goroutine and no other until told otherwise; in Go code
	tellThreadInC = 2 // likewise, in C code
	tellEnd       = 3
)

func addGoroutineRoutes(mux *http.ServeMux) {
	mux.HandleFunc("/tell", tellRequest)
	mux.HandleFunc("/burn", burnRequest)
}

// tellGoroutine is there to be probed: its argument is the id of the goroutine that calls it.
//
//go:noinline
//go:nosplit
func tellGoroutine(id uint64) uint64 { return id + 1 }

func tellKernel(what uintptr, id uint64) {
	syscall.RawSyscall(syscall.SYS_GETPPID, tellMagic, what, uintptr(id))
}

func tellRequest(w http.ResponseWriter, _ *http.Request) {
	id, _ := strconv.ParseUint(goid(), 10, 64)
	tellGoroutine(id)
	tellKernel(tellNow, id)
	fmt.Fprintln(w, id)
}

// burnRequest uses the CPU for a while in Go code, then as long in C code where there is any, on one thread.
func burnRequest(w http.ResponseWriter, r *http.Request) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	id, _ := strconv.ParseUint(goid(), 10, 64)
	milliseconds := number(r, "ms")
	end := time.Now().Add(time.Duration(milliseconds) * time.Millisecond)
	tellKernel(tellThread, id)
	for time.Now().Before(end) {
	}
	tellKernel(tellEnd, id)
	if hasC {
		tellKernel(tellThreadInC, id)
		burnInC(milliseconds)
		tellKernel(tellEnd, id)
	}
	fmt.Fprintln(w, id)
}
