// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors

// An HTTP server whose handlers burn CPU in functions that say for which span: the function on the stack of a sample
// tells which context the sample has to carry. Builds with Go 1.19 and later.
//
//	GET /burn?server=US&nested=US&child=US&children=N   microseconds of CPU in each function
//	GET /leave?us=US&sleep=US                           a goroutine goes on, asleep first, when the request has ended
//	GET /thread?us=US                                   a goroutine whose thread ends with it
package main

import (
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"sync"
	"time"
)

func main() {
	maxProcs := flag.Int("gomaxprocs", 2, "GOMAXPROCS")
	outside := flag.Int("outside", 2000, "microseconds of CPU that a background goroutine burns every 20 ms")
	flag.Parse()
	runtime.GOMAXPROCS(*maxProcs)
	calibrate()

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fail(err)
	}
	if *outside > 0 {
		go background(*outside)
	}
	http.HandleFunc("/burn", burn)
	http.HandleFunc("/leave", leave)
	http.HandleFunc("/thread", thread)
	fmt.Println("listening", listener.Addr().(*net.TCPAddr).Port)
	fail(http.Serve(listener, nil))
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "burner:", err)
	os.Exit(1)
}

func number(r *http.Request, key string) int {
	n, _ := strconv.Atoi(r.URL.Query().Get(key))
	return n
}

// burn is the server span: its children are started by the handler itself, and waited for.
func burn(w http.ResponseWriter, r *http.Request) {
	server, nested, us := number(r, "server"), number(r, "nested"), number(r, "child")
	var running sync.WaitGroup
	for i := number(r, "children"); i > 0; i-- {
		running.Add(1)
		go child(us, &running)
	}
	burnServer(rounds(server / 2))
	work(rounds(nested))
	burnServer(rounds(server / 2))
	running.Wait()
	io.WriteString(w, "ok")
}

// work is the nested span: from its entry to the call of workDone.
//
//go:noinline
func work(n int) {
	workDone(burnNested(n))
}

//go:noinline
func workDone(x uint64) {
	keep(x)
}

//go:noinline
func child(us int, running *sync.WaitGroup) {
	defer running.Done()
	burnChild(rounds(us))
}

// leave answers while its goroutine still burns: what is after the answer belongs to no span.
func leave(w http.ResponseWriter, r *http.Request) {
	us, sleep := number(r, "us"), number(r, "sleep")
	go func() {
		time.Sleep(time.Duration(sleep) * time.Microsecond)
		burnLeft(rounds(us))
	}()
	io.WriteString(w, "ok")
}

// thread waits for a goroutine that ends locked to its thread, which the runtime ends then.
func thread(w http.ResponseWriter, r *http.Request) {
	var running sync.WaitGroup
	running.Add(1)
	go func() {
		runtime.LockOSThread()
		child(number(r, "us"), &running)
	}()
	running.Wait()
	io.WriteString(w, "ok")
}

func background(us int) {
	for {
		time.Sleep(20 * time.Millisecond)
		burnOutside(rounds(us))
	}
}
