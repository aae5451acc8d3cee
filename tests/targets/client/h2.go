// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors

package main

import (
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// h2Worker makes workers whose requests are streams of one connection.
func h2Worker(c *config) func(*config, *sequence) []*row {
	protocols := new(http.Protocols)
	scheme := "https"
	switch c.protocol {
	case "h2":
		protocols.SetHTTP2(true)
	case "h2c":
		protocols.SetUnencryptedHTTP2(true)
		scheme = "http"
	default:
		fail("unknown protocol %q", c.protocol)
	}
	transport := &http.Transport{
		Protocols:       protocols,
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
		// Without it a pool of idle dials, one per early request, would spread the streams.
		MaxConnsPerHost: 1,
	}
	return func(c *config, requests *sequence) []*row {
		var rows []*row
		for {
			seq, more := requests.take()
			if !more {
				return rows
			}
			r := newRow(c, seq)
			rows = append(rows, r)
			stream(c, transport, scheme, r)
		}
	}
}

func stream(c *config, transport *http.Transport, scheme string, r *row) {
	request := &http.Request{
		Method: r.Method,
		URL:    &url.URL{Scheme: scheme, Host: c.host, Opaque: "//" + c.host + r.Path, RawQuery: r.Query},
		Header: http.Header{},
		Host:   c.host,
	}
	if c.body > 0 {
		request.Body = io.NopCloser(strings.NewReader(strings.Repeat("b", c.body)))
		request.ContentLength = int64(c.body)
	}
	for _, h := range r.headers {
		request.Header.Add(h.name, h.value)
	}
	r.StartUnixNS = time.Now().UnixNano()
	response, err := transport.RoundTrip(request)
	if err == nil {
		r.Status = response.StatusCode
		if response.ProtoMajor != 2 {
			err = fmt.Errorf("answered by %s", response.Proto)
		}
		if _, copyErr := io.Copy(io.Discard, response.Body); copyErr != nil {
			err = copyErr
		}
		response.Body.Close()
	}
	r.EndUnixNS = time.Now().UnixNano()
	if err != nil {
		r.Error = err.Error()
	}
}
