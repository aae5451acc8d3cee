// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors

//go:build xnet

package main

import (
	"net/http"

	"golang.org/x/net/http2"
)

// configureHTTP2 has golang.org/x/net serve HTTP/2 in place of the copy in the standard library.
func configureHTTP2(server *http.Server) error { return http2.ConfigureServer(server, nil) }
