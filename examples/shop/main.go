// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors

// A small shop in two services, and customers for it:
//
//	shop bank  [-listen ADDR]
//	shop store [-listen ADDR] -bank URL
//	shop load  [-n N] [-c N] [-rate N] [-item ITEM] [-account ACCOUNT] URL
//
// Nothing in here knows of OpenTelemetry; the store merely hands the traceparent header of a request on to the bank.
package main

import (
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("shop: ")
	commands := map[string]func(args []string) error{"bank": runBank, "store": runStore, "load": runLoad}
	if len(os.Args) < 2 || commands[os.Args[1]] == nil {
		log.Fatal("usage: shop bank|store|load; see shop COMMAND -help")
	}
	if err := commands[os.Args[1]](os.Args[2:]); err != nil {
		log.Fatal(err)
	}
}

// serve prints "listening ADDRESS" once connections are accepted; port 0 takes a free one.
func serve(address string, handler http.Handler) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	fmt.Println("listening", listener.Addr())
	return http.Serve(listener, handler)
}
