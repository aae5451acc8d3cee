// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors

package main

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

func newRow(c *config, seq int64) *row {
	target := c.targets[seq%int64(len(c.targets))]
	separator := "?"
	if strings.Contains(target, "?") {
		separator = "&"
	}
	target = fmt.Sprintf("%s%sr=%d", target, separator, seq)
	r := &row{Seq: seq, Method: c.method}
	r.Path, r.Query, _ = strings.Cut(target, "?")

	own := traceparents(r, c.modes[seq%int64(len(c.modes))])
	if c.pad > 0 {
		r.headers = append(r.headers, header{"X-Pad", strings.Repeat("p", c.pad)})
	}
	place := map[string]int{"first": 0, "middle": c.headers / 2, "last": c.headers}[c.position]
	for i := 0; i <= c.headers; i++ {
		if i == place {
			r.headers = append(r.headers, own...)
		}
		if i < c.headers {
			r.headers = append(r.headers, header{fmt.Sprintf("X-Extra-%d", i), fmt.Sprintf("value-%d", i)})
		}
	}
	return r
}

// traceparents makes the headers of one mode and notes in the row what the server has to make of them.
func traceparents(r *row, mode string) []header {
	trace, parent := fmt.Sprintf("%016x%016x", rand.Uint64(), 1+rand.Uint64N(1<<63)), fmt.Sprintf("%016x", 1+rand.Uint64N(1<<63))
	valid := "00-" + trace + "-" + parent + "-01"
	var values []string
	continued := false
	switch mode {
	case "none":
	case "valid":
		values, continued = []string{valid}, true
	case "unsampled":
		values, continued = []string{valid[:len(valid)-2] + "00"}, true
	case "future": // W3C Trace Context 2.2.4: a higher version is read as 00, with more fields behind a dash
		values, continued = []string{"cc" + valid[2:] + "-what-comes-later"}, true
	case "malformed":
		values = []string{"00-" + trace[:31] + "g-" + parent + "-01"}
	case "uppercase":
		values = []string{"00-" + trace[:31] + "A-" + parent + "-01"}
	case "ff":
		values = []string{"ff" + valid[2:]}
	case "zero":
		values = []string{"00-" + strings.Repeat("0", 32) + "-" + parent + "-01"}
	case "zero-parent":
		values = []string{"00-" + trace + "-" + strings.Repeat("0", 16) + "-01"}
	case "duplicate":
		values = []string{valid, "00-" + parent + parent + "-" + parent + "-00"}
	default:
		fail("unknown traceparent mode %q", mode)
	}
	if continued {
		r.TraceID, r.ParentID = trace, parent
	}
	r.Traceparent = strings.Join(values, ", ")
	headers := make([]header, 0, len(values))
	for _, value := range values {
		headers = append(headers, header{"traceparent", value})
	}
	return headers
}
