// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors

// A TLS server whose HTTP/2 is that of golang.org/x/net, in place of the one in net/http.
package main

import (
	"flag"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"

	"golang.org/x/net/http2"
)

// answer gives the status that the last part of the path asks for, and 100 bytes.
func answer(w http.ResponseWriter, r *http.Request) {
	if _, text, ok := strings.Cut(r.URL.Path, "/status/"); ok {
		if status, err := strconv.Atoi(text); err == nil {
			w.WriteHeader(status)
		}
	}
	fmt.Fprintf(w, "%100s", "")
}

func main() {
	flag.Bool("tls", true, "it knows no other way")
	flag.Parse()
	server := httptest.NewUnstartedServer(http.HandlerFunc(answer))
	if err := http2.ConfigureServer(server.Config, nil); err != nil {
		fmt.Fprintln(os.Stderr, "xnet:", err)
		os.Exit(1)
	}
	server.TLS = server.Config.TLSConfig
	server.StartTLS()
	fmt.Println("listening", server.Listener.Addr().(*net.TCPAddr).Port)
	select {}
}
