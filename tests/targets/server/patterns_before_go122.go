// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors

//go:build !go1.22

package main

import (
	"io"
	"net/http"
	"path"
)

// addPatternRoutes registers the same paths as prefixes: ServeMux has no wildcards yet.
func addPatternRoutes(mux *http.ServeMux) {
	item := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, path.Base(r.URL.Path)) })
	mux.Handle("/items/", item)
	mux.Handle("/orders/", item)
	mux.Handle("/mw/items/", copiesRequest(item))
	mux.Handle("/nested/", http.StripPrefix("/nested", item))
}
