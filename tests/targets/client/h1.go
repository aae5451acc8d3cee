// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors

package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

func run(c *config) []*row {
	requests := &sequence{count: c.count}
	if c.duration > 0 {
		requests.until = time.Now().Add(c.duration)
		requests.stopOnInterrupt()
	}
	worker := h1Worker
	if c.protocol != "h1" {
		worker = h2Worker(c)
	}
	perWorker := make([][]*row, c.concurrency)
	var group sync.WaitGroup
	for i := range perWorker {
		group.Go(func() { perWorker[i] = worker(c, requests) })
	}
	var rows []*row
	if c.gate {
		release := *c
		release.targets, release.gate = []string{fmt.Sprintf("/release?n=%d", c.count)}, false
		rows = worker(&release, &sequence{count: 1})
	}
	group.Wait()
	for _, more := range perWorker {
		rows = append(rows, more...)
	}
	return rows
}

// connection is one raw HTTP/1 connection: header order, segments and pipelining are under our control.
type connection struct {
	net.Conn
	reader *bufio.Reader
	port   int
}

func dial(c *config) (*connection, error) {
	socket, err := net.DialTimeout("tcp", c.host, c.timeout)
	if err != nil {
		return nil, err
	}
	if err := socket.SetDeadline(time.Now().Add(c.timeout + c.duration)); err != nil {
		return nil, err
	}
	return &connection{socket, bufio.NewReader(socket), socket.LocalAddr().(*net.TCPAddr).Port}, nil
}

func h1Worker(c *config, requests *sequence) []*row {
	var rows []*row
	var conn *connection
	defer func() {
		if conn != nil {
			conn.Close()
		}
	}()
	for {
		var batch []*row
		for len(batch) < c.pipeline {
			seq, more := requests.take()
			if !more {
				break
			}
			batch = append(batch, newRow(c, seq))
		}
		if len(batch) == 0 {
			return rows
		}
		rows = append(rows, batch...)
		if conn == nil {
			var err error
			if conn, err = dial(c); err != nil {
				now := time.Now().UnixNano()
				for _, r := range batch {
					r.StartUnixNS, r.EndUnixNS, r.Error = now, now, err.Error()
				}
				continue
			}
		}
		if reusable := exchange(c, conn, batch); !reusable || !c.keepAlive {
			conn.Close()
			conn = nil
		}
	}
}

// exchange sends the requests of one batch, then reads their responses; false when the connection is used up.
func exchange(c *config, conn *connection, batch []*row) bool {
	var text bytes.Buffer
	for i, r := range batch {
		writeRequest(&text, c, r, !c.keepAlive && i == len(batch)-1)
	}
	start := time.Now().UnixNano()
	for _, r := range batch {
		r.StartUnixNS, r.EndUnixNS, r.ClientPort = start, start, conn.port
	}
	if err := send(c, conn, text.Bytes()); err != nil {
		batch[0].Error = err.Error()
		return false
	}
	for i, r := range batch {
		again, err := receive(conn, r)
		r.EndUnixNS = time.Now().UnixNano()
		if err != nil {
			r.Error = err.Error()
		}
		if err != nil || !again {
			for _, unanswered := range batch[i+1:] {
				unanswered.Error = "connection closed before the response"
			}
			return false
		}
	}
	return true
}

func writeRequest(out *bytes.Buffer, c *config, r *row, last bool) {
	fmt.Fprintf(out, "%s %s?%s HTTP/1.1\r\nHost: %s\r\n", r.Method, r.Path, r.Query, c.host)
	if last {
		out.WriteString("Connection: close\r\n")
	}
	if c.body > 0 {
		fmt.Fprintf(out, "Content-Length: %d\r\n", c.body)
	}
	for _, h := range r.headers {
		out.WriteString(h.name + ": " + h.value + "\r\n")
	}
	out.WriteString("\r\n")
	out.Write(bytes.Repeat([]byte{'b'}, c.body))
}

func send(c *config, conn *connection, text []byte) error {
	size := len(text)/c.segments + 1
	for len(text) > 0 {
		n := min(size, len(text))
		if _, err := conn.Write(text[:n]); err != nil { // Go sets TCP_NODELAY: each write is a segment
			return err
		}
		if text = text[n:]; len(text) > 0 {
			time.Sleep(c.delay)
		}
	}
	return nil
}

func receive(conn *connection, r *row) (again bool, err error) {
	response, err := http.ReadResponse(conn.reader, &http.Request{Method: r.Method})
	if err != nil {
		return false, err
	}
	defer response.Body.Close()
	r.Status = response.StatusCode
	_, err = io.Copy(io.Discard, response.Body)
	return !response.Close, err
}
