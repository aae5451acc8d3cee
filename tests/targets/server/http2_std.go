// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors

//go:build !xnet

package main

import "net/http"

func configureHTTP2(*http.Server) error { return nil }
