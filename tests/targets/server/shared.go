// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors

//go:build shared

package main

import "C"

// Serve is what a C program calls that loaded this as a library.
//
//export Serve
func Serve() { main() }
