// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors

package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

type command struct{ exec.Cmd }

// goCommand prepares a go command of one toolchain ("go1.26.8") in a folder; "" is one outside of any module.
func goCommand(folder, toolchain string, arguments ...string) *command {
	if folder == "" {
		folder = os.TempDir()
	}
	c := &command{*exec.Command("go", arguments...)}
	c.Dir = folder
	c.Env = append(os.Environ(), "GOTOOLCHAIN="+toolchain, "GOOS=linux", "GOARCH=amd64", "CGO_ENABLED=0", "GOWORK=off",
		"GOEXPERIMENT=", "GOFLAGS=-buildvcs=false")
	return c
}

// output runs the command and returns what it prints; an error holds its messages.
func (c *command) output() ([]byte, error) {
	var messages bytes.Buffer
	c.Stderr = &messages
	output, err := c.Output()
	if err != nil {
		text := strings.TrimSpace(messages.String())
		return nil, fmt.Errorf("%s: %w: %s", strings.Join(c.Args[:min(3, len(c.Args))], " "), err, text)
	}
	return output, nil
}
