// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors

// Uses every type of structs.txt, so that the linker keeps their DWARF. It is built, never run.
package main

import (
	"bytes"
	"container/list"
	"context"
	"crypto/tls"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/rpc"
	"net/url"
	"os"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

type contextKey struct{}

func handle(w http.ResponseWriter, r *http.Request) {
	ctx := context.WithValue(r.Context(), contextKey{}, r.Header.Get("traceparent"))
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if response, err := http.DefaultClient.Do(r.WithContext(ctx)); err == nil {
		fmt.Fprintln(w, response.Status, ctx.Value(contextKey{}))
	}
}

// embedded holds what structs of other modules embed by value.
type embedded struct {
	mutex     sync.Mutex
	rwMutex   sync.RWMutex
	once      sync.Once
	waitGroup sync.WaitGroup
	cond      sync.Cond
	pool      sync.Pool
	values    sync.Map
	boolean   atomic.Bool
	int32     atomic.Int32
	int64     atomic.Int64
	uint32    atomic.Uint32
	uint64    atomic.Uint64
	pointer   atomic.Pointer[bytes.Buffer]
	value     atomic.Value
	buffer    bytes.Buffer
	builder   strings.Builder
	reader    strings.Reader
	list      list.List
	time      time.Time
	timer     time.Timer
	address   netip.AddrPort
	reflected reflect.Value
}

//go:noinline
func (e *embedded) use() *embedded { return e }

func query(ctx context.Context, database *sql.DB) error {
	transaction, err := database.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	statement, err := transaction.PrepareContext(ctx, "select 1")
	if err != nil {
		return err
	}
	rows, err := statement.QueryContext(ctx)
	if err != nil {
		return err
	}
	defer rows.Close()
	if connection, err := database.Conn(ctx); err == nil {
		_, err = connection.ExecContext(ctx, "select 1")
		if err != nil {
			return fmt.Errorf("execute: %w", errors.Unwrap(err))
		}
		return connection.Close()
	}
	return transaction.Commit()
}

func main() {
	counts := map[string][]string{}
	for _, argument := range os.Args {
		counts[argument] = append(counts[argument], argument)
		if location, err := url.Parse(argument); err == nil {
			fmt.Println(location.Redacted())
		}
	}
	if database, err := sql.Open("none", ""); err == nil {
		fmt.Println(query(context.Background(), database), database.Stats())
	}
	fmt.Println((&embedded{}).use())
	if client, err := rpc.Dial("tcp", "127.0.0.1:1"); err == nil {
		fmt.Println(client.Call("Service.Method", 1, nil))
	}
	rpc.HandleHTTP()
	http.HandleFunc("/", handle)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	if address, ok := listener.Addr().(*net.TCPAddr); ok {
		fmt.Println(address.Port, counts)
	}
	if local, err := net.Dial("unix", "/none"); err == nil {
		fmt.Println(local.RemoteAddr().(*net.UnixAddr).Name)
	}
	server := &http.Server{TLSConfig: &tls.Config{}}
	go server.ServeTLS(listener, "", "")
	panic(server.Serve(listener))
}
