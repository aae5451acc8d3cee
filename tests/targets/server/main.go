// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors

// A net/http server with one handler per situation that a server span must survive. Builds with Go 1.19 and later;
// what needs a newer release is in files with build tags.
package main

import (
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"runtime"
	"strconv"
)

func main() {
	addr := flag.String("addr", "127.0.0.1:0", "address to listen on")
	useTLS := flag.Bool("tls", false, "serve TLS with a certificate made at start; offers h2")
	useH2C := flag.Bool("h2c", false, "serve unencrypted HTTP/2 beside HTTP/1 (Go >= 1.24)")
	pidFile := flag.String("pidfile", "", "file that receives the PID once the server listens")
	maxProcs := flag.Int("gomaxprocs", 0, "GOMAXPROCS; 0 keeps the default")
	flag.Parse()
	if *maxProcs > 0 {
		runtime.GOMAXPROCS(*maxProcs)
	}

	mux := http.NewServeMux()
	addRoutes(mux)
	addPatternRoutes(mux)
	addGoroutineRoutes(mux)
	server := &http.Server{Handler: mux, ErrorLog: log.New(io.Discard, "", 0)}
	if *useH2C && !enableH2C(server) {
		fail(fmt.Errorf("h2c needs Go 1.24, this is %s", runtime.Version()))
	}

	listener, err := net.Listen("tcp", *addr)
	if err != nil {
		fail(err)
	}
	if *useTLS {
		if server.TLSConfig, err = selfSigned(); err != nil {
			fail(err)
		}
	}
	if err = configureHTTP2(server); err != nil {
		fail(err)
	}
	if *pidFile != "" {
		if err := os.WriteFile(*pidFile, []byte(strconv.Itoa(os.Getpid())+"\n"), 0o644); err != nil {
			fail(err)
		}
	}
	fmt.Println("listening", listener.Addr().(*net.TCPAddr).Port)
	if *useTLS {
		err = server.ServeTLS(listener, "", "")
	} else {
		err = server.Serve(listener)
	}
	fail(err)
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "server:", err)
	os.Exit(1)
}
