// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors

// Uses every type of structs.txt, so that the linker keeps their DWARF. It is built, never run.
package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
)

type contextKey struct{}

func handle(w http.ResponseWriter, r *http.Request) {
	ctx := context.WithValue(r.Context(), contextKey{}, r.Header.Get("traceparent"))
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if response, err := http.DefaultClient.Do(r.WithContext(ctx)); err == nil {
		fmt.Fprintln(w, response.Status, ctx.Value(contextKey{}))
	}
}

func main() {
	counts := map[string][]string{}
	for _, argument := range os.Args {
		counts[argument] = append(counts[argument], argument)
		if location, err := url.Parse(argument); err == nil {
			fmt.Println(location.Redacted())
		}
	}
	http.HandleFunc("/", handle)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	if address, ok := listener.Addr().(*net.TCPAddr); ok {
		fmt.Println(address.Port, counts)
	}
	server := &http.Server{TLSConfig: &tls.Config{}}
	go server.ServeTLS(listener, "", "")
	panic(server.Serve(listener))
}
