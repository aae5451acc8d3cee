// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors

//go:build go1.24

package main

import "net/http"

func enableH2C(server *http.Server) bool {
	server.Protocols = new(http.Protocols)
	server.Protocols.SetHTTP1(true)
	server.Protocols.SetUnencryptedHTTP2(true)
	return true
}
