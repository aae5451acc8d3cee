// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"example.com/ledger"
)

type store struct {
	bank   string
	client *http.Client
	sales  *ledger.Book
}

func runStore(args []string) error {
	flags := flag.NewFlagSet("store", flag.ExitOnError)
	listen := flags.String("listen", "127.0.0.1:0", "address to listen on")
	bank := flags.String("bank", "", "URL of the bank")
	_ = flags.Parse(args)
	if *bank == "" {
		return errors.New("store needs -bank URL")
	}

	transport := &http.Transport{MaxIdleConnsPerHost: 64}
	s := store{
		bank:   *bank,
		client: &http.Client{Transport: transport, Timeout: 5 * time.Second},
		sales:  ledger.Open("sales", ledger.Options{Latency: time.Millisecond}),
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /checkout/{item}", s.checkout)
	return serve(*listen, mux)
}

// checkout sells {item} to ?account=: asks the bank for the price, has it paid there, and books the sale. Of a piano it
// also plans the delivery.
func (s store) checkout(w http.ResponseWriter, r *http.Request) {
	item, account := r.PathValue("item"), r.URL.Query().Get("account")
	text, err := s.ask(r, http.MethodGet, "/price/"+url.PathEscape(item))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	cents, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	payment := url.Values{"item": {item}, "account": {account}}
	receipt, err := s.ask(r, http.MethodPost, "/pay?"+payment.Encode())
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	sale, err := s.sales.Settle(account, cents)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	fmt.Fprintln(w, "paid", receipt, "sold", sale)
	if item == "piano" {
		fmt.Fprintln(w, "the truck drives", shortestTour(), "blocks")
	}
}

// ask sends a request to the bank as part of the trace that the incoming request belongs to.
func (s store) ask(incoming *http.Request, method, target string) (string, error) {
	ctx, cancel := context.WithTimeout(incoming.Context(), 5*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, s.bank+target, nil)
	if err != nil {
		return "", err
	}
	if parent := incoming.Header.Get("traceparent"); parent != "" {
		request.Header.Set("traceparent", parent)
	}
	response, err := s.client.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return "", err
	}
	if response.StatusCode != http.StatusOK {
		return "", fmt.Errorf("bank: %s: %s", response.Status, body)
	}
	return string(body), nil
}
