// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors

// Load client of the live tests. Sends a known number of requests and writes what it saw of each, one JSON object
// per line, so that spans can be compared with it one by one.
//
//	client [flags] http://127.0.0.1:PORT TARGET...
//
// A TARGET is path and query as sent; a backslash in it starts a Go escape ("\xff"). Requests take the targets in
// turn; each gets the query parameter r=SEQUENCE. An interrupt ends -d early; what was sent is still written.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"net/url"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

type config struct {
	host        string
	tls         bool
	targets     []string
	count       int64
	duration    time.Duration
	concurrency int
	keepAlive   bool
	protocol    string
	pipeline    int
	method      string
	body        int
	modes       []string
	headers     int
	position    string
	pad         int
	segments    int
	delay       time.Duration
	gate        bool
	timeout     time.Duration
}

// row is what the client knows of one request.
type row struct {
	Seq         int64  `json:"seq"`
	Method      string `json:"method"`
	Path        string `json:"path"`
	Query       string `json:"query"`
	Traceparent string `json:"traceparent"` // as sent
	TraceID     string `json:"trace_id"`    // that the server has to continue; empty: it starts a trace
	ParentID    string `json:"parent_id"`
	Status      int    `json:"status"` // 0: no response
	Error       string `json:"error,omitempty"`
	StartUnixNS int64  `json:"start_unix_ns"`
	EndUnixNS   int64  `json:"end_unix_ns"`
	ClientPort  int    `json:"client_port,omitempty"`

	headers []header // to send, traceparent included
}

type header struct{ name, value string }

func main() {
	var c config
	flag.Int64Var(&c.count, "n", 1, "requests to send")
	flag.DurationVar(&c.duration, "d", 0, "send for this long in place of -n")
	flag.IntVar(&c.concurrency, "c", 8, "requests at once")
	flag.BoolVar(&c.keepAlive, "keepalive", true, "h1: reuse connections")
	flag.StringVar(&c.protocol, "proto", "h1", "h1, h2 (over TLS) or h2c")
	flag.IntVar(&c.pipeline, "pipeline", 1, "h1: requests written before the first response is read")
	flag.StringVar(&c.method, "method", "GET", "request method")
	flag.IntVar(&c.body, "body", 0, "request body bytes")
	modes := flag.String("traceparent", "valid", "none, valid, unsampled, future, malformed, uppercase, ff, zero, "+
		"zero-parent, duplicate; several with commas are taken in turn")
	flag.IntVar(&c.headers, "headers", 0, "further headers")
	flag.StringVar(&c.position, "position", "last", "of traceparent among the headers: first, middle, last")
	flag.IntVar(&c.pad, "pad", 0, "bytes of an additional first header")
	flag.IntVar(&c.segments, "segments", 1, "h1: TCP segments that a request's header is cut into")
	flag.DurationVar(&c.delay, "segment-delay", 2*time.Millisecond, "between segments")
	flag.BoolVar(&c.gate, "gate", false, "hold all -n requests in flight at TARGET /sleep-gate, then GET /release")
	flag.DurationVar(&c.timeout, "timeout", 60*time.Second, "of a connection")
	out := flag.String("out", "", "file for one JSON object per request")
	flag.Parse()
	c.modes = strings.Split(*modes, ",")

	if flag.NArg() < 1 {
		fail("needs a URL: client [flags] http://127.0.0.1:PORT TARGET...")
	}
	base, err := url.Parse(flag.Arg(0))
	if err != nil || base.Port() == "" {
		fail("not a URL with a port: %q", flag.Arg(0))
	}
	c.host, c.tls = base.Host, base.Scheme == "https"
	for _, text := range flag.Args()[1:] {
		target, err := strconv.Unquote(`"` + strings.ReplaceAll(text, `"`, `\"`) + `"`)
		if err != nil {
			fail("target %q: %v", text, err)
		}
		c.targets = append(c.targets, target)
	}
	if len(c.targets) == 0 {
		c.targets = []string{"/"}
	}
	if c.gate {
		c.concurrency = int(c.count)
		c.targets = []string{"/sleep-gate"}
	}
	if c.protocol == "h1" && c.tls {
		fail("h1 over TLS is not offered: use http:// or -proto h2")
	}

	begin := time.Now()
	rows := run(&c)
	seconds := time.Since(begin).Seconds()

	answered := 0
	for _, r := range rows {
		if r.Status != 0 {
			answered++
		}
	}
	if *out != "" {
		if err := write(*out, rows); err != nil {
			fail("%v", err)
		}
	}
	fmt.Printf("{\"requests\":%d,\"answered\":%d,\"seconds\":%.3f}\n", len(rows), answered, seconds)
}

func fail(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "client: "+format+"\n", args...)
	os.Exit(2)
}

func write(name string, rows []*row) error {
	file, err := os.Create(name)
	if err != nil {
		return err
	}
	buffer := bufio.NewWriterSize(file, 1<<20)
	encoder := json.NewEncoder(buffer)
	encoder.SetEscapeHTML(false)
	for _, r := range rows {
		if err := encoder.Encode(r); err != nil {
			return err
		}
	}
	if err := buffer.Flush(); err != nil {
		return err
	}
	return file.Close()
}

// sequence hands out request numbers until count or time is used up.
type sequence struct {
	next    atomic.Int64
	count   int64
	until   time.Time
	stopped atomic.Bool
}

func (s *sequence) stopOnInterrupt() {
	interrupt := make(chan os.Signal, 1)
	signal.Notify(interrupt, os.Interrupt)
	go func() {
		<-interrupt
		s.stopped.Store(true)
	}()
}

func (s *sequence) take() (int64, bool) {
	if !s.until.IsZero() {
		if s.stopped.Load() || time.Now().After(s.until) {
			return 0, false
		}
		return s.next.Add(1) - 1, true
	}
	n := s.next.Add(1) - 1
	return n, n < s.count
}
