// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors

package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand"
	"net/http"
	"sort"
	"sync"
	"time"
)

// What customers buy in turn, and who they are.
var (
	items     = []string{"book", "sofa", "lamp", "book", "piano", "book", "lamp", "book"}
	customers = []string{"alice", "bob", "alice", "mallory", "carol", "alice", "bob"}
)

type load struct {
	store         string
	item, account string
	client        *http.Client

	mu        sync.Mutex
	failed    int
	latencies []time.Duration
}

func runLoad(args []string) error {
	flags := flag.NewFlagSet("load", flag.ExitOnError)
	n := flags.Int("n", 100, "requests to send")
	workers := flags.Int("c", 4, "requests in flight")
	rate := flags.Int("rate", 0, "requests per second; 0: as fast as they are answered")
	item := flags.String("item", "", "what to buy; default: this and that")
	account := flags.String("account", "", "who buys; default: several customers")
	_ = flags.Parse(args)
	if flags.NArg() != 1 {
		return errors.New("load needs the URL of the store")
	}

	transport := &http.Transport{MaxIdleConnsPerHost: *workers}
	l := load{store: flags.Arg(0), item: *item, account: *account, client: &http.Client{Transport: transport}}
	jobs := make(chan int)
	var group sync.WaitGroup
	for range *workers {
		group.Add(1)
		go func() {
			defer group.Done()
			for i := range jobs {
				l.buy(i)
			}
		}()
	}
	begin := time.Now()
	for i := range *n {
		if *rate > 0 {
			time.Sleep(time.Until(begin.Add(time.Duration(i) * time.Second / time.Duration(*rate))))
		}
		jobs <- i
	}
	close(jobs)
	group.Wait()
	fmt.Println(l.summary(time.Since(begin)))
	return nil
}

func (l *load) buy(i int) {
	item, account := l.item, l.account
	if item == "" {
		item = items[i%len(items)]
	}
	if account == "" {
		account = customers[i%len(customers)]
	}
	begin := time.Now()
	status, err := l.post(l.store + "/checkout/" + item + "?account=" + account)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.latencies = append(l.latencies, time.Since(begin))
	if err != nil || status != http.StatusOK {
		l.failed++
	}
}

// post begins a trace: the W3C traceparent names a span of the customer's own.
func (l *load) post(target string) (int, error) {
	request, err := http.NewRequest(http.MethodPost, target, nil)
	if err != nil {
		return 0, err
	}
	request.Header.Set("traceparent",
		fmt.Sprintf("00-%016x%016x-%016x-01", rand.Uint64()|1, rand.Uint64(), rand.Uint64()|1))
	response, err := l.client.Do(request)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	_, err = io.Copy(io.Discard, response.Body)
	return response.StatusCode, err
}

func (l *load) summary(elapsed time.Duration) string {
	sort.Slice(l.latencies, func(i, j int) bool { return l.latencies[i] < l.latencies[j] })
	quantile := func(q float64) time.Duration {
		if len(l.latencies) == 0 {
			return 0
		}
		return l.latencies[int(q*float64(len(l.latencies)-1))].Round(10 * time.Microsecond)
	}
	return fmt.Sprintf("%d requests in %.1f s, %d failed, p50 %v, p99 %v",
		len(l.latencies), elapsed.Seconds(), l.failed, quantile(0.5), quantile(0.99))
}
