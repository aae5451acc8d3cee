// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors

package main

import (
	"fmt"
	"net/http"
	"sync"
	"time"
)

// gate holds requests until as many as the test wants are in flight at once.
type gate struct {
	mutex   sync.Mutex
	waiting int
	open    chan struct{}
}

func newGate() *gate { return &gate{open: make(chan struct{})} }

func (g *gate) wait(w http.ResponseWriter, r *http.Request) {
	g.mutex.Lock()
	g.waiting++
	open := g.open
	g.mutex.Unlock()
	select {
	case <-open:
	case <-r.Context().Done():
	}
	fmt.Fprintln(w, "released")
}

func (g *gate) held(w http.ResponseWriter, _ *http.Request) {
	g.mutex.Lock()
	defer g.mutex.Unlock()
	fmt.Fprintln(w, g.waiting)
}

// release waits until n requests are held (30 s at most), lets them go and closes the gate again.
func (g *gate) release(w http.ResponseWriter, r *http.Request) {
	want := number(r, "n")
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		g.mutex.Lock()
		held := g.waiting
		if held >= want {
			close(g.open)
			g.open = make(chan struct{})
			g.waiting = 0
			g.mutex.Unlock()
			fmt.Fprintln(w, held)
			return
		}
		g.mutex.Unlock()
	}
	http.Error(w, "too few requests at the gate", http.StatusGatewayTimeout)
}
