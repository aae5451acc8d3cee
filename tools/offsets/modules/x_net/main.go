// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors

// Uses every type of structs.txt, so that the linker keeps their DWARF. It is built, never run.
package main

import (
	"fmt"
	"net"
	"net/http"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

//go:noinline
func field(name string) *hpack.HeaderField { return &hpack.HeaderField{Name: name} }

func main() {
	fmt.Println(field("traceparent"))
	client := &http.Client{Transport: &http2.Transport{AllowHTTP: true}}
	if response, err := client.Get("http://127.0.0.1:1/"); err == nil {
		fmt.Println(response.Status)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	connection, err := listener.Accept()
	if err != nil {
		panic(err)
	}
	framer := http2.NewFramer(connection, connection)
	framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	if frame, err := framer.ReadFrame(); err == nil {
		fmt.Println(frame.Header().StreamID)
	}
	server := &http.Server{}
	if err := http2.ConfigureServer(server, nil); err != nil {
		panic(err)
	}
	(&http2.Server{}).ServeConn(connection, &http2.ServeConnOpts{BaseConfig: server})
}
