// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors

package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"time"
)

type contextKey struct{}

// copiesRequest is middleware as most frameworks write it: the handler behind it sees another *http.Request.
func copiesRequest(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), contextKey{}, "value")))
	})
}

func recovers(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			if recover() != nil {
				http.Error(w, "recovered", http.StatusInternalServerError)
			}
		}()
		next.ServeHTTP(w, r)
	})
}

func addRoutes(mux *http.ServeMux) {
	gate := newGate()
	mux.HandleFunc("/", root)
	mux.HandleFunc("/slow", slow)
	mux.HandleFunc("/sleep-gate", gate.wait)
	mux.HandleFunc("/held", gate.held)
	mux.HandleFunc("/release", gate.release)
	mux.HandleFunc("/status/", status)
	mux.HandleFunc("/panic", func(http.ResponseWriter, *http.Request) { panic("handler panics") })
	mux.HandleFunc("/abort", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	mux.HandleFunc("/goexit", func(http.ResponseWriter, *http.Request) { runtime.Goexit() })
	mux.HandleFunc("/hijack", hijack)
	mux.HandleFunc("/deep", deep)
	mux.HandleFunc("/echo", echo)
	mux.HandleFunc("/headers", headers)
	mux.HandleFunc("/goid", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, goid()) })
	mux.HandleFunc("/mutate", mutate)
	mux.HandleFunc("/nothing", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("/chunked", chunked)
	mux.Handle("/recover-panic", recovers(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		panic("recovered by middleware")
	})))
}

func root(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/notfound" {
		http.NotFound(w, r)
		return
	}
	io.WriteString(w, "ok")
}

func number(r *http.Request, key string) int {
	n, _ := strconv.Atoi(r.URL.Query().Get(key))
	return n
}

func slow(w http.ResponseWriter, r *http.Request) {
	time.Sleep(time.Duration(number(r, "ms")) * time.Millisecond)
	io.WriteString(w, "ok")
}

func status(w http.ResponseWriter, r *http.Request) {
	code, err := strconv.Atoi(strings.TrimPrefix(r.URL.Path, "/status/"))
	if err != nil || code < 200 || code > 599 {
		code = http.StatusBadRequest
	}
	w.WriteHeader(code)
}

func hijack(w http.ResponseWriter, _ *http.Request) {
	conn, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	defer conn.Close()
	io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 8\r\nConnection: close\r\n\r\nhijacked")
}

// deep grows the goroutine's stack by about 1 KiB per level, while the span is open.
func deep(w http.ResponseWriter, r *http.Request) {
	fmt.Fprintln(w, recurse(number(r, "n")))
}

//go:noinline
func recurse(n int) int {
	var frame [1024]byte
	frame[n%len(frame)] = byte(n)
	if n <= 0 {
		return int(frame[0])
	}
	return recurse(n-1) + int(frame[n%len(frame)]&1)
}

func echo(w http.ResponseWriter, r *http.Request) {
	n, err := io.Copy(io.Discard, r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	fmt.Fprintln(w, n, r.ContentLength)
}

func headers(w http.ResponseWriter, r *http.Request) {
	fmt.Fprintln(w, goid(), len(r.Header))
}

// goid parses "goroutine N [...]".
func goid() string {
	var buffer [64]byte
	fields := bytes.Fields(buffer[:runtime.Stack(buffer[:], false)])
	return string(fields[1])
}

func mutate(w http.ResponseWriter, r *http.Request) {
	io.WriteString(w, "ok")
	r.Method = "MUTATED"
	r.URL.Path = "/mutated"
	r.URL.RawQuery = "mutated"
	r.RequestURI = "/mutated"
	r.Host = "mutated"
	for name := range r.Header {
		delete(r.Header, name)
	}
}

func chunked(w http.ResponseWriter, _ *http.Request) {
	for i := 0; i < 3; i++ {
		io.WriteString(w, "part\n")
		w.(http.Flusher).Flush()
	}
}
