// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors

// Uses every type of structs.txt, so that the linker keeps their DWARF. It is built, never run.
package main

import (
	"fmt"

	"google.golang.org/genproto/googleapis/rpc/status"
)

func main() {
	message := &status.Status{Code: 5}
	fmt.Println(message.GetMessage(), message.String())
}
