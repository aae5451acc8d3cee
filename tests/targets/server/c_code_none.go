// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors

//go:build !cgo || without_c

package main

const hasC = false

func burnInC(int) {}
