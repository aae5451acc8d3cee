// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors

//go:build !go1.24

package main

import "net/http"

func enableH2C(*http.Server) bool { return false }
