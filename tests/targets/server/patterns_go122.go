// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors

//go:build go1.22

package main

import (
	"io"
	"net/http"
)

// addPatternRoutes registers routes with wildcards, directly and behind what copies the request.
func addPatternRoutes(mux *http.ServeMux) {
	item := func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.PathValue("id")) }
	mux.HandleFunc("/items/{id}", item)
	mux.HandleFunc("POST /orders/{id}", item)

	behindCopy := http.NewServeMux()
	behindCopy.HandleFunc("/mw/items/{id}", item)
	mux.Handle("/mw/", copiesRequest(behindCopy))

	behindStrip := http.NewServeMux()
	behindStrip.HandleFunc("/items/{id}", item)
	mux.Handle("/nested/", http.StripPrefix("/nested", behindStrip))
}
